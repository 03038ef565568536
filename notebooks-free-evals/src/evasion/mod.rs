//! `novastream-eval evasion`: what the fast model still sees when words are disguised, and whom it
//! takes for an offender who only writes that way.
//!
//! The threshold is the score that 5 % of a file's innocent messages reach, untouched. Recall is the
//! share of its toxic messages over that score, undisguised and in each disguise; innocent messages
//! in the same disguises should stay below it.

mod disguise;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use novastream_datasets::chat::{ChatRow, load_chat};
use novastream_features::text::{NgramHasher, Normalizer};
use novastream_models::linear::LinearChatModel;
use serde::Serialize;

use crate::error::EvalError;
use crate::report::{Head, Report, Table, cell};

pub use disguise::Disguise;

/// Share of untouched innocent messages over the threshold.
const FALSE_POSITIVES: f64 = 0.05;

/// Options of `novastream-eval evasion`.
#[derive(Debug, Clone, Args)]
pub struct EvasionOptions {
    /// Messages with a `toxic` label: CSV, JSONL or Parquet, plain or .gz
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Which words are disguised, and how
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The answer of `novastream-eval evasion`.
#[derive(Debug, Serialize)]
pub struct EvasionReport {
    /// Program, machine and model.
    #[serde(flatten)]
    pub head: Head,
    /// Share of untouched innocent messages over the threshold.
    pub false_positives: f64,
    /// Figures per file, in the order given.
    pub files: Vec<FileReport>,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// The file as it was named.
    pub file: String,
    /// What was seen of its messages.
    #[serde(flatten)]
    pub seen: Seen,
}

/// What a scorer sees of messages with an overall label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// Toxic messages.
    pub toxic: usize,
    /// Innocent messages.
    pub innocent: usize,
    /// Recall without disguise.
    pub recall_plain: Option<f64>,
    /// By disguise.
    pub disguises: BTreeMap<String, Figures>,
}

/// One disguise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Share of disguised toxic messages over the threshold.
    pub recall: Option<f64>,
    /// Share of disguised innocent messages over it.
    pub innocent_flagged: Option<f64>,
}

/// Scores every labelled row plain and in every disguise.
///
/// # Errors
/// A file cannot be read, or there is no linear chat model.
pub fn run(options: &EvasionOptions) -> Result<EvasionReport, EvalError> {
    let (id, model) = crate::verdicts::fast_model()?;
    let Some(head) = model.head("toxicity") else {
        return Err(EvalError::NotEvaluated {
            reason: format!("{id} has no toxicity head"),
        });
    };
    let scorer = Scorer {
        model: &model,
        head,
    };
    let mut files = Vec::new();
    for path in &options.data {
        let rows = load_chat(path)?;
        let seen = measure(&rows, options.seed, |texts| Ok(scorer.scores(texts)))?;
        files.push(FileReport {
            file: path.display().to_string(),
            seen,
        });
    }
    Ok(EvasionReport {
        head: Head::new("evasion", vec![id]),
        false_positives: FALSE_POSITIVES,
        files,
    })
}

struct Scorer<'a> {
    model: &'a LinearChatModel,
    head: usize,
}

impl Scorer<'_> {
    fn scores(&self, texts: &[String]) -> Vec<f32> {
        let normalizer = Normalizer::new();
        let hasher = NgramHasher::with_set(self.model.hash_bits(), self.model.ngram_set());
        let (mut features, mut scores) = (Vec::new(), Vec::new());
        texts
            .iter()
            .map(|text| {
                hasher.features(text, &normalizer.normalize(text), &mut features);
                self.model.score(&features, &mut scores);
                scores.get(self.head).copied().unwrap_or(0.0)
            })
            .collect()
    }
}

/// What a scorer of overall scores sees of a file's messages, plain and in every disguise.
///
/// # Errors
/// The scorer's.
pub fn measure(
    rows: &[ChatRow],
    seed: u64,
    mut score: impl FnMut(&[String]) -> Result<Vec<f32>, EvalError>,
) -> Result<Seen, EvalError> {
    let of = |toxic: bool| -> Vec<String> {
        rows.iter()
            .filter(|r| r.label("toxicity") == Some(toxic))
            .map(|r| r.text.clone())
            .collect()
    };
    let (toxic, innocent) = (of(true), of(false));
    let mut untouched = score(&innocent)?;
    untouched.sort_by(|a, b| b.total_cmp(a));
    let place = (untouched.len() as f64 * FALSE_POSITIVES) as usize;
    let threshold = untouched.get(place).copied().unwrap_or(1.0);
    let over = |scores: &[f32]| {
        let count = scores.iter().filter(|s| **s > threshold).count();
        (!scores.is_empty()).then(|| count as f64 / scores.len() as f64)
    };
    let recall_plain = over(&score(&toxic)?);
    let mut disguises = BTreeMap::new();
    for disguise in Disguise::ALL {
        let mut written = |texts: &[String]| {
            let texts: Vec<String> = texts.iter().map(|t| disguise.apply(t, seed)).collect();
            score(&texts).map(|scores| over(&scores))
        };
        let figures = Figures {
            recall: written(&toxic)?,
            innocent_flagged: written(&innocent)?,
        };
        disguises.insert(disguise.name().to_owned(), figures);
    }
    Ok(Seen {
        toxic: toxic.len(),
        innocent: innocent.len(),
        recall_plain,
        disguises,
    })
}

impl Report for EvasionReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        for file in &self.files {
            writeln!(
                out,
                "\n{}: {} toxic, {} innocent",
                file.file, file.seen.toxic, file.seen.innocent
            )?;
            let mut table = Table::new(["", "recall", "innocent flagged"]);
            table.row(["plain".to_owned(), cell(file.seen.recall_plain, 3)]);
            for (name, f) in &file.seen.disguises {
                table.row([name.clone(), cell(f.recall, 3), cell(f.innocent_flagged, 3)]);
            }
            out.push_str(&table.render());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use novastream_datasets::sample::chat_sample_path;

    use super::*;

    #[test]
    fn the_shipped_sample_is_scored_in_every_disguise() {
        let options = EvasionOptions {
            data: vec![chat_sample_path()],
            seed: 7,
            json: true,
        };
        let report = run(&options).expect("report");
        let file = &report.files[0].seen;
        assert!(file.toxic > 5 && file.innocent > 5);
        assert!(file.recall_plain.expect("toxic rows") > 0.5, "{file:?}");
        assert_eq!(file.disguises.len(), Disguise::ALL.len());
        assert!(report.text().contains("zero-width"));
    }
}
