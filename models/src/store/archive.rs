//! Takes named members out of wheels (zip) and npm packages (tar.gz).
//!
//! Members are looked up by their exact name and written to paths that the manifest chose, so a
//! hostile member name can't place a file anywhere. Sizes are bounded by the manifest, and the
//! whole of a compressed stream by [`MAX_UNPACKED`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::FetchError;

/// Most bytes that a package may unpack to, 2 GiB.
const MAX_UNPACKED: u64 = 2 << 30;
/// Most entries that a package may have.
const MAX_ENTRIES: usize = 100_000;

/// Receives one member: the manifest's file path and its bytes.
pub type Sink<'a> = dyn FnMut(&str, &mut dyn Read) -> Result<(), FetchError> + 'a;

fn archive(message: impl Into<String>) -> FetchError {
    FetchError::Archive {
        message: message.into(),
    }
}

/// Hands each of `members` (file path → member name) of the zip at `path` to `sink`.
pub fn unzip(
    path: &Path,
    members: &BTreeMap<String, String>,
    sink: &mut Sink<'_>,
) -> Result<(), FetchError> {
    let file = File::open(path).map_err(|e| FetchError::io(path.display(), &e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| archive(e.to_string()))?;
    if zip.len() > MAX_ENTRIES {
        return Err(archive("too many entries"));
    }
    for (target, member) in members {
        let mut entry = zip
            .by_name(member)
            .map_err(|e| archive(format!("member {member}: {e}")))?;
        sink(target, &mut entry)?;
    }
    Ok(())
}

/// Hands each of `members` (file path → member name) of the tar.gz at `path` to `sink`.
pub fn untar(
    path: &Path,
    members: &BTreeMap<String, String>,
    sink: &mut Sink<'_>,
) -> Result<(), FetchError> {
    let file = File::open(path).map_err(|e| FetchError::io(path.display(), &e))?;
    let plain = flate2::read::GzDecoder::new(file).take(MAX_UNPACKED);
    let mut tar = tar::Archive::new(plain);
    let mut missing = members.clone();
    let entries = tar.entries().map_err(|e| archive(e.to_string()))?;
    for entry in entries.take(MAX_ENTRIES) {
        let mut entry = entry.map_err(|e| archive(e.to_string()))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let wanted = missing
            .iter()
            .find(|(_, m)| **m == name)
            .map(|(t, _)| t.clone());
        if let Some(target) = wanted {
            sink(&target, &mut entry)?;
            missing.remove(&target);
            if missing.is_empty() {
                return Ok(());
            }
        }
    }
    let names: Vec<_> = missing.values().cloned().collect();
    Err(archive(format!("no member {}", names.join(", "))))
}
