//! `novastream-eval chat`: a chat model on labelled messages.

mod model;

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use novastream_datasets::chat::{ChatRow, load_chat};
use novastream_inference::{ChatScorer, ChatTier};
use novastream_training::chat::evaluate::{FileFigures, cpu_time, figures};
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
    /// A model of the zoo, or a model folder: a linear model, or for the other tiers an encoder.
    /// Default: the zoo's newest
    #[arg(long, value_name = "NAME[@VERSION]|DIR")]
    pub model: Option<String>,
    /// The linear model that an encoder is joined with. Default: the zoo's newest
    #[arg(long, value_name = "NAME[@VERSION]|DIR")]
    pub fast_model: Option<String>,
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
    /// What ran the highest tier: `linear`, `onnxruntime` or `candle`.
    pub backend: &'static str,
    /// Scores from here on count as positive.
    pub threshold: f32,
    /// Figures per file, in the order given.
    pub files: Vec<TierFigures>,
}

/// One file's figures.
#[derive(Debug, Serialize)]
pub struct TierFigures {
    /// Per head, and the speed.
    #[serde(flatten)]
    pub figures: FileFigures,
    /// Share of the messages that the encoder scored.
    pub encoder_share: Option<f64>,
}

/// Messages scored before the clock starts.
const WARM_UP_ROWS: usize = 200;

/// Scores every row of every file and compares with the labels, where there are any.
pub fn run(options: &ChatOptions) -> Result<ChatReport, EvalError> {
    let chosen = model::find(options)?;
    let mut lines = ScoreLines::create(options.scores.as_deref())?;
    let names: Vec<String> = chosen
        .scorer
        .categories()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut files = Vec::new();
    for path in &options.data {
        let rows = load_chat(path)?;
        let scored = score(&chosen.scorer, options.tier, &rows)?;
        if let Some(lines) = &mut lines {
            lines.add(&names, &scored.scores)?;
        }
        let name = path.display().to_string();
        let figures = figures(&names, &name, &rows, &scored.scores, scored.rate);
        files.push(TierFigures {
            figures,
            encoder_share: scored.encoder_share,
        });
    }
    if let Some(lines) = lines {
        lines.finish()?;
    }
    Ok(ChatReport {
        head: Head::new("chat", chosen.ids),
        tier: options.tier,
        backend: chosen.scorer.backend(),
        threshold: novastream_training::chat::evaluate::THRESHOLD,
        files,
    })
}

/// A file's scores.
struct Scored {
    scores: Vec<Vec<f32>>,
    rate: Option<f64>,
    encoder_share: Option<f64>,
}

fn score(scorer: &ChatScorer, tier: Tier, rows: &[ChatRow]) -> Result<Scored, EvalError> {
    let tier = match tier {
        Tier::Fast => ChatTier::Fast,
        Tier::Full => ChatTier::Full,
        Tier::Cascade => ChatTier::Cascade,
    };
    let run = |texts: &[&str]| {
        scorer
            .score(texts, tier)
            .map_err(|error| EvalError::NotEvaluated {
                reason: error.to_string(),
            })
    };
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    // So that the clock does not measure cold caches.
    run(&texts[..texts.len().min(WARM_UP_ROWS)])?;
    let start = cpu_time();
    let scored = run(&texts)?;
    let used = cpu_time().saturating_sub(start).as_secs_f64();
    let rate = (!rows.is_empty() && used > 0.0).then(|| rows.len() as f64 / used);
    let full = scored.iter().filter(|(_, full)| *full).count();
    Ok(Scored {
        rate,
        encoder_share: (!rows.is_empty()).then(|| full as f64 / rows.len() as f64),
        scores: scored.into_iter().map(|(scores, _)| scores).collect(),
    })
}

impl Report for ChatReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        for TierFigures {
            figures: file,
            encoder_share,
        } in &self.files
        {
            let rate = cell(file.texts_per_cpu_second, 0);
            let share = encoder_share.map_or(0.0, |share| 100.0 * share);
            writeln!(
                out,
                "\n{}: {} rows, {rate} texts per CPU second, {share:.1} % by the encoder",
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

    fn add(&mut self, names: &[String], scores: &[Vec<f32>]) -> Result<(), EvalError> {
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

    fn finish(mut self) -> Result<(), EvalError> {
        self.out.flush().map_err(EvalError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests;
