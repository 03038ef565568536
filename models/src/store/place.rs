//! Conversion and the last step of a pull: putting a finished folder in place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::verify::{self, IMPORT_LOCK, ImportLock, LockedFile, sha256_hex};
use crate::import;
use crate::manifest::{Importer, Manifest};

/// A folder for one pull's unfinished files: emptied first (a killed pull may have left some),
/// gone at the end. The caller holds the model's lock.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn create(path: PathBuf) -> Result<Self, StoreError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Io {
                    path,
                    source: error,
                });
            }
            _ => make_dir(&path)?,
        }
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is emptied by the next pull.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the importer on the verified files in `dir` and writes its files and lock beside them.
pub fn run_import(manifest: &Manifest, importer: Importer, dir: &Path) -> Result<(), StoreError> {
    let mut sources = BTreeMap::new();
    for spec in manifest.platform_files() {
        let bytes = verify::read_file(dir, &spec.path, &verify::locked(spec))?;
        sources.insert(spec.path.clone(), bytes);
    }
    let imported = import::run(importer, &sources).map_err(|source| StoreError::Import {
        model: manifest.id(),
        source,
    })?;
    let mut outputs = BTreeMap::new();
    for (path, bytes) in imported {
        write(&dir.join(&path), &bytes)?;
        let locked = LockedFile {
            sha256: sha256_hex(&bytes),
            size: bytes.len() as u64,
        };
        outputs.insert(path, locked);
    }
    let lock = ImportLock {
        importer,
        importer_version: import::version(importer),
        sources: verify::source_hashes(manifest),
        outputs,
    };
    let path = dir.join(IMPORT_LOCK);
    let text = toml::to_string_pretty(&lock).map_err(|e| StoreError::Io {
        path: path.clone(),
        source: std::io::Error::other(e),
    })?;
    write(&path, text.as_bytes())
}

/// Puts the finished folder in place; one that is already there is broken and goes away.
pub fn swap(staging: &Path, dir: &Path, scratch: &Path) -> Result<(), StoreError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { path, source }
    };
    if let Some(parent) = dir.parent() {
        make_dir(parent)?;
    }
    if dir.exists() {
        fs::rename(dir, scratch.join("replaced")).map_err(io(dir))?;
    }
    fs::rename(staging, dir).map_err(io(dir))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    fs::write(path, bytes).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

pub fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Takes the lock file; it is released when the file is dropped, also by a killed process.
pub fn lock(path: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
}
