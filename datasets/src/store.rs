//! The data folder: what is there, what is missing, what is not what it should be.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::DatasetError;
use crate::hash::sha256_file;
use crate::manifest::{DataFile, DataFolder, DatasetManifest};

/// Longest wait for a whole download.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(30);

/// How a data set stands in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DatasetState {
    /// Everything is there (and, after `verify`, has the right hash).
    Ready,
    /// Some of it is not there.
    Missing {
        /// Paths inside the data folder.
        paths: Vec<String>,
    },
    /// Some of it is not what the manifest says.
    Corrupt {
        /// Paths inside the data folder.
        paths: Vec<String>,
    },
}

/// The folder that holds data sets.
#[derive(Clone, Debug)]
pub struct DataStore {
    root: PathBuf,
    mirror: Option<PathBuf>,
}

impl DataStore {
    /// A store in `root`; `mirror` is a folder that `fetch` tries first.
    pub fn new(root: impl Into<PathBuf>, mirror: Option<PathBuf>) -> Self {
        Self {
            root: root.into(),
            mirror,
        }
    }

    /// `$NOVASTREAM_DATA`, else `.novastream/data`; mirror from `$NOVASTREAM_MIRROR`.
    pub fn from_env() -> Self {
        let folder = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = folder("NOVASTREAM_DATA").unwrap_or_else(|| PathBuf::from(".novastream/data"));
        Self::new(root, folder("NOVASTREAM_MIRROR"))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path of a manifest lies.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Looks at names, sizes and counts only: quick.
    pub fn state(&self, manifest: &DatasetManifest) -> DatasetState {
        let mut missing = Vec::new();
        let mut corrupt = Vec::new();
        for file in &manifest.files {
            match std::fs::metadata(self.path(&file.path)) {
                Ok(found) if found.len() == file.size => {}
                Ok(_) => corrupt.push(file.path.clone()),
                Err(_) => missing.push(file.path.clone()),
            }
        }
        for folder in &manifest.folders {
            match tree(&self.path(&folder.path)) {
                Ok(found) if found.len() == folder.count => {}
                Ok(_) => corrupt.push(folder.path.clone()),
                Err(_) => missing.push(folder.path.clone()),
            }
        }
        settle(missing, corrupt)
    }

    /// Hashes everything.
    pub fn verify(&self, manifest: &DatasetManifest) -> Result<DatasetState, DatasetError> {
        let mut missing = Vec::new();
        let mut corrupt = Vec::new();
        for file in &manifest.files {
            let path = self.path(&file.path);
            if !path.is_file() {
                missing.push(file.path.clone());
            } else if sha256_file(&path)? != file.sha256 {
                corrupt.push(file.path.clone());
            }
        }
        for folder in &manifest.folders {
            let path = self.path(&folder.path);
            if !path.is_dir() {
                missing.push(folder.path.clone());
            } else if tree_sha256(&path)? != folder.sha256 {
                corrupt.push(folder.path.clone());
            }
        }
        Ok(settle(missing, corrupt))
    }

    /// Brings what is missing: from the mirror, else from a file's address. What is there stays.
    /// Answers the paths that were brought. Each file is checked before it gets its name.
    pub fn fetch(&self, manifest: &DatasetManifest) -> Result<Vec<String>, DatasetError> {
        let mut brought = Vec::new();
        for file in &manifest.files {
            let path = self.path(&file.path);
            if !path.is_file() || sha256_file(&path)? != file.sha256 {
                self.fetch_file(manifest, file, &path)?;
                brought.push(file.path.clone());
            }
        }
        for folder in &manifest.folders {
            let path = self.path(&folder.path);
            if !path.is_dir() || tree_sha256(&path)? != folder.sha256 {
                self.fetch_folder(manifest, folder, &path)?;
                brought.push(folder.path.clone());
            }
        }
        Ok(brought)
    }

    fn fetch_file(
        &self,
        manifest: &DatasetManifest,
        file: &DataFile,
        to: &Path,
    ) -> Result<(), DatasetError> {
        let mirrored = self.mirror.as_ref().map(|mirror| mirror.join(&file.path));
        if let Some(from) = mirrored.filter(|from| from.is_file()) {
            let reader = std::fs::File::open(&from).map_err(DatasetError::io(&from))?;
            return place(reader, to, &file.sha256, file.size);
        }
        let Some(url) = &file.url else {
            return Err(no_source(manifest, &file.path));
        };
        let failed = |message: String| DatasetError::Download {
            url: url.clone(),
            message,
        };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(DOWNLOAD_TIMEOUT))
            .build()
            .into();
        let response = agent
            .get(url)
            .call()
            .map_err(|error| failed(error.to_string()))?;
        place(
            response.into_body().into_reader(),
            to,
            &file.sha256,
            file.size,
        )
    }

