//! Options of `novastream-train frames`.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Folder names whose pictures are negatives of every head and make none themselves.
const BACKGROUND: &[&str] = &[
    "background",
    "everyday",
    "negative",
    "negatives",
    "neutral",
    "none",
    "normal",
    "other",
    "others",
    "safe",
];

/// Train logistic heads for pictures from a folder per label.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct FramesArgs {
    /// Pictures as DIR/LABEL/*.jpg (png, webp, gif and bmp as well)
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Folder for the run: model, card, metrics, configuration, log
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Labels that become heads; every other one is a negative (default: all but backgrounds such as
    /// everyday, other, negatives)
    #[arg(long, num_args = 1.., value_name = "LABEL")]
    pub head: Vec<String>,
    /// Labels to leave out altogether
    #[arg(long, num_args = 1.., value_name = "LABEL")]
    pub exclude: Vec<String>,
    /// Name of the model (default: from DIR/NAME/VERSION of --out, else frames-LABEL)
    #[arg(long)]
    pub name: Option<String>,
    /// Version of the model (default: from --out, else 0.1.0)
    #[arg(long, value_name = "VERSION")]
    pub model_version: Option<String>,
    /// Seed of crops, sizes and qualities; the same pictures and options give the same bytes
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Training views of a picture: itself, then crops and mirror images, each in a size and JPEG
    /// quality that say nothing of its source
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub views: u8,
    /// Rounds of hard-negative mining
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=8))]
    pub hard_rounds: u8,
    /// Negatives beyond this multiple of the positives wait until mining finds them hard
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub negatives_per_positive: u32,
    /// Fewest pictures of a label for a head
    #[arg(long, default_value_t = 10)]
    pub min_positives: usize,
    /// Do not learn from the held-out pictures after judging by them
    #[arg(long)]
    pub no_refit: bool,
    /// Folder that keeps features between runs
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub cache: Option<PathBuf>,
    /// Folder of pulled models (default: $NOVASTREAM_MODELS, else .novastream/models)
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub store: Option<PathBuf>,
    /// Words for the card that the run itself can't know
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
}

impl FramesArgs {
    /// Name and version of the model whose first head is `first`.
    pub fn identity(&self, first: &str) -> (String, String) {
        let placed = placed(&self.out);
        let name = self
            .name
            .clone()
            .or_else(|| Some(placed.as_ref()?.0.clone()));
        let version = self.model_version.clone();
        let version = version.or_else(|| Some(placed.as_ref()?.1.clone()));
        (
            name.unwrap_or_else(|| format!("frames-{first}")),
            version.unwrap_or_else(|| "0.1.0".to_owned()),
        )
    }

    /// Whether a label becomes a head.
    pub fn is_head(&self, label: &str) -> bool {
        if self.head.is_empty() {
            !BACKGROUND.contains(&head_name(label).as_str())
        } else {
            self.head.iter().any(|h| h == label)
        }
    }
}

/// A label as a head's name: lower case, `-` for what is no letter or digit.
pub fn head_name(label: &str) -> String {
    let plain: String = label
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    plain.trim_matches('-').to_owned()
}

/// NAME and VERSION of a folder `…/NAME/VERSION`, as the zoo lays them out.
fn placed(out: &Path) -> Option<(String, String)> {
    let version = out.file_name()?.to_str()?;
    let name = out.parent()?.file_name()?.to_str()?;
    let versioned = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.');
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let named = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(plain);
    (versioned && named).then(|| (name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_zoo_names_the_model() {
        let place = |out: &str| placed(Path::new(out));
        let found = Some(("frames-guns".to_owned(), "0.2.0".to_owned()));
        assert_eq!(place("models/zoo/frames-guns/0.2.0"), found);
        assert_eq!(place("/tmp/Run/1.0"), None);
        assert_eq!(place("run"), None);
    }

    #[test]
    fn labels_become_names() {
        assert_eq!(head_name("playing_cards"), "playing-cards");
        assert_eq!(head_name(" Big Guns! "), "big-guns");
    }
}
