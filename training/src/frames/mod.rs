//! `novastream-train frames`: heads for pictures from a folder per label.
//!
//! Every picture is read, its near-copies found, its features computed by the two networks that
//! serving runs, and one pair of logistic regressions fitted a head (see
//! [`novastream_models::frame_heads`]). A fifth of the pictures is held out and judged as serving
//! would; strength, calibration and gate are chosen on the others alone, each by models that did
//! not see it.

mod args;
mod export;
mod features;
mod fit;
mod pictures;
mod train;

use std::path::PathBuf;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use novastream_datasets::folder::labelled_files;
use novastream_features::picture::{ImageLimits, decode_image};
use novastream_models::frame_heads::{FrameHeads, FrameHeadsError};
use novastream_models::store::ArtifactStore;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use args::{FramesArgs, head_name};
pub use features::{Extractor, Features, Networks};
pub use train::HeadFigures;

use crate::chat::TrainError;
use crate::chat::export::RunLog;
use features::Cache;
use pictures::Picture;
use train::Sample;

/// File names that are taken for pictures.
const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "gif", "bmp"];
/// Parts that the pictures are split into; the first is held out.
const FOLDS: u64 = 5;

/// A run that did not make a model.
#[derive(Debug, thiserror::Error)]
pub enum FramesTrainError {
    /// An option or the folder does not allow a run.
    #[error("{0}")]
    Usage(String),
    /// The folder can't be read.
    #[error(transparent)]
    Data(#[from] novastream_datasets::DatasetError),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A network that makes the features is not there.
    #[error("no {name}: {message}; run `novastream models pull {name}`")]
    NoBase {
        /// The catalogue's name.
        name: String,
        /// Why.
        message: String,
    },
    /// A network failed.
    #[error(transparent)]
    Graph(#[from] novastream_models::candle_graph::GraphError),
    /// A view of a picture could not be made.
    #[error(transparent)]
    Picture(#[from] novastream_features::picture::ImageError),
    /// A head has no positives or no negatives.
    #[error(
        "a head needs pictures of its label and of another one in the part that is learned from"
    )]
    OneSided,
    /// The solver gave up.
    #[error("the logistic regression did not fit: {0}")]
    Fit(String),
    /// The weights do not make a model.
    #[error(transparent)]
    Heads(#[from] FrameHeadsError),
    /// The run's folder or log.
    #[error(transparent)]
    Run(#[from] TrainError),
}

impl FramesTrainError {
    /// Stable code for logs and reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Data(error) => error.code(),
            Self::Io { .. } => "io",
            Self::NoBase { .. } => "no_base_model",
            Self::Graph(error) => error.code(),
            Self::Picture(error) => error.code(),
            Self::OneSided => "one_sided",
            Self::Fit(_) => "fit",
            Self::Heads(error) => error.code(),
            Self::Run(error) => error.code(),
        }
    }
}

/// One label's pictures.
#[derive(Clone, Debug, Serialize)]
pub struct LabelEntry {
    /// The folder's name.
    pub label: String,
    /// Readable pictures.
    pub pictures: usize,
    /// Those of them that stay after near-copies are counted once.
    pub distinct: usize,
    /// SHA-256 over the pictures' own, in their order.
    pub sha256: String,
}

/// What a run did; `metrics.json` and the answer of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct FramesReport {
    /// `name@version`.
    pub model: String,
    /// What the features come from.
    pub features: String,
    /// What it learned from.
    pub labels: Vec<LabelEntry>,
    /// Files that are no readable picture.
    pub unreadable: usize,
    /// Pixels that every training view is brought down to.
    pub common_area: u64,
    /// The heads on held-out pictures.
    pub heads: Vec<HeadFigures>,
    /// Size of the weights in bytes.
    pub weights_bytes: u64,
}

/// Trains on the networks of the store and writes a model folder. Progress goes to stderr.
pub fn run(args: &FramesArgs) -> Result<FramesReport, FramesTrainError> {
    let store = match &args.store {
        Some(root) => ArtifactStore::new(root, None),
        None => ArtifactStore::from_env(),
    };
    run_with(args, &Networks::load(&store)?)
}

