//! Chat rows: text and masked labels.

use std::path::Path;

use polars::prelude::{Column, DataFrame, DataType};

use crate::{DatasetError, frame};

/// The heads that labels can be for, by their names in the taxonomy.
pub const CHAT_HEADS: [&str; 16] = [
    "toxicity",
    "hate",
    "hate/threatening",
    "harassment",
    "harassment/threatening",
    "self-harm",
    "sexual",
    "violence",
    "violence/graphic",
    "illicit",
    "illicit/violent",
    "scam",
    "doxxing",
    "spam",
    "profanity",
    "spoiler",
];

/// Column names in data files, and the head each one labels. A head's own name works too.
const COLUMNS: [(&str, &str); 9] = [
    ("toxic", "toxicity"),
    ("hate_threatening", "hate/threatening"),
    ("harassment_threatening", "harassment/threatening"),
    ("threat", "harassment/threatening"),
    ("self_harm", "self-harm"),
    ("violence_graphic", "violence/graphic"),
    ("illicit_violent", "illicit/violent"),
    ("insult", "harassment"),
    ("obscene", "profanity"),
];

/// One message with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRow {
    /// The message as written.
    pub text: String,
    /// Name of the collection it comes from.
    pub source: String,
    /// Labelled by keyword, forum or model rather than by a person.
    pub weak: bool,
    /// Label per head in the order of [`CHAT_HEADS`]; `None` is not labelled.
    pub labels: [Option<bool>; CHAT_HEADS.len()],
}

impl ChatRow {
    /// The label of a head by name; `None` when not labelled or not a head.
    pub fn label(&self, head: &str) -> Option<bool> {
        self.labels[head_index(head)?]
    }
}

/// Position of a head in [`CHAT_HEADS`].
pub fn head_index(head: &str) -> Option<usize> {
    CHAT_HEADS.iter().position(|name| *name == head)
}

/// The head that a column labels, if any.
pub fn head_of_column(column: &str) -> Option<usize> {
    let head = COLUMNS
        .iter()
        .find(|(name, _)| *name == column)
        .map_or(column, |(_, head)| head);
    head_index(head)
}

/// Reads chat rows from a CSV, JSONL or Parquet file, in file order.
///
/// Needs a column `text`; a row without text has the empty string. `src` (else the file's name)
/// is the source, `weak` marks weak labels. Every other column that names a head holds its
/// labels: 1 or true, 0 or false, and -1, null or absent for not labelled. Where two columns label
/// one head, a positive wins.
pub fn load_chat(path: &Path) -> Result<Vec<ChatRow>, DatasetError> {
    from_frame(&frame::load(path)?, path)
}

fn from_frame(frame: &DataFrame, path: &Path) -> Result<Vec<ChatRow>, DatasetError> {
    let names: Vec<String> = frame
        .get_column_names()
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if !names.iter().any(|name| name == "text") {
        let column = "text".to_owned();
        return Err(DatasetError::MissingColumn {
            path: path.to_owned(),
            column,
            found: names,
        });
    }
    let fallback = source_name(path);
    let has_source = names.iter().any(|name| name == "src");
    let sources = if has_source {
        texts(frame, "src", path)?
    } else {
        Vec::new()
    };
    let mut rows: Vec<ChatRow> = texts(frame, "text", path)?
        .into_iter()
        .enumerate()
        .map(|(i, text)| ChatRow {
            text: text.unwrap_or_default(),
            source: sources
                .get(i)
                .cloned()
                .flatten()
                .unwrap_or_else(|| fallback.clone()),
            weak: false,
            labels: [None; CHAT_HEADS.len()],
        })
        .collect();
    for name in &names {
        if name == "weak" {
            for (row, value) in rows.iter_mut().zip(numbers(frame, name, path)?) {
                row.weak = value == Some(1.0);
            }
        } else if let Some(head) = head_of_column(name) {
            for (row, value) in rows.iter_mut().zip(numbers(frame, name, path)?) {
                let label = match value {
                    Some(1.0) => Some(true),
                    Some(0.0) => Some(false),
                    _ => None,
                };
                row.labels[head] = match (row.labels[head], label) {
                    (Some(before), Some(now)) => Some(before || now),
                    (before, now) => now.or(before),
                };
            }
        }
    }
    Ok(rows)
}

/// `conda_valid.jsonl.gz` is `conda_valid`.
fn source_name(path: &Path) -> String {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    name.split('.').next().unwrap_or_default().to_owned()
}

fn texts(frame: &DataFrame, name: &str, path: &Path) -> Result<Vec<Option<String>>, DatasetError> {
    let column = cast(frame, name, &DataType::String, path)?;
    let values = column
        .str()
        .map_err(|error| DatasetError::malformed(path, error))?;
    Ok(values
        .iter()
        .map(|value| value.map(str::to_owned))
        .collect())
}

fn numbers(frame: &DataFrame, name: &str, path: &Path) -> Result<Vec<Option<f64>>, DatasetError> {
    let column = cast(frame, name, &DataType::Float64, path)?;
    let values = column
        .f64()
        .map_err(|error| DatasetError::malformed(path, error))?;
    Ok(values.iter().collect())
}

fn cast(frame: &DataFrame, name: &str, to: &DataType, path: &Path) -> Result<Column, DatasetError> {
    frame
        .column(name)
        .and_then(|column| column.cast(to))
        .map_err(|error| DatasetError::malformed(path, error))
}

#[cfg(test)]
mod tests;
