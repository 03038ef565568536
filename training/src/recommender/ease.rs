//! Fitting EASE.
//!
//! B = I − P · diag(1 / diag P) with P = (XᵀUX + Λ)⁻¹ (H. Steck, WWW 2019). Two things are ours
//! to set: users may weigh less the more they took (`U`), and the ridge Λ may grow with an item's
//! count, which is Steck's denoising view (NeurIPS 2020) with a power between "the same for all"
//! and "in proportion".

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::prelude::{Reborrow, ReborrowMut};
use faer::{MatMut, Par};
use novastream_models::recommender::{Ease, SparseRows};
use rayon::prelude::*;

use super::FitError;
use super::knn::strongest;
use super::matrix::Matrix;

/// Unchecked settings of EASE.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EaseParams {
    /// Ridge at an item of average count, above 0.
    pub lambda: f32,
    /// The ridge of an item is λ · (count / average count)^exponent; 0..=1, 0 is plain EASE.
    pub exponent: f32,
    /// A user's row is scaled by (entries / average entries)^(−damping / 2); 0..=1, 0 for none.
    pub damping: f32,
}

impl Default for EaseParams {
    fn default() -> Self {
        Self {
            lambda: 200.0,
            exponent: 0.25,
            damping: 0.25,
        }
    }
}

/// Settings of EASE that were checked.
#[derive(Clone, Copy, Debug)]
pub struct ValidEaseParams(EaseParams);

impl EaseParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidEaseParams, FitError> {
        if !(self.lambda.is_finite() && self.lambda > 0.0) {
            return Err(FitError::Params("EASE: lambda must be above 0"));
        }
        if !(0.0..=1.0).contains(&self.exponent) {
            return Err(FitError::Params("EASE: exponent must be within 0..=1"));
        }
        if !(0.0..=1.0).contains(&self.damping) {
            return Err(FitError::Params("EASE: damping must be within 0..=1"));
        }
        Ok(ValidEaseParams(self))
    }
}

impl ValidEaseParams {
    /// Fits the model over the `head` most taken items (all, if there are no more): memory is
    /// three times `head²` numbers. Items outside the head are as if unknown.
    pub fn fit_head(&self, matrix: &Matrix, head: usize, keep: usize) -> Result<Ease, FitError> {
        let items = matrix.width();
        if items <= head {
            return self.fit(matrix);
        }
        let counts = matrix.column_counts();
        let mut order: Vec<u32> = (0..items as u32).collect();
        order.sort_by_key(|item| (std::cmp::Reverse(counts[*item as usize]), *item));
        order.truncate(head);
        order.sort_unstable();
        let mut number = vec![None; items];
        for (new, old) in (0..).zip(&order) {
            number[*old as usize] = Some(new);
        }
        let model = self.fit(&matrix.select(&number, head))?;
        let Ease::Sparse(rows) = sparsify(model, keep) else {
            return Err(FitError::Memory { items });
        };
        let full = (0..items).map(|item| {
            let Some(row) = number[item] else {
                return Vec::new();
            };
            let (columns, values) = rows.row(row as usize);
            let old = columns.iter().map(|column| order[*column as usize]);
            old.zip(values.iter().copied()).collect()
        });
        let rows = SparseRows::from_rows(items, full).ok_or(FitError::Memory { items })?;
        Ok(Ease::Sparse(rows))
    }

    /// Fits the dense model: three times `items²` numbers of memory.
    pub fn fit(&self, matrix: &Matrix) -> Result<Ease, FitError> {
        let items = matrix.width();
        let gram = gram(matrix, self.0.damping);
        let weights = solve(gram, &self.ridge(matrix), items)?;
        Ok(Ease::Dense { items, weights })
    }

    /// The ridge of every item.
    fn ridge(&self, matrix: &Matrix) -> Vec<f32> {
        let counts = matrix.column_counts();
        let seen = counts.iter().filter(|count| **count > 0).count().max(1);
        let average = matrix.entries() as f32 / seen as f32;
        let ridge = |count: u32| {
            let share = (count.max(1) as f32 / average.max(1.0)).powf(self.0.exponent);
            self.0.lambda * share
        };
        counts.into_iter().map(ridge).collect()
    }
}

