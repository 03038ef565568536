//! Logistic heads on the pooled features of the two picture networks.
//!
//! Every head asks twice, as the networks do. Its `screen` looks at the features of the small
//! network, which runs on every frame anyway; only where that is suspicious the large network runs,
//! and the `joint` weights look at both vectors together. A frame below the gate keeps a score under
//! every score that the joint weights are likely to give, in the screen's order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::manifest::{FileSpec, MANIFEST_FILE, Manifest, ManifestError, Task};

/// File name of the weights inside a model folder.
pub const WEIGHTS_FILE: &str = "heads.safetensors";
/// The catalogue's network whose features the screens look at, and that runs on every frame.
pub const SCREEN_BASE: &str = "nsfw-mobilenet-v2";
/// The catalogue's network whose features only the joint weights look at.
pub const JOINT_BASE: &str = "nsfw-mobilenet-v2-mid";

/// Most heads in a model.
const MAX_HEADS: usize = 64;
/// Longest feature vector of a network.
const MAX_FEATURES: usize = 1 << 16;
/// Key of the settings in the file's metadata.
const SETTINGS: &str = "heads";

/// A weighted sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// One weight a feature.
    pub weights: Vec<f32>,
    /// Added to the sum.
    pub bias: f32,
}

impl Weights {
    /// The logit of a feature vector given in parts, which lie one after the other.
    pub fn logit(&self, parts: &[&[f32]]) -> f32 {
        let values = parts.iter().flat_map(|p| p.iter());
        // Eight sums side by side: the compiler makes vectors of them, and they round less.
        let mut sums = [0.0_f32; 8];
        for (i, (w, x)) in self.weights.iter().zip(values).enumerate() {
            sums[i % 8] += w * x;
        }
        sums.iter().sum::<f32>() + self.bias
    }
}

/// One output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameHead {
    /// The label that it finds: lower case, `-` between words.
    pub name: String,
    /// Over the small network's features; calibrated by nothing, only compared with `gate`.
    pub screen: Weights,
    /// The screen's logit from which the large network is asked.
    pub gate: f32,
    /// Logit of a frame that lies just below the gate.
    pub floor: f32,
    /// Over both networks' features, the small one's first; a logit of 0 is the shipped threshold.
    pub joint: Weights,
}

/// What a head says before the large network has run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Screened {
    /// Not suspicious: this is the score, 0 to 1.
    Clear(f32),
    /// The large network has to look.
    Suspect,
}

impl FrameHead {
    /// Looks at the small network's features.
    pub fn screen(&self, small: &[f32]) -> Screened {
        let logit = self.screen.logit(&[small]);
        if logit >= self.gate {
            Screened::Suspect
        } else {
            Screened::Clear(sigmoid(self.floor + logit - self.gate))
        }
    }

    /// The calibrated score of a suspect, 0 to 1; 0.5 is the shipped threshold.
    pub fn confirm(&self, small: &[f32], large: &[f32]) -> f32 {
        sigmoid(self.joint.logit(&[small, large]))
    }

    /// The score as both networks make it.
    pub fn score(&self, small: &[f32], large: &[f32]) -> f32 {
        match self.screen(small) {
            Screened::Clear(score) => score,
            Screened::Suspect => self.confirm(small, large),
        }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The heads of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameHeads {
    /// Length of the small network's features.
    pub small: usize,
    /// Length of the large network's features.
    pub large: usize,
    /// At least one; names are unique.
    pub heads: Vec<FrameHead>,
}

/// Heads that can't be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum FrameHeadsError {
    /// The manifest is missing or wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest describes something else.
    #[error("{} is a {task} model, not frame heads", path.display())]
    NotHeads {
        /// Model folder.
        path: PathBuf,
        /// What its manifest says it is.
        task: Task,
    },
    /// The weights do not match the manifest's hash.
    #[error("{}: sha256 is {found}, the manifest says {expected}", path.display())]
    Corrupt {
        /// Weights file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// The weights file is not one of ours.
    #[error("not frame heads: {0}")]
    Format(String),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl FrameHeadsError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Manifest(error) => error.code(),
            Self::NotHeads { .. } => "model_not_frame_heads",
            Self::Corrupt { .. } => "model_corrupt",
            Self::Format(_) => "model_format",
            Self::Io { .. } => "model_unreadable",
        }
    }
}

