//! What a recommender model is.
//!
//! Base models score items from a history of (item, weight) pairs ([`Scorer`]): [`Ease`],
//! [`Factors`], [`ItemKnn`], [`Popularity`], joined by a [`Blend`]. How events become weights is
//! part of the model ([`Weighting`]), so training and serving can't differ. A
//! [`RecommenderBundle`] is the folder that all of it ships in.

mod blend;
mod bundle;
mod ease;
mod error;
mod factors;
mod knn;
mod popularity;
mod sparse;
mod tensors;
mod top;
mod weighting;

pub use blend::{Blend, BlendPart, ScorerKind};
pub use bundle::{
    BaseModels, ITEMS_FILE, RecommenderBundle, RecommenderConfig, SETTINGS_FILE, WEIGHTS_FILE,
};
pub use ease::Ease;
pub use error::RecommenderError;
pub use factors::Factors;
pub use knn::ItemKnn;
pub use popularity::Popularity;
pub use sparse::SparseRows;
pub use tensors::TensorFile;
pub use top::top_n;
pub use weighting::{CountScale, Past, Weighting};

/// A model that scores items for a user by what the user took before.
pub trait Scorer: Send + Sync {
    /// Scores `candidates` into `out`, which is as long; a higher score is a better match, and
    /// only the order within one call means anything.
    ///
    /// The history holds each item once, with its weight from [`Weighting::apply`]. Items that
    /// the model does not know are left out of the history and score 0 as candidates.
    fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]);

    /// How many items the model knows: numbers below this.
    fn items(&self) -> usize;
}

#[cfg(test)]
mod tests;
