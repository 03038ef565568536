//! The object store that the settings name.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use url::Url;

use super::connector::Connector;
use crate::config::EvidenceSettings;

/// How often and how long a bucket is asked again. Whoever waits for a clip does not wait for long,
/// and a clip that is not stored by then gives its place in the queue to the next.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why clips cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The folder.
    #[error("the folder {path} of evidence.dir cannot be used: {reason}")]
    Folder {
        /// As it was given.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file of tokens.
    #[error("the file {path} of evidence.original_tokens cannot be used: {reason}")]
    Tokens {
        /// As it was given.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The bucket.
    #[error("evidence.bucket `{bucket}` cannot be used: {reason}")]
    Bucket {
        /// As it was given.
        bucket: String,
        /// What is wrong.
        reason: String,
    },
}

impl StorageError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "evidence_folder",
            Self::Bucket { .. } => "evidence_bucket",
            Self::Tokens { .. } => "evidence_tokens",
        }
    }
}

/// A folder, else a bucket, else none.
pub fn open(settings: &EvidenceSettings) -> Result<Option<Arc<dyn ObjectStore>>, StorageError> {
    if let Some(path) = &settings.dir {
        let failed = |reason: String| StorageError::Folder {
            path: path.clone(),
            reason,
        };
        // Pictures of people: nobody else on this machine needs to see them.
        let mut folder = std::fs::DirBuilder::new();
        let made = folder.recursive(true).mode(0o700).create(path);
        made.map_err(|e| failed(e.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|e| failed(e.to_string()))?;
        // The folder of a day goes with its last clip.
        return Ok(Some(Arc::new(store.with_automatic_cleanup(true))));
    }
    match &settings.bucket {
        None => Ok(None),
        Some(bucket) => self::bucket(bucket, settings).map(Some),
    }
}

/// `s3://BUCKET/PREFIX`; keys, region and endpoint come from the usual `AWS_…` variables.
fn bucket(name: &str, settings: &EvidenceSettings) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let failed = |reason: String| StorageError::Bucket {
        bucket: name.to_owned(),
        reason,
    };
    let url = Url::parse(name).map_err(|e| failed(e.to_string()))?;
    let (Some(host), "s3") = (url.host_str(), url.scheme()) else {
        return Err(failed("it must look like s3://BUCKET/PREFIX".into()));
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(host)
        .with_retry(RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        })
        .with_http_connector(Connector);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder
            .with_endpoint(endpoint)
            // Not every such service knows how to delete many at once.
            .with_disable_bulk_delete(true)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    let store = builder.build().map_err(|e| failed(e.to_string()))?;
    let prefix = url.path().trim_matches('/');
    if prefix.is_empty() {
        Ok(Arc::new(store))
    } else {
        Ok(Arc::new(PrefixStore::new(store, prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_needs_its_scheme() {
        let settings = EvidenceSettings {
            bucket: Some("https://example.com/x".into()),
            ..EvidenceSettings::default()
        };
        let error = open(&settings).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "evidence_bucket");
        assert!(error.to_string().contains("s3://BUCKET"), "{error}");
    }

    #[test]
    fn a_folder_that_is_a_file_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = EvidenceSettings {
            dir: Some(file.path().join("x")),
            ..EvidenceSettings::default()
        };
        let error = open(&settings).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "evidence_folder");
    }
}
