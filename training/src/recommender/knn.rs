//! Item neighbourhoods by cosine.

use novastream_models::recommender::{ItemKnn, SparseRows};
use rayon::prelude::*;

use super::FitError;
use super::matrix::Matrix;

/// Unchecked settings of item neighbourhoods.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct KnnParams {
    /// Neighbours kept for each item, above 0.
    pub neighbours: usize,
    /// Added to the denominator of the cosine, 0 or more: trust in few common users.
    pub shrink: f32,
}

impl Default for KnnParams {
    fn default() -> Self {
        Self {
            neighbours: 100,
            shrink: 10.0,
        }
    }
}

/// Settings that were checked.
#[derive(Clone, Copy, Debug)]
pub struct ValidKnnParams(KnnParams);

impl KnnParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidKnnParams, FitError> {
        if self.neighbours == 0 {
            return Err(FitError::Params("kNN: neighbours must be above 0"));
        }
        if !(self.shrink.is_finite() && self.shrink >= 0.0) {
            return Err(FitError::Params("kNN: shrink must be 0 or more"));
        }
        Ok(ValidKnnParams(self))
    }
}

impl ValidKnnParams {
    /// Fits the neighbourhoods; memory is `items · neighbours`.
    pub fn fit(&self, matrix: &Matrix) -> Result<ItemKnn, FitError> {
        let items = matrix.width();
        let by_item = matrix.transpose();
        let norms: Vec<f32> = (0..items)
            .map(|item| {
                let (_, weights) = by_item.row(item);
                weights
                    .iter()
                    .map(|weight| weight * weight)
                    .sum::<f32>()
                    .sqrt()
            })
            .collect();
        let rows: Vec<Vec<(u32, f32)>> = (0..items)
            .into_par_iter()
            .map_init(
                || (vec![0.0_f32; items], Vec::new()),
                |(sums, touched), item| {
                    let (users, weights) = by_item.row(item);
                    for (user, weight) in users.iter().zip(weights) {
                        let (others, values) = matrix.row(*user as usize);
                        for (other, value) in others.iter().zip(values) {
                            let sum = &mut sums[*other as usize];
                            if *sum == 0.0 {
                                touched.push(*other);
                            }
                            *sum += weight * value;
                        }
                    }
                    touched.sort_unstable();
                    let mut row: Vec<(u32, f32)> = Vec::with_capacity(touched.len());
                    for other in touched.drain(..) {
                        let sum = std::mem::take(&mut sums[other as usize]);
                        if other as usize != item {
                            let norm = norms[item] * norms[other as usize] + self.0.shrink;
                            row.push((other, sum / norm));
                        }
                    }
                    strongest(row, self.0.neighbours)
                },
            )
            .collect();
        let neighbours = SparseRows::from_rows(items, rows).ok_or(FitError::Memory { items })?;
        Ok(ItemKnn { neighbours })
    }
}

/// The entries of largest size, by column; ties keep the lower columns.
pub(super) fn strongest(mut entries: Vec<(u32, f32)>, keep: usize) -> Vec<(u32, f32)> {
    let larger =
        |a: &(u32, f32), b: &(u32, f32)| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0));
    if entries.len() > keep {
        if keep > 0 {
            entries.select_nth_unstable_by(keep - 1, larger);
        }
        entries.truncate(keep);
    }
    entries.sort_unstable_by_key(|(column, _)| *column);
    entries
}
