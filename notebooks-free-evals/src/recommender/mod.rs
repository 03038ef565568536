//! `novastream-eval recommender`: a recommender bundle under three protocols.
//!
//! - *live*: each event of a window is a list of what was live at its step; history is everything
//!   strictly before it ([`live`]);
//! - *leave-out*: each row of a test file is ranked among all items that its user did not take
//!   in the events ([`catalogue`]);
//! - *ranking*: the ten best of those items against all test rows of the user.
//!
//! Baselines are always in the same table, and so are models given with `--beside`: one trained
//! again without a group of features, say. `--compare` judges another model on the same cases
//! and decides between the two by the rule in [`verdict`].

mod answers;
mod baselines;
pub mod bootstrap;
mod case;
mod catalogue;
pub mod figures;
mod html;
mod live;
mod options;
mod report;
mod spread;
pub mod verdict;

use std::path::Path;
use std::sync::Arc;

use novastream_datasets::events::{Availability, EventLog, Interner};
use novastream_models::manifest::{MANIFEST_FILE, Manifest};
use novastream_models::recommender::RecommenderBundle;

use crate::error::EvalError;

pub use options::{Protocol, RecommenderOptions};
use report::Beside;
pub use report::{Outcome, RecommenderReport};
pub use spread::Spread;

/// Judges a model.
pub fn run(options: &RecommenderOptions) -> Result<RecommenderReport, EvalError> {
    options.validate()?;
    let (id, bundle) = load(&options.model)?;
    let mut outcome = judge(options, &bundle, false)?;
    for dir in &options.beside {
        let (other_id, other) = load(dir)?;
        let other = judge(options, &other, true)?;
        outcome.beside.insert(other_id, Beside::whole(&other));
    }
    let compared = match &options.compare {
        None => None,
        Some(dir) => {
            let (other_id, other) = load(dir)?;
            let other = judge(options, &other, true)?;
            Some(verdict::decide(&outcome, other_id, &other))
        }
    };
    let report = RecommenderReport::new(options, id, outcome, compared);
    if let Some(path) = &options.html {
        html::write(path, &report)?;
    }
    Ok(report)
}

fn judge(
    options: &RecommenderOptions,
    bundle: &Arc<RecommenderBundle>,
    alone: bool,
) -> Result<Outcome, EvalError> {
    let items: Interner = bundle.items().iter().map(String::as_str).collect();
    let mut log = EventLog::load_with(
        &options.events,
        &options.columns.columns(),
        options.columns.clock(),
        Interner::default(),
        items,
    )?;
    match options.protocol {
        Protocol::Live => {
            let known = options
                .availability
                .as_ref()
                .map(|path| Availability::load(path, &options.columns.columns(), &mut log.items))
                .transpose()?;
            live::judge(options, bundle, &log, known.as_ref(), alone)
        }
        Protocol::LeaveOut | Protocol::Ranking => catalogue::judge(options, bundle, &mut log),
    }
}

/// Loads a bundle and its `name@version`.
fn load(dir: &Path) -> Result<(String, Arc<RecommenderBundle>), EvalError> {
    let missing = |hint: String| EvalError::Model {
        wanted: dir.display().to_string(),
        hint,
    };
    let bundle = RecommenderBundle::load(dir).map_err(|error| missing(error.to_string()))?;
    let text = std::fs::read_to_string(dir.join(MANIFEST_FILE))
        .map_err(|error| missing(error.to_string()))?;
    let manifest = Manifest::from_toml(&text, &dir.display().to_string())
        .map_err(|error| missing(error.to_string()))?;
    let id = format!("{}@{}", manifest.name, manifest.version);
    Ok((id, Arc::new(bundle)))
}

#[cfg(test)]
mod tests;
