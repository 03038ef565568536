//! Learning to order live lists.
//!
//! The past before the end of training is replayed through [`History`] in several stretches. The
//! base model of each stretch knows only what came before it, as it will be when the ranker
//! serves. Each event of a stretch is one list with one chosen candidate ([`sample`]); from the
//! lists a conditional logit ([`logit`]) and boosted trees ([`boost`]) learn to put it first.

mod bins;
mod boost;
mod grow;
mod lists;
mod logit;
mod sample;
mod vectors;

use novastream_datasets::events::{Availability, Clock, Event};
use novastream_features::interactions::{FEATURES, FeatureNames, HourClock};
use novastream_models::recommender::{BaseModels, Ranker, Trees};
use rayon::prelude::*;

use super::{FitError, RecommenderTrainError};

pub use boost::{BoostParams, ValidBoostParams};
pub use lists::Lists;
pub use logit::{LogitParams, ValidLogitParams};
pub use sample::{SampleParams, interaction};
pub use vectors::item_vectors;

/// Fits the base models on events, all before the given time.
pub type FitBase<'a> = dyn Fn(&[Event], i64) -> Result<BaseModels, FitError> + Sync + 'a;

/// What the ranker learns from.
pub struct RankerInput<'a> {
    /// Events before `until`, in the order of time.
    pub events: &'a [Event],
    /// Users are numbers below this.
    pub users: usize,
    /// Items are numbers below this.
    pub items: usize,
    /// What a step of time is.
    pub clock: Clock,
    /// End of training.
    pub until: i64,
    /// What was live when, where known.
    pub availability: Option<&'a Availability>,
    /// How base models are fitted.
    pub fit_base: &'a FitBase<'a>,
    /// Beginnings of the names of features that are left out, to see what they are worth.
    pub without: &'a [String],
    /// Seed of everything random.
    pub seed: u64,
}

/// Settings of the ranker.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RankerParams {
    /// How lists are made.
    pub sample: SampleParams,
    /// Boosted trees.
    pub boost: BoostParams,
    /// Conditional logit.
    pub logit: LogitParams,
    /// Length of the item vectors, at least 1.
    pub dims: usize,
    /// Fewer lists than this make no trees, and a tenth of it no ranker.
    pub min_lists: usize,
}

impl Default for RankerParams {
    fn default() -> Self {
        Self {
            sample: SampleParams::default(),
            boost: BoostParams::default(),
            logit: LogitParams::default(),
            dims: 32,
            min_lists: 500,
        }
    }
}

/// What was learned from how much.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RankerFit {
    /// The model.
    #[serde(skip)]
    pub ranker: Ranker,
    /// Lists learned from.
    pub lists: usize,
    /// Rows in them.
    pub rows: usize,
    /// Trees that were kept.
    pub trees: usize,
    /// Mean loss of the trees on users held out: −ln of the chance given to the choice.
    pub held_out_loss: Option<f32>,
}

impl RankerParams {
    /// Learns. `None` where time is only an order, or there is too little to learn from.
    pub fn fit(&self, input: &RankerInput<'_>) -> Result<Option<RankerFit>, RecommenderTrainError> {
        if self.dims == 0 {
            return Err(FitError::Params("ranker: dims must be at least 1").into());
        }
        let (boost, logit) = (self.boost.check()?, self.logit.check()?);
        let Some(step_seconds) = input.clock.seconds() else {
            return Ok(None);
        };
        let Some(clock) = HourClock::new(step_seconds) else {
            return Ok(None);
        };
        let stretches = self.sample.stretches(input.events, input.until);
        let parts: Vec<Lists> = stretches
            .into_par_iter()
            .map(|stretch| self.sample.lists(input, clock, self.dims, stretch))
            .collect::<Result<_, _>>()?;
        let mut lists = Lists::default();
        for part in parts {
            lists.append(part);
        }
        if lists.len() < self.min_lists / 10 {
            return Ok(None);
        }
        let usable =
            FEATURES.map(|name| !input.without.iter().any(|start| name.starts_with(start)));
        let logit = logit.fit(&lists, &usable);
        let (trees, held_out_loss) = if lists.len() >= self.min_lists {
            boost.fit(&lists, &usable, input.seed)
        } else {
            (Trees::default(), None)
        };
        let ranker = Ranker {
            features: FeatureNames::current().into_vec(),
            step_seconds,
            dims: self.dims,
            item_vectors: item_vectors(
                input.events,
                input.users,
                input.items,
                self.dims,
                input.seed,
            ),
            logit,
            trees,
        };
        Ok(Some(RankerFit {
            lists: lists.len(),
            rows: lists.rows(),
            trees: ranker.trees.len(),
            held_out_loss,
            ranker,
        }))
    }
}

#[cfg(test)]
mod tests;
