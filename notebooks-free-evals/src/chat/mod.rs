//! `novastream-eval chat`: a chat model on labelled messages.

mod model;

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use novastream_datasets::chat::load_chat;
use novastream_models::linear::LinearChatModel;
use novastream_training::chat::evaluate::{FileFigures, figures, score_rows};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::EvalError;
use crate::report::{Head, Report, Table, cell};

/// Which part of the chat pipeline is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The linear model alone
    Fast,
    /// The transformer on every message
    Full,
    /// The linear model, and the transformer where it is unsure
    Cascade,
}

/// Options of `novastream-eval chat`.
#[derive(Debug, Clone, Args)]
pub struct ChatOptions {
    /// Messages: CSV, JSONL or Parquet, plain or .gz. Column `text`; label columns such as `toxic`
    /// or `hate` hold 1, 0 or -1 (not labelled)
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// A model of the zoo, or a model folder
    #[arg(long, value_name = "NAME[@VERSION]|DIR", default_value = "chat-linear")]
    pub model: String,
    /// Which part of the pipeline to judge
    #[arg(long, value_enum, default_value_t = Tier::Fast)]
    pub tier: Tier,
    /// Write one line per row, in order: {"scores": {…}}
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The answer of `novastream-eval chat`.
#[derive(Debug, Serialize)]
pub struct ChatReport {
    /// Program, machine and model.
    #[serde(flatten)]
    pub head: Head,
    /// The tier that was judged.
    pub tier: Tier,
    /// Scores from here on count as positive.
    pub threshold: f32,
    /// Figures per file, in the order given.
    pub files: Vec<FileFigures>,
}

/// Scores every row of every file and compares with the labels, where there are any.
pub fn run(options: &ChatOptions) -> Result<ChatReport, EvalError> {
    if options.tier != Tier::Fast {
        return Err(EvalError::NotEvaluated {
            reason: "not available yet: only the fast tier is trained; use --tier fast".to_owned(),
        });
    }
    let (id, model) = model::find(&options.model)?;
    let mut lines = ScoreLines::create(options.scores.as_deref())?;
    let mut files = Vec::new();
    for path in &options.data {
        let rows = load_chat(path)?;
        let (scores, rate) = score_rows(&model, &rows);
        if let Some(lines) = &mut lines {
            lines.add(&model, &scores)?;
        }
        files.push(figures(
            &model,
            &path.display().to_string(),
            &rows,
            &scores,
            rate,
        ));
    }
    if let Some(lines) = lines {
        lines.finish()?;
    }
    Ok(ChatReport {
        head: Head::new("chat", vec![id]),
        tier: options.tier,
        threshold: novastream_training::chat::evaluate::THRESHOLD,
        files,
    })
}

impl Report for ChatReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        for file in &self.files {
            let rate = cell(file.texts_per_cpu_second, 0);
            writeln!(
                out,
                "\n{}: {} rows, {rate} texts per CPU second",
                file.file, file.rows
            )?;
            let mut table = Table::new([
                "head", "n", "pos", "auc", "ap", "f1", "accuracy", "balanced",
            ]);
            for (head, figures) in &file.heads {
                table.row([
                    head.clone(),
                    figures.n.to_string(),
                    figures.pos.to_string(),
                    cell(figures.auc, 4),
                    cell(figures.average_precision, 4),
                    cell(Some(figures.f1), 4),
                    cell(Some(figures.accuracy), 4),
                    cell(figures.balanced_accuracy, 4),
                ]);
            }
            if file.heads.is_empty() {
                writeln!(out, "  no labels for the model's heads")?;
            } else {
                out.push_str(&table.render());
            }
            if !file.not_evaluated.is_empty() {
                writeln!(out, "  not evaluated: {}", file.not_evaluated.join(", "))?;
            }
        }
        Ok(())
    }
}

/// The file of `--scores`.
struct ScoreLines {
    path: PathBuf,
    out: BufWriter<std::fs::File>,
}

impl ScoreLines {
    /// Creates the file, if one is wanted; before the work, so that a wrong path costs none.
    fn create(path: Option<&Path>) -> Result<Option<Self>, EvalError> {
        let create = |path: &Path| {
            let file = std::fs::File::create(path).map_err(EvalError::io("write", path))?;
            Ok(Self {
                path: path.to_owned(),
                out: BufWriter::new(file),
            })
        };
        path.map(create).transpose()
    }

    fn add(&mut self, model: &LinearChatModel, scores: &[Vec<f32>]) -> Result<(), EvalError> {
        for row in scores {
            let scores: Map<String, Value> = model
                .heads()
                .iter()
                .zip(row)
                .map(|(head, score)| (head.name.clone(), Value::from(*score)))
                .collect();
            let line = serde_json::json!({ "scores": scores });
            writeln!(self.out, "{line}").map_err(EvalError::io("write", &self.path))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), EvalError> {
        self.out.flush().map_err(EvalError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests;
