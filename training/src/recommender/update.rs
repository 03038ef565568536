//! Today's model from yesterday's.
//!
//! What costs in a full run is choosing settings and learning the ranker; neither changes from
//! one day to the next. An update takes both from the earlier model, fits EASE anew on all events
//! (its Gram matrix and Cholesky factor take seconds, and an exact solution can't drift), and
//! continues matrix factorisation from the earlier vectors with a few passes.

use std::path::Path;

use novastream_datasets::events::{Event, EventLog};
use novastream_models::recommender::{Factors, Ranker, RecommenderBundle};

use super::RecommenderTrainError;
use super::ranker::item_vectors;
use super::search::Settings;

/// File of a bundle that keeps the settings for the next update.
pub const TRAINING_FILE: &str = "training.json";

/// Passes of matrix factorisation that continue from earlier vectors.
const PASSES: usize = 2;

/// The settings that the run in `dir` took.
pub fn settings_of(dir: &Path) -> Result<Settings, RecommenderTrainError> {
    let path = dir.join(TRAINING_FILE);
    let text = std::fs::read(&path).map_err(|source| RecommenderTrainError::Io {
        path: path.clone(),
        source,
    })?;
    Ok(serde_json::from_slice(&text)?)
}

/// An earlier model and the settings it was made with.
#[derive(Debug)]
pub struct Previous {
    /// The model.
    pub bundle: RecommenderBundle,
    /// Its settings.
    pub settings: Settings,
}

impl Previous {
    /// Loads the run in `dir`; every file that the model needs is verified.
    pub fn load(dir: &Path) -> Result<Self, RecommenderTrainError> {
        let bundle = RecommenderBundle::load(dir)?;
        let mut settings = settings_of(dir)?;
        settings.factors.passes = settings.factors.passes.min(PASSES);
        Ok(Self { bundle, settings })
    }

    /// The earlier ranker. Its trees stay; the item vectors that users are compared by are today's,
    /// so that new items have a place and numbers that moved do no harm.
    pub fn ranker(&self, events: &[Event], log: &EventLog, seed: u64) -> Option<Ranker> {
        let mut ranker = self.bundle.ranker.clone()?;
        let (users, items) = (log.users.len(), log.items.len());
        ranker.item_vectors = item_vectors(events, users, items, ranker.dims, seed);
        Some(ranker)
    }

    /// The earlier item vectors in today's numbering, zeros for items that are new; `None`
    /// without matrix factorisation.
    pub fn vectors(&self, log: &EventLog) -> Option<Factors> {
        let old = self.bundle.base.factors.as_ref()?;
        let dims = old.dims();
        let mut vectors = vec![0.0; log.items.len() * dims];
        for (slot, name) in vectors.chunks_exact_mut(dims).zip(log.items.names()) {
            let number = self.bundle.item_number(name);
            if let Some(vector) = number.and_then(|number| old.item(number)) {
                slot.copy_from_slice(vector);
            }
        }
        let [unobserved, regularisation, exponent] = old.settings();
        Factors::new(dims, vectors, unobserved, regularisation, exponent)
    }
}
