//! Model manifests: one TOML file that says what a model is and where its files come from.
//!
//! Third-party models live in `catalog/*.toml` (compiled in, weights never committed), ours in
//! `zoo/NAME/VERSION/manifest.toml` with the weights beside it. Both are the same [`Manifest`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod contract;
mod source;

pub use contract::{Contract, Dim, TensorSpec};
pub use source::Source;

/// File name of a manifest inside a model folder.
pub const MANIFEST_FILE: &str = "manifest.toml";

/// What a model is for. Serialised in kebab case (`audio-events`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Chat text to category scores.
    Chat,
    /// A text to a vector, to train from.
    TextEncoder,
    /// A frame to sexual-content classes.
    Nsfw,
    /// The same, asked only about frames that the first network suspects.
    NsfwConfirm,
    /// Pooled features of a frame to objects in it.
    FrameHeads,
    /// A second of sound to event classes.
    AudioEvents,
    /// A recording to labels that we trained.
    SoundLabels,
    /// Sound to voice or not.
    VoiceActivity,
    /// A frame to boxes around text.
    OcrDetect,
    /// A cropped line of text to characters.
    OcrRecognise,
    /// What a viewer took before, and the channels that are live, to a ranked list.
    Recommender,
    /// A shared library that runs models, not a model.
    Runtime,
}

impl Task {
    /// The name used in manifests and API answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextEncoder => "text-encoder",
            Self::Nsfw => "nsfw",
            Self::NsfwConfirm => "nsfw-confirm",
            Self::FrameHeads => "frame-heads",
            Self::AudioEvents => "audio-events",
            Self::SoundLabels => "sound-labels",
            Self::VoiceActivity => "voice-activity",
            Self::OcrDetect => "ocr-detect",
            Self::OcrRecognise => "ocr-recognise",
            Self::Recommender => "recommender",
            Self::Runtime => "runtime",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a downloaded artifact becomes a model that the engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Importer {
    /// TensorFlow.js layers model wrapped in JavaScript, as the npm package `nsfwjs` ships it.
    Nsfwjs,
    /// The int8 YAMNet TFLite file.
    YamnetTflite,
}

impl Importer {
    /// The name used in manifests and lock files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nsfwjs => "nsfwjs",
            Self::YamnetTflite => "yamnet-tflite",
        }
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// File name inside the model folder: plain relative path, `/` between parts.
    pub path: String,
    /// SHA-256 of the bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// Exact size in bytes; downloads never read past it.
    pub size: u64,
    /// `OS-ARCH` (`linux-x86_64`) where the file differs per machine; absent: every machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// Which kernels multiply eight-bit numbers where the processor has fast ones that saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernels {
    /// Exact sums: the same scores on every processor.
    Exact,
    /// The engine's fastest.
    Fast,
}

impl Kernels {
    /// The name used in manifests and API answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }
}

/// How a model in eight bits is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Int8 {
    /// The kernels; without them the golden answers decide at load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Kernels>,
    /// What the choice was made from, by name (`fast_gap_largest`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<String, f64>,
}

/// Everything we say about one version of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Lower-case name with dashes, unique together with the version.
    pub name: String,
    /// Version, digits and dots first (`1.0.0`, `4.3.0`).
    pub version: String,
    /// What it is for.
    pub task: Task,
    /// SPDX expression.
    pub licence: String,
    /// One or two sentences.
    pub description: String,
    /// What the model must not be trusted with; goes into its card.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limits: String,
    /// Turns the files into something that runs, where they are not already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importer: Option<Importer>,
    /// Output classes in index order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// File beside the manifest with one label a line, read into `labels` on load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_file: Option<String>,
    /// Measured figures by name (`auc`, `ms_per_frame_1_core`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Shipped decision thresholds by label or category, 0..=1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, f64>,
    /// How its eight-bit products are computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<Int8>,
    /// Inputs and outputs of the runnable graph.
    #[serde(default)]
    pub contract: Contract,
    /// Files with their hashes.
    #[serde(default)]
    pub files: Vec<FileSpec>,
    /// Where the files come from, tried in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// A manifest that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the TOML we know.
    #[error("{origin}: {message}")]
    Parse {
        /// Where the text came from.
        origin: String,
        /// What the parser says.
        message: String,
    },
    /// TOML, but it contradicts itself.
    #[error("{origin}: {message}")]
    Invalid {
        /// Where the text came from.
        origin: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The manifest or its labels file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ManifestError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Parse { .. } => "manifest_parse",
            Self::Invalid { .. } => "manifest_invalid",
            Self::Read { .. } => "manifest_unreadable",
        }
    }
}

