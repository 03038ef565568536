//! What can be wrong with a recommender bundle.

use std::path::PathBuf;

use crate::manifest::{ManifestError, Task};

/// A bundle that can't be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum RecommenderError {
    /// The manifest is missing or wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest describes something else.
    #[error("{} is a {task} model, not a recommender", path.display())]
    NotRecommender {
        /// Model folder.
        path: PathBuf,
        /// What its manifest says it is.
        task: Task,
    },
    /// A file does not match the manifest's hash.
    #[error("{}: sha256 is {found}, the manifest says {expected}; train or fetch the model again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// A file is not what the manifest promises.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
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

impl RecommenderError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Manifest(error) => error.code(),
            Self::NotRecommender { .. } => "model_not_recommender",
            Self::Corrupt { .. } => "model_corrupt",
            Self::Format { .. } => "model_format",
            Self::Io { .. } => "model_unreadable",
        }
    }
}
