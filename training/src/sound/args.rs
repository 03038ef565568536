//! Options of `novastream-train audio`.

use std::path::PathBuf;

use serde::Serialize;

/// What a sound model stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// A logistic head on YAMNet's embeddings: needs the pulled YAMNet, also to run.
    Yamnet,
    /// A small network of our own, from nothing: needs nothing else.
    Cnn,
}

/// What a network learns from beside the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Teacher {
    /// YAMNet's embeddings of the same stretches: needs the pulled YAMNet while it trains only.
    Yamnet,
}

/// Train a sound model from DIR/LABEL/*.ogg|wav|flac.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct AudioArgs {
    /// Folder with one folder of clips a label; its name is the label
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// What the model stands on
    #[arg(long, value_enum)]
    pub base: Base,
    /// Folder for the run: model, card, metrics, configuration, log, checkpoints
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Judge every fold in turn, not only one (one training for each)
    #[arg(long)]
    pub folds: bool,
    /// The fold that is held out where not all are: a number that file names begin with; default
    /// the lowest
    #[arg(long, value_name = "N", conflicts_with = "folds")]
    pub held_out: Option<u32>,
    /// Ignore the clips of this fold altogether (repeatable), to choose settings without it
    #[arg(long, value_name = "N")]
    pub without: Vec<u32>,
    /// Do not fit once more on all clips: ship what was judged
    #[arg(long)]
    pub no_refit: bool,
    /// Name of the model; sound-yamnet or sound-cnn where none is given
    #[arg(long)]
    pub name: Option<String>,
    /// Version of the model
    #[arg(long, default_value = "0.1.0", value_name = "VERSION")]
    pub model_version: String,
    /// Seed of all randomness; the same data and options give the same bytes
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Pull of a head's weights towards zero; chosen on the training folds where none is given
    #[arg(long)]
    pub l2: Option<f64>,
    /// Passes over the clips (network)
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub epochs: u32,
    /// Clips a step (network)
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=1024))]
    pub batch: u32,
    /// Highest learning rate (network)
    #[arg(long, default_value_t = 3e-3)]
    pub learning_rate: f32,
    /// Pull of kernels towards zero, times the learning rate (network)
    #[arg(long, default_value_t = 0.02)]
    pub weight_decay: f32,
    /// Share of pooled features that a step leaves out (network)
    #[arg(long, default_value_t = 0.2)]
    pub dropout: f32,
    /// Share of training clips that are mixed with another (network)
    #[arg(long, default_value_t = 0.5)]
    pub mixup: f32,
    /// Channels of each block (network)
    #[arg(long, value_delimiter = ',', default_values_t = [16, 32, 64, 96])]
    pub channels: Vec<usize>,
    /// Average the norms over the training clips as they are judged, not over a step's examples
    /// (network)
    #[arg(long)]
    pub clean_norms: bool,
    /// Let the first block see how high each band lies (network)
    #[arg(long)]
    pub heights: bool,
    /// Learn what this model hears beside the labels; it is not needed to run what ships (network)
    #[arg(long, value_enum)]
    pub teacher: Option<Teacher>,
    /// How much the teacher counts beside the labels (network)
    #[arg(long, default_value_t = 4.0, requires = "teacher")]
    pub teacher_weight: f32,
    /// Passes between checkpoints (network)
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub checkpoint_every: u32,
    /// Words for the card that the run itself can't know
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
}

impl AudioArgs {
    /// Checks what the parser can't; the message says what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err("--learning-rate must be above 0".to_owned());
        }
        for (name, value) in [("dropout", self.dropout), ("mixup", self.mixup)] {
            if !(0.0..=1.0).contains(&value) || (name == "dropout" && value > 0.9) {
                return Err(format!("--{name} must be a share, and dropout at most 0.9"));
            }
        }
        if !(0.0..1.0).contains(&self.weight_decay) {
            return Err("--weight-decay must be within 0..1".to_owned());
        }
        if self.l2.is_some_and(|l2| !(l2.is_finite() && l2 > 0.0)) {
            return Err("--l2 must be above 0".to_owned());
        }
        if !(self.teacher_weight.is_finite() && self.teacher_weight > 0.0) {
            return Err("--teacher-weight must be above 0".to_owned());
        }
        if self.base == Base::Yamnet && (self.teacher.is_some() || self.heights || self.clean_norms)
        {
            return Err("--teacher, --heights and --clean-norms go with --base cnn".to_owned());
        }
        if self.channels.is_empty() || self.channels.len() > 6 {
            return Err("--channels takes one to six numbers".to_owned());
        }
        Ok(())
    }

    /// Name of the model.
    pub fn model_name(&self) -> &str {
        self.name.as_deref().unwrap_or(match self.base {
            Base::Yamnet => "sound-yamnet",
            Base::Cnn => "sound-cnn",
        })
    }
}

#[cfg(test)]
impl AudioArgs {
    /// What `--dir d` and `options` make on the command line.
    pub(super) fn of(options: &[&str]) -> Result<Self, clap::Error> {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: AudioArgs,
        }
        let words = ["audio", "--dir", "d"].iter().chain(options);
        <Cli as clap::Parser>::try_parse_from(words).map(|cli| cli.args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(options: &[&str]) -> Option<AudioArgs> {
        let args = AudioArgs::of(&[&["--out", "o"][..], options].concat()).ok()?;
        args.validate().is_ok().then_some(args)
    }

    #[test]
    fn a_teacher_teaches_networks_only_and_counts_for_something() {
        let plain = args(&["--base", "cnn"]).unwrap();
        assert_eq!((plain.teacher, plain.heights), (None, false));
        let taught = args(&["--base", "cnn", "--teacher", "yamnet", "--heights"]).unwrap();
        assert_eq!(
            (taught.teacher, taught.heights),
            (Some(Teacher::Yamnet), true)
        );
        for wrong in [
            &["--base", "yamnet", "--teacher", "yamnet"][..],
            &["--base", "yamnet", "--heights"],
            &["--base", "yamnet", "--clean-norms"],
            &["--base", "cnn", "--teacher-weight", "2"],
            &[
                "--base",
                "cnn",
                "--teacher",
                "yamnet",
                "--teacher-weight",
                "0",
            ],
            &[
                "--base",
                "cnn",
                "--teacher",
                "yamnet",
                "--teacher-weight",
                "NaN",
            ],
            &["--base", "cnn", "--teacher", "nobody"],
        ] {
            assert!(args(wrong).is_none(), "{wrong:?}");
        }
    }
}
