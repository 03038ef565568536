//! K-means on the unit sphere.
//!
//! S. Lloyd, "Least squares quantization in PCM", 1982, with the first centres of D. Arthur, S.
//! Vassilvitskii, "k-means++", SODA 2007, and centres of length 1 (I. Dhillon, D. Modha, "Concept
//! decompositions for large sparse text data using clustering", 2001).

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

/// Most rounds; they end when nobody moves.
const ROUNDS: usize = 60;

/// The cluster of each point, below `count`; points are unit vectors of `dims` numbers, one after
/// the other. The same points and seed give the same clusters, however many threads there are.
pub fn clusters(points: &[f32], dims: usize, count: usize, seed: u64) -> Vec<usize> {
    let number = points.len() / dims.max(1);
    if number == 0 || count == 0 {
        return vec![0; number];
    }
    let mut centres = first_centres(points, dims, count.min(number), seed);
    let mut cluster_of = vec![usize::MAX; number];
    for _ in 0..ROUNDS {
        let next: Vec<usize> = points
            .par_chunks_exact(dims)
            .map(|point| nearest(point, &centres, dims).0)
            .collect();
        if next == cluster_of {
            break;
        }
        cluster_of = next;
        // A centre that nobody is near to stays where it is.
        let mut sums = vec![0.0_f32; centres.len()];
        for (point, cluster) in points.chunks_exact(dims).zip(&cluster_of) {
            for (sum, value) in sums[cluster * dims..].iter_mut().zip(point) {
                *sum += value;
            }
        }
        for (centre, sum) in centres.chunks_exact_mut(dims).zip(sums.chunks_exact(dims)) {
            let length = dot(sum, sum).sqrt();
            if length > 1e-9 {
                for (centre, sum) in centre.iter_mut().zip(sum) {
                    *centre = sum / length;
                }
            }
        }
    }
    cluster_of
}

/// Points far from the centres chosen so far are likelier to be the next.
fn first_centres(points: &[f32], dims: usize, count: usize, seed: u64) -> Vec<f32> {
    let number = points.len() / dims;
    let mut rng = SmallRng::seed_from_u64(seed);
    let point = |at: usize| &points[at * dims..(at + 1) * dims];
    let mut centres = point(rng.random_range(0..number)).to_vec();
    let mut far = vec![f32::INFINITY; number];
    while centres.len() < count * dims {
        let latest = centres[centres.len() - dims..].to_vec();
        for (far, point) in far.iter_mut().zip(points.chunks_exact(dims)) {
            *far = far.min((1.0 - dot(point, &latest)).max(0.0));
        }
        let total: f32 = far.iter().sum();
        let mut left = rng.random::<f32>() * total;
        let drawn = far.iter().position(|far| {
            left -= far;
            left <= 0.0 && *far > 0.0
        });
        centres.extend_from_slice(point(drawn.unwrap_or(number - 1)));
    }
    centres
}

/// The nearest centre, the first of equals, and the cosine to it.
fn nearest(point: &[f32], centres: &[f32], dims: usize) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, centre) in centres.chunks_exact(dims).enumerate() {
        let cosine = dot(point, centre);
        if cosine > best.1 {
            best = (at, cosine);
        }
    }
    best
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_clusters_are_the_groups_that_lie_together() {
        let angles = [0.0_f32, 0.1, 0.2, 2.0, 2.1, 2.2, 4.0, 4.1];
        let points: Vec<f32> = angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect();
        let found = clusters(&points, 2, 3, 7);
        assert_eq!(found, clusters(&points, 2, 3, 7));
        assert!(found[0] == found[1] && found[1] == found[2]);
        assert!(found[3] == found[4] && found[4] == found[5]);
        assert!(found[6] == found[7] && found[0] != found[3] && found[3] != found[6]);
        assert!(found[6] != found[0]);
    }

    #[test]
    fn recommender_clusters_of_few_or_equal_points_do_no_harm() {
        assert!(clusters(&[], 2, 3, 7).is_empty());
        assert_eq!(clusters(&[1.0, 0.0], 2, 3, 7), [0]);
        let same = [1.0, 0.0].repeat(5);
        assert!(clusters(&same, 2, 3, 7).iter().all(|cluster| *cluster < 3));
        assert_eq!(clusters(&same, 2, 0, 7), [0; 5]);
    }
}
