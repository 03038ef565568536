//! Data set manifests: what a data set is, where it comes from and what it may be used for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::DatasetError;

/// What a data set may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Training models that ship, and everything below.
    Train,
    /// Training and judging models that stay in house.
    Research,
    /// Judging models only; never trained on.
    Evaluate,
    /// Look-up lists, read by people and rules.
    Reference,
}

/// One file of a data set, by its path inside the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Relative path with `/` between parts.
    pub path: String,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    /// Address of exactly these bytes (a pinned commit), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A folder of many files, by its path inside the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFolder {
    /// Relative path with `/` between parts.
    pub path: String,
    /// Number of files below it, at any depth.
    pub count: usize,
    /// SHA-256 over the lines `SHA256  PATH\n` of all files, ordered by path (relative to the
    /// folder): what `sha256sum` prints, hashed.
    pub sha256: String,
}

/// One collection inside a data set, with its own terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Name as rows carry it.
    pub name: String,
    /// SPDX expression, or `none found`.
    pub licence: String,
    /// What it is, in a few words.
    #[serde(default)]
    pub about: String,
}

/// One data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// Lower-case name with dashes.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// Model task that it is for: `chat`, `frames`, `audio`, `recommender`.
    pub task: String,
    /// SPDX expression for the whole, or `mixed` with the terms per source.
    pub licence: String,
    /// What it may be used for.
    #[serde(rename = "use")]
    pub allowed: Use,
    /// Where people find the original.
    pub origin: String,
    /// Care to take.
    #[serde(default)]
    pub notes: String,
    /// The collections it is made of.
    #[serde(default)]
    pub sources: Vec<DataSource>,
    /// Its files.
    #[serde(default)]
    pub files: Vec<DataFile>,
    /// Its folders.
    #[serde(default)]
    pub folders: Vec<DataFolder>,
}

impl DatasetManifest {
    /// Parses and validates TOML; `origin` names the text in errors.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, DatasetError> {
        let bad = |message: String| DatasetError::Manifest {
            origin: origin.to_owned(),
            message,
        };
        let manifest: Self =
            toml::from_str(text).map_err(|error| bad(error.to_string().trim_end().to_owned()))?;
        if manifest.files.is_empty() && manifest.folders.is_empty() {
            return Err(bad("it has neither files nor folders".to_owned()));
        }
        let files = manifest.files.iter().map(|file| (&file.path, &file.sha256));
        let folders = manifest
            .folders
            .iter()
            .map(|folder| (&folder.path, &folder.sha256));
        let mut seen = BTreeSet::new();
        for (path, sha256) in files.chain(folders) {
            if !is_plain_path(path) {
                return Err(bad(format!(
                    "path {path:?} must stay inside the data folder"
                )));
            }
            if sha256.len() != 64
                || !sha256
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            {
                return Err(bad(format!(
                    "{path}: sha256 must be 64 lower-case hex digits"
                )));
            }
            if !seen.insert(path.clone()) {
                return Err(bad(format!("{path} is listed twice")));
            }
        }
        for file in &manifest.files {
            if file
                .url
                .as_ref()
                .is_some_and(|url| !url.starts_with("https://"))
            {
                return Err(bad(format!("{}: url must be https", file.path)));
            }
        }
        Ok(manifest)
    }

    /// The collection of this name.
    pub fn source(&self, name: &str) -> Option<&DataSource> {
        self.sources.iter().find(|source| source.name == name)
    }
}

fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':', '\0'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

const CATALOG: &[(&str, &str)] = &[
    ("audio-esc10", include_str!("../manifests/audio-esc10.toml")),
    ("chat-eval", include_str!("../manifests/chat-eval.toml")),
    ("chat-extra", include_str!("../manifests/chat-extra.toml")),
    (
        "chat-extra-eval",
        include_str!("../manifests/chat-extra-eval.toml"),
    ),
    ("chat-train", include_str!("../manifests/chat-train.toml")),
    (
        "frames-everyday",
        include_str!("../manifests/frames-everyday.toml"),
    ),
    ("frames-guns", include_str!("../manifests/frames-guns.toml")),
    ("frames-pdq", include_str!("../manifests/frames-pdq.toml")),
    (
        "frames-playing-cards",
        include_str!("../manifests/frames-playing-cards.toml"),
    ),
    (
        "recsys-ml100k",
        include_str!("../manifests/recsys-ml100k.toml"),
    ),
    ("recsys-ml1m", include_str!("../manifests/recsys-ml1m.toml")),
    (
        "recsys-twitch105k",
        include_str!("../manifests/recsys-twitch105k.toml"),
    ),
    (
        "text-lexicons",
        include_str!("../manifests/text-lexicons.toml"),
    ),
];

/// The data sets that this build knows, by name.
pub fn catalog() -> Result<Vec<DatasetManifest>, DatasetError> {
    CATALOG
        .iter()
        .map(|(name, text)| DatasetManifest::from_toml(text, name))
        .collect()
}

/// One data set by name.
pub fn find(name: &str) -> Result<DatasetManifest, DatasetError> {
    let mut all = catalog()?;
    match all.iter().position(|manifest| manifest.name == name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(DatasetError::UnknownDataset {
            name: name.to_owned(),
            known: all.into_iter().map(|manifest| manifest.name).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_is_valid_and_named_after_its_files() {
        let all = catalog().expect("catalog");
        for ((file, _), manifest) in CATALOG.iter().zip(&all) {
            assert_eq!(*file, manifest.name);
            assert!(
                !manifest.origin.is_empty() && !manifest.licence.is_empty(),
                "{file}"
            );
            assert!(
                manifest.licence != "mixed" || !manifest.sources.is_empty(),
                "{file}"
            );
        }
        assert_eq!(find("chat-train").expect("known").task, "chat");
        assert_eq!(find("chat").expect_err("unknown").code(), "dataset_unknown");
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let head = "name = \"x\"\ndescription = \"x\"\ntask = \"chat\"\nlicence = \"MIT\"\nuse = \"train\"\norigin = \"x\"\n";
        let file = |path: &str, hash: &str, more: &str| {
            format!("[[files]]\npath = \"{path}\"\nsize = 1\nsha256 = \"{hash}\"\n{more}\n")
        };
        let hash = "0".repeat(64);
        let parse = |text: String| DatasetManifest::from_toml(&text, "x");
        assert!(parse(format!("{head}{}", file("a/b", &hash, ""))).is_ok());
        for wrong in [
            String::new(),
            file("../b", &hash, ""),
            file("/b", &hash, ""),
            file("a", "00", ""),
            file("a", &hash, "url = \"http://example.org/a\""),
            file("a", &hash, "") + &file("a", &hash, ""),
            "colour = 1".to_owned(),
        ] {
            assert!(parse(format!("{head}{wrong}")).is_err(), "{wrong}");
        }
    }
}
