//! The fast tier: the linear model with its heads resolved to categories.

use std::cell::RefCell;

use novastream_features::text::{NgramHasher, Normalized};
use novastream_models::linear::LinearChatModel;

use super::Scores;
use crate::category::Category;

thread_local! {
    /// Feature and score buffers, so that a message costs no allocation once a thread is warm.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { features: Vec::new(), scores: Vec::new() }) };
}

struct Scratch {
    features: Vec<(u32, f32)>,
    scores: Vec<f32>,
}

/// A loaded linear model.
pub(crate) struct FastChat {
    model: LinearChatModel,
    hasher: NgramHasher,
    /// For each head, its category; `None` for heads that the taxonomy does not know.
    heads: Vec<Option<Category>>,
    id: String,
}

impl FastChat {
    /// `id` is `name@version`.
    pub(crate) fn new(model: LinearChatModel, id: String) -> Self {
        let heads = super::categories(model.heads().iter().map(|head| head.name.as_str()), &id);
        Self {
            hasher: NgramHasher::with_set(model.hash_bits(), model.ngram_set()),
            model,
            heads,
            id,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn categories(&self) -> impl Iterator<Item = Category> {
        self.heads.iter().copied().flatten()
    }

    /// Calibrated scores per category, 0 to 1; 0.5 is the shipped threshold.
    pub(crate) fn score(&self, raw: &str, normalized: &Normalized) -> Scores {
        SCRATCH.with_borrow_mut(|Scratch { features, scores }| {
            self.hasher.features(raw, normalized, features);
            self.model.score(features, scores);
            self.heads
                .iter()
                .zip(scores)
                .filter_map(|(c, s)| c.map(|c| (c, super::sound(*s))))
                .collect()
        })
    }
}
