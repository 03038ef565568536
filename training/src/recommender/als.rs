//! Fitting matrix factorisation for implicit feedback.
//!
//! Alternating least squares with the objective of Y. Hu et al. (ICDM 2008) and the frequency
//! regularisation of S. Rendle et al. (RecSys 2022). Each row's equations are solved by a few
//! conjugate-gradient steps from the last pass's solution (G. Takács et al., RecSys 2011): the
//! cost is entries × dims a step, where exact or subspace solving needs entries × dims².

// A closure runs with the instruction set that `Arch::dispatch` found only as far as what it
// calls is inlined into it.
#![allow(clippy::inline_always)]

use novastream_models::recommender::Factors;
use pulp::Arch;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rayon::prelude::*;

use super::FitError;
use super::matrix::Matrix;

/// Conjugate-gradient steps a row and pass: the last solution is a good start.
const STEPS: usize = 3;
/// Rows handled by one task.
const CHUNK: usize = 64;

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
}

impl Default for AlsParams {
    fn default() -> Self {
        Self {
            dims: 64,
            regularisation: 0.01,
            unobserved: 0.1,
            passes: 10,
            seed: 7,
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
            || Work::new(dims),
            |work, (chunk, vectors)| {
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
                    Arch::new().dispatch(|| work.solve(&row, vector));
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
            Arch::new().dispatch(|| {
                for vector in chunk.chunks_exact(dims) {
                    for (row, value) in part.chunks_exact_mut(dims).zip(vector) {
                        axpy(*value, vector, row);
                    }
                }
            });
            part
        })
        .collect();
    let mut sum = vec![0.0; dims * dims];
    for part in &parts {
        axpy(scale, part, &mut sum);
    }
    sum
}

/// One row's equations.
struct Row<'a> {
    columns: &'a [u32],
    weights: &'a [f32],
    fixed: &'a [f32],
    gram: &'a [f32],
    ridge: f32,
}

/// Buffers of a solver, reused from row to row.
struct Work {
    dims: usize,
    residual: Vec<f32>,
    direction: Vec<f32>,
    image: Vec<f32>,
}

impl Work {
    fn new(dims: usize) -> Self {
        Self {
            dims,
            residual: vec![0.0; dims],
            direction: vec![0.0; dims],
            image: vec![0.0; dims],
        }
    }

    #[inline(always)]
    fn solve(&mut self, row: &Row<'_>, x: &mut [f32]) {
        // Residual of the start: Σ w (1 − v·x) v − (G + ridge) x.
        let dims = self.dims;
        let residual = &mut self.residual[..];
        for (out, gram) in residual.iter_mut().zip(row.gram.chunks_exact(dims)) {
            *out = -dot(gram, x);
        }
        axpy(-row.ridge, x, residual);
        for (column, weight) in row.columns.iter().zip(row.weights) {
            let vector = &row.fixed[*column as usize * dims..][..dims];
            axpy(weight * (1.0 - dot(vector, x)), vector, residual);
        }
        self.direction.copy_from_slice(residual);
        let mut norm = dot(residual, residual);
        for _ in 0..STEPS {
            if norm < 1e-12 {
                return;
            }
            let image = &mut self.image[..];
            for (out, gram) in image.iter_mut().zip(row.gram.chunks_exact(dims)) {
                *out = dot(gram, &self.direction);
            }
            axpy(row.ridge, &self.direction, image);
            for (column, weight) in row.columns.iter().zip(row.weights) {
                let vector = &row.fixed[*column as usize * dims..][..dims];
                axpy(weight * dot(vector, &self.direction), vector, image);
            }
            let curvature = dot(&self.direction, image);
            if curvature <= 0.0 {
                return;
            }
            let step = norm / curvature;
            axpy(step, &self.direction, x);
            axpy(-step, image, residual);
            let next = dot(residual, residual);
            let turn = next / norm;
            norm = next;
            for (d, r) in self.direction.iter_mut().zip(&*residual) {
                *d = r + turn * *d;
            }
        }
    }
}

/// Dot product in sixteen lanes; always inlined, so that the caller's instruction set is used.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let mut sum = 0.0;
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    for half in [8, 4, 2, 1] {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
    }
    sum + sums[0]
}

#[inline(always)]
fn axpy(scale: f32, from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
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
        assert!(out[0] > 0.3 && out[0] > out[1] + 0.2, "{out:?}");
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