/// What the metadata says of one head.
#[derive(Serialize, Deserialize)]
struct Settings {
    name: String,
    gate: f32,
    floor: f32,
    screen_bias: f32,
    joint_bias: f32,
}

impl FrameHeads {
    /// Loads the model in `dir`: its manifest, then the weights, whose hash must match.
    pub fn load(dir: &Path) -> Result<(Self, Manifest), FrameHeadsError> {
        let path = dir.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ManifestError::Read {
            path: path.clone(),
            source,
        })?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string())?;
        let file = manifest
            .file(WEIGHTS_FILE)
            .filter(|_| manifest.task == Task::FrameHeads);
        let Some(file) = file else {
            return Err(FrameHeadsError::NotHeads {
                path: dir.to_owned(),
                task: manifest.task,
            });
        };
        let path = dir.join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).map_err(|source| FrameHeadsError::Io {
            path: path.clone(),
            source,
        })?;
        let found = hex::encode(Sha256::digest(&bytes));
        if found != file.sha256 {
            return Err(FrameHeadsError::Corrupt {
                path,
                expected: file.sha256.clone(),
                found,
            });
        }
        Ok((Self::from_bytes(&bytes)?, manifest))
    }

    /// Writes the weights file into `dir` and answers its entry for the manifest.
    pub fn save(&self, dir: &Path) -> Result<FileSpec, FrameHeadsError> {
        let path = dir.join(WEIGHTS_FILE);
        let bytes = self.to_bytes()?;
        std::fs::write(&path, &bytes).map_err(|source| FrameHeadsError::Io { path, source })?;
        Ok(FileSpec {
            path: WEIGHTS_FILE.to_owned(),
            sha256: hex::encode(Sha256::digest(&bytes)),
            size: bytes.len() as u64,
            platform: None,
        })
    }

    /// The content of a weights file; the same heads always give the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FrameHeadsError> {
        self.check()?;
        let format = |e: &dyn std::fmt::Display| FrameHeadsError::Format(e.to_string());
        let settings: Vec<Settings> = self
            .heads
            .iter()
            .map(|head| Settings {
                name: head.name.clone(),
                gate: head.gate,
                floor: head.floor,
                screen_bias: head.screen.bias,
                joint_bias: head.joint.bias,
            })
            .collect();
        let settings = serde_json::to_string(&settings).map_err(|e| format(&e))?;
        let raw =
            |w: &Weights| -> Vec<u8> { w.weights.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let tensors: Vec<(String, usize, Vec<u8>)> = self
            .heads
            .iter()
            .flat_map(|head| {
                [
                    (
                        format!("{}/joint", head.name),
                        self.small + self.large,
                        raw(&head.joint),
                    ),
                    (
                        format!("{}/screen", head.name),
                        self.small,
                        raw(&head.screen),
                    ),
                ]
            })
            .collect();
        let views = tensors
            .iter()
            .map(|(name, len, bytes)| {
                TensorView::new(Dtype::F32, vec![*len], bytes).map(|view| (name.as_str(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| format(&e))?;
        let metadata = std::collections::HashMap::from([(SETTINGS.to_owned(), settings)]);
        serialize(views, Some(metadata)).map_err(|e| format(&e))
    }

    /// Reads the content of a weights file; foreign bytes are refused and never panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameHeadsError> {
        let format = |e: &dyn std::fmt::Display| FrameHeadsError::Format(e.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| format(&e))?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(SETTINGS))
            .ok_or_else(|| format(&"the metadata names no heads"))?;
        let settings: Vec<Settings> = serde_json::from_str(text).map_err(|e| format(&e))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| format(&e))?;
        let floats = |name: String| -> Result<Vec<f32>, FrameHeadsError> {
            let view = file.tensor(&name).map_err(|e| format(&e))?;
            if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
                return Err(format(&format!("{name} is not a vector of floats")));
            }
            let words = view.data().as_chunks::<4>().0.iter();
            Ok(words.map(|b| f32::from_le_bytes(*b)).collect())
        };
        let heads = settings
            .into_iter()
            .map(|s| {
                Ok(FrameHead {
                    screen: Weights {
                        weights: floats(format!("{}/screen", s.name))?,
                        bias: s.screen_bias,
                    },
                    joint: Weights {
                        weights: floats(format!("{}/joint", s.name))?,
                        bias: s.joint_bias,
                    },
                    name: s.name,
                    gate: s.gate,
                    floor: s.floor,
                })
            })
            .collect::<Result<Vec<_>, FrameHeadsError>>()?;
        let small = heads.first().map_or(0, |h| h.screen.weights.len());
        let joint = heads.first().map_or(0, |h| h.joint.weights.len());
        let heads = Self {
            small,
            large: joint.saturating_sub(small),
            heads,
        };
        heads.check()?;
        Ok(heads)
    }

    fn check(&self) -> Result<(), FrameHeadsError> {
        let bad = |message: String| Err(FrameHeadsError::Format(message));
        if !(1..=MAX_HEADS).contains(&self.heads.len()) {
            return bad(format!(
                "{} heads; 1 to {MAX_HEADS} are possible",
                self.heads.len()
            ));
        }
        let lengths = 1..=MAX_FEATURES;
        if !lengths.contains(&self.small) || !lengths.contains(&self.large) {
            return bad("a feature vector is empty or too long".to_owned());
        }
        let mut names = BTreeSet::new();
        for head in &self.heads {
            if head.name.is_empty() || !names.insert(&head.name) {
                return bad(format!("head {:?} is unnamed or there twice", head.name));
            }
            let fits = head.screen.weights.len() == self.small
                && head.joint.weights.len() == self.small + self.large;
            if !fits {
                return bad(format!("head {:?} does not fit the features", head.name));
            }
            let numbers = [head.gate, head.floor, head.screen.bias, head.joint.bias];
            let weights = head.screen.weights.iter().chain(&head.joint.weights);
            if !numbers.iter().chain(weights).all(|v| v.is_finite()) {
                return bad(format!("head {:?} holds what is no number", head.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads() -> FrameHeads {
        FrameHeads {
            small: 2,
            large: 1,
            heads: vec![FrameHead {
                name: "guns".to_owned(),
                screen: Weights {
                    weights: vec![1.0, -1.0],
                    bias: 0.5,
                },
                gate: 0.0,
                floor: -3.0,
                joint: Weights {
                    weights: vec![0.0, 1.0, 2.0],
                    bias: -1.0,
                },
            }],
        }
    }

    #[test]
    fn a_suspect_is_confirmed_and_the_rest_stays_below_the_floor() {
        let heads = heads();
        let head = &heads.heads[0];
        assert_eq!(head.screen(&[1.0, 0.0]), Screened::Suspect);
        assert!((head.score(&[1.0, 0.0], &[0.5]) - 0.5).abs() < 1e-6);
        let Screened::Clear(near) = head.screen(&[0.0, 0.6]) else {
            panic!("below the gate")
        };
        let Screened::Clear(far) = head.screen(&[0.0, 3.0]) else {
            panic!("below the gate")
        };
        assert!(far < near && near < sigmoid(-3.0));
        assert_eq!(head.score(&[0.0, 0.6], &[99.0]), near);
    }

    #[test]
    fn the_file_brings_the_heads_back() {
        let bytes = heads().to_bytes().expect("writes");
        assert_eq!(bytes, heads().to_bytes().expect("writes"));
        assert_eq!(FrameHeads::from_bytes(&bytes).expect("reads"), heads());
    }

    #[test]
    fn heads_that_do_not_fit_are_refused() {
        let mut twice = heads();
        twice.heads.push(twice.heads[0].clone());
        assert!(twice.to_bytes().is_err());
        let mut short = heads();
        short.heads[0].joint.weights.pop();
        assert!(short.to_bytes().is_err());
        let mut endless = heads();
        endless.heads[0].gate = f32::NAN;
        assert!(endless.to_bytes().is_err());
        assert!(FrameHeads::from_bytes(b"").is_err());
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
            let good = heads().to_bytes().expect("writes");
            let mut bytes = good.clone();
            bytes[at.index(good.len())] = value;
            let _ = FrameHeads::from_bytes(&bytes);
            bytes.truncate(cut.index(good.len()));
            prop_assert!(FrameHeads::from_bytes(&bytes).is_err());
        }
    }
}
