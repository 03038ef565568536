//! The file of `--scores`: what every message was given.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::EvalError;

/// Writes one line a message.
pub(super) struct ScoreLines {
    path: PathBuf,
    out: BufWriter<std::fs::File>,
}

impl ScoreLines {
    /// Creates the file, if one is wanted; before the work, so that a wrong path costs none.
    pub fn create(path: Option<&Path>) -> Result<Option<Self>, EvalError> {
        let create = |path: &Path| {
            let file = std::fs::File::create(path).map_err(EvalError::io("write", path))?;
            Ok(Self {
                path: path.to_owned(),
                out: BufWriter::new(file),
            })
        };
        path.map(create).transpose()
    }

    /// Adds the scores of some messages, in the order of `names`.
    pub fn add(&mut self, names: &[String], scores: &[Vec<f32>]) -> Result<(), EvalError> {
        for row in scores {
            let scores: Map<String, Value> = names
                .iter()
                .zip(row)
                .map(|(name, score)| (name.clone(), Value::from(*score)))
                .collect();
            let line = serde_json::json!({ "scores": scores });
            writeln!(self.out, "{line}").map_err(EvalError::io("write", &self.path))?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<(), EvalError> {
        self.out.flush().map_err(EvalError::io("write", &self.path))
    }
}
