//! `novastream-train chat`: the fast tier of chat moderation.
//!
//! Files are read, hashed by the code that serves, split by a hash of the text, fitted head by
//! head with masked labels, judged and calibrated on the held-out part, and written as a model
//! folder that the service loads as it is.

mod args;
pub(crate) mod calibration;
mod card;
pub mod corpus;
pub mod evaluate;
pub(crate) mod export;
pub mod heads;
pub mod logistic;
pub mod problem;
pub(crate) mod teacher;

use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use novastream_datasets::DatasetError;
use novastream_datasets::chat::{CHAT_HEADS, ChatRow, load_chat};
use novastream_features::text::NgramHasher;
use novastream_models::linear::{FormatError, LinearChatModel, LinearError};
use novastream_models::manifest::ManifestError;
use serde::Serialize;

pub use args::{ChatArgs, Tier};

use corpus::Corpus;
use evaluate::{FileFigures, figures, score_rows};
use heads::{Gate, HeadParams, HeadReport};
use logistic::FitParams;
use problem::Balance;

/// A training run that did not make a model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option is out of range.
    #[error("{0}")]
    Usage(String),
    /// Data can't be read.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The files hold nothing to learn from.
    #[error("no labelled messages in the given files")]
    NoRows,
    /// A teacher's scores do not fit the data.
    #[error("{0}")]
    Teacher(String),
    /// Every head was below the gate.
    #[error("no head is good enough to ship: {0}; see --min-positives and --min-auc")]
    NoHead(String),
    /// The weights do not make a model.
    #[error("the trained weights do not make a model: {0}")]
    Model(#[from] FormatError),
    /// The model folder can't be written.
    #[error(transparent)]
    Save(#[from] LinearError),
    /// The manifest can't be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of the run can't be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The pretrained encoder is not there.
    #[error("no pretrained encoder: {0}; run `novastream models pull minilm-l6-v2` or give --base")]
    NoBase(String),
    /// The vocabulary is not one.
    #[error(transparent)]
    Vocabulary(#[from] novastream_features::text::VocabularyError),
    /// The encoder can't be made or run.
    #[error(transparent)]
    Encoder(#[from] novastream_models::encoder::EncoderError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A run can't go on from what it left.
    #[error("the checkpoint can't be used: {0}")]
    Checkpoint(String),
    /// A report can't be put into JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl TrainError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Data(error) => error.code(),
            Self::NoRows => "no_rows",
            Self::Teacher(_) => "teacher",
            Self::NoHead(_) => "no_head",
            Self::Model(_) => "model_shape",
            Self::Save(error) => error.code(),
            Self::Manifest(error) => error.code(),
            Self::NoBase(_) => "no_base_model",
            Self::Vocabulary(error) => error.code(),
            Self::Encoder(error) => error.code(),
            Self::Tensor(_) => "encoder_compute",
            Self::Checkpoint(_) => "checkpoint",
            Self::Io { .. } => "io",
            Self::Json(_) => "json",
        }
    }
}

/// One data file of a run.
#[derive(Clone, Debug, Serialize)]
pub struct DataEntry {
    /// File name, without folders.
    pub file: String,
    /// SHA-256.
    pub sha256: String,
    /// Rows used.
    pub rows: usize,
}

/// What a run did; `metrics.json` and the answer of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct ChatReport {
    /// `name@version`.
    pub model: String,
    /// What it learned from.
    pub data: Vec<DataEntry>,
    /// Messages per source.
    pub sources: Vec<(String, usize)>,
    /// Heads on held-out messages.
    pub heads: Vec<HeadReport>,
    /// The finished model on the files of `--report`.
    pub report: Vec<FileFigures>,
    /// Weights that are not zero.
    pub non_zero_weights: usize,
    /// Size of the weights file in bytes.
    pub weights_bytes: u64,
}

/// Trains the tier that is asked for and writes a model folder. Progress goes to stderr.
pub fn run(args: &ChatArgs) -> Result<ChatReport, TrainError> {
    match args.tier {
        Tier::Fast => run_fast(args),
        Tier::Full => crate::encoder::run(args),
    }
}

