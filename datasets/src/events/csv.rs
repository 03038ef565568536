//! CSV in pieces: each piece of whole rows goes through polars with only the wanted columns.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use polars::prelude::{CsvReadOptions, DataFrame, PlSmallStr, SerReader};

use super::table::{Choose, Row};
use crate::DatasetError;

/// Bytes per piece before the rest of the last row.
const PIECE: usize = 16 << 20;
/// A row longer than this is not a row.
const MAX_ROW: usize = 64 << 20;

pub(super) fn rows(
    path: &Path,
    mut reader: Box<dyn Read>,
    choose: Choose<'_>,
    row: Row<'_>,
) -> Result<(), DatasetError> {
    let mut buffer = Vec::new();
    let mut header: Option<(Vec<u8>, Vec<String>)> = None;
    let mut number = 0;
    loop {
        let before = buffer.len();
        let read = reader
            .by_ref()
            .take(PIECE as u64)
            .read_to_end(&mut buffer)
            .map_err(DatasetError::io(path))?;
        let last = read < PIECE;
        if header.is_none() && buffer.starts_with(b"\xEF\xBB\xBF") {
            buffer.drain(..3);
        }
        let end = if last {
            buffer.len()
        } else if let Some(end) = row_end(&buffer) {
            end
        } else if buffer.len() > MAX_ROW {
            let message = format!("row {}: no end within {MAX_ROW} bytes", number + 1);
            return Err(DatasetError::malformed(path, message));
        } else if before == buffer.len() {
            return Ok(());
        } else {
            continue;
        };
        let piece: Vec<u8> = buffer.drain(..end).collect();
        if !piece.iter().all(u8::is_ascii_whitespace) {
            let bytes = match &header {
                Some((line, _)) => [line.as_slice(), &piece].concat(),
                None => piece,
            };
            let wanted = if let Some((_, wanted)) = &header {
                wanted.clone()
            } else {
                let wanted = choose(&header_names(path, &bytes)?)?;
                let line = bytes.iter().position(|byte| *byte == b'\n');
                let line = line.map_or(bytes.len(), |at| at + 1);
                header = Some((bytes[..line].to_vec(), wanted.clone()));
                wanted
            };
            let frame = parse(path, bytes, &wanted, number)?;
            number = emit(path, &frame, &wanted, number, row)?;
        }
        if last {
            return Ok(());
        }
    }
}

/// Just past the last line end outside quotes.
fn row_end(bytes: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut end = None;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => end = Some(at + 1),
            _ => {}
        }
    }
    end
}

fn header_names(path: &Path, bytes: &[u8]) -> Result<Vec<String>, DatasetError> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = bytes[..end.map_or(bytes.len(), |at| at + 1)].to_vec();
    let frame = CsvReadOptions::default()
        .with_has_header(true)
        .with_infer_schema_length(Some(0))
        .into_reader_with_file_handle(Cursor::new(line))
        .finish()
        .map_err(|error| DatasetError::malformed(path, error))?;
    let names = frame.get_column_names();
    Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
}

fn parse(
    path: &Path,
    bytes: Vec<u8>,
    wanted: &[String],
    before: usize,
) -> Result<DataFrame, DatasetError> {
    let columns: Arc<[PlSmallStr]> = wanted.iter().map(|name| name.as_str().into()).collect();
    // Without a schema length every column is text: ids such as 007 stay what they are.
    CsvReadOptions::default()
        .with_has_header(true)
        .with_infer_schema_length(Some(0))
        .with_columns(Some(columns))
        .into_reader_with_file_handle(Cursor::new(bytes))
        .finish()
        .map_err(|error| DatasetError::malformed(path, format!("after row {before}: {error}")))
}

/// Hands the rows of a frame of text columns on, and answers the number of rows so far.
pub(super) fn emit(
    path: &Path,
    frame: &DataFrame,
    wanted: &[String],
    before: usize,
    row: Row<'_>,
) -> Result<usize, DatasetError> {
    let bad = |error| DatasetError::malformed(path, error);
    let columns = wanted
        .iter()
        .map(|name| {
            frame
                .column(name)
                .and_then(|column| column.str())
                .map_err(bad)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut iters: Vec<_> = columns.iter().map(|column| column.iter()).collect();
    let mut cells = vec![None; wanted.len()];
    for number in 0..frame.height() {
        for (cell, iter) in cells.iter_mut().zip(&mut iters) {
            *cell = iter.next().flatten();
        }
        row(before + number + 1, &cells)?;
    }
    Ok(before + frame.height())
}
