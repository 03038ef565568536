//! The artifact store: a folder of model files, verified on every read.
//!
//! Layout: `ROOT/NAME/VERSION/…` holds the manifest's files and, where an importer runs, what it
//! made plus [`IMPORT_LOCK`]. `ROOT/.staging` holds what is on its way and per-model lock files:
//! a pull works there and renames the finished folder, so readers never see half a model and two
//! pulls never disturb each other. A pull that broke off keeps its verified files for the next.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::manifest::{Manifest, platform};

mod archive;
mod client;
mod error;
mod fetch;
mod place;
mod verify;

pub use crate::catalog::{catalog, catalog_entry, load_manifest, zoo, zoo_dir, zoo_in};
pub use client::Clients;
pub use error::{FetchError, SourceFailure, StoreError};
pub use verify::{IMPORT_LOCK, ImportLock, LockedFile, sha256_hex};

use place::make_dir;

const STAGING: &str = ".staging";

/// Whether an artifact can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ArtifactState {
    /// Every byte is as recorded.
    Ready,
    /// Not pulled.
    Missing,
    /// Something is there but can't be trusted or is out of date.
    Corrupt {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A manifest and the state of its files.
#[derive(Debug, Clone)]
pub struct ArtifactStatus {
    /// The model.
    pub manifest: Manifest,
    /// Its files.
    pub state: ArtifactState,
}

/// What a running pull reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// Everything was there and verified; nothing was fetched.
    AlreadyPresent,
    /// Asking a source.
    Trying {
        /// The source as the manifest names it.
        source: String,
    },
    /// Bytes are coming in.
    Progress {
        /// The manifest's file.
        file: String,
        /// Bytes so far.
        received: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A source did not deliver; the next one is tried.
    Failed {
        /// The source as the manifest names it.
        source: String,
        /// Why.
        reason: String,
    },
    /// Converting the files.
    Importing {
        /// The importer's name.
        importer: &'static str,
    },
    /// Verified and in place.
    Ready,
}

/// A folder of artifacts. Cheap to clone; every method may run concurrently, also from several
/// processes.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    root: PathBuf,
    mirror: Option<PathBuf>,
    clients: Clients,
}

impl ArtifactStore {
    /// A store in `root`; `mirror` is a folder that is asked before anything else.
    pub fn new(root: impl Into<PathBuf>, mirror: Option<PathBuf>) -> Self {
        Self {
            root: root.into(),
            mirror,
            clients: Clients::default(),
        }
    }

    /// The store of `$NOVASTREAM_MODELS` (default `.novastream/models`) with the mirror of
    /// `$NOVASTREAM_MIRROR` (default none).
    pub fn from_env() -> Self {
        let var = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let root = var("NOVASTREAM_MODELS").unwrap_or_else(|| PathBuf::from(".novastream/models"));
        Self::new(root, var("NOVASTREAM_MIRROR"))
    }

    /// The same store with other package clients.
    pub fn with_clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        self
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of one model, whether it is there or not.
    pub fn dir(&self, manifest: &Manifest) -> PathBuf {
        self.root.join(&manifest.name).join(&manifest.version)
    }

    /// Every catalog entry with its state. Reads and hashes all files.
    pub fn list(&self) -> Vec<ArtifactStatus> {
        let with_state = |manifest| ArtifactStatus {
            state: self.state(&manifest),
            manifest,
        };
        catalog().into_iter().map(with_state).collect()
    }

    /// State of one model. Reads and hashes its files.
    pub fn state(&self, manifest: &Manifest) -> ArtifactState {
        match self.verify(manifest) {
            Ok(()) => ArtifactState::Ready,
            Err(StoreError::NotPulled { .. } | StoreError::UnsupportedPlatform { .. }) => {
                ArtifactState::Missing
            }
            Err(error) => ArtifactState::Corrupt {
                reason: error.to_string(),
            },
        }
    }

    /// Checks every file against its recorded hash.
    pub fn verify(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let dir = self.present(manifest)?;
        for (path, expected) in expected_files(manifest, &dir)? {
            verify::check_file(&dir, &path, &expected)?;
        }
        Ok(())
    }

    /// Path of one file (`model.onnx`, `libonnxruntime.so`) after checking its hash. For what is
    /// loaded by path; [`ArtifactStore::read`] leaves no gap between check and use.
    pub fn file(&self, manifest: &Manifest, name: &str) -> Result<PathBuf, StoreError> {
        let dir = self.present(manifest)?;
        let expected = expected_file(manifest, &dir, name)?;
        verify::check_file(&dir, name, &expected)?;
        Ok(dir.join(name))
    }

