//! Why a sound model was not made.

use std::path::PathBuf;

use novastream_datasets::DatasetError;
use novastream_models::manifest::ManifestError;
use novastream_models::sound::SoundModelError;

use crate::chat::TrainError;

/// A training run that did not make a model.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// An option is out of range.
    #[error("{0}")]
    Usage(String),
    /// The folder can't be read.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The folder holds too little to learn from.
    #[error("{0}; expected DIR/LABEL/*.ogg, .wav or .flac with at least two labels")]
    NoClips(String),
    /// A clip can't be decoded.
    #[error("{file}: {message}")]
    Clip {
        /// The clip.
        file: String,
        /// Why.
        message: String,
    },
    /// YAMNet is not there.
    #[error("no YAMNet: {0}; run `novastream models pull yamnet`, or train with --base cnn")]
    NoBase(String),
    /// The model can't be made.
    #[error(transparent)]
    Model(#[from] SoundModelError),
    /// YAMNet or the finished network failed on a clip.
    #[error("the graph failed: {0}")]
    Graph(#[from] novastream_models::candle_graph::GraphError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The run's log or checkpoint failed.
    #[error(transparent)]
    Run(#[from] TrainError),
    /// The manifest can't be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of the run can't be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A report can't be put into JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl AudioError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Data(error) => error.code(),
            Self::NoClips(_) => "no_clips",
            Self::Clip { .. } => "clip_undecodable",
            Self::NoBase(_) => "no_base_model",
            Self::Model(error) => error.code(),
            Self::Graph(error) => error.code(),
            Self::Tensor(_) => "sound_model_compute",
            Self::Run(error) => error.code(),
            Self::Manifest(error) => error.code(),
            Self::Io { .. } => "io",
            Self::Json(_) => "json",
        }
    }
}