/// The upper triangle of XᵀUX, row by row: one row's sums stay in the first-level cache while
/// the rows of the item's users stream by. Each row is summed in a fixed order, so the result
/// does not depend on the number of threads.
fn gram(matrix: &Matrix, damping: f32) -> Vec<f32> {
    let items = matrix.width();
    let by_item = matrix.transpose();
    let average = matrix.entries() as f32 / matrix.height().max(1) as f32;
    let trust: Vec<f32> = (0..matrix.height())
        .map(|user| {
            let entries = matrix.row(user).0.len().max(1) as f32;
            (entries / average.max(1.0)).powf(-damping)
        })
        .collect();
    let mut gram = vec![0.0_f32; items * items];
    gram.par_chunks_mut(items.max(1))
        .enumerate()
        .for_each(|(item, row)| {
            let (users, weights) = by_item.row(item);
            for (user, weight) in users.iter().zip(weights) {
                let (others, values) = matrix.row(*user as usize);
                let scale = weight * trust[*user as usize];
                // Columns ascend: from the back, everything up to the item itself.
                for (other, value) in others.iter().zip(values).rev() {
                    if (*other as usize) < item {
                        break;
                    }
                    row[*other as usize] += scale * value;
                }
            }
        });
    gram
}

/// Inverts the ridged Gram matrix by Cholesky and reads B off the inverse.
fn solve(mut gram: Vec<f32>, ridge: &[f32], items: usize) -> Result<Vec<f32>, FitError> {
    for (item, ridge) in ridge.iter().enumerate() {
        gram[item * items + item] += ridge;
    }
    let par = if items < 256 { Par::Seq } else { Par::rayon(0) };
    let need = llt::factor::cholesky_in_place_scratch::<f32>(items, par, faer::Spec::default())
        .or(llt::inverse::inverse_scratch::<f32>(items, par));
    let mut memory = MemBuffer::try_new(need).map_err(|_| FitError::Memory { items })?;
    let stack = MemStack::new(&mut memory);
    let mut inverse = vec![0.0_f32; items * items];
    {
        // faer works down columns: an upper triangle by rows is a lower one by columns.
        let mut factor = MatMut::from_column_major_slice_mut(&mut gram, items, items);
        llt::factor::cholesky_in_place(
            factor.rb_mut(),
            llt::factor::LltRegularization::default(),
            par,
            stack,
            faer::Spec::default(),
        )
        .map_err(|_| FitError::Singular)?;
        let out = MatMut::from_column_major_slice_mut(&mut inverse, items, items);
        llt::inverse::inverse(out, factor.rb(), par, stack);
    }
    drop(memory);
    let scale: Vec<f32> = (0..items)
        .map(|item| -1.0 / inverse[item * items + item])
        .collect();
    if !scale.iter().all(|value| value.is_finite()) {
        return Err(FitError::Singular);
    }
    // B[j, i] = −P[j, i] / P[i, i]; only the upper triangle of P is there.
    mirror(&inverse, &mut gram, items);
    drop(inverse);
    gram.par_chunks_mut(items.max(1))
        .enumerate()
        .for_each(|(item, row)| {
            for (value, scale) in row.iter_mut().zip(&scale) {
                *value *= scale;
            }
            row[item] = 0.0;
        });
    Ok(gram)
}

/// Writes the symmetric matrix of an upper triangle, tile by tile so that neither side leaves the
/// cache.
fn mirror(upper: &[f32], full: &mut [f32], size: usize) {
    const TILE: usize = 32;
    full.par_chunks_mut((TILE * size).max(1))
        .enumerate()
        .for_each(|(tile, rows)| {
            let top = tile * TILE;
            for left in (0..size).step_by(TILE) {
                for (offset, row) in rows.chunks_exact_mut(size).enumerate() {
                    let at = top + offset;
                    let to = (left + TILE).min(size);
                    for (column, cell) in row.iter_mut().enumerate().take(to).skip(left) {
                        *cell = if column >= at {
                            upper[at * size + column]
                        } else {
                            upper[column * size + at]
                        };
                    }
                }
            }
        });
}

