//! What can stop an evaluation.

use std::path::{Path, PathBuf};

/// Why an evaluation did not produce a report.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// An option is out of its range or contradicts another one.
    #[error("{message}")]
    Usage {
        /// What is wrong and what to give instead.
        message: String,
    },
    /// A file can't be read or written.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A data set or a folder of files can't be read.
    #[error(transparent)]
    Data(#[from] novastream_datasets::DatasetError),
    /// The folder holds no file of a kind that this evaluation reads.
    #[error("{} holds no {wanted}; expected DIR/LABEL/FILE or files directly in DIR", dir.display())]
    NoFiles {
        /// The folder.
        dir: PathBuf,
        /// The kinds, such as `pictures (jpg, png)`.
        wanted: &'static str,
    },
    /// Not one file could be evaluated.
    #[error("none of {files} files could be evaluated; the first failed with: {first}")]
    NothingEvaluated {
        /// Files that were tried.
        files: usize,
        /// The first file's error.
        first: String,
    },
    /// What the report is about could not be evaluated; the report says so as well.
    #[error("not evaluated: {reason}")]
    NotEvaluated {
        /// Why.
        reason: String,
    },
    /// The model that was asked for is not the one that runs.
    #[error("model `{wanted}` is not available: {hint}")]
    Model {
        /// As it was given.
        wanted: String,
        /// What is available, and what to do.
        hint: String,
    },
    /// The moderation pipeline did not start.
    #[error("can't load the models: {message}")]
    Load {
        /// Its reason.
        message: String,
    },
    /// The address is not one that the load test speaks to.
    #[error("target `{target}`: {reason}")]
    Target {
        /// As it was given.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No request was answered.
    #[error("{target} answered none of {attempts} requests; the last failed with: {last}")]
    Unanswered {
        /// The address.
        target: String,
        /// Requests that were tried.
        attempts: u64,
        /// The last failure.
        last: String,
    },
    /// The machinery of the program itself failed: threads, clocks, serialisation.
    #[error("{message}")]
    Internal {
        /// What failed.
        message: String,
    },
}

impl EvalError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Io { .. } => "io",
            Self::Data(error) => error.code(),
            Self::NoFiles { .. } => "no_files",
            Self::NothingEvaluated { .. } => "nothing_evaluated",
            Self::NotEvaluated { .. } => "not_evaluated",
            Self::Model { .. } => "model_unavailable",
            Self::Load { .. } => "models_not_loaded",
            Self::Target { .. } => "target_invalid",
            Self::Unanswered { .. } => "target_unanswered",
            Self::Internal { .. } => "internal",
        }
    }

    /// An option that can't be used as given.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
        }
    }

    /// For `map_err` on a file operation: `action` is `read` or `write`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A failure of the program itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
        }
    }
}
