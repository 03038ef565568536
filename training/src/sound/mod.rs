//! `novastream-train audio`: sound models from folders of labelled clips.
//!
//! `--base yamnet` fits a logistic head on the mean and the highest of YAMNet's embeddings;
//! `--base cnn` trains a small network on log-mel spectra, from nothing or with YAMNet as its
//! teacher. Clips are decoded and turned
//! into features by the code that serves. One fold is held out for the figures (all in turn with
//! `--folds`), nothing is chosen by it, and what ships is then fitted on every clip.

mod args;
mod augment;
mod clips;
mod cnn;
mod error;
mod export;
mod figures;
mod logistic;
mod steps;
mod teacher;
mod yamnet;

use std::collections::BTreeMap;
use std::path::PathBuf;

use novastream_models::sound::{CNN_FILE, HEAD_FILE};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

pub use args::{AudioArgs, Base, Teacher};
pub use clips::{Clip, Clips};
pub use error::AudioError;
pub use figures::{Figures, figures};

use crate::chat::export::RunLog;

/// What a run did; `metrics.json` and the answer of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct AudioReport {
    /// `name@version`.
    pub model: String,
    /// What it stands on.
    pub base: Base,
    /// Classes in order.
    pub labels: Vec<String>,
    /// Clips that were read.
    pub clips: usize,
    /// Seconds of sound in them.
    pub seconds: f64,
    /// SHA-256 over the clips' names and hashes.
    pub data_sha256: String,
    /// Figures on clips that the model that gave them had not seen, by fold.
    pub held_out: BTreeMap<String, Figures>,
    /// Mean of the folds' accuracies.
    pub accuracy: f64,
    /// Whether what ships was fitted on all clips afterwards.
    pub refit: bool,
    /// What the run chose on its training clips.
    pub chosen: BTreeMap<String, f64>,
    /// Size of the weights file in bytes.
    pub weights_bytes: u64,
    /// CPU seconds of the whole run, all threads.
    pub cpu_seconds: f64,
}

impl AudioReport {
    /// The report for people.
    pub fn summary(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} clips of {} labels, {} bytes of weights, {:.0} CPU seconds",
            self.model,
            self.clips,
            self.labels.len(),
            self.weights_bytes,
            self.cpu_seconds,
        )];
        for (fold, figures) in &self.held_out {
            lines.push(format!(
                "  held out {fold}: accuracy {:.3} of {}, mean average precision {:.3}",
                figures.accuracy, figures.n, figures.mean_average_precision,
            ));
        }
        lines.push(format!("  mean accuracy {:.4}", self.accuracy));
        lines.join("\n")
    }
}

/// A trained model and what it chose.
struct Fitted {
    /// Bytes of the weights file.
    weights: Vec<u8>,
    chosen: BTreeMap<String, f64>,
}

/// Trains, judges and writes a model folder. Progress goes to stderr; a network's run that was
/// stopped goes on from its checkpoint when it is given the same options.
pub fn run(args: &AudioArgs) -> Result<AudioReport, AudioError> {
    args.validate().map_err(AudioError::Usage)?;
    let started = cpu_seconds();
    let mut log = RunLog::append(&args.out)?;
    let clips = Clips::read(&args.dir)?;
    log.line(&format!(
        "{} clips of {} labels, {:.0} s of sound",
        clips.all.len(),
        clips.labels.len(),
        clips.seconds(),
    ))?;
    let splits = clips.splits(args)?;
    let mut trainer = Trainer::new(args, &clips, &mut log)?;
    let (mut held_out, mut last) = (BTreeMap::new(), None);
    for split in &splits {
        let fitted = trainer.fit(&split.train, &split.name, &mut log)?;
        let scores = trainer.scores(&fitted, &split.judge)?;
        let truth: Vec<usize> = split.judge.iter().map(|i| clips.all[*i].label).collect();
        let figures = figures(&clips.labels, &truth, &scores);
        log.line(&format!(
            "{}: accuracy {:.4} of {} clips, mean average precision {:.4}",
            split.name, figures.accuracy, figures.n, figures.mean_average_precision
        ))?;
        held_out.insert(split.name.clone(), figures);
        last = Some(fitted);
    }
    let accuracy = held_out.values().map(|f| f.accuracy).sum::<f64>() / held_out.len() as f64;
    let fitted = match last {
        Some(last) if args.no_refit => last,
        _ => {
            log.line("fitting once more on all clips")?;
            let everything: Vec<usize> = (0..clips.all.len()).collect();
            trainer.fit(&everything, "all", &mut log)?
        }
    };
    let report = AudioReport {
        model: format!("{}@{}", args.model_name(), args.model_version),
        base: args.base,
        labels: clips.labels.clone(),
        clips: clips.all.len(),
        seconds: clips.seconds(),
        data_sha256: clips.sha256(),
        held_out,
        accuracy,
        refit: !args.no_refit,
        chosen: fitted.chosen,
        weights_bytes: fitted.weights.len() as u64,
        cpu_seconds: cpu_seconds() - started,
    };
    export::write(args, &clips, &report, &fitted.weights)?;
    log.line(&report.summary())?;
    Ok(report)
}

/// One of the two ways to make a model.
enum Trainer<'a> {
    Yamnet(yamnet::HeadTrainer<'a>),
    Cnn(Box<cnn::CnnTrainer<'a>>),
}

impl<'a> Trainer<'a> {
    fn new(args: &'a AudioArgs, clips: &'a Clips, log: &mut RunLog) -> Result<Self, AudioError> {
        Ok(match args.base {
            Base::Yamnet => Self::Yamnet(yamnet::HeadTrainer::new(args, clips, log)?),
            Base::Cnn => Self::Cnn(Box::new(cnn::CnnTrainer::new(args, clips, log)?)),
        })
    }

    /// Trains on the clips `train`; `name` tells the runs of one folder apart.
    fn fit(&mut self, train: &[usize], name: &str, log: &mut RunLog) -> Result<Fitted, AudioError> {
        match self {
            Self::Yamnet(trainer) => trainer.fit(train, log),
            Self::Cnn(trainer) => trainer.fit(train, name, log),
        }
    }

    /// Scores by label, one row for each of the clips `judge`.
    fn scores(&self, fitted: &Fitted, judge: &[usize]) -> Result<Vec<Vec<f32>>, AudioError> {
        match self {
            Self::Yamnet(trainer) => trainer.scores(&fitted.weights, judge),
            Self::Cnn(trainer) => trainer.scores(&fitted.weights, judge),
        }
    }
}

impl Base {
    /// Name of the weights inside the model folder.
    pub fn weights_file(self) -> &'static str {
        match self {
            Self::Yamnet => HEAD_FILE,
            Self::Cnn => CNN_FILE,
        }
    }
}

/// For `map_err` on file operations.
fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> AudioError {
    let path: PathBuf = path.to_owned();
    move |source| AudioError::Io { path, source }
}

/// CPU seconds of this process so far, all threads.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}
