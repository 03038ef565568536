//! The folder of a run: everything that the model was made from and with.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use novastream_features::text::{NgramHasher, Normalizer};
use novastream_models::golden::{GOLDEN_FILE, Golden, Pair, Question, TEXTS};
use novastream_models::linear::LinearChatModel;
use novastream_models::manifest::{
    Contract, Dim, FileSpec, MANIFEST_FILE, Manifest, Task, TensorSpec,
};

use super::evaluate::THRESHOLD;
use super::{ChatArgs, ChatReport, TrainError, card};

/// A log that goes to stderr and stays with the run.
pub(crate) struct RunLog {
    file: File,
    path: std::path::PathBuf,
}

impl RunLog {
    /// Makes the folder of the run and its log.
    pub fn create(dir: &Path) -> Result<Self, TrainError> {
        Self::open(dir, File::options().write(true).create(true).truncate(true))
    }

    /// The same for a run that may go on: what the log says stays.
    pub fn append(dir: &Path) -> Result<Self, TrainError> {
        Self::open(dir, File::options().append(true).create(true))
    }

    fn open(dir: &Path, options: &OpenOptions) -> Result<Self, TrainError> {
        std::fs::create_dir_all(dir).map_err(|source| io(dir, source))?;
        let path = dir.join("train.log");
        let file = options.open(&path).map_err(|source| io(&path, source))?;
        Ok(Self { file, path })
    }

    pub fn line(&mut self, text: &str) -> Result<(), TrainError> {
        tracing::info!("{text}");
        writeln!(self.file, "{text}").map_err(|source| io(&self.path, source))
    }
}

fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn save_weights(model: &LinearChatModel, dir: &Path) -> Result<FileSpec, TrainError> {
    Ok(model.save(dir)?)
}

/// Writes configuration, metrics, manifest and card beside the weights.
pub(super) fn write(
    args: &ChatArgs,
    model: &LinearChatModel,
    file: FileSpec,
    report: &ChatReport,
) -> Result<(), TrainError> {
    let mut manifest = manifest(args, model, file, report);
    manifest
        .files
        .push(write_golden(&args.out, &golden(model))?);
    let put = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).map_err(|source| io(&path, source))
    };
    put("config.json", pretty(args)?)?;
    put("metrics.json", pretty(report)?)?;
    put(MANIFEST_FILE, manifest.to_toml()?)?;
    put(
        novastream_models::card::CARD_FILE,
        card::render(args, &manifest, report)?,
    )
}

/// What the model answers now, and must answer whenever it is loaded.
fn golden(model: &LinearChatModel) -> Golden {
    let normalizer = Normalizer::new();
    let hasher = NgramHasher::with_set(model.hash_bits(), model.ngram_set());
    let mut features = Vec::new();
    let mut pair = |text: &&str| {
        let mut values = Vec::new();
        hasher.features(text, &normalizer.normalize(text), &mut features);
        model.score(&features, &mut values);
        Pair {
            question: Question::text(text),
            values,
        }
    };
    Golden {
        made_by: "linear".to_owned(),
        tolerance: 1e-4,
        tolerance_elsewhere: 1e-4,
        outputs: model.heads().iter().map(|head| head.name.clone()).collect(),
        pairs: TEXTS.iter().map(&mut pair).collect(),
    }
}

/// Writes golden answers and answers their entry for the manifest.
pub(crate) fn write_golden(dir: &Path, golden: &Golden) -> Result<FileSpec, TrainError> {
    let json = golden
        .to_json()
        .map_err(|error| TrainError::Usage(error.to_string()))?;
    let path = dir.join(GOLDEN_FILE);
    std::fs::write(&path, &json).map_err(|source| io(&path, source))?;
    Ok(FileSpec {
        path: GOLDEN_FILE.to_owned(),
        sha256: novastream_models::store::sha256_hex(json.as_bytes()),
        size: json.len() as u64,
        platform: None,
    })
}

fn pretty(value: &impl serde::Serialize) -> Result<String, TrainError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn manifest(
    args: &ChatArgs,
    model: &LinearChatModel,
    file: FileSpec,
    report: &ChatReport,
) -> Manifest {
    let labels: Vec<String> = model.heads().iter().map(|head| head.name.clone()).collect();
    let mut metrics = BTreeMap::new();
    for head in report.heads.iter().filter(|head| head.kept) {
        if let Some(auc) = head.auc_within_sources {
            metrics.insert(
                format!("validation.{}.auc_within_sources", head.head),
                round(auc),
            );
        }
    }
    for file in &report.report {
        let stem = file.file.split('.').next().unwrap_or_default();
        for (head, figures) in &file.heads {
            if let Some(auc) = figures.auc {
                metrics.insert(format!("{stem}.{head}.auc"), round(auc));
            }
        }
    }
    let axis = |name: &str| vec![Dim::Named(name.to_owned())];
    Manifest {
        name: args.model_name().to_owned(),
        version: args.model_version.clone(),
        task: Task::Chat,
        licence: "Apache-2.0".to_owned(),
        description: format!(
            "Linear chat model, the fast tier: {} heads over 2^{} hashed word and character n-grams of \
             normalised text, eight-bit weights, calibrated so that 0.5 is the shipped threshold.",
            labels.len(),
            model.hash_bits(),
        ),
        limits: card::LIMITS.to_owned(),
        importer: None,
        thresholds: labels
            .iter()
            .map(|label| (label.clone(), f64::from(THRESHOLD)))
            .collect(),
        contract: Contract {
            inputs: vec![TensorSpec {
                name: "text".to_owned(),
                dtype: "string".to_owned(),
                shape: Vec::new(),
                description: "one message, UTF-8".to_owned(),
            }],
            outputs: vec![TensorSpec {
                name: "scores".to_owned(),
                dtype: "float32".to_owned(),
                shape: axis("heads"),
                description: "calibrated score per label, 0..1".to_owned(),
            }],
        },
        labels,
        labels_file: None,
        metrics,
        files: vec![file],
        int8: None,
        sources: Vec::new(),
    }
}

/// Four decimals: what the card shows.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
