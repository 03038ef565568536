//! The lines of `--scores`: what every single file was given.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use novastream_datasets::folder::LabelledFile;
use novastream_inference::{Category, CategoryResult};
use serde::Serialize;

use crate::error::EvalError;

/// The scores of a verdict by category, without those that were not evaluated.
pub fn scores_of(categories: &BTreeMap<Category, CategoryResult>) -> BTreeMap<Category, f32> {
    categories
        .iter()
        .filter_map(|(c, r)| Some((*c, r.score?)))
        .collect()
}

/// Writes the lines of `--scores`.
#[derive(Debug)]
pub struct ScoreFile {
    path: PathBuf,
    out: BufWriter<File>,
}

/// One line of `--scores`.
#[derive(Debug, Serialize)]
struct ScoreLine<'a, S: Serialize> {
    file: String,
    label: &'a str,
    scores: S,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl ScoreFile {
    /// Creates the file, if one is wanted; before the work, so that a wrong path costs none.
    pub fn create(path: Option<&Path>) -> Result<Option<Self>, EvalError> {
        let create = |path: &Path| {
            let file = File::create(path).map_err(EvalError::io("write", path))?;
            Ok(Self {
                path: path.to_path_buf(),
                out: BufWriter::new(file),
            })
        };
        path.map(create).transpose()
    }

    /// Adds a line: the scores, or the code of the error that a file without scores has.
    pub fn add(
        &mut self,
        file: &LabelledFile,
        result: Result<&BTreeMap<Category, CategoryResult>, &str>,
    ) -> Result<(), EvalError> {
        let scores = result.map(scores_of).unwrap_or_default();
        self.write(file, scores, result.err())
    }

    /// Adds a line of a model's own labels, or the code of an error.
    pub fn add_labels(
        &mut self,
        file: &LabelledFile,
        result: Result<&BTreeMap<String, f32>, &str>,
    ) -> Result<(), EvalError> {
        let scores = result.ok().cloned().unwrap_or_default();
        self.write(file, scores, result.err())
    }

    fn write(
        &mut self,
        file: &LabelledFile,
        scores: impl Serialize,
        error: Option<&str>,
    ) -> Result<(), EvalError> {
        let line = ScoreLine {
            file: file.path.display().to_string(),
            label: &file.label,
            scores,
            error,
        };
        let json = serde_json::to_string(&line)
            .map_err(|e| EvalError::internal(format!("can't write a score line: {e}")))?;
        writeln!(self.out, "{json}").map_err(EvalError::io("write", &self.path))
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<(), EvalError> {
        self.out.flush().map_err(EvalError::io("write", &self.path))
    }
}
