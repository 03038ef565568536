//! Opening data files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::DatasetError;

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// Opens a file for reading; one whose name ends in `.gz` is unpacked as it is read.
///
/// # Errors
/// [`DatasetError::Io`]: it can't be opened.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, DatasetError> {
    let file = File::open(path).map_err(DatasetError::io(path))?;
    let file = BufReader::with_capacity(BUFFER, file);
    let gzipped = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("gz"));
    Ok(if gzipped {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}
