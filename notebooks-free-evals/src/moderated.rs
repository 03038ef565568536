//! What the evaluations of files share: options, the loaded moderator and the workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use novastream_datasets::folder::LabelledFile;
use novastream_inference::{ModelState, ModelStatus, Moderator, ModeratorConfig, Policy};
use novastream_models::store::ArtifactStore;
use serde::Serialize;

use crate::engine::Engine;
use crate::error::EvalError;
use crate::files;
use crate::targets::Targets;

/// Options of `novastream-eval frames` and `audio`.
#[derive(Debug, Clone, Args)]
pub struct FolderOptions {
    /// Folder with DIR/LABEL/FILE, or with files that have no label
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The model that must be the one evaluated; an error if another or none is loaded
    #[arg(long, value_name = "NAME[@VERSION]|DIR")]
    pub model: Option<String>,
    /// Write one line per file: {"file", "label", "scores": {…}}
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Evaluate at most this many files, spread evenly over the folder
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// A label whose files are positives of a category, such as guns=weapons (repeatable). Labels
    /// named like a category need none
    #[arg(long, value_name = "LABEL=CATEGORY")]
    pub category: Vec<String>,
    /// The policy whose thresholds count (default: the built-in one)
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Files evaluated at once (default: one a core)
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// What runs the networks
    #[arg(long, value_enum, default_value = "auto")]
    pub engine: Engine,
    /// Folder of pulled models (default: $NOVASTREAM_MODELS, else .novastream/models)
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A model that would take part and is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingModel {
    /// `name@version`.
    pub model: String,
    /// Why.
    pub reason: String,
}

/// A file that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file.
    pub file: String,
    /// The error's stable identifier, or `io`.
    pub code: String,
    /// The error in words.
    pub error: String,
}

/// A moderator, the files it is to judge, and which of its models take part.
#[derive(Debug)]
pub struct Setup {
    /// The pipeline.
    pub moderator: Arc<Moderator>,
    /// What to evaluate, in order.
    pub files: Vec<LabelledFile>,
    /// `name@version` of the models that take part, sorted.
    pub models: Vec<String>,
    /// The engine of each of them.
    pub engines: BTreeMap<String, String>,
    /// Models that would take part.
    pub missing: Vec<MissingModel>,
    /// Whether the model that the evaluation is about is loaded; else why not.
    pub subject: Result<(), String>,
    /// Which labels stand for which categories.
    pub targets: Targets,
    /// Files at once.
    pub threads: usize,
}

impl Setup {
    /// Lists the files and loads the models. `subject` is the task that the evaluation is about,
    /// `others` are tasks that take part as well.
    pub fn new(
        options: &FolderOptions,
        extensions: &[&str],
        wanted: &'static str,
        subject: &str,
        others: &[&str],
    ) -> Result<Self, EvalError> {
        Self::with_heads(options, extensions, wanted, subject, others, Vec::new())
    }

    /// The same with the heads of model folders beside those of the zoo.
    pub fn with_heads(
        options: &FolderOptions,
        extensions: &[&str],
        wanted: &'static str,
        subject: &str,
        others: &[&str],
        heads: Vec<PathBuf>,
    ) -> Result<Self, EvalError> {
        let targets = Targets::parse(&options.category)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or(cores);
        if !(1..=1024).contains(&threads) {
            return Err(EvalError::usage("--threads takes 1 to 1024"));
        }
        if options.limit == Some(0) {
            return Err(EvalError::usage("--limit takes 1 or more"));
        }
        let files = files::pick(&options.dir, extensions, options.limit, wanted)?;
        let mut config = config(options)?;
        config.frame_heads = heads;
        let moderator = Moderator::load(config).map_err(|e| EvalError::Load {
            message: e.to_string(),
        })?;
        let takes_part = |m: &&ModelStatus| m.task == subject || others.contains(&m.task.as_str());
        let models = moderator.models();
        let statuses: Vec<&ModelStatus> = models.iter().filter(takes_part).collect();
        if let Some(wanted) = &options.model {
            check_model(wanted, subject, &statuses)?;
        }
        let about = statuses.iter().filter(|m| m.task == subject);
        let subject = match about.clone().find(|m| m.state == ModelState::Ready) {
            Some(_) => Ok(()),
            None => Err(about
                .map(|m| format!("{} is not loaded: {}", id(m), reason(m)))
                .next()
                .unwrap_or_else(|| format!("no model for {subject} is known"))),
        };
        let ready = statuses.iter().filter(|m| m.state == ModelState::Ready);
        let engine = |m: &&&ModelStatus| (id(m), m.backend.clone().unwrap_or_default());
        let engines: BTreeMap<String, String> = ready.map(|m| engine(&m)).collect();
        let absent = statuses.iter().filter(|m| m.state != ModelState::Ready);
        let missing = absent
            .map(|m| MissingModel {
                model: id(m),
                reason: reason(m),
            })
            .collect();
        Ok(Self {
            files,
            models: engines.keys().cloned().collect(),
            engines,
            missing,
            subject,
            targets,
            threads,
            moderator: Arc::new(moderator),
        })
    }

