//! What a recommender model is.
//!
//! Base models score items from a history of (item, weight) pairs ([`Scorer`]): [`Ease`],
//! [`Factors`], [`ItemKnn`], [`Popularity`], joined by a [`Blend`]. Over them, a
//! [`Ranker`] orders what is live. How events become weights is
//! part of the model ([`Weighting`]), so training and serving can't differ. A
//! [`RecommenderBundle`] is the folder that all of it ships in.

mod blend;
mod bundle;
mod content;
mod ease;
mod error;
mod factor_index;
mod factors;
mod knn;
mod logit;
mod popularity;
mod ranker;
mod segments;
mod sequence;
mod sparse;
mod tensors;
mod top;
mod tree_tests;
mod trees;
mod weighting;

pub use blend::{Blend, BlendPart, ScorerKind};
pub use bundle::{
    BaseModels, GROUPS_FILE, ITEMS_FILE, ItemGroups, RANKER_FILE, RANKER_SETTINGS_FILE,
    RecommenderBundle, RecommenderConfig, SETTINGS_FILE, TERMS_FILE, WEIGHTS_FILE,
};
pub use content::{Content, TermVector};
pub use ease::Ease;
pub use error::RecommenderError;
pub use factor_index::FactorIndex;
pub use factors::Factors;
pub use knn::ItemKnn;
pub use logit::{Logit, LogitColumn, REACH};
pub use popularity::Popularity;
pub use ranker::{Ranker, RankerScore};
pub use segments::Segments;
pub use sequence::{Axis, SEQUENCE_ARRAYS, SEQUENCE_EPSILON, Sequence};
pub use sparse::SparseRows;
pub use tensors::TensorFile;
pub use top::top_n;
pub use trees::{TreeNode, Trees};
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

    /// Scores all items into `out`, which is [`Scorer::items`] long.
    fn score_all(&self, history: &[(u32, f32)], out: &mut [f32]) {
        let all: Vec<u32> = (0..self.items() as u32).collect();
        self.score(history, &all, out);
    }
}

#[cfg(test)]
mod tests;
