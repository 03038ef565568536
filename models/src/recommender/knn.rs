//! Item neighbourhoods.

use super::{Scorer, SparseRows};

/// Each item's nearest items by cosine over users; a history adds its items' neighbourhoods.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemKnn {
    /// Row `j`: the items that `j` speaks for, with similarities in 0..=1.
    pub neighbours: SparseRows,
}

impl Scorer for ItemKnn {
    fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        self.neighbours.score(history, candidates, out);
    }

    fn items(&self) -> usize {
        self.neighbours.width()
    }

    fn score_all(&self, history: &[(u32, f32)], out: &mut [f32]) {
        out.fill(0.0);
        self.neighbours.add_rows(history, out);
    }
}