/// Keeps the `keep` weights of largest size in each row.
pub fn sparsify(ease: Ease, keep: usize) -> Ease {
    let Ease::Dense { items, weights } = &ease else {
        return ease;
    };
    let rows: Vec<Vec<(u32, f32)>> = weights
        .par_chunks(*items.max(&1))
        .map(|row| {
            let entries = (0..).zip(row.iter().copied());
            strongest(entries.filter(|(_, value)| *value != 0.0).collect(), keep)
        })
        .collect();
    match SparseRows::from_rows(*items, rows) {
        Some(rows) => Ease::Sparse(rows),
        None => ease,
    }
}

#[cfg(test)]
mod tests {
    use novastream_datasets::events::Event;
    use novastream_models::recommender::{Scorer, Weighting};

    use super::*;

    fn matrix() -> Matrix {
        let taken = [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 2),
            (3, 3),
            (3, 1),
        ];
        let events: Vec<Event> = taken
            .iter()
            .map(|(user, item)| Event {
                user: *user,
                item: *item,
                time: 0,
                weight: 1.0,
                group: None,
            })
            .collect();
        Matrix::from_events(&events, 4, 4, &Weighting::default(), 1)
    }

    #[test]
    fn recommender_ease_matches_the_closed_form() {
        let params = EaseParams {
            lambda: 2.0,
            exponent: 0.0,
            damping: 0.0,
        };
        let model = params.check().expect("valid").fit(&matrix()).expect("fits");
        let Ease::Dense { items, weights } = &model else {
            panic!("dense");
        };
        // (G + 2I) B must equal G + 2I off the diagonal of its own scaling: each column i of
        // (G + 2I)(I - B) is a multiple of the unit vector i.
        let gram = [
            [2.0, 2.0, 1.0, 0.0],
            [2.0, 3.0, 1.0, 1.0],
            [1.0, 1.0, 2.0, 0.0],
            [0.0, 1.0, 0.0, 1.0],
        ];
        for column in 0..*items {
            for (row, gram) in gram.iter().enumerate() {
                let mut sum = 0.0_f32;
                for (k, g) in gram.iter().enumerate() {
                    let g = g + if row == k { 2.0 } else { 0.0 };
                    let b = weights[k * items + column];
                    sum += g * (if k == column { 1.0 } else { 0.0 } - b);
                }
                let off = row != column;
                assert!(!off || sum.abs() < 1e-5, "{row} {column} {sum}");
            }
            assert_eq!(weights[column * items + column], 0.0);
        }
        let sparse = sparsify(model.clone(), 2);
        let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
        model.score(&[(3, 1.0)], &[0, 1, 2, 3], &mut a);
        sparse.score(&[(3, 1.0)], &[0, 1, 2, 3], &mut b);
        assert_eq!(a[1], b[1]);
    }

    #[test]
    fn recommender_ease_does_not_depend_on_threads() {
        let fit = || {
            let params = EaseParams::default().check().expect("valid");
            params.fit(&matrix()).expect("fits")
        };
        let pool = |threads| {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            builder.build().expect("pool")
        };
        assert_eq!(pool(1).install(fit), pool(3).install(fit));
    }

    #[test]
    fn recommender_wrong_settings_do_not_reach_fit() {
        let bad = [
            EaseParams {
                lambda: 0.0,
                ..EaseParams::default()
            },
            EaseParams {
                exponent: f32::NAN,
                ..EaseParams::default()
            },
            EaseParams {
                damping: 2.0,
                ..EaseParams::default()
            },
        ];
        for params in bad {
            assert_eq!(params.check().expect_err("refused").code(), "fit_params");
        }
    }
}