    /// Bytes of one file, checked after reading.
    pub fn read(&self, manifest: &Manifest, name: &str) -> Result<Vec<u8>, StoreError> {
        read_verified(manifest, &self.present(manifest)?, name)
    }

    /// Fetches, verifies and converts whatever is missing; returns the model's folder. A model
    /// that is complete is only verified. Blocks while another process pulls the same model.
    pub fn pull(
        &self,
        manifest: &Manifest,
        progress: &mut dyn FnMut(PullEvent),
    ) -> Result<PathBuf, StoreError> {
        let dir = self.dir(manifest);
        if self.complete(manifest)? {
            progress(PullEvent::AlreadyPresent);
            return Ok(dir);
        }
        let all = self.root.join(STAGING);
        make_dir(&all)?;
        let label = format!("{}-{}", manifest.name, manifest.version);
        let _guard = place::lock(&all.join(format!("{label}.lock")))?;
        // Whoever held the lock may have done the work.
        if self.complete(manifest)? {
            progress(PullEvent::AlreadyPresent);
            return Ok(dir);
        }
        let staging = all.join(&label);
        make_dir(&staging)?;
        let scratch = place::Scratch::create(all.join(format!("{label}.tmp")))?;
        let mut missing = Vec::new();
        for spec in manifest.platform_files() {
            let expected = verify::locked(spec);
            if verify::check_file(&staging, &spec.path, &expected).is_ok() {
                continue;
            }
            // A good file of an otherwise broken folder is kept.
            let old = dir.join(&spec.path);
            let target = staging.join(&spec.path);
            let kept = verify::check_file(&dir, &spec.path, &expected).is_ok()
                && target
                    .parent()
                    .is_none_or(|p| fs::create_dir_all(p).is_ok())
                && fs::copy(&old, &target).is_ok()
                && verify::check_file(&staging, &spec.path, &expected).is_ok();
            if !kept {
                missing.push(spec.clone());
            }
        }
        let fetcher = fetch::Fetcher {
            mirror: self.mirror.as_deref(),
            clients: &self.clients,
            staging: &staging,
            scratch: scratch.path(),
        };
        let failures = fetcher.fetch(manifest, &mut missing, progress);
        if !missing.is_empty() {
            return Err(StoreError::AllSourcesFailed {
                model: manifest.id(),
                failures,
            });
        }
        if let Some(importer) = manifest.importer {
            progress(PullEvent::Importing {
                importer: importer.as_str(),
            });
            place::run_import(manifest, importer, &staging)?;
        }
        place::swap(&staging, &dir, scratch.path())?;
        self.verify(manifest)?;
        progress(PullEvent::Ready);
        Ok(dir)
    }

    /// `Ok(false)`: a pull could mend it. Errors are those that a pull can't mend.
    fn complete(&self, manifest: &Manifest) -> Result<bool, StoreError> {
        match self.verify(manifest) {
            Ok(()) => Ok(true),
            Err(error @ StoreError::UnsupportedPlatform { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn present(&self, manifest: &Manifest) -> Result<PathBuf, StoreError> {
        if manifest.platform_files().next().is_none() && !manifest.files.is_empty() {
            return Err(StoreError::UnsupportedPlatform {
                model: manifest.id(),
                platform: platform(),
            });
        }
        let dir = self.dir(manifest);
        if dir.is_dir() {
            Ok(dir)
        } else {
            Err(StoreError::NotPulled {
                model: manifest.id(),
                dir,
            })
        }
    }
}

/// Bytes of one file of a model in `dir` (a store's folder or one of the zoo's), checked against
/// the manifest, or for imported files against the lock.
pub fn read_verified(manifest: &Manifest, dir: &Path, name: &str) -> Result<Vec<u8>, StoreError> {
    let expected = expected_file(manifest, dir, name)?;
    verify::read_file(dir, name, &expected)
}

fn expected_file(manifest: &Manifest, dir: &Path, name: &str) -> Result<LockedFile, StoreError> {
    expected_files(manifest, dir)?
        .remove(name)
        .ok_or_else(|| StoreError::NoSuchFile {
            model: manifest.id(),
            file: name.to_owned(),
        })
}

/// Every file that must be in `dir`, with the hash it must have.
fn expected_files(
    manifest: &Manifest,
    dir: &Path,
) -> Result<BTreeMap<String, LockedFile>, StoreError> {
    let mut files: BTreeMap<_, _> = manifest
        .platform_files()
        .map(|s| (s.path.clone(), verify::locked(s)))
        .collect();
    if let Some(importer) = manifest.importer {
        files.extend(ImportLock::load(manifest, importer, dir)?.outputs);
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
