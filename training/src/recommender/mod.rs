//! `novastream-train recommender`: from behaviour events to a recommender bundle.
//!
//! Events are read in the order of time, weighed as the bundle will weigh them when it serves,
//! and fitted by base models ([`ease`], [`popularity`]) and a ranker over them.

mod args;
pub mod ease;
mod error;
mod export;
pub mod matrix;
pub mod popularity;

use std::collections::BTreeMap;
use std::time::Instant;

use novastream_datasets::events::EventLog;
use novastream_datasets::sha256_file;
use novastream_models::recommender::{
    BaseModels, Blend, BlendPart, RecommenderBundle, RecommenderConfig, ScorerKind, Weighting,
};
use serde::Serialize;

pub use args::{ColumnArgs, RecommenderArgs};
pub use error::{FitError, RecommenderTrainError};

use ease::EaseParams;
use matrix::Matrix;

/// One data file of a run.
#[derive(Clone, Debug, Serialize)]
pub struct DataEntry {
    /// File name, without folders.
    pub file: String,
    /// SHA-256.
    pub sha256: String,
}

/// What a run did; `metrics.json` and the answer of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct RecommenderReport {
    /// `name@version`.
    pub model: String,
    /// What it learned from.
    pub data: Vec<DataEntry>,
    /// Events learned from.
    pub events: usize,
    /// Users among them.
    pub users: usize,
    /// Items among them.
    pub items: usize,
    /// Models in the bundle.
    pub models: Vec<String>,
    /// Figures on events held out from the fits that chose the settings.
    pub metrics: BTreeMap<String, f64>,
    /// Wall-clock seconds by stage.
    pub seconds: BTreeMap<String, f64>,
}

impl RecommenderReport {
    /// A few lines for people.
    pub fn summary(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} events, {} users, {} items; {}",
            self.model,
            self.events,
            self.users,
            self.items,
            self.models.join(", ")
        )];
        for (name, value) in &self.metrics {
            lines.push(format!("  {name:<32} {value:.4}"));
        }
        lines.join("\n")
    }
}

/// Trains and writes a bundle. Progress goes to stderr.
pub fn run(args: &RecommenderArgs) -> Result<RecommenderReport, RecommenderTrainError> {
    args.validate().map_err(RecommenderTrainError::Usage)?;
    let mut log = export::RunLog::create(&args.out)?;
    let mut seconds = BTreeMap::new();
    let started = Instant::now();
    let events = EventLog::load(&args.events, &args.columns.columns(), args.columns.clock())?;
    let train = args
        .until
        .map_or(&events.events[..], |time| events.until(time));
    let Some(last) = train.last() else {
        return Err(RecommenderTrainError::NoEvents { before: args.until });
    };
    let now = args.until.unwrap_or(last.time + 1);
    seconds.insert("read".to_owned(), started.elapsed().as_secs_f64());
    log.line(&format!(
        "{} events of {} users and {} items, {} rows left out, {:.1} s",
        train.len(),
        events.users.len(),
        events.items.len(),
        events.skipped,
        started.elapsed().as_secs_f64(),
    ))?;

    let weighting = Weighting::default();
    let matrix = Matrix::from_events(
        train,
        events.users.len(),
        events.items.len(),
        &weighting,
        now,
    );
    let started = Instant::now();
    let params = EaseParams {
        lambda: args.ease_lambda.unwrap_or(EaseParams::default().lambda),
        ..EaseParams::default()
    };
    let base = BaseModels {
        ease: Some(params.check()?.fit(&matrix)?),
        popularity: Some(popularity::fit(&matrix)),
        ..BaseModels::default()
    };
    seconds.insert("ease".to_owned(), started.elapsed().as_secs_f64());
    log.line(&format!(
        "EASE fitted, {:.1} s",
        started.elapsed().as_secs_f64()
    ))?;

    let config = RecommenderConfig {
        weighting,
        blend: Blend {
            parts: vec![BlendPart {
                kind: ScorerKind::Ease,
                factor: 1.0,
            }],
        },
        step_seconds: events.clock.seconds(),
        trained_until: now,
    };
    let items = events.items.names().map(str::to_owned).collect();
    let bundle = RecommenderBundle::new(config, items, base);
    let report = RecommenderReport {
        model: format!("{}@{}", args.name, args.model_version),
        data: vec![DataEntry {
            file: args
                .events
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            sha256: sha256_file(&args.events)?,
        }],
        events: train.len(),
        users: events.users.len(),
        items: events.items.len(),
        models: vec!["EASE".to_owned(), "popularity".to_owned()],
        metrics: BTreeMap::new(),
        seconds,
    };
    export::write(args, &bundle, &report)?;
    Ok(report)
}
