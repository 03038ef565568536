//! What can go wrong in a recommender run.

use std::path::PathBuf;

use novastream_datasets::DatasetError;
use novastream_models::manifest::ManifestError;
use novastream_models::recommender::RecommenderError;

/// A model that can't be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A hyper-parameter is out of range.
    #[error("{0}")]
    Params(&'static str),
    /// The matrix has no inverse in single precision.
    #[error("the item matrix can't be inverted; raise the ridge")]
    Singular,
    /// The sequence model can't be trained.
    #[error("sequence: {0}")]
    Sequence(String),
    /// The catalogue does not fit into memory.
    #[error("no memory for a dense model of {items} items")]
    Memory {
        /// Size of the catalogue.
        items: usize,
    },
}

impl FitError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Params(_) => "fit_params",
            Self::Singular => "fit_singular",
            Self::Sequence(_) => "fit_sequence",
            Self::Memory { .. } => "fit_memory",
        }
    }
}

/// A training run that did not make a model.
#[derive(Debug, thiserror::Error)]
pub enum RecommenderTrainError {
    /// An option is out of range.
    #[error("{0}")]
    Usage(String),
    /// Data can't be read.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The file holds nothing to learn from.
    #[error("no events to learn from{}", .before.map(|time| format!(" before {time}")).unwrap_or_default())]
    NoEvents {
        /// The time of `--until`.
        before: Option<i64>,
    },
    /// A model can't be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The model folder can't be written.
    #[error(transparent)]
    Save(#[from] RecommenderError),
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
    /// The evaluation gave no decision.
    #[error("{}: {why}", program.display())]
    Judge {
        /// The program.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// A report can't be written as JSON or read.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl RecommenderTrainError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Data(error) => error.code(),
            Self::NoEvents { .. } => "no_events",
            Self::Fit(error) => error.code(),
            Self::Save(error) => error.code(),
            Self::Manifest(error) => error.code(),
            Self::Io { .. } => "io",
            Self::Judge { .. } => "judge",
            Self::Json(_) => "json",
        }
    }
}
