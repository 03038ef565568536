//! Rows of chosen columns from any table, in bounded memory.

use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::{csv, parquet};
use crate::DatasetError;
use crate::frame::Format;

/// Sees the file's column names and answers the ones wanted.
pub type Choose<'a> = &'a mut dyn FnMut(&[String]) -> Result<Vec<String>, DatasetError>;

/// Gets the 1-based row number and the wanted cells, missing ones as `None`.
pub type Row<'a> = &'a mut dyn FnMut(usize, &[Option<&str>]) -> Result<(), DatasetError>;

/// Longest JSON line accepted, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// Calls `row` with the text of the chosen columns of every row, in file order; a missing value
/// is `None`. `choose` sees the file's column names once and answers the names wanted; for JSONL
/// the names are those of the first object. `row` gets the 1-based row number.
///
/// CSV comes in pieces of some megabytes, Parquet in slices of rows, JSONL line by line, so
/// memory does not grow with the file (a gzipped Parquet file is unpacked into a temporary file).
pub fn for_each_row(path: &Path, choose: Choose<'_>, row: Row<'_>) -> Result<(), DatasetError> {
    let Some((format, gzipped)) = Format::of(path) else {
        return Err(DatasetError::UnknownFormat {
            path: path.to_owned(),
        });
    };
    let reader = crate::open(path)?;
    match format {
        Format::Csv => csv::rows(path, reader, choose, row),
        Format::Jsonl => json_rows(path, reader, choose, row),
        Format::Parquet => parquet::rows(path, gzipped.then_some(reader), choose, row),
    }
}

fn json_rows(
    path: &Path,
    mut reader: Box<dyn BufRead>,
    choose: Choose<'_>,
    row: Row<'_>,
) -> Result<(), DatasetError> {
    let mut line = Vec::new();
    let mut wanted: Option<Vec<String>> = None;
    let (mut number, mut rows) = (0, 0);
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(DatasetError::io(path))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if read as u64 == MAX_LINE {
            let message = format!("line {number}: longer than {MAX_LINE} bytes");
            return Err(DatasetError::malformed(path, message));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let object: Map<String, Value> = serde_json::from_slice(&line)
            .map_err(|error| DatasetError::malformed(path, format!("line {number}: {error}")))?;
        let names = match &wanted {
            Some(names) => names,
            None => wanted.insert(choose(&object.keys().cloned().collect::<Vec<_>>())?),
        };
        let cells: Vec<Option<String>> = names
            .iter()
            .map(|name| match object.get(name) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(other) => Some(other.to_string()),
            })
            .collect();
        let cells: Vec<Option<&str>> = cells.iter().map(Option::as_deref).collect();
        rows += 1;
        row(rows, &cells)?;
    }
}