    fn fetch_folder(
        &self,
        manifest: &DatasetManifest,
        folder: &DataFolder,
        to: &Path,
    ) -> Result<(), DatasetError> {
        let mirrored = self.mirror.as_ref().map(|mirror| mirror.join(&folder.path));
        let Some(from) = mirrored.filter(|from| from.is_dir()) else {
            return Err(no_source(manifest, &folder.path));
        };
        let found = tree_sha256(&from)?;
        if found != folder.sha256 {
            return Err(DatasetError::HashMismatch {
                path: from,
                expected: folder.sha256.clone(),
                found,
            });
        }
        for relative in tree(&from)? {
            let (source, target) = (from.join(&relative), to.join(&relative));
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(DatasetError::io(parent))?;
            }
            std::fs::copy(&source, &target).map_err(DatasetError::io(&source))?;
        }
        Ok(())
    }
}

fn settle(missing: Vec<String>, corrupt: Vec<String>) -> DatasetState {
    if !corrupt.is_empty() {
        DatasetState::Corrupt { paths: corrupt }
    } else if !missing.is_empty() {
        DatasetState::Missing { paths: missing }
    } else {
        DatasetState::Ready
    }
}

fn no_source(manifest: &DatasetManifest, file: &str) -> DatasetError {
    DatasetError::NoSource {
        name: manifest.name.clone(),
        file: file.to_owned(),
        hint: manifest.origin.clone(),
    }
}

/// Writes to a temporary file beside the target and gives it its name once the hash is right.
fn place(mut from: impl Read, to: &Path, sha256: &str, size: u64) -> Result<(), DatasetError> {
    let parent = to.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(parent).map_err(DatasetError::io(parent))?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(DatasetError::io(parent))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    // One byte more than promised is enough to know that it is something else.
    let mut left = size + 1;
    while left > 0 {
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from
            .read(&mut buffer[..want])
            .map_err(DatasetError::io(to))?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        file.write_all(&buffer[..read])
            .map_err(DatasetError::io(to))?;
        left -= read as u64;
    }
    let found = hex::encode(digest.finalize());
    if found != sha256 {
        let expected = sha256.to_owned();
        return Err(DatasetError::HashMismatch {
            path: to.to_owned(),
            expected,
            found,
        });
    }
    file.persist(to)
        .map(drop)
        .map_err(|error| DatasetError::io(to)(error.error))
}

/// Relative paths of all files below a folder, with `/` between parts, in byte order.
fn tree(root: &Path) -> Result<Vec<String>, DatasetError> {
    let mut out = Vec::new();
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        for entry in std::fs::read_dir(&dir).map_err(DatasetError::io(&dir))? {
            let path = entry.map_err(DatasetError::io(&dir))?.path();
            let name = path
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            let relative = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            if path.is_dir() {
                open.push((path, relative));
            } else {
                out.push(relative);
            }
        }
    }
    out.sort();
    Ok(out)
}

fn tree_sha256(root: &Path) -> Result<String, DatasetError> {
    let mut listing = String::new();
    for relative in tree(root)? {
        // Writing to a string can't fail.
        let _ = writeln!(
            listing,
            "{}  {relative}",
            sha256_file(&root.join(&relative))?
        );
    }
    Ok(hex::encode(Sha256::digest(listing)))
}

#[cfg(test)]
mod tests;
