//! Hashing, size-limited copies and the lock that describes imported files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{FetchError, StoreError};
use crate::import;
use crate::manifest::{FileSpec, Importer, Manifest};

/// File beside imported files that says what they were made from.
pub const IMPORT_LOCK: &str = "import.lock";

/// Hash and size of one imported file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// What an importer made from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportLock {
    /// The importer.
    pub importer: Importer,
    /// Its version; a newer build converts again.
    pub importer_version: u32,
    /// Source file → SHA-256.
    pub sources: BTreeMap<String, String>,
    /// Imported file → hash and size.
    pub outputs: BTreeMap<String, LockedFile>,
}

impl ImportLock {
    /// Reads `dir/import.lock` and checks that it was made from `manifest`'s files by this build.
    pub fn load(manifest: &Manifest, importer: Importer, dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(IMPORT_LOCK);
        let outdated = |reason: &str| StoreError::Outdated {
            model: manifest.id(),
            reason: reason.to_owned(),
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(outdated("it was never converted"));
            }
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let lock: Self = toml::from_str(&text).map_err(|_| StoreError::Corrupt {
            path,
            reason: "not an import lock".to_owned(),
        })?;
        if lock.importer != importer || lock.importer_version != import::version(importer) {
            return Err(outdated("it was converted by another version"));
        }
        if lock.sources != source_hashes(manifest) {
            return Err(outdated("it was converted from other files"));
        }
        Ok(lock)
    }
}

/// Hashes of the manifest's files for this machine, by path.
pub fn source_hashes(manifest: &Manifest) -> BTreeMap<String, String> {
    manifest
        .platform_files()
        .map(|f| (f.path.clone(), f.sha256.clone()))
        .collect()
}

/// SHA-256 of `bytes` as lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Copies `spec.size` bytes from `from` into `to`, never reading further than one byte more, and
/// checks the hash. `progress` hears the bytes so far.
pub fn copy_verified(
    spec: &FileSpec,
    from: &mut dyn Read,
    to: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(), FetchError> {
    let mut hasher = Sha256::new();
    let mut limited = from.take(spec.size.saturating_add(1));
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let n = match limited.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FetchError::io(&spec.path, &error)),
        };
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])
            .map_err(|e| FetchError::io(&spec.path, &e))?;
        total += n as u64;
        progress(total);
    }
    if total != spec.size {
        return Err(FetchError::Size {
            path: spec.path.clone(),
            expected: spec.size,
            found: total,
        });
    }
    let found = hex::encode(hasher.finalize());
    if found != spec.sha256 {
        return Err(FetchError::Hash {
            path: spec.path.clone(),
            expected: spec.sha256.clone(),
            found,
        });
    }
    Ok(())
}

/// Checks one file in `dir`. A missing file is [`StoreError::Corrupt`] too: the caller has
/// already seen that the folder exists.
pub fn check_file(dir: &Path, path: &str, expected: &LockedFile) -> Result<(), StoreError> {
    let full = dir.join(path);
    let corrupt = |reason: String| StoreError::Corrupt {
        path: full.clone(),
        reason,
    };
    let mut file = match File::open(&full) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(corrupt("missing".to_owned()));
        }
        Err(source) => return Err(StoreError::Io { path: full, source }),
    };
    let spec = FileSpec {
        path: path.to_owned(),
        sha256: expected.sha256.clone(),
        size: expected.size,
        platform: None,
    };
    match copy_verified(&spec, &mut file, &mut std::io::sink(), &mut |_| {}) {
        Ok(()) => Ok(()),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

/// Reads one file of `dir` and checks the very bytes that are returned.
pub fn read_file(dir: &Path, path: &str, expected: &LockedFile) -> Result<Vec<u8>, StoreError> {
    let full = dir.join(path);
    let bytes = std::fs::read(&full).map_err(|source| StoreError::Io {
        path: full.clone(),
        source,
    })?;
    if bytes.len() as u64 != expected.size || sha256_hex(&bytes) != expected.sha256 {
        let reason = "the bytes are not the ones that were recorded".to_owned();
        return Err(StoreError::Corrupt { path: full, reason });
    }
    Ok(bytes)
}

/// What the manifest says of its own file, in the lock's form.
pub fn locked(spec: &FileSpec) -> LockedFile {
    LockedFile {
        sha256: spec.sha256.clone(),
        size: spec.size,
    }
}
