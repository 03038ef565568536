//! Fitting matrix factorisation for implicit feedback.
//!
//! Alternating least squares with the objective of Y. Hu et al. (ICDM 2008) and the frequency
//! regularisation of S. Rendle et al. (RecSys 2022):
//!
//! Σ w (1 − x·y)² over what was taken + unobserved · Σ (x·y)² over all pairs
//! + regularisation · Σ frequency · |vector|² over the vectors of both sides.
//!
//! Each row's equations are improved from the last pass's solution, by one of two solvers
//! ([`Solver`]); both go downhill on this objective and meet the same minimum.
//!
//! **Which estimator for which catalogue.** EASE needs memory and time that grow with items² and
//! items³, and solves its problem exactly: catalogues up to `--ease-items` are its own, and
//! factors join where held-out events want them. Beyond, it covers the most taken items only, and
//! factors cover everything: they carry the blend ([`covers`]), their memory and time grow with the
//! number of events.

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]

use novastream_models::recommender::Factors;
use pulp::{Arch, Simd, WithSimd};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rayon::prelude::*;

use super::lanes::axpy;
use super::matrix::Matrix;
use super::{FitError, als_conjugate, als_subspace};

/// Rows handled by one task.
const CHUNK: usize = 64;

/// Whether EASE alone covers a catalogue, when it takes at most `ease_items`.
pub fn covers(items: usize, ease_items: usize) -> bool {
    items <= ease_items
}

/// How the equations of one row are improved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Three steps of conjugate gradients over the whole vector.
    Conjugate,
    /// iALS++: each block of the vector once, exactly, with the others fixed.
    #[default]
    Subspace,
}

/// Unchecked settings of matrix factorisation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AlsParams {
    /// Length of a vector, 1..=1024; rounded up to a multiple of eight.
    pub dims: usize,
    /// Regularisation per unit of a row's frequency (entries + unobserved · other side), above 0.
    pub regularisation: f32,
    /// Weight of every pair that was not taken, beside 1 for one that was; above 0.
    pub unobserved: f32,
    /// Passes over users and items, 1..=200.
    pub passes: usize,
    /// Seed of the first vectors.
    pub seed: u64,
    /// How rows are solved.
    #[serde(default)]
    pub solver: Solver,
}

impl Default for AlsParams {
    fn default() -> Self {
        Self {
            dims: 64,
            regularisation: 0.01,
            unobserved: 0.1,
            passes: 10,
            seed: 7,
            solver: Solver::default(),
        }
    }
}

/// Settings of matrix factorisation that were checked.
#[derive(Clone, Copy, Debug)]
pub struct ValidAlsParams(AlsParams);

impl AlsParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidAlsParams, FitError> {
        let positive = |value: f32| value.is_finite() && value > 0.0;
        if !(1..=1024).contains(&self.dims) {
            return Err(FitError::Params("factors: dims must be within 1..=1024"));
        }
        if !(1..=200).contains(&self.passes) {
            return Err(FitError::Params("factors: passes must be within 1..=200"));
        }
        if !positive(self.regularisation) || !positive(self.unobserved) {
            return Err(FitError::Params(
                "factors: regularisation and unobserved weight must be above 0",
            ));
        }
        Ok(ValidAlsParams(Self {
            dims: self.dims.next_multiple_of(8),
            ..self
        }))
    }
}

impl ValidAlsParams {
    /// Fits item factors; `start` continues from an earlier model's vectors, item by item, where
    /// they are not all zero.
    pub fn fit(&self, matrix: &Matrix, start: Option<&Factors>) -> Result<Factors, FitError> {
        self.fit_watched(matrix, start, |_, _| {})
    }

