//! A row's equations block by block: iALS++.
//!
//! S. Rendle, W. Krichene, L. Zhang, Y. Koren, "iALS++: Speeding up Matrix Factorization with
//! Subspace Optimization", 2021. Predictions of the row's entries are kept up to date, and one
//! block of the vector after the other is set to where the objective is least with the others
//! fixed: entries × dims × block a row, where the exact solution needs entries × dims², and every
//! step is downhill. What was not taken comes in through the Gram matrix alone.

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]
// Small matrices are read by row and column at once.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd, WithSimd};

use super::als::Row;
use super::lanes::{axpy, dot};

/// Numbers of a vector that are solved for together.
const BLOCK: usize = 16;
/// Entries whose blocks lie in the first-level cache while they are summed.
const CHUNK: usize = 64;
/// Rows of the block's matrix that are summed together: with their registers of columns, they fill
/// the registers that there are.
const QUAD: usize = 4;

type Square = [[f32; BLOCK]; BLOCK];

/// Buffers of a solver, reused from row to row.
pub(super) struct Work {
    /// 1 less the prediction, by entry.
    miss: Vec<f32>,
    plain: Vec<[f32; BLOCK]>,
    weighed: Vec<[f32; BLOCK]>,
}

impl Work {
    pub fn new() -> Self {
        Self {
            miss: Vec::new(),
            plain: vec![[0.0; BLOCK]; CHUNK],
            weighed: vec![[0.0; BLOCK]; CHUNK],
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
        // A block's columns fill this many registers.
        match BLOCK / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, BLOCK>(simd),
        }
    }
}

impl Solve<'_> {
    #[inline(always)]
    fn run<S: Simd, const N: usize>(self, simd: S) {
        let Self { work, row, x } = self;
        let dims = x.len();
        let vector = |column: &u32| &row.fixed[*column as usize * dims..][..dims];
        work.miss.clear();
        work.miss.resize(row.columns.len(), 1.0);
        for (miss, column) in work.miss.iter_mut().zip(row.columns) {
            *miss -= dot(simd, vector(column), x);
        }
        for from in (0..dims).step_by(BLOCK) {
            let to = (from + BLOCK).min(dims);
            let width = to - from;
            let (mut matrix, mut slope): (Square, [f32; BLOCK]) = Default::default();
            for at in 0..BLOCK {
                if at < width {
                    let gram = &row.gram[(from + at) * dims..][..dims];
                    matrix[at][..width].copy_from_slice(&gram[from..to]);
                    matrix[at][at] += row.ridge;
                    slope[at] = -dot(simd, gram, x) - row.ridge * x[from + at];
                } else {
                    matrix[at][at] = 1.0;
                }
            }
            let chunks = row.columns.chunks(CHUNK).zip(row.weights.chunks(CHUNK));
            for ((columns, weights), misses) in chunks.zip(work.miss.chunks(CHUNK)) {
                let entries = columns.iter().zip(weights).zip(misses);
                let blocks = work.plain.iter_mut().zip(&mut work.weighed);
                for (((column, weight), miss), (plain, weighed)) in entries.zip(blocks) {
                    plain[..width].copy_from_slice(&vector(column)[from..to]);
                    plain[width..].fill(0.0);
                    weighed.fill(0.0);
                    axpy(simd, *weight, plain, weighed);
                    axpy(simd, *miss, weighed, &mut slope);
                }
                let count = columns.len();
                add_outer::<S, N>(
                    simd,
                    &work.plain[..count],
                    &work.weighed[..count],
                    &mut matrix,
                );
            }
            if !solve(&mut matrix, &mut slope) {
                continue;
            }
            let step = &slope[..width];
            for (x, step) in x[from..to].iter_mut().zip(step) {
                *x += step;
            }
            for (miss, column) in work.miss.iter_mut().zip(row.columns) {
                *miss -= dot(simd, &vector(column)[from..to], step);
            }
        }
    }
}

/// Adds the products of weighed and plain blocks to the matrix; `N` registers hold a row of it.
#[inline(always)]
fn add_outer<S: Simd, const N: usize>(
    simd: S,
    plain: &[[f32; BLOCK]],
    weighed: &[[f32; BLOCK]],
    matrix: &mut Square,
) {
    for (quad, rows) in matrix.as_chunks_mut::<QUAD>().0.iter_mut().enumerate() {
        let mut sums = [[simd.splat_f32s(0.0); N]; QUAD];
        for (plain, weighed) in plain.iter().zip(weighed) {
            let (columns, _) = S::as_simd_f32s(plain);
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = simd.splat_f32s(weighed[quad * QUAD + row]);
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = simd.mul_add_f32s(value, *column, *sum);
                }
            }
        }
        for (row, sums) in rows.iter_mut().zip(sums) {
            let (parts, _) = S::as_mut_simd_f32s(row);
            for (part, sum) in parts.iter_mut().zip(sums) {
                *part = simd.add_f32s(*part, sum);
            }
        }
    }
}

/// Solves the block's equations by Cholesky, in place; `false` where they have no solution.
#[inline(always)]
fn solve(matrix: &mut Square, side: &mut [f32; BLOCK]) -> bool {
    for at in 0..BLOCK {
        for row in at..BLOCK {
            let mut sum = matrix[row][at];
            for before in 0..at {
                sum -= matrix[row][before] * matrix[at][before];
            }
            if row == at {
                if sum.is_nan() || sum <= 0.0 {
                    return false;
                }
                matrix[at][at] = sum.sqrt();
            } else {
                matrix[row][at] = sum / matrix[at][at];
            }
        }
    }
    for at in 0..BLOCK {
        let mut sum = side[at];
        for before in 0..at {
            sum -= matrix[at][before] * side[before];
        }
        side[at] = sum / matrix[at][at];
    }
    for at in (0..BLOCK).rev() {
        let mut sum = side[at];
        for after in at + 1..BLOCK {
            sum -= matrix[after][at] * side[after];
        }
        side[at] = sum / matrix[at][at];
    }
    side.iter().all(|value| value.is_finite())
}