fn run_fast(args: &ChatArgs) -> Result<ChatReport, TrainError> {
    args.validate().map_err(TrainError::Usage)?;
    let started = Instant::now();
    let mut log = export::RunLog::create(&args.out)?;
    let (rows, data) = read(args, &mut log)?;
    let mut corpus = Corpus::build(
        &rows,
        NgramHasher::with_set(args.hash_bits, args.ngram_set),
        args.validation_fraction,
    );
    let sources = count_sources(&corpus);
    log.line(&format!(
        "{} messages from {} sources, {} held out, {:.1} s",
        corpus.samples.len(),
        sources.len(),
        corpus
            .samples
            .iter()
            .filter(|sample| sample.validation)
            .count(),
        started.elapsed().as_secs_f64(),
    ))?;

    corpus.teach(&teacher::taught(args)?);
    corpus.add_disguised(&rows, args.disguised, args.seed);
    drop(rows);
    corpus.prune(args.hash_bits, args.min_count);

    let bar = progress(2 * u64::from(args.epochs) * CHAT_HEADS.len() as u64);
    let (model, heads) = heads::train(&corpus, &head_params(args, &corpus), || bar.inc(1))?;
    bar.finish_and_clear();
    for head in &heads {
        log.line(&describe(head))?;
    }
    let Some(model) = model else {
        return Err(TrainError::NoHead(
            heads.iter().map(describe).collect::<Vec<_>>().join("; "),
        ));
    };
    drop(corpus);

    let report = evaluate_files(&model, &args.report)?;
    let file = export::save_weights(&model, &args.out)?;
    let report = ChatReport {
        model: format!("{}@{}", args.model_name(), args.model_version),
        data,
        sources,
        heads,
        report,
        non_zero_weights: model.non_zero(),
        weights_bytes: file.size,
    };
    export::write(args, &model, file, &report)?;
    log.line(&format!("done in {:.1} s", started.elapsed().as_secs_f64()))?;
    Ok(report)
}

pub(crate) fn read(
    args: &ChatArgs,
    log: &mut export::RunLog,
) -> Result<(Vec<ChatRow>, Vec<DataEntry>), TrainError> {
    let mut rows = Vec::new();
    let mut data = Vec::new();
    for path in &args.data {
        let mut loaded = load_chat(path)?;
        loaded.retain(|row| is_used(args, row));
        let entry = DataEntry {
            file: file_name(path),
            sha256: novastream_datasets::sha256_file(path)?,
            rows: loaded.len(),
        };
        log.line(&format!("{}: {} labelled messages", entry.file, entry.rows))?;
        data.push(entry);
        rows.append(&mut loaded);
    }
    if rows.is_empty() {
        return Err(TrainError::NoRows);
    }
    Ok((rows, data))
}

/// Whether a row of the data takes part.
fn is_used(args: &ChatArgs, row: &ChatRow) -> bool {
    !args.exclude_source.contains(&row.source) && row.labels.iter().any(Option::is_some)
}

pub(crate) fn head_params(args: &ChatArgs, corpus: &Corpus) -> HeadParams {
    HeadParams {
        fit: FitParams {
            hash_bits: args.hash_bits,
            ngram_set: args.ngram_set,
            epochs: args.epochs,
            learning_rate: args.learning_rate,
            l2: args.l2,
            min_weight: args.min_weight,
            seed: args.seed,
        },
        balance: Balance {
            exponent: args.source_balance,
            source_weights: corpus
                .sources
                .iter()
                .map(|name| args.weight_of(name))
                .collect(),
            background: args.background,
            teacher_share: args.teacher_share,
            taught: args.taught,
        },
        gate: Gate {
            min_positives: args.min_positives,
            min_auc: args.min_auc,
        },
        refit: !args.no_refit,
    }
}

fn count_sources(corpus: &Corpus) -> Vec<(String, usize)> {
    let mut counts = vec![0; corpus.sources.len()];
    for sample in &corpus.samples {
        counts[usize::from(sample.source)] += 1;
    }
    corpus.sources.iter().cloned().zip(counts).collect()
}

fn evaluate_files(
    model: &LinearChatModel,
    files: &[PathBuf],
) -> Result<Vec<FileFigures>, TrainError> {
    let names: Vec<String> = model.heads().iter().map(|head| head.name.clone()).collect();
    let mut out = Vec::new();
    for path in files {
        let rows = load_chat(path)?;
        let (scores, rate) = score_rows(model, &rows);
        out.push(figures(&names, &file_name(path), &rows, &scores, rate));
    }
    Ok(out)
}

fn describe(head: &HeadReport) -> String {
    let auc = head
        .auc_within_sources
        .map_or_else(|| "-".to_owned(), |auc| format!("{auc:.3}"));
    match &head.reason {
        None => format!(
            "{}: held-out AUC within sources {auc}, F1 {:.3}, {} positives",
            head.head, head.f1, head.validation_positives
        ),
        Some(reason) => format!("{}: not shipped, {reason}", head.head),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn progress(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    // The template is fixed, so the fallback never shows.
    let style = ProgressStyle::with_template("training {bar:40} {percent}% {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
