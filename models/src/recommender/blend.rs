//! Several scorers as one.

use serde::{Deserialize, Serialize};

/// A base model by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerKind {
    /// [`super::Ease`].
    Ease,
    /// [`super::Factors`].
    Factors,
    /// [`super::ItemKnn`].
    ItemKnn,
    /// [`super::Popularity`].
    Popularity,
}

/// One scorer's part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlendPart {
    /// Which scorer.
    pub kind: ScorerKind,
    /// Its scores are multiplied by this before they are summed; it holds the scale of the
    /// scores and the trust in them.
    pub factor: f32,
}

/// A weighted sum of scorers, chosen on data held out from training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blend {
    /// Parts with factors above 0.
    pub parts: Vec<BlendPart>,
}
