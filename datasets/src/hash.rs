//! File hashes.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::DatasetError;

/// SHA-256 of a file as 64 lower-case hex digits, read in pieces.
pub fn sha256_file(path: &Path) -> Result<String, DatasetError> {
    let mut file = std::fs::File::open(path).map_err(DatasetError::io(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(DatasetError::io(path))?;
        if read == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}
