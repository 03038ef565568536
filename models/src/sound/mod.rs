//! Sound models that we train: a small convolutional network over log-mel spectra, and logistic
//! heads on YAMNet's embeddings.
//!
//! The network trains in Candle ([`SoundNet`]) and ships as eight-bit weights with the norms folded
//! in ([`SoundCnn`]), of which an ONNX graph is made in memory. The head ([`SoundHead`]) is a matrix
//! on the mean and the highest value of the embeddings of a recording's windows.

mod cnn;
mod graph;
mod head;
mod net;
mod ops;
#[cfg(test)]
mod tests;

pub use cnn::{CNN_FILE, SoundCnn};
pub use graph::{GRAPH_INPUT, GRAPH_OUTPUT};
pub use head::{HEAD_FILE, SoundHead, pool};
pub use net::{NormStatistics, SoundNet, SoundShape};

/// A sound model that can't be made, read or run.
#[derive(Debug, thiserror::Error)]
pub enum SoundModelError {
    /// A weight is missing.
    #[error("weight {0:?} is missing")]
    Missing(String),
    /// A weight has another shape than the description asks for.
    #[error("{name} has the shape {found:?}, not {expected:?}")]
    Shape {
        /// The weight.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it must be.
        expected: Vec<usize>,
    },
    /// The description contradicts itself or can't be read.
    #[error("{0}")]
    Invalid(String),
    /// Not a safetensors file.
    #[error("not a safetensors file: {0}")]
    File(#[from] safetensors::SafeTensorError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl SoundModelError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "sound_weight_missing",
            Self::Shape { .. } => "sound_weight_shape",
            Self::Invalid(_) => "sound_model_invalid",
            Self::File(_) => "sound_model_file",
            Self::Tensor(_) => "sound_model_compute",
        }
    }
}
