//! JSON lines into a frame.

use std::path::Path;

use polars::prelude::{Column, DataFrame, NamedFrom, Series};
use serde_json::{Map, Value};

use crate::DatasetError;

/// Most different keys in one file: each costs memory in every row.
const MAX_COLUMNS: usize = 1024;

/// The narrowest type that holds every value seen in a column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Empty,
    Bool,
    Int,
    Float,
    Text,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Empty,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Int,
            Value::Number(_) => Self::Float,
            Value::String(_) | Value::Array(_) | Value::Object(_) => Self::Text,
        }
    }

    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Empty, kind) | (kind, Self::Empty) => kind,
            (Self::Bool, Self::Bool) => Self::Bool,
            (Self::Text, _) | (_, Self::Text) => Self::Text,
            // Booleans beside numbers are 0 and 1; integers beside floats are floats.
            (Self::Float, _) | (_, Self::Float) => Self::Float,
            _ => Self::Int,
        }
    }
}

/// Parses JSON objects, one a line; blank lines are skipped. Columns come in the order in which
/// they first appear; a row without a key has null there. Nested values keep their JSON text.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<DataFrame, DatasetError> {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let mut columns: Vec<(String, Kind)> = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let row: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
            DatasetError::malformed(path, format!("line {}: {error}", number + 1))
        })?;
        for (name, value) in &row {
            let kind = Kind::of(value);
            match columns.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = known.with(kind),
                None => columns.push((name.clone(), kind)),
            }
        }
        if columns.len() > MAX_COLUMNS {
            let message = format!(
                "line {}: more than {MAX_COLUMNS} different keys",
                number + 1
            );
            return Err(DatasetError::malformed(path, message));
        }
        rows.push(row);
    }
    let height = rows.len();
    let columns = columns
        .iter()
        .map(|(name, kind)| column(name, *kind, &rows))
        .collect();
    DataFrame::new(height, columns).map_err(|error| DatasetError::malformed(path, error))
}

fn column(name: &str, kind: Kind, rows: &[Map<String, Value>]) -> Column {
    let cells = rows
        .iter()
        .map(|row| row.get(name).filter(|value| !value.is_null()));
    let name = name.into();
    let series = match kind {
        Kind::Bool => {
            let values: Vec<Option<bool>> = cells.map(|cell| cell?.as_bool()).collect();
            Series::new(name, values)
        }
        Kind::Int => {
            let int = |cell: &Value| cell.as_i64().or(cell.as_bool().map(i64::from));
            let values: Vec<Option<i64>> = cells.map(|cell| int(cell?)).collect();
            Series::new(name, values)
        }
        Kind::Float => {
            let float = |cell: &Value| cell.as_f64().or(cell.as_bool().map(f64::from));
            let values: Vec<Option<f64>> = cells.map(|cell| float(cell?)).collect();
            Series::new(name, values)
        }
        Kind::Text | Kind::Empty => {
            let text = |cell: &Value| match cell {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let values: Vec<Option<String>> = cells.map(|cell| cell.map(text)).collect();
            Series::new(name, values)
        }
    };
    series.into()
}
