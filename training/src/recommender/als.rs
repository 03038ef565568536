//! Fitting matrix factorisation for implicit feedback.
//!
//! Alternating least squares with the objective of Y. Hu et al. (ICDM 2008) and the frequency
//! regularisation of S. Rendle et al. (RecSys 2022). Each row's equations are solved by a few
//! conjugate-gradient steps from the last pass's solution (G. Takács et al., RecSys 2011): the
//! cost is entries × dims a step, where exact or subspace solving needs entries × dims².

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]

use novastream_models::recommender::Factors;
use pulp::{Arch, Simd, WithSimd};
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
                    Arch::new().dispatch(Solve {
                        work: &mut *work,
                        row: &row,
                        x: vector,
                    });
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
}

/// Improves one row's vector.
struct Solve<'a> {
    work: &'a mut Work,
    row: &'a Row<'a>,
    x: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { work, row, x } = self;
        let dims = work.dims;
        let (residual, direction, image) = (
            &mut work.residual[..],
            &mut work.direction[..],
            &mut work.image[..],
        );
        // Residual of the start: Σ w (1 − v·x) v − (G + ridge) x.
        for (out, gram) in residual.iter_mut().zip(row.gram.chunks_exact(dims)) {
            *out = -dot(simd, gram, x);
        }
        axpy(simd, -row.ridge, x, residual);
        for (column, weight) in row.columns.iter().zip(row.weights) {
            let vector = &row.fixed[*column as usize * dims..][..dims];
            let miss = weight * (1.0 - dot(simd, vector, x));
            axpy(simd, miss, vector, residual);
        }
        direction.copy_from_slice(residual);
        let mut norm = dot(simd, residual, residual);
        for _ in 0..STEPS {
            if norm < 1e-12 {
                return;
            }
            for (out, gram) in image.iter_mut().zip(row.gram.chunks_exact(dims)) {
                *out = dot(simd, gram, direction);
            }
            axpy(simd, row.ridge, direction, image);
            for (column, weight) in row.columns.iter().zip(row.weights) {
                let vector = &row.fixed[*column as usize * dims..][..dims];
                let along = weight * dot(simd, vector, direction);
                axpy(simd, along, vector, image);
            }
            let curvature = dot(simd, direction, image);
            if curvature <= 0.0 {
                return;
            }
            let step = norm / curvature;
            axpy(simd, step, direction, x);
            axpy(simd, -step, image, residual);
            let next = dot(simd, residual, residual);
            let turn = next / norm;
            norm = next;
            for (d, r) in direction.iter_mut().zip(&*residual) {
                *d = r + turn * *d;
            }
        }
    }
}

/// Dot product with four running sums.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = S::as_simd_f32s(a);
    let (b, b_rest) = S::as_simd_f32s(b);
    let (a_fours, a_ones) = a.as_chunks::<4>();
    let (b_fours, b_ones) = b.as_chunks::<4>();
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = simd.mul_add_f32s(*a, *b, *sum);
        }
    }
    for (a, b) in a_ones.iter().zip(b_ones) {
        sums[0] = simd.mul_add_f32s(*a, *b, sums[0]);
    }
    let halves = [
        simd.add_f32s(sums[0], sums[1]),
        simd.add_f32s(sums[2], sums[3]),
    ];
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    simd.reduce_sum_f32s(simd.add_f32s(halves[0], halves[1])) + rest
}

/// Adds a multiple of one vector to another.
#[inline(always)]
fn axpy<S: Simd>(simd: S, scale: f32, from: &[f32], to: &mut [f32]) {
    let (from, from_rest) = S::as_simd_f32s(from);
    let (to, to_rest) = S::as_mut_simd_f32s(to);
    let scales = simd.splat_f32s(scale);
    for (to, from) in to.iter_mut().zip(from) {
        *to = simd.mul_add_f32s(scales, *from, *to);
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
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
        assert!(out[0] > 0.2 && out[0] > out[1] + 0.2, "{out:?}");
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
