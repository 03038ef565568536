//! Tables into polars frames.

use std::io::{Cursor, Read};
use std::path::Path;

use polars::prelude::{CsvReadOptions, DataFrame, ParquetReader, SerReader};

use crate::{DatasetError, jsonl};

/// Largest table after unpacking: a gzip bomb stops here.
const MAX_BYTES: u64 = 8 << 30;

/// A table format, told by the file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated with a header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format of a file and whether it is gzipped, from its name: `.csv`, `.jsonl`, `.ndjson`
    /// or `.parquet`, each also with `.gz`. `None` for other names.
    pub fn of(path: &Path) -> Option<(Self, bool)> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let (name, gzipped) = match name.strip_suffix(".gz") {
            Some(plain) => (plain, true),
            None => (name.as_str(), false),
        };
        let format = match name.rsplit_once('.')?.1 {
            "csv" => Self::Csv,
            "jsonl" | "ndjson" => Self::Jsonl,
            "parquet" => Self::Parquet,
            _ => return None,
        };
        Some((format, gzipped))
    }
}

/// Reads a whole table. Column types are inferred from all rows; an empty file is an empty frame.
pub fn load(path: &Path) -> Result<DataFrame, DatasetError> {
    let Some((format, _)) = Format::of(path) else {
        return Err(DatasetError::UnknownFormat {
            path: path.to_owned(),
        });
    };
    let mut bytes = Vec::new();
    let mut reader = crate::open(path)?.take(MAX_BYTES + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(DatasetError::io(path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(DatasetError::malformed(
            path,
            format!("more than {MAX_BYTES} bytes unpacked"),
        ));
    }
    match format {
        Format::Jsonl => jsonl::parse(path, &bytes),
        Format::Csv if bytes.iter().all(u8::is_ascii_whitespace) => Ok(DataFrame::empty()),
        Format::Csv => CsvReadOptions::default()
            .with_has_header(true)
            .with_infer_schema_length(None)
            .into_reader_with_file_handle(Cursor::new(bytes))
            .finish()
            .map_err(|error| DatasetError::malformed(path, error)),
        Format::Parquet => ParquetReader::new(Cursor::new(bytes))
            .finish()
            .map_err(|error| DatasetError::malformed(path, error)),
    }
}
