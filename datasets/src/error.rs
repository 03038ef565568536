//! Everything that can go wrong with data.

use std::path::{Path, PathBuf};

/// Data that can't be read, found or trusted.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file or folder can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The name says nothing about the format.
    #[error("{}: unknown format; use .csv, .jsonl or .parquet, plain or .gz", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The content is not what the name says.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line where it is known.
        message: String,
    },
    /// A column that the task needs is not there.
    #[error("{}: no column {column:?}; it has {}", path.display(), found.join(", "))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column looked for.
        column: String,
        /// The columns there are.
        found: Vec<String>,
    },
    /// A manifest contradicts itself.
    #[error("data set manifest {origin}: {message}")]
    Manifest {
        /// Where the manifest came from.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// No data set of this name.
    #[error("no data set named {name:?}; there are {}", known.join(", "))]
    UnknownDataset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A file's bytes are not the ones in the manifest.
    #[error("{}: sha256 is {found}, the manifest says {expected}", path.display())]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// A file is nowhere to be had.
    #[error(
        "{name}: {file} is in neither the mirror nor any listed source; put it into the data folder by hand ({hint})"
    )]
    NoSource {
        /// Data set.
        name: String,
        /// File inside it.
        file: String,
        /// Where it originally comes from.
        hint: String,
    },
    /// A download failed.
    #[error("{url}: {message}")]
    Download {
        /// Address.
        url: String,
        /// Why.
        message: String,
    },
}

impl DatasetError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "data_unreadable",
            Self::UnknownFormat { .. } => "data_unknown_format",
            Self::Malformed { .. } => "data_malformed",
            Self::MissingColumn { .. } => "data_missing_column",
            Self::Manifest { .. } => "dataset_manifest",
            Self::UnknownDataset { .. } => "dataset_unknown",
            Self::HashMismatch { .. } => "data_hash_mismatch",
            Self::NoSource { .. } => "data_no_source",
            Self::Download { .. } => "data_download",
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn malformed(path: &Path, message: impl ToString) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}
