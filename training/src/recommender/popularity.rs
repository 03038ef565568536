//! Counting.

use novastream_models::recommender::Popularity;

use super::matrix::Matrix;

/// The share of all weight that each item got.
pub fn fit(matrix: &Matrix) -> Popularity {
    let mut sums = vec![0.0_f64; matrix.width()];
    for user in 0..matrix.height() {
        let (items, weights) = matrix.row(user);
        for (item, weight) in items.iter().zip(weights) {
            sums[*item as usize] += f64::from(*weight);
        }
    }
    let total = sums.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let shares = sums.iter().map(|sum| (sum / total) as f32).collect();
    Popularity { shares }
}
