//! Speech to text: Whisper (Radford et al. 2022) in Candle, from a folder that the operator brings.
//!
//! - [`WhisperConfig`], [`Whisper`]: the network, from `config.json` and `model.safetensors` of a
//!   Hugging Face checkpoint;
//! - [`WhisperTokens`]: what its numbers mean, from `tokenizer.json`;
//! - [`decode`]: beam or greedy search under Whisper's rules, with falling back to chance where the
//!   answer is poor.
//!
//! The network and the search are our own: candle-transformers' decoder keeps one cache inside the
//! model, so that neither beams nor several threads can share the weights.

pub mod decode;
mod model;
mod rules;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::Path;

use sha2::{Digest, Sha256};

pub use decode::{DecodeOptions, Decoded, Segment, Stepper};
pub use model::{Encoded, Whisper, WhisperConfig};
pub use tokens::WhisperTokens;

/// Files of a model folder.
pub const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// A speech model that can't be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum WhisperError {
    /// A file can't be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it must be.
    #[error("{file}: {message}")]
    Invalid {
        /// The file.
        file: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A weight is missing or has another shape than the configuration asks for.
    #[error("weight {name:?}: {message}")]
    Weight {
        /// The weight.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The time given to an answer is over.
    #[error("the time for transcribing was over")]
    Late,
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl WhisperError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "speech_model_unreadable",
            Self::Invalid { .. } => "speech_model_invalid",
            Self::Weight { .. } => "speech_model_weight",
            Self::Late => "speech_model_late",
            Self::Tensor(_) => "speech_model_compute",
        }
    }
}

/// A loaded folder.
pub struct Checkpoint {
    /// The network.
    pub model: Whisper,
    /// Its vocabulary.
    pub tokens: WhisperTokens,
    /// SHA-256 over the three [`FILES`] one after the other, in hexadecimal digits.
    pub sha256: String,
}

/// Loads the three [`FILES`] of a folder.
///
/// # Errors
/// [`WhisperError`]: a file is missing or does not fit the others.
pub fn load(dir: &Path) -> Result<Checkpoint, WhisperError> {
    let mut hasher = Sha256::new();
    let mut read = |file: &str| {
        let bytes = std::fs::read(dir.join(file)).map_err(|source| WhisperError::Read {
            file: dir.join(file).display().to_string(),
            source,
        })?;
        hasher.update(&bytes);
        Ok::<_, WhisperError>(bytes)
    };
    let config = WhisperConfig::from_json(&read(FILES[0])?)?;
    let tokens = WhisperTokens::from_json(&read(FILES[1])?)?;
    if tokens.highest() >= config.vocab_size as u32 {
        return Err(WhisperError::Invalid {
            file: FILES[1],
            message: format!(
                "it has the token {} where the model knows {}",
                tokens.highest(),
                config.vocab_size
            ),
        });
    }
    let model = Whisper::from_safetensors(config, &read(FILES[2])?)?;
    Ok(Checkpoint {
        model,
        tokens,
        sha256: hex::encode(hasher.finalize()),
    })
}
