//! `novastream-eval chat`: a chat model on labelled messages.

mod functional;
mod html;
mod identity;
mod lines;
mod model;
mod reliability;
mod text;
mod three_class;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use novastream_datasets::chat::{ChatRow, load_chat};
use novastream_inference::{ChatScorer, ChatTier};
use novastream_training::chat::evaluate::{FileFigures, THRESHOLD, cpu_time, figures};
use serde::Serialize;

use crate::engine::Engine;
use crate::error::EvalError;
use crate::evasion::{self, Seen};
use crate::report::Head;

pub use functional::{FunctionalFigures, KindFigures};
pub use identity::{IdentityFigures, TermFigures};
pub use reliability::{Bin, Reliability};
pub use three_class::ThreeClass;

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
    /// What runs the transformer
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    pub engine: Engine,
    /// Judge every tier on the same files in the same run, for their quality and speed beside each
    /// other; needs the encoder
    #[arg(long)]
    pub all_tiers: bool,
    /// Also measure disguised words: recall at 5 % false positives for each kind of disguise
    #[arg(long)]
    pub evasion: bool,
    /// Which words are disguised, and how
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Write the report as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
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
    /// What ran the highest tier: `linear`, `native`, `onnxruntime` or `candle`.
    pub backend: &'static str,
    /// Scores from here on count as positive.
    pub threshold: f32,
    /// Figures per file, in the order given.
    pub files: Vec<TierFigures>,
    /// False positives by identity term, over all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityFigures>,
    /// Functional tests of hate detection on the shipped cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functional: Option<FunctionalFigures>,
}

/// One file's figures.
#[derive(Debug, Serialize)]
pub struct TierFigures {
    /// Per head, and the speed.
    #[serde(flatten)]
    pub figures: FileFigures,
    /// Share of the messages that the encoder scored.
    pub encoder_share: Option<f64>,
    /// By head: whether scores are shares of positives.
    pub calibration: BTreeMap<String, Reliability>,
    /// Hateful, offensive or neither, where the file labels both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub three_class: Option<ThreeClass>,
    /// Disguised words, with `--evasion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evasion: Option<Seen>,
    /// Every tier, with `--all-tiers`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<&'static str, TierLine>,
}

/// One tier on one file.
#[derive(Debug, Serialize)]
pub struct TierLine {
    /// AUC of the overall score, where the file labels it.
    pub toxicity_auc: Option<f64>,
    /// Messages per second of this process's CPU time.
    pub texts_per_cpu_second: Option<f64>,
    /// Share of the messages that the encoder scored.
    pub encoder_share: Option<f64>,
}

/// Messages scored before the clock starts.
const WARM_UP_ROWS: usize = 200;

/// Scores every row of every file and compares with the labels, where there are any.
///
/// # Errors
/// A file or a model can't be read, or the model fails.
pub fn run(options: &ChatOptions) -> Result<ChatReport, EvalError> {
    let chosen = model::find(options)?;
    let mut lines = lines::ScoreLines::create(options.scores.as_deref())?;
    let names: Vec<String> = chosen
        .scorer
        .categories()
        .iter()
        .map(ToString::to_string)
        .collect();
    let judge = Judge {
        scorer: &chosen.scorer,
        names: &names,
        options,
    };
    let mut files = Vec::new();
    let mut identity = identity::IdentityCounts::default();
    for path in &options.data {
        let rows = load_chat(path)?;
        let scored = judge.score_rows(options.tier, &rows)?;
        if let Some(lines) = &mut lines {
            lines.add(&names, &scored.scores)?;
        }
        if let Some(overall) = judge.place("toxicity") {
            for (row, scores) in rows.iter().zip(&scored.scores) {
                identity.add(row, scores[overall], THRESHOLD);
            }
        }
        files.push(judge.file(&path.display().to_string(), &rows, scored)?);
    }
    if let Some(lines) = lines {
        lines.finish()?;
    }
    let report = ChatReport {
        identity: identity.figures(),
        functional: judge.functional()?,
        head: Head::new("chat", chosen.ids),
        tier: options.tier,
        backend: chosen.scorer.backend(),
        threshold: THRESHOLD,
        files,
    };
    if let Some(path) = &options.html {
        html::write(path, &report)?;
    }
    Ok(report)
}

/// A file's scores.
struct Scored {
    scores: Vec<Vec<f32>>,
    rate: Option<f64>,
    encoder_share: Option<f64>,
}

/// What files are judged with.
struct Judge<'a> {
    scorer: &'a ChatScorer,
    names: &'a [String],
    options: &'a ChatOptions,
}