    /// Fits, and shows the vectors of users and items after each pass.
    fn fit_watched(
        &self,
        matrix: &Matrix,
        start: Option<&Factors>,
        mut watch: impl FnMut(&[f32], &[f32]),
    ) -> Result<Factors, FitError> {
        let params = self.0;
        let dims = params.dims;
        let mut rng = StdRng::seed_from_u64(params.seed);
        let spread = 0.1 / (dims as f32).sqrt();
        let mut items: Vec<f32> = (0..matrix.width() * dims)
            .map(|_| (rng.random::<f32>() + rng.random::<f32>() - 1.0) * spread * 2.0)
            .collect();
        if let Some(start) = start.filter(|start| start.dims() == dims) {
            for (item, known) in items
                .chunks_exact_mut(dims)
                .zip(start.vectors().chunks_exact(dims))
            {
                if known.iter().any(|value| *value != 0.0) {
                    item.copy_from_slice(known);
                }
            }
        }
        let mut users = vec![0.0; matrix.height() * dims];
        let by_item = matrix.transpose();
        for _ in 0..params.passes {
            half_pass(matrix, &items, &mut users, params);
            half_pass(&by_item, &users, &mut items, params);
            watch(&users, &items);
        }
        let exponent = 1.0;
        Factors::new(
            dims,
            items,
            params.unobserved,
            params.regularisation,
            exponent,
        )
        .ok_or(FitError::Singular)
    }
}

/// Improves one side's vectors with the other side's fixed.
fn half_pass(matrix: &Matrix, fixed: &[f32], moving: &mut [f32], params: AlsParams) {
    let dims = params.dims;
    let gram = gram(fixed, dims, params.unobserved);
    let others = matrix.width() as f32;
    moving
        .par_chunks_mut(dims * CHUNK)
        .enumerate()
        .for_each_init(
            || {
                (
                    als_conjugate::Work::new(dims),
                    als_subspace::Work::new(),
                    Arch::new(),
                )
            },
            |(conjugate, subspace, arch), (chunk, vectors)| {
                for (offset, vector) in vectors.chunks_exact_mut(dims).enumerate() {
                    let (columns, weights) = matrix.row(chunk * CHUNK + offset);
                    if columns.is_empty() {
                        vector.fill(0.0);
                        continue;
                    }
                    let frequency = columns.len() as f32 + params.unobserved * others;
                    let row = Row {
                        columns,
                        weights,
                        fixed,
                        gram: &gram,
                        ridge: params.regularisation * frequency,
                    };
                    match params.solver {
                        Solver::Conjugate => arch.dispatch(als_conjugate::Solve {
                            work: &mut *conjugate,
                            row: &row,
                            x: vector,
                        }),
                        Solver::Subspace => arch.dispatch(als_subspace::Solve {
                            work: &mut *subspace,
                            row: &row,
                            x: vector,
                        }),
                    }
                }
            },
        );
}

/// `scale · FᵀF` of row vectors, in chunks that are summed in order.
fn gram(vectors: &[f32], dims: usize, scale: f32) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = vectors
        .par_chunks(dims * 1024)
        .map(|chunk| {
            let mut part = vec![0.0; dims * dims];
            Arch::new().dispatch(Outer {
                chunk,
                dims,
                sum: &mut part,
            });
            part
        })
        .collect();
    let mut sum = vec![0.0; dims * dims];
    for part in &parts {
        for (sum, value) in sum.iter_mut().zip(part) {
            *sum += scale * value;
        }
    }
    sum
}

/// Adds the outer products of some vectors to a sum.
struct Outer<'a> {
    chunk: &'a [f32],
    dims: usize,
    sum: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for vector in self.chunk.chunks_exact(self.dims) {
            for (row, value) in self.sum.chunks_exact_mut(self.dims).zip(vector) {
                axpy(simd, *value, vector, row);
            }
        }
    }
}

/// One row's equations: (gram + ridge + Σ w v vᵀ) x = Σ w v over the fixed vectors of its entries.
pub(super) struct Row<'a> {
    pub columns: &'a [u32],
    pub weights: &'a [f32],
    pub fixed: &'a [f32],
    pub gram: &'a [f32],
    pub ridge: f32,
}

#[cfg(test)]
mod tests {
    use novastream_datasets::events::Event;
    use novastream_models::recommender::{Scorer, Weighting};

    use super::*;

    fn two_tastes() -> Matrix {
        // Users 0..10 take items 0..5, users 10..20 take items 5..10; each leaves one out.
        let mut events = Vec::new();
        for user in 0..20_u32 {
            let from = if user < 10 { 0 } else { 5 };
            for item in (from..from + 5).filter(|item| item % 5 != user % 5) {
                events.push(Event {
                    user,
                    item,
                    time: 0,
                    weight: 1.0,
                    group: None,
                });
            }
        }
        Matrix::from_events(&events, 20, 10, &Weighting::default(), 1)
    }

