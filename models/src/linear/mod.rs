//! Linear models over hashed n-grams: the fast tier of chat moderation.
//!
//! Every head is a logistic regression over the same hashed features. Weights are eight-bit and
//! lie head by head beside each other in one row per bucket, so scoring all heads costs one row
//! read per feature.

mod format;
mod quantize;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::manifest::{FileSpec, MANIFEST_FILE, Manifest, ManifestError, Task};

pub use format::{FormatError, MAX_HEADS};

/// File name of the weights inside a model folder.
pub const WEIGHTS_FILE: &str = "weights.nslm";

/// The newest set of n-gram features that a model can ask for.
pub const MAX_NGRAM_SET: u8 = 2;

/// Heads are padded to a multiple of this, so that a row fills whole vector registers.
const LANES: usize = 8;

/// One output of a model.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Category name of the taxonomy, or `toxicity`.
    pub name: String,
    /// Value of one quantisation step of this head's weights, positive.
    pub step: f32,
    /// Added to the weighted sum.
    pub bias: f32,
    /// Slope of the calibration: probability = sigmoid(slope · (logit − threshold)), positive.
    pub slope: f32,
    /// The logit that calibrates to 0.5, which is the shipped decision threshold.
    pub threshold: f32,
}

/// A multi-head logistic model over hashed features.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearChatModel {
    hash_bits: u8,
    /// Which set of features the hasher must be asked for.
    ngram_set: u8,
    heads: Vec<Head>,
    /// Row width: the number of heads, padded.
    stride: usize,
    /// `2^hash_bits` rows of `stride` weights in steps.
    table: Vec<i8>,
}

/// A linear model that can't be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum LinearError {
    /// The manifest is missing or wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest describes something else.
    #[error("{} is a {task} model without {WEIGHTS_FILE}, not a linear chat model", path.display())]
    NotLinear {
        /// Model folder.
        path: PathBuf,
        /// What its manifest says it is.
        task: Task,
    },
    /// The weights do not match the manifest's hash.
    #[error("{}: sha256 is {found}, the manifest says {expected}; fetch the model again", path.display())]
    Corrupt {
        /// Weights file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// The weights file is not one of ours.
    #[error("{}: {source}", path.display())]
    Format {
        /// Weights file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl LinearError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Manifest(error) => error.code(),
            Self::NotLinear { .. } => "model_not_linear",
            Self::Corrupt { .. } => "model_corrupt",
            Self::Format { .. } => "model_format",
            Self::Io { .. } => "model_unreadable",
        }
    }
}

impl LinearChatModel {
    /// Quantises trained weights: `weights[head][bucket]`, each `2^hash_bits` long. The heads'
    /// `step` is set here.
    pub fn quantize(
        hash_bits: u8,
        heads: Vec<Head>,
        weights: &[Vec<f32>],
    ) -> Result<Self, FormatError> {
        format::check_shape(hash_bits, heads.len())?;
        let buckets = 1_usize << hash_bits;
        if weights.len() != heads.len() || weights.iter().any(|head| head.len() != buckets) {
            return Err(FormatError::Shape);
        }
        let mut model = Self::empty(hash_bits, heads);
        for (index, (head, weights)) in model.heads.iter_mut().zip(weights).enumerate() {
            head.step = quantize::best_step(weights);
            for (bucket, weight) in weights.iter().enumerate() {
                model.table[bucket * model.stride + index] = quantize::to_steps(*weight, head.step);
            }
        }
        Ok(model)
    }

    fn empty(hash_bits: u8, heads: Vec<Head>) -> Self {
        let stride = heads.len().next_multiple_of(LANES);
        Self {
            hash_bits,
            ngram_set: 1,
            heads,
            stride,
            table: vec![0; stride << hash_bits],
        }
    }

    /// Loads the model in `dir`: its manifest, then the weights, whose hash must match.
    pub fn load(dir: &Path) -> Result<Self, LinearError> {
        let path = dir.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ManifestError::Read {
            path: path.clone(),
            source,
        })?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string())?;
        let file = manifest
            .file(WEIGHTS_FILE)
            .filter(|_| manifest.task == Task::Chat);
        let Some(file) = file else {
            return Err(LinearError::NotLinear {
                path: dir.to_owned(),
                task: manifest.task,
            });
        };
        let path = dir.join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).map_err(|source| LinearError::Io {
            path: path.clone(),
            source,
        })?;
        let found = hex::encode(Sha256::digest(&bytes));
        if found != file.sha256 {
            return Err(LinearError::Corrupt {
                path,
                expected: file.sha256.clone(),
                found,
            });
        }
        Self::from_bytes(&bytes).map_err(|source| LinearError::Format { path, source })
    }

    /// Writes the weights file into `dir` and answers its entry for the manifest.
    pub fn save(&self, dir: &Path) -> Result<FileSpec, LinearError> {
        let path = dir.join(WEIGHTS_FILE);
        let bytes = self.to_bytes().map_err(|source| LinearError::Format {
            path: path.clone(),
            source,
        })?;
        std::fs::write(&path, &bytes).map_err(|source| LinearError::Io { path, source })?;
        Ok(FileSpec {
            path: WEIGHTS_FILE.to_owned(),
            sha256: hex::encode(Sha256::digest(&bytes)),
            size: bytes.len() as u64,
            platform: None,
        })
    }

    /// Reads the content of a weights file. Never panics on foreign bytes, and refuses sizes
    /// beyond what a model can have before allocating for them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::read(bytes)
    }

    /// The content of a weights file; the same model always gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        format::write(self)
    }

    /// log2 of the number of buckets: what the hasher must be made with.
    pub fn hash_bits(&self) -> u8 {
        self.hash_bits
    }

    /// The set of n-gram features: what the hasher must be made with.
    pub fn ngram_set(&self) -> u8 {
        self.ngram_set
    }

    /// The same weights for another set of features (1 where nothing was said).
    #[must_use]
    pub fn with_ngram_set(mut self, set: u8) -> Self {
        self.ngram_set = set;
        self
    }

    /// The outputs, in the order of scores.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Position of a head by name.
    pub fn head(&self, name: &str) -> Option<usize> {
        self.heads.iter().position(|head| head.name == name)
    }

    /// How many weights are not zero, over all heads.
    pub fn non_zero(&self) -> usize {
        self.table.iter().filter(|steps| **steps != 0).count()
    }

    /// Uncalibrated logits, one per head, replacing what `out` held.
    ///
    /// Features are (bucket, value) pairs; buckets past the table are ignored.
    pub fn logits(&self, features: &[(u32, f32)], out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.stride, 0.0);
        for &(bucket, value) in features {
            let from = bucket as usize * self.stride;
            let Some(row) = self.table.get(from..from + self.stride) else {
                continue;
            };
            for (sum, steps) in out.iter_mut().zip(row) {
                *sum += value * f32::from(*steps);
            }
        }
        out.truncate(self.heads.len());
        for (sum, head) in out.iter_mut().zip(&self.heads) {
            *sum = *sum * head.step + head.bias;
        }
    }

    /// Calibrated probabilities, one per head in `0..=1`, replacing what `out` held; 0.5 is the
    /// shipped threshold of every head.
    pub fn score(&self, features: &[(u32, f32)], out: &mut Vec<f32>) {
        self.logits(features, out);
        for (logit, head) in out.iter_mut().zip(&self.heads) {
            *logit = 1.0 / (1.0 + (-head.slope * (*logit - head.threshold)).exp());
        }
    }
}

#[cfg(test)]
mod tests;
