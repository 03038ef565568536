//! What can go wrong between a manifest and its verified files.

use std::fmt;
use std::path::PathBuf;

use crate::import::ImportError;

/// An artifact that can't be had or can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was pulled yet.
    #[error("{model} is not in {} (run `novastream models pull`)", dir.display())]
    NotPulled {
        /// `name@version`.
        model: String,
        /// Where it would be.
        dir: PathBuf,
    },
    /// A file is not the one that the manifest or the import lock names.
    #[error("{}: {reason}; run `novastream models pull` to fetch it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The imported files are older than this build's importer or belong to other sources.
    #[error("{model}: {reason}; run `novastream models pull` to convert it again")]
    Outdated {
        /// `name@version`.
        model: String,
        /// What differs.
        reason: String,
    },
    /// The manifest has no such file.
    #[error("{model} has no file {file:?}")]
    NoSuchFile {
        /// `name@version`.
        model: String,
        /// The name asked for.
        file: String,
    },
    /// The manifest lists no file for this machine.
    #[error("{model} has no files for {platform}")]
    UnsupportedPlatform {
        /// `name@version`.
        model: String,
        /// `OS-ARCH`.
        platform: String,
    },
    /// Every source was tried.
    #[error("no source has {model}: {}", join(failures))]
    AllSourcesFailed {
        /// `name@version`.
        model: String,
        /// What each source answered, in order.
        failures: Vec<SourceFailure>,
    },
    /// The files are right, but could not be converted.
    #[error("{model}: import failed: {source}")]
    Import {
        /// `name@version`.
        model: String,
        /// Why.
        source: ImportError,
    },
    /// The store's folder can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPulled { .. } => "model_not_pulled",
            Self::Corrupt { .. } => "model_corrupt",
            Self::Outdated { .. } => "model_outdated",
            Self::NoSuchFile { .. } => "model_file_unknown",
            Self::UnsupportedPlatform { .. } => "model_platform_unsupported",
            Self::AllSourcesFailed { .. } => "model_sources_failed",
            Self::Import { .. } => "model_import_failed",
            Self::Io { .. } => "model_store_io",
        }
    }
}

/// One source's answer.
#[derive(Debug)]
pub struct SourceFailure {
    /// The source as the manifest names it.
    pub source: String,
    /// Why it did not deliver.
    pub error: FetchError,
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.source, self.error)
    }
}

fn join(failures: &[SourceFailure]) -> String {
    if failures.is_empty() {
        return "the manifest names none that serves this machine".to_owned();
    }
    failures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Why one source did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A mirror would have the file, but none is set.
    #[error("no mirror folder is set (NOVASTREAM_MIRROR)")]
    MirrorUnset,
    /// The mirror folder has no such file.
    #[error("{} is not there", path.display())]
    MirrorMissing {
        /// Path looked for.
        path: PathBuf,
    },
    /// `python3`, `pip` or `npm` is not installed.
    #[error("{client} is not installed ({hint})")]
    ClientMissing {
        /// The program.
        client: &'static str,
        /// What to install.
        hint: &'static str,
    },
    /// The package client ended with an error.
    #[error("{client} failed: {message}")]
    ClientFailed {
        /// The program.
        client: &'static str,
        /// The end of what it wrote to stderr.
        message: String,
    },
    /// The package client took too long and was stopped.
    #[error("{client} was stopped after {seconds} s")]
    ClientTimeout {
        /// The program.
        client: &'static str,
        /// How long it ran.
        seconds: u64,
    },
    /// The package was fetched but can't be read or lacks a member.
    #[error("archive: {message}")]
    Archive {
        /// What is wrong with it.
        message: String,
    },
    /// The https request failed.
    #[error("request failed: {message}")]
    Http {
        /// What the client says.
        message: String,
    },
    /// More or fewer bytes than the manifest says.
    #[error("{path}: expected {expected} bytes, got {}{found}", if found > expected { "at least " } else { "" })]
    Size {
        /// The manifest's file.
        path: String,
        /// Size in the manifest.
        expected: u64,
        /// Size received, at most one more than expected.
        found: u64,
    },
    /// Other bytes than the manifest says.
    #[error("{path}: expected sha256 {expected}, got {found}")]
    Hash {
        /// The manifest's file.
        path: String,
        /// Hash in the manifest.
        expected: String,
        /// Hash of what came.
        found: String,
    },
    /// A local file can't be read or written.
    #[error("{message}")]
    Io {
        /// File and reason.
        message: String,
    },
}

impl FetchError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MirrorUnset => "mirror_unset",
            Self::MirrorMissing { .. } => "mirror_missing",
            Self::ClientMissing { .. } => "client_missing",
            Self::ClientFailed { .. } => "client_failed",
            Self::ClientTimeout { .. } => "client_timeout",
            Self::Archive { .. } => "archive_unreadable",
            Self::Http { .. } => "http_failed",
            Self::Size { .. } => "size_mismatch",
            Self::Hash { .. } => "hash_mismatch",
            Self::Io { .. } => "fetch_io",
        }
    }

    pub(super) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::Io {
            message: format!("{what}: {error}"),
        }
    }
}
