//! The linear chat model with its heads resolved to categories.

use std::{cell::RefCell, collections::BTreeSet};

use novastream_features::text::{NgramHasher, Normalized};
use novastream_models::linear::LinearChatModel;

use crate::category::Category;

thread_local! {
    /// Feature and score buffers, so that a message costs no allocation once a thread is warm.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { features: Vec::new(), scores: Vec::new() }) };
}

struct Scratch {
    features: Vec<(u32, f32)>,
    scores: Vec<f32>,
}

/// A loaded chat model.
pub(crate) struct ChatModel {
    model: LinearChatModel,
    hasher: NgramHasher,
    /// For each head, its category; `None` for heads that the taxonomy does not know.
    heads: Vec<Option<Category>>,
    id: String,
}

impl ChatModel {
    /// `id` is `name@version`.
    pub(crate) fn new(model: LinearChatModel, id: String) -> Self {
        let heads = model
            .heads()
            .iter()
            .map(|head| {
                let category = head.name.parse().ok();
                if category.is_none() {
                    tracing::warn!(head = %head.name, model = %id, "head is no category; not used");
                }
                category
            })
            .collect();
        Self {
            hasher: NgramHasher::new(model.hash_bits()),
            model,
            heads,
            id,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn categories(&self) -> BTreeSet<Category> {
        self.heads.iter().copied().flatten().collect()
    }

    /// Calibrated scores per category, 0 to 1; 0.5 is the shipped threshold.
    pub(crate) fn score(&self, raw: &str, normalized: &Normalized) -> Vec<(Category, f32)> {
        SCRATCH.with_borrow_mut(|Scratch { features, scores }| {
            self.hasher.features(raw, normalized, features);
            self.model.score(features, scores);
            self.heads
                .iter()
                .zip(scores)
                // A score that is no number must not pass for a calm one.
                .filter_map(|(c, s)| c.map(|c| (c, if s.is_finite() { *s } else { 1.0 })))
                .collect()
        })
    }
}
