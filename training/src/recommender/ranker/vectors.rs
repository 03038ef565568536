//! Item vectors by truncated singular vectors, for comparing users.
//!
//! N. Halko, P. Martinsson, J. Tropp, "Finding structure with randomness", SIAM Review 2011:
//! subspace iteration on the users × items matrix of log counts, rows of unit length and columns
//! damped by their frequency.

use novastream_datasets::events::Event;
use novastream_models::recommender::Weighting;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::super::matrix::Matrix;

/// Rounds of subspace iteration.
const ROUNDS: usize = 6;
/// Power of an item's frequency that divides its column.
const DAMPING: f32 = 0.25;

/// One vector of `dims` numbers for each of `items` items, all zeros for items without events.
pub fn item_vectors(
    events: &[Event],
    users: usize,
    items: usize,
    dims: usize,
    seed: u64,
) -> Vec<f32> {
    let matrix = Matrix::from_events(events, users, items, &Weighting::default(), i64::MAX);
    let by_item = matrix.transpose();
    let damp: Vec<f32> = matrix
        .column_counts()
        .into_iter()
        .map(|count| (count.max(1) as f32).powf(-DAMPING))
        .collect();
    let unit: Vec<f32> = (0..matrix.height())
        .map(|user| {
            let (columns, values) = matrix.row(user);
            let entries = columns.iter().zip(values);
            let sum: f32 = entries
                .map(|(column, value)| (value * damp[*column as usize]).powi(2))
                .sum();
            1.0 / sum.sqrt().max(1e-6)
        })
        .collect();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut vectors: Vec<f32> = (0..items * dims)
        .map(|_| rng.random::<f32>() - 0.5)
        .collect();
    for _ in 0..ROUNDS {
        orthonormalise(&mut vectors, dims);
        let people = product(&matrix, &vectors, dims, |user, column| {
            unit[user] * damp[column]
        });
        vectors = product(&by_item, &people, dims, |item, user| {
            unit[user] * damp[item]
        });
    }
    vectors
}

/// A sparse matrix times a dense one of `dims` columns.
fn product(
    matrix: &Matrix,
    dense: &[f32],
    dims: usize,
    scale: impl Fn(usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; matrix.height() * dims];
    out.par_chunks_mut(dims).enumerate().for_each(|(row, out)| {
        let (columns, values) = matrix.row(row);
        for (column, value) in columns.iter().zip(values) {
            let column = *column as usize;
            let weight = value * scale(row, column);
            let from = &dense[column * dims..(column + 1) * dims];
            for (out, value) in out.iter_mut().zip(from) {
                *out += weight * value;
            }
        }
    });
    out
}

/// Gram–Schmidt over the `dims` columns of a dense matrix.
fn orthonormalise(dense: &mut [f32], dims: usize) {
    for column in 0..dims {
        for before in 0..column {
            let along: f32 = dense
                .chunks_exact(dims)
                .map(|row| row[column] * row[before])
                .sum();
            for row in dense.chunks_exact_mut(dims) {
                row[column] -= along * row[before];
            }
        }
        let norm: f32 = dense
            .chunks_exact(dims)
            .map(|row| row[column].powi(2))
            .sum();
        let norm = norm.sqrt();
        for row in dense.chunks_exact_mut(dims) {
            row[column] = if norm > 1e-6 { row[column] / norm } else { 0.0 };
        }
    }
}
