//! The folder of a run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use novastream_models::card::{CARD_FILE, model_card};
use novastream_models::manifest::{
    Contract, Dim, FileSpec, MANIFEST_FILE, Manifest, Task, TensorSpec,
};
use novastream_models::recommender::RecommenderBundle;

use super::update::TRAINING_FILE;
use super::{RecommenderArgs, RecommenderReport, RecommenderTrainError};

/// What the card says a recommender must not be trusted with.
const LIMITS: &str = "It learns what viewers of the training events took, with their habits and \
    their biases: popular channels are favoured, new channels and new viewers get what is popular \
    or trending. It knows nothing of what is said or shown on a channel; safety decisions belong \
    to moderation. Figures hold for the data and the time they were measured on.";

/// A log that goes to stderr and stays with the run.
pub(super) struct RunLog {
    file: File,
    path: PathBuf,
}

impl RunLog {
    /// Makes the folder of the run and its log.
    pub fn create(dir: &Path) -> Result<Self, RecommenderTrainError> {
        std::fs::create_dir_all(dir).map_err(|source| io(dir, source))?;
        let path = dir.join("train.log");
        let file = File::create(&path).map_err(|source| io(&path, source))?;
        Ok(Self { file, path })
    }

    pub fn line(&mut self, text: &str) -> Result<(), RecommenderTrainError> {
        tracing::info!("{text}");
        writeln!(self.file, "{text}").map_err(|source| io(&self.path, source))
    }
}

fn io(path: &Path, source: std::io::Error) -> RecommenderTrainError {
    RecommenderTrainError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Writes weights, configuration, metrics, manifest and card.
pub(super) fn write(
    args: &RecommenderArgs,
    bundle: &RecommenderBundle,
    report: &RecommenderReport,
) -> Result<(), RecommenderTrainError> {
    let files = bundle.save(&args.out)?;
    let manifest = manifest(args, bundle, files, report);
    let put = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).map_err(|source| io(&path, source))
    };
    put("config.json", serde_json::to_string_pretty(args)? + "\n")?;
    put(
        TRAINING_FILE,
        serde_json::to_string_pretty(&report.settings)? + "\n",
    )?;
    put("metrics.json", serde_json::to_string_pretty(report)? + "\n")?;
    put(MANIFEST_FILE, manifest.to_toml()?)?;
    put(CARD_FILE, model_card(&manifest))
}

fn manifest(
    args: &RecommenderArgs,
    bundle: &RecommenderBundle,
    files: Vec<FileSpec>,
    report: &RecommenderReport,
) -> Manifest {
    let axis = |name: &str| vec![Dim::Named(name.to_owned())];
    let parts: Vec<&str> = report.models.iter().map(String::as_str).collect();
    Manifest {
        name: args.name.clone(),
        version: args.model_version.clone(),
        task: Task::Recommender,
        licence: "Apache-2.0".to_owned(),
        description: format!(
            "{}Recommender over {} items: {}. Learned from {} events of {} users.",
            args.note
                .iter()
                .fold(String::new(), |_, note| format!("{} ", note.trim())),
            bundle.items().len(),
            parts.join(", "),
            report.events,
            report.users,
        ),
        limits: LIMITS.to_owned(),
        importer: None,
        thresholds: BTreeMap::new(),
        contract: Contract {
            inputs: vec![TensorSpec {
                name: "history".to_owned(),
                dtype: "float32".to_owned(),
                shape: axis("items"),
                description: "a viewer's past items with their weights".to_owned(),
            }],
            outputs: vec![TensorSpec {
                name: "scores".to_owned(),
                dtype: "float32".to_owned(),
                shape: axis("candidates"),
                description: "a higher score is a better match; only the order means anything"
                    .to_owned(),
            }],
        },
        labels: Vec::new(),
        labels_file: None,
        metrics: report.metrics.clone(),
        files,
        int8: None,
        sources: Vec::new(),
    }
}
