//! `audio --model`: a trained sound model over folders of clips, label by label.
//!
//! The model sees a clip as serving would: the same demuxer, the same windows, the same engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use novastream_datasets::folder::LabelledFile;
use novastream_features::media::{CancelToken, MediaLimits, SAMPLE_RATE, Sampling, read_segment};
use novastream_inference::SoundClassifier;
use novastream_models::catalog::zoo;
use novastream_models::manifest::{MANIFEST_FILE, Manifest};
use novastream_models::sound::{CNN_FILE, HEAD_FILE};
use novastream_models::store::ArtifactStore;
use novastream_training::sound::{Figures, figures};
use serde::Serialize;

use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;
use crate::files;
use crate::moderated::{FileError, FolderOptions};
use crate::report::{Head, Report, Table, cell};
use crate::score_file::ScoreFile;

/// The report of `audio --model` for a trained sound model.
#[derive(Debug, Clone, Serialize)]
pub struct ClassifiedReport {
    /// Program, machine and models.
    #[serde(flatten)]
    pub head: Head,
    /// The folder.
    pub dir: String,
    /// Folds that were looked at; empty: all.
    pub folds: Vec<u32>,
    /// `n` (clips with a label that the model knows), `accuracy`, average precision by label, who
    /// was taken for whom.
    #[serde(flatten)]
    pub figures: Figures,
    /// Labels of the folder that the model does not know; their clips count for nothing above.
    pub unknown_labels: BTreeSet<String>,
    /// Seconds of sound.
    pub seconds: f64,
    /// CPU seconds of this process, reading and decoding included.
    pub cpu_seconds: Option<f64>,
    /// Seconds of sound per CPU second.
    pub seconds_per_cpu_second: Option<f64>,
    /// The engine of each model.
    pub engines: BTreeMap<String, String>,
    /// How many clips could not be evaluated.
    pub error_count: usize,
    /// Each of them.
    pub errors: Vec<FileError>,
}

/// The folder of the trained sound model that `wanted` names: a folder with a manifest, or
/// `NAME[@VERSION]` of the zoo. `None` where it names something else, such as a model of the
/// catalogue.
pub fn folder(wanted: &str) -> Result<Option<PathBuf>, EvalError> {
    let unavailable = |hint: String| EvalError::Model {
        wanted: wanted.to_owned(),
        hint,
    };
    let is_sound = |m: &Manifest| m.file(CNN_FILE).is_some() || m.file(HEAD_FILE).is_some();
    let path = Path::new(wanted).join(MANIFEST_FILE);
    if path.is_file() {
        let text = std::fs::read_to_string(&path).map_err(EvalError::io("read", &path))?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string())
            .map_err(|e| unavailable(e.to_string()))?;
        if !is_sound(&manifest) {
            let hint = format!("{} is no trained sound model", manifest.id());
            return Err(unavailable(hint));
        }
        return Ok(Some(PathBuf::from(wanted)));
    }
    let models = zoo().map_err(|e| unavailable(e.to_string()))?;
    let found = models
        .into_iter()
        .rfind(|(m, _)| is_sound(m) && (m.name == wanted || m.id() == wanted));
    Ok(found.map(|(_, dir)| dir))
}