    /// Calls `evaluate` for every file, [`Setup::threads`] at once, and answers in the files'
    /// order.
    pub fn for_each<T: Send>(
        &self,
        evaluate: impl Fn(&LabelledFile) -> T + Sync,
    ) -> Result<Vec<T>, EvalError> {
        let bar = ProgressBar::new(self.files.len() as u64).with_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len} files, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(self.files.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(self.files.len()) {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(file) = self.files.get(i) else { break };
                        let result = evaluate(file);
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results.push((i, result));
                        drop(results);
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        if results.len() != self.files.len() {
            return Err(EvalError::internal(
                "a worker ended before its work was done",
            ));
        }
        results.sort_by_key(|(i, _)| *i);
        Ok(results.into_iter().map(|(_, r)| r).collect())
    }
}

fn config(options: &FolderOptions) -> Result<ModeratorConfig, EvalError> {
    let load = |e: novastream_inference::PolicyError| EvalError::Load {
        message: e.to_string(),
    };
    let mut config = ModeratorConfig::from_env().map_err(load)?;
    if let Some(path) = &options.policy {
        config.policy = Policy::load(path).map_err(load)?;
    }
    config.backend = options.engine.into();
    if let Some(root) = &options.store {
        config.store = ArtifactStore::new(root, None);
    }
    Ok(config)
}

fn id(model: &ModelStatus) -> String {
    format!("{}@{}", model.name, model.version)
}

fn reason(model: &ModelStatus) -> String {
    model
        .reason
        .clone()
        .unwrap_or_else(|| "no reason given".to_owned())
}

/// Whether `wanted` is a loaded model for the task `subject`.
fn check_model(wanted: &str, subject: &str, models: &[&ModelStatus]) -> Result<(), EvalError> {
    let refuse = |hint: String| {
        Err(EvalError::Model {
            wanted: wanted.to_owned(),
            hint,
        })
    };
    if wanted.contains(std::path::MAIN_SEPARATOR) || Path::new(wanted).is_dir() {
        return refuse(format!(
            "the folder holds no model for this evaluation; give that of a training run, which has a \
             manifest.toml, or name a {subject} model"
        ));
    }
    let names = |m: &&&ModelStatus| m.name == wanted || id(m) == wanted;
    match models.iter().find(names) {
        Some(m) if m.task != subject => {
            refuse(format!("it is a model for {}, not for {subject}", m.task))
        }
        Some(m) if m.state != ModelState::Ready => refuse(format!(
            "{}; fetch it with `novastream models pull`",
            reason(m)
        )),
        Some(_) => Ok(()),
        None => {
            let known = models.iter().filter(|m| m.task == subject).map(|m| id(m));
            refuse(format!(
                "known for {subject}: {}",
                known.collect::<Vec<_>>().join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, task: &str, state: ModelState) -> ModelStatus {
        ModelStatus {
            name: name.into(),
            version: "1.0.0".into(),
            task: task.into(),
            state,
            backend: None,
            reason: (state != ModelState::Ready).then(|| "not pulled".into()),
            kernels: None,
            alias: None,
            canary_percent: None,
            shadow: None,
            trouble: None,
        }
    }

    #[test]
    fn a_model_is_found_by_name_and_version_or_refused_with_a_hint() {
        let nsfw = model("screen", "nsfw", ModelState::Ready);
        let old = model("old", "nsfw", ModelState::NotLoaded);
        let ocr = model("reader", "ocr-detect", ModelState::Ready);
        let models = [&nsfw, &old, &ocr];
        let check = |wanted| check_model(wanted, "nsfw", &models);
        assert!(check("screen").is_ok() && check("screen@1.0.0").is_ok());
        for (wanted, word) in [
            ("screen@2.0.0", "screen@1.0.0"),
            ("old", "not pulled"),
            ("reader", "ocr-detect"),
            ("some/folder", "training run"),
            ("nobody", "known for nsfw"),
        ] {
            let error = check(wanted).unwrap_err();
            assert_eq!(error.code(), "model_unavailable");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