    #[test]
    fn recommender_factors_find_tastes_and_do_not_depend_on_threads() {
        let params = AlsParams {
            dims: 8,
            ..AlsParams::default()
        };
        let fit = || {
            let valid = params.check().expect("valid");
            valid.fit(&two_tastes(), None).expect("fits")
        };
        let pool = |threads| {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            builder.build().expect("pool")
        };
        let model = pool(1).install(fit);
        assert_eq!(model, pool(3).install(fit));
        let mut out = [0.0; 2];
        model.score(&[(0, 1.0), (1, 1.0)], &[2, 7], &mut out);
        assert!(out[0] > 0.2 && out[0] > out[1] + 0.2, "{out:?}");
    }

    /// The objective at the top of this module.
    fn objective(matrix: &Matrix, users: &[f32], items: &[f32], params: AlsParams) -> f64 {
        let dims = params.dims;
        let by_item = matrix.transpose();
        let vector = |side: &[f32], at: usize| side[at * dims..(at + 1) * dims].to_vec();
        let dot =
            |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
        let mut sum = 0.0;
        for user in 0..matrix.height() {
            let x = vector(users, user);
            let (columns, weights) = matrix.row(user);
            for item in 0..matrix.width() {
                let found = dot(&x, &vector(items, item));
                sum += f64::from(params.unobserved) * found * found;
                if let Ok(at) = columns.binary_search(&(item as u32)) {
                    sum += f64::from(weights[at]) * (1.0 - found).powi(2);
                }
            }
        }
        let mut ridge = |side: &[f32], matrix: &Matrix| {
            for row in 0..matrix.height() {
                let entries = matrix.row(row).0.len();
                let x = vector(side, row);
                if entries > 0 {
                    let frequency = entries as f32 + params.unobserved * matrix.width() as f32;
                    sum += f64::from(params.regularisation * frequency) * dot(&x, &x);
                }
            }
        };
        ridge(users, matrix);
        ridge(items, &by_item);
        sum
    }

    /// Objectives after each pass.
    fn objectives(matrix: &Matrix, params: AlsParams) -> Vec<f64> {
        let valid = params.check().expect("valid");
        let mut found = Vec::new();
        valid
            .fit_watched(matrix, None, |users, items| {
                found.push(objective(matrix, users, items, valid.0));
            })
            .expect("fits");
        found
    }

    /// 60 users with tastes that overlap, so that no rank describes them exactly.
    fn mixed_tastes() -> Matrix {
        let event = |at: u32| Event {
            user: at % 60,
            item: (at * at + at / 60 * 7) % 45,
            time: 0,
            weight: 1.0,
            group: None,
        };
        let events: Vec<Event> = (0..60 * 12).map(event).collect();
        Matrix::from_events(&events, 60, 45, &Weighting::default(), 1)
    }

    #[test]
    fn recommender_subspace_steps_only_go_downhill() {
        let params = AlsParams {
            dims: 40,
            passes: 12,
            ..AlsParams::default()
        };
        let found = objectives(&mixed_tastes(), params);
        assert_eq!(found.len(), 12);
        for pair in found.windows(2) {
            assert!(pair[1] <= pair[0] * (1.0 + 1e-5), "{found:?}");
        }
        assert!(found[11] < 0.9 * found[0], "{found:?}");
    }

    #[test]
    fn recommender_both_solvers_of_factors_meet_the_same_objective() {
        // Blocks of 16, a last block that is not full, and less than one block.
        for dims in [8, 24, 32] {
            let last = |solver| {
                let params = AlsParams {
                    dims,
                    passes: 60,
                    regularisation: 0.03,
                    solver,
                    ..AlsParams::default()
                };
                objectives(&mixed_tastes(), params)[59]
            };
            let (plain, blocks) = (last(Solver::Conjugate), last(Solver::Subspace));
            assert!((plain - blocks).abs() < 0.01 * plain, "{plain} {blocks}");
        }
    }

    #[test]
    fn recommender_wrong_factor_settings_are_refused() {
        let wrong = AlsParams {
            regularisation: -1.0,
            ..AlsParams::default()
        };
        assert!(wrong.check().is_err());
        let wrong = AlsParams {
            dims: 0,
            ..AlsParams::default()
        };
        assert!(wrong.check().is_err());
    }
}