/// Evaluates the model in `model` on the clips of `options`; with `folds` only on those whose
/// name begins with one of these numbers.
pub fn run(
    options: &FolderOptions,
    model: &Path,
    folds: &[u32],
) -> Result<ClassifiedReport, EvalError> {
    let mut scores_out = ScoreFile::create(options.scores.as_deref())?;
    let wanted = crate::audio::WANTED;
    let mut files = files::pick(
        &options.dir,
        crate::audio::EXTENSIONS,
        options.limit,
        wanted,
    )?;
    if !folds.is_empty() {
        files.retain(|f| fold(&f.path).is_some_and(|n| folds.contains(&n)));
        if files.is_empty() {
            return Err(EvalError::usage(format!(
                "no clip of {} is in fold {folds:?}",
                options.dir.display()
            )));
        }
    }
    let store = options
        .store
        .as_ref()
        .map_or_else(ArtifactStore::from_env, |root| {
            ArtifactStore::new(root, None)
        });
    let classifier = SoundClassifier::load(model, &store).map_err(|e| EvalError::Model {
        wanted: model.display().to_string(),
        hint: e.message,
    })?;
    let labels = classifier.labels().to_vec();
    let cpu = CpuClock::start();
    let (mut truth, mut rows, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let (mut unknown, mut samples) = (BTreeSet::new(), 0);
    for file in &files {
        let judged = judge(&classifier, file);
        if let Some(out) = &mut scores_out {
            let named = judged.as_ref().map(|(scores, _)| {
                let pairs = labels.iter().cloned().zip(scores.iter().copied());
                pairs.collect::<BTreeMap<String, f32>>()
            });
            out.add_labels(file, named.as_ref().map_err(|e| e.code.as_str()))?;
        }
        match judged {
            Ok((scores, n)) => {
                samples += n;
                match labels.iter().position(|l| *l == file.label) {
                    Some(label) => {
                        truth.push(label);
                        rows.push(scores);
                    }
                    None => {
                        unknown.insert(file.label.clone());
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let cpu_seconds = cpu.elapsed();
    if let Some(out) = scores_out {
        out.finish()?;
    }
    if truth.is_empty() {
        let first = errors.first().map_or_else(
            || {
                format!(
                    "no folder is named like one of its labels: {}",
                    labels.join(", ")
                )
            },
            |e| format!("{}: {}", e.file, e.error),
        );
        return Err(EvalError::NothingEvaluated {
            files: files.len(),
            first,
        });
    }
    let parts = classifier.parts();
    let seconds = samples as f64 / f64::from(SAMPLE_RATE);
    Ok(ClassifiedReport {
        head: Head::new("audio", parts.iter().map(|(id, _)| id.clone()).collect()),
        dir: options.dir.display().to_string(),
        folds: folds.to_vec(),
        figures: figures(&labels, &truth, &rows),
        unknown_labels: unknown,
        seconds,
        cpu_seconds,
        seconds_per_cpu_second: per_second(seconds as usize, cpu_seconds),
        engines: parts
            .into_iter()
            .map(|(id, engine)| (id, engine.to_owned()))
            .collect(),
        error_count: errors.len(),
        errors,
    })
}

/// The number that a file's name begins with, before a `-`.
fn fold(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.split_once('-')?.0.parse().ok()
}

fn judge(
    classifier: &SoundClassifier,
    file: &LabelledFile,
) -> Result<(Vec<f32>, usize), FileError> {
    let error = |code: &str, error: String| FileError {
        file: file.path.display().to_string(),
        code: code.into(),
        error,
    };
    let bytes: Arc<[u8]> = files::read(file).map_err(|e| error("io", e))?.into();
    let limits = MediaLimits::default();
    let (_, window) = read_segment(bytes, &Sampling::default(), &limits, &CancelToken::new())
        .map_err(|e| error(e.code(), e.to_string()))?;
    let Some(audio) = window.audio.filter(|a| !a.samples.is_empty()) else {
        let message = "the file holds no sound that can be decoded";
        return Err(error("no_audio", message.into()));
    };
    let scores = classifier
        .scores(&audio.samples)
        .map_err(|e| error(e.code(), e.to_string()))?;
    Ok((scores, audio.samples.len()))
}

impl Report for ClassifiedReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        let figures = &self.figures;
        writeln!(
            out,
            "{} · {} clips, {} unreadable\n\n  accuracy {:.4}, mean average precision {:.4}\n",
            self.dir, figures.n, self.error_count, figures.accuracy, figures.mean_average_precision
        )?;
        let mut table = Table::new(["label", "average precision", "taken for another"]);
        for (label, precision) in &figures.average_precision {
            let others: Vec<String> = figures
                .confusion
                .get(label)
                .into_iter()
                .flatten()
                .filter(|(given, _)| *given != label)
                .map(|(given, n)| format!("{given} {n}"))
                .collect();
            table.row([label.clone(), cell(Some(*precision), 4), others.join(", ")]);
        }
        out.push_str(&table.render());
        writeln!(
            out,
            "\n  {:.0} s of sound, {} s per CPU second",
            self.seconds,
            cell(self.seconds_per_cpu_second, 1)
        )?;
        for label in &self.unknown_labels {
            writeln!(out, "  the model does not know the label {label:?}")?;
        }
        for error in &self.errors {
            writeln!(out, "  {}: {} ({})", error.file, error.error, error.code)?;
        }
        Ok(())
    }
}
