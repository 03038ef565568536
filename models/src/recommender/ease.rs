//! EASE: a linear item-to-item model with a closed form.
//!
//! H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.

use super::{Scorer, SparseRows};

/// Item-to-item weights with a zero diagonal: score(i) = Σ_j weight(j) · B\[j, i\].
#[derive(Clone, Debug, PartialEq)]
pub enum Ease {
    /// All weights, row after row.
    Dense {
        /// Number of items `n`.
        items: usize,
        /// `n × n` weights, row `j` first: what item `j` says about each item.
        weights: Vec<f32>,
    },
    /// Only the weights that matter: less memory, and faster for whole-catalogue lists.
    Sparse(SparseRows),
}

impl Ease {
    /// Adds the scores of all items to `sums`, which must be at least as long as the catalogue.
    pub fn add_all(&self, history: &[(u32, f32)], sums: &mut [f32]) {
        match self {
            Self::Dense { items, weights } => {
                let sums = &mut sums[..*items];
                for &(item, weight) in history {
                    let from = item as usize * items;
                    if let Some(row) = weights.get(from..from + items) {
                        for (sum, value) in sums.iter_mut().zip(row) {
                            *sum += weight * value;
                        }
                    }
                }
            }
            Self::Sparse(rows) => rows.add_rows(history, sums),
        }
    }
}

impl Scorer for Ease {
    fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        match self {
            Self::Dense { items, weights } => {
                out.fill(0.0);
                for &(item, weight) in history {
                    let from = item as usize * items;
                    let Some(row) = weights.get(from..from + items) else {
                        continue;
                    };
                    for (score, candidate) in out.iter_mut().zip(candidates) {
                        *score += weight * row.get(*candidate as usize).copied().unwrap_or(0.0);
                    }
                }
            }
            Self::Sparse(rows) => rows.score(history, candidates, out),
        }
    }

    fn items(&self) -> usize {
        match self {
            Self::Dense { items, .. } => *items,
            Self::Sparse(rows) => rows.width(),
        }
    }

    fn score_all(&self, history: &[(u32, f32)], out: &mut [f32]) {
        out.fill(0.0);
        self.add_all(history, out);
    }
}
