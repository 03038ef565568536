//! A row's equations by conjugate gradients from the last pass's solution.
//!
//! G. Takács, I. Pilászy, D. Tikk, "Applications of the Conjugate Gradient Method for Implicit
//! Feedback Collaborative Filtering", RecSys 2011: entries × dims a step.

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]

use pulp::{Simd, WithSimd};

use super::als::Row;
use super::lanes::{axpy, dot};

/// Steps a row and pass: the last solution is a good start.
const STEPS: usize = 3;

/// Buffers of a solver, reused from row to row.
pub(super) struct Work {
    residual: Vec<f32>,
    direction: Vec<f32>,
    image: Vec<f32>,
}

impl Work {
    pub fn new(dims: usize) -> Self {
        Self {
            residual: vec![0.0; dims],
            direction: vec![0.0; dims],
            image: vec![0.0; dims],
        }
    }
}

/// Improves one row's vector.
pub(super) struct Solve<'a> {
    pub work: &'a mut Work,
    pub row: &'a Row<'a>,
    pub x: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { work, row, x } = self;
        let dims = x.len();
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