impl Judge<'_> {
    /// A head's place among the scores.
    fn place(&self, head: &str) -> Option<usize> {
        self.names.iter().position(|name| name == head)
    }

    fn scores(&self, tier: Tier, texts: &[&str]) -> Result<Vec<(Vec<f32>, bool)>, EvalError> {
        let tier = match tier {
            Tier::Fast => ChatTier::Fast,
            Tier::Full => ChatTier::Full,
            Tier::Cascade => ChatTier::Cascade,
        };
        let scored = self.scorer.score(texts, tier);
        scored.map_err(|error| EvalError::NotEvaluated {
            reason: error.to_string(),
        })
    }

    fn score_rows(&self, tier: Tier, rows: &[ChatRow]) -> Result<Scored, EvalError> {
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        // So that the clock does not measure cold caches.
        self.scores(tier, &texts[..texts.len().min(WARM_UP_ROWS)])?;
        let start = cpu_time();
        let scored = self.scores(tier, &texts)?;
        let used = cpu_time().saturating_sub(start).as_secs_f64();
        let rate = (!rows.is_empty() && used > 0.0).then(|| rows.len() as f64 / used);
        let full = scored.iter().filter(|(_, full)| *full).count();
        Ok(Scored {
            rate,
            encoder_share: (!rows.is_empty()).then(|| full as f64 / rows.len() as f64),
            scores: scored.into_iter().map(|(scores, _)| scores).collect(),
        })
    }

    fn file(&self, name: &str, rows: &[ChatRow], scored: Scored) -> Result<TierFigures, EvalError> {
        let figures = figures(self.names, name, rows, &scored.scores, scored.rate);
        let mut calibration = BTreeMap::new();
        for (at, head) in self.names.iter().enumerate() {
            let labelled: Vec<(f32, bool)> = rows
                .iter()
                .zip(&scored.scores)
                .filter_map(|(row, scores)| Some((scores[at], row.label(head)?)))
                .collect();
            if let Some(own) = reliability::reliability(&labelled) {
                calibration.insert(head.clone(), own);
            }
        }
        let three_class = self.place("toxicity").zip(self.place("hate"));
        let three_class = three_class.and_then(|(toxicity, hate)| {
            let both: Vec<(f32, f32)> = scored
                .scores
                .iter()
                .map(|s| (s[toxicity], s[hate]))
                .collect();
            three_class::three_class(rows, &both, THRESHOLD)
        });
        Ok(TierFigures {
            figures,
            encoder_share: scored.encoder_share,
            calibration,
            three_class,
            evasion: self.evasion(rows)?,
            tiers: self.tiers(rows)?,
        })
    }

    fn evasion(&self, rows: &[ChatRow]) -> Result<Option<Seen>, EvalError> {
        let labelled = rows.iter().any(|row| row.label("toxicity").is_some());
        let Some(overall) = self
            .place("toxicity")
            .filter(|_| labelled && self.options.evasion)
        else {
            return Ok(None);
        };
        let seen = evasion::measure(rows, self.options.seed, |texts| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let scored = self.scores(self.options.tier, &texts)?;
            Ok(scored
                .into_iter()
                .map(|(scores, _)| scores[overall])
                .collect())
        })?;
        Ok(Some(seen))
    }

    fn tiers(&self, rows: &[ChatRow]) -> Result<BTreeMap<&'static str, TierLine>, EvalError> {
        let mut out = BTreeMap::new();
        if !self.options.all_tiers {
            return Ok(out);
        }
        for (name, tier) in [
            ("fast", Tier::Fast),
            ("full", Tier::Full),
            ("cascade", Tier::Cascade),
        ] {
            let scored = self.score_rows(tier, rows)?;
            let own = figures(self.names, name, rows, &scored.scores, scored.rate);
            let line = TierLine {
                toxicity_auc: own.heads.get("toxicity").and_then(|head| head.auc),
                texts_per_cpu_second: scored.rate,
                encoder_share: scored.encoder_share,
            };
            out.insert(name, line);
        }
        Ok(out)
    }

    fn functional(&self) -> Result<Option<FunctionalFigures>, EvalError> {
        let Some(hate) = self.place("hate") else {
            return Ok(None);
        };
        let cases = functional::cases();
        let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
        let scored = self.scores(self.options.tier, &texts)?;
        let scores: Vec<f32> = scored.iter().map(|(scores, _)| scores[hate]).collect();
        Ok(functional::figures(&cases, &scores, THRESHOLD))
    }
}

#[cfg(test)]
mod tests;