/// The same with features from elsewhere.
pub fn run_with(
    args: &FramesArgs,
    extractor: &dyn Extractor,
) -> Result<FramesReport, FramesTrainError> {
    let started = Instant::now();
    let mut files = labelled_files(&args.dir, EXTENSIONS)?;
    files.retain(|f| !f.label.is_empty() && !args.exclude.contains(&f.label));
    let mut labels: Vec<String> = files.iter().map(|f| f.label.clone()).collect();
    labels.dedup();
    check_labels(args, &labels)?;
    let mut log = RunLog::create(&args.out)?;
    let mut unreadable = Vec::new();
    let bar = progress("reading", files.len());
    let pictures = pictures::read(
        &files,
        |file, why| unreadable.push(format!("{}: {why}", file.path.display())),
        || bar.inc(1),
    )?;
    bar.finish_and_clear();
    for line in &unreadable {
        log.line(&format!("left out {line}"))?;
    }
    let entries = entries(&pictures, &labels);
    for entry in &entries {
        log.line(&format!(
            "{}: {} pictures, {} of them distinct",
            entry.label, entry.pictures, entry.distinct
        ))?;
    }
    let area = pictures::common_area(&pictures);
    log.line(&format!("views have up to {area} pixels"))?;
    let samples = samples(args, &pictures, area, extractor)?;
    log.line(&format!(
        "features of {} pictures after {:.0} s",
        samples.len(),
        started.elapsed().as_secs_f64()
    ))?;

    let wanted: Vec<&String> = labels.iter().filter(|l| args.is_head(l)).collect();
    let (mut heads, mut figures) = (Vec::new(), Vec::new());
    for label in wanted {
        let positives = pictures.iter().filter(|p| p.label == *label).count();
        if positives < args.min_positives {
            log.line(&format!(
                "{label}: {positives} pictures are too few for a head (--min-positives)"
            ))?;
            continue;
        }
        let (head, found) = train::head(label, &samples, args)?;
        log.line(&found.line())?;
        heads.push(head);
        figures.push(found);
    }
    let (Some(first), Some(sample)) = (heads.first(), samples.first()) else {
        return Err(FramesTrainError::Usage(
            "no label has enough pictures for a head; see --min-positives".to_owned(),
        ));
    };
    let (name, version) = args.identity(&first.name);
    let model = FrameHeads {
        small: sample.views[0].small.len(),
        large: sample.views[0].large.len(),
        heads,
    };
    let file = model.save(&args.out)?;
    let report = FramesReport {
        model: format!("{name}@{version}"),
        features: extractor.id(),
        labels: entries,
        unreadable: unreadable.len(),
        common_area: area,
        heads: figures,
        weights_bytes: file.size,
    };
    export::write(args, &name, &version, &model, file, &report)?;
    log.line(&format!("done in {:.0} s", started.elapsed().as_secs_f64()))?;
    Ok(report)
}

fn check_labels(args: &FramesArgs, labels: &[String]) -> Result<(), FramesTrainError> {
    if labels.len() < 2 {
        return Err(FramesTrainError::Usage(format!(
            "{} has {} folder(s) with pictures; a head needs its own and one of other things, as \
             DIR/LABEL/*.jpg",
            args.dir.display(),
            labels.len()
        )));
    }
    if let Some(unknown) = args.head.iter().find(|h| !labels.contains(h)) {
        return Err(FramesTrainError::Usage(format!(
            "--head {unknown}: the folders are {}",
            labels.join(", ")
        )));
    }
    let mut names: Vec<String> = labels.iter().map(|l| head_name(l)).collect();
    names.sort();
    if names.iter().any(String::is_empty) || names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(FramesTrainError::Usage(
            "two folders make the same head, or one has no letters in its name".to_owned(),
        ));
    }
    Ok(())
}

fn entries(pictures: &[Picture], labels: &[String]) -> Vec<LabelEntry> {
    labels
        .iter()
        .map(|label| {
            let own: Vec<&Picture> = pictures.iter().filter(|p| p.label == *label).collect();
            let mut groups: Vec<usize> = own.iter().map(|p| p.group).collect();
            groups.sort_unstable();
            groups.dedup();
            let mut hasher = Sha256::new();
            for picture in &own {
                hasher.update(picture.sha256);
            }
            LabelEntry {
                label: label.clone(),
                pictures: own.len(),
                distinct: groups.len(),
                sha256: hex::encode(hasher.finalize()),
            }
        })
        .collect()
}

/// Features of every picture's views.
fn samples(
    args: &FramesArgs,
    pictures: &[Picture],
    area: u64,
    extractor: &dyn Extractor,
) -> Result<Vec<Sample>, FramesTrainError> {
    let cache = Cache::new(args.cache.as_deref())?;
    let folds = pictures::folds(pictures, FOLDS);
    let made = format!("{} {area} {} {}", extractor.id(), args.views, args.seed);
    let made = xxhash_rust::xxh3::xxh3_64(made.as_bytes());
    let bar = progress("features", pictures.len());
    let mut samples = Vec::with_capacity(pictures.len());
    for (picture, fold) in pictures.iter().zip(folds) {
        let key = format!("{}-{made:016x}", hex::encode(picture.sha256));
        let views = if let Some(views) = cache.get(&key) {
            views
        } else {
            let bytes = std::fs::read(&picture.path).map_err(|source| FramesTrainError::Io {
                path: picture.path.clone(),
                source,
            })?;
            let image = decode_image(&bytes, &ImageLimits::default())?;
            let images = pictures::views(picture, &image, area, args.views, args.seed)?;
            let views = extractor.extract(&images)?;
            cache.put(&key, &views)?;
            views
        };
        samples.push(Sample {
            label: picture.label.clone(),
            fold,
            views,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(samples)
}

fn progress(what: &str, steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    // The template is fixed, so the fallback never shows.
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar
}

impl FramesReport {
    /// The report for people.
    pub fn summary(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} bytes of weights",
            self.model, self.weights_bytes
        )];
        lines.extend(self.heads.iter().map(|head| format!("  {}", head.line())));
        lines.join("\n")
    }
}