impl Manifest {
    /// Parses and validates TOML. `origin` names the text in errors (a path or catalog entry).
    /// A `labels_file` is left for the caller, see [`Manifest::set_labels`].
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(|e| ManifestError::Parse {
            origin: origin.to_owned(),
            message: e.to_string().trim_end().to_owned(),
        })?;
        manifest.validate(origin)?;
        Ok(manifest)
    }

    /// The manifest as TOML; [`Manifest::from_toml`] reads it back unchanged.
    pub fn to_toml(&self) -> Result<String, ManifestError> {
        toml::to_string_pretty(self).map_err(|e| ManifestError::Invalid {
            origin: self.id(),
            message: e.to_string(),
        })
    }

    /// Fills `labels` from the text of `labels_file`: one label a line, blank lines ignored.
    pub fn set_labels(&mut self, text: &str) {
        self.labels = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .map(str::to_owned)
            .collect();
    }

    /// `name@version`, as evidence and logs name a model.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The files that this machine needs.
    pub fn platform_files(&self) -> impl Iterator<Item = &FileSpec> {
        let here = platform();
        self.files
            .iter()
            .filter(move |f| f.platform.as_ref().is_none_or(|p| *p == here))
    }

    /// The file named `path` for this machine.
    pub fn file(&self, path: &str) -> Option<&FileSpec> {
        self.platform_files().find(|f| f.path == path)
    }

    fn validate(&self, origin: &str) -> Result<(), ManifestError> {
        let bad = |message: String| {
            Err(ManifestError::Invalid {
                origin: origin.to_owned(),
                message,
            })
        };
        if !is_slug(&self.name) {
            return bad(format!(
                "name {:?} must be lower-case letters, digits, `-`",
                self.name
            ));
        }
        if !is_version(&self.version) {
            return bad(format!("version {:?} must look like 1.0.0", self.version));
        }
        let mut seen = BTreeSet::new();
        for file in &self.files {
            if !is_plain_path(&file.path) {
                return bad(format!(
                    "file path {:?} must stay inside the folder",
                    file.path
                ));
            }
            if !is_sha256(&file.sha256) {
                return bad(format!(
                    "{}: sha256 must be 64 lower-case hex digits",
                    file.path
                ));
            }
            if !seen.insert((&file.path, &file.platform)) {
                return bad(format!("file {:?} is listed twice", file.path));
            }
        }
        if let Some(labels) = &self.labels_file
            && !is_plain_path(labels)
        {
            return bad(format!(
                "labels_file {labels:?} must stay inside the folder"
            ));
        }
        for (name, value) in &self.thresholds {
            if !(0.0..=1.0).contains(value) {
                return bad(format!("threshold {name} = {value} is not within 0..=1"));
            }
        }
        for source in &self.sources {
            if let Err(message) = source.validate(&self.files) {
                return bad(message);
            }
        }
        Ok(())
    }
}

/// This machine as manifests name it: `linux-x86_64`, `linux-aarch64`, `macos-aarch64`, …
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

pub(crate) fn is_slug(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(crate) fn is_version(version: &str) -> bool {
    version.len() <= 32
        && version.starts_with(|c: char| c.is_ascii_digit())
        && !version.contains("..")
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
}

fn is_sha256(hash: &str) -> bool {
    hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A relative path that can't leave the folder it is joined to, on any operating system.
pub(crate) fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 255
        && !path.contains(['\\', ':', '\0'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests;
