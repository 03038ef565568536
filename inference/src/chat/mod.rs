//! Chat models: a fast linear tier for every message, an encoder for those it is unsure about.

mod fast;
mod full;
mod load;
mod packed;
mod scorer;
mod session;

use std::collections::BTreeSet;
use std::sync::Arc;

use novastream_features::text::Normalized;

pub use self::scorer::{ChatScorer, ChatScorerError};
pub(crate) use self::{
    fast::FastChat,
    full::{FullChat, FullInput},
    load::{Encoder, EncoderParts, load_encoder},
    session::serve_chat,
};
use crate::{backend::BackendError, category::Category};

/// Calibrated scores per category, 0 to 1; 0.5 is the shipped threshold.
pub(crate) type Scores = Vec<(Category, f32)>;

/// How far a message goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChatTier {
    /// The linear model alone.
    Fast,
    /// The encoder on every message.
    Full,
    /// The encoder where the linear model is unsure.
    #[default]
    Cascade,
}

/// One message with what was said before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChatInput<'a> {
    pub raw: &'a str,
    pub normalized: &'a Normalized,
    /// Messages before it, oldest first.
    pub previous: &'a [&'a str],
}

/// A message's scores and the model that made them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ChatScores {
    pub scores: Scores,
    /// Whether the encoder made them.
    pub full: bool,
}

/// Both tiers.
pub(crate) struct ChatModel {
    fast: Arc<FastChat>,
    full: Option<Arc<FullChat>>,
}

impl ChatModel {
    pub(crate) fn new(fast: Arc<FastChat>, full: Option<Arc<FullChat>>) -> Self {
        Self { fast, full }
    }

    /// The fast tier.
    pub(crate) fn fast(&self) -> Arc<FastChat> {
        Arc::clone(&self.fast)
    }

    /// Name of the model that made a message's scores.
    pub(crate) fn id(&self, scores: &ChatScores) -> &str {
        match &self.full {
            Some(full) if scores.full => full.id(),
            _ => self.fast.id(),
        }
    }

    /// What a message is scored for: the fast tier's heads. An encoder's further heads would be
    /// there for some messages only.
    pub(crate) fn categories(&self) -> BTreeSet<Category> {
        self.fast.categories().collect()
    }

    /// Scores messages, in order. Every answer has the same categories, whichever tier made it.
    ///
    /// # Errors
    /// [`BackendError`]: the encoder failed.
    pub(crate) fn score(
        &self,
        inputs: &[ChatInput<'_>],
        tier: ChatTier,
    ) -> Result<Vec<ChatScores>, BackendError> {
        let mut out: Vec<ChatScores> = inputs
            .iter()
            .map(|input| ChatScores {
                scores: self.fast.score(input.raw, input.normalized),
                full: false,
            })
            .collect();
        let Some(full) = self.full.as_ref().filter(|_| tier != ChatTier::Fast) else {
            return Ok(out);
        };
        let route = &full.description().route;
        let mut chosen = Vec::new();
        for (at, (input, scored)) in inputs.iter().zip(&mut out).enumerate() {
            let known = full.route_inputs(input, &scored.scores);
            if tier == ChatTier::Full || route.goes_on(&known) {
                chosen.push(at);
            } else if let Some(moved) = route.stays_at(&known) {
                let overall = scored.scores.iter_mut();
                for (_, score) in overall.filter(|(c, _)| *c == Category::Toxicity) {
                    *score = sound(moved);
                }
            }
        }
        let full_inputs: Vec<FullInput<'_>> = chosen
            .iter()
            .map(|at| FullInput {
                raw: inputs[*at].raw,
                normalized: inputs[*at].normalized,
                previous: inputs[*at].previous,
                fast: &out[*at].scores,
            })
            .collect();
        let scored = full.score(&full_inputs)?;
        for (at, scores) in chosen.into_iter().zip(scored) {
            let of = &mut out[at];
            of.full = true;
            for (category, score) in &mut of.scores {
                if let Some((_, better)) = scores.iter().find(|(c, _)| c == category) {
                    *score = *better;
                }
            }
        }
        Ok(out)
    }
}

/// Categories by head name; `None` for heads that the taxonomy does not know.
fn categories<'a>(names: impl Iterator<Item = &'a str>, model: &str) -> Vec<Option<Category>> {
    names
        .map(|name| {
            let category = name.parse().ok();
            if category.is_none() {
                tracing::warn!(head = name, model, "head is no category; not used");
            }
            category
        })
        .collect()
}

/// A score that is no number must not pass for a calm one.
fn sound(score: f32) -> f32 {
    if score.is_finite() { score } else { 1.0 }
}
