//! Fitting audience segments: k-means over what users took, then what each segment takes.

use novastream_models::recommender::Segments;

use super::FitError;
use super::clusters::clusters;
use super::matrix::Matrix;

/// Users with fewer items say too little about a kind of viewer.
const MIN_ITEMS: usize = 3;
/// A segment stands for at least this many users on average.
const MIN_USERS: usize = 12;

/// Unchecked settings of the segments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentParams {
    /// Most segments, 1..=256.
    pub segments: usize,
    /// Weight of everybody's shares in those of a segment, in starts; above 0.
    pub smoothing: f32,
    /// Seed of the first centres.
    pub seed: u64,
}

impl Default for SegmentParams {
    fn default() -> Self {
        Self {
            segments: 16,
            smoothing: 50.0,
            seed: 7,
        }
    }
}

/// Settings of the segments that were checked.
#[derive(Clone, Copy, Debug)]
pub struct ValidSegmentParams(SegmentParams);

impl SegmentParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidSegmentParams, FitError> {
        if !(1..=256).contains(&self.segments) {
            return Err(FitError::Params("segments: between 1 and 256"));
        }
        if !(self.smoothing.is_finite() && self.smoothing > 0.0) {
            return Err(FitError::Params("segments: smoothing must be above 0"));
        }
        Ok(ValidSegmentParams(self))
    }
}

impl ValidSegmentParams {
    /// Fits segments to the rows of users, placed by item vectors of `dims` numbers. `None` when
    /// there are too few users for a single segment.
    pub fn fit(
        &self,
        matrix: &Matrix,
        vectors: &[f32],
        dims: usize,
    ) -> Result<Option<Segments>, FitError> {
        let items = matrix.width();
        let (users, places) = place_users(matrix, vectors, dims);
        let count = self.0.segments.min(users.len() / MIN_USERS);
        if count == 0 || items == 0 {
            return Ok(None);
        }
        let segment_of = clusters(&places, dims, count, self.0.seed);
        let mut sums = vec![0.0_f32; count * items];
        let mut sizes = vec![0_usize; count];
        let mut everybody = vec![0.5_f32; items];
        for (user, segment) in users.iter().zip(&segment_of) {
            sizes[*segment] += 1;
            let (columns, values) = matrix.row(*user);
            for (column, value) in columns.iter().zip(values) {
                sums[segment * items + *column as usize] += value;
                everybody[*column as usize] += value;
            }
        }
        let all: f32 = everybody.iter().sum();
        for row in sums.chunks_exact_mut(items) {
            let total = row.iter().sum::<f32>() + self.0.smoothing;
            for (share, common) in row.iter_mut().zip(&everybody) {
                *share = (*share + self.0.smoothing * common / all) / total;
            }
        }
        let prior = sizes
            .iter()
            .map(|size| (size + 1) as f32 / (users.len() + count) as f32)
            .collect();
        Segments::new(items, prior, sums)
            .map(Some)
            .ok_or(FitError::Params("segments: shares that are not above 0"))
    }
}

/// Users who took enough, and their places: unit sums of the vectors of what they took.
fn place_users(matrix: &Matrix, vectors: &[f32], dims: usize) -> (Vec<usize>, Vec<f32>) {
    let (mut users, mut places) = (Vec::new(), Vec::new());
    let mut sum = vec![0.0_f32; dims];
    for user in 0..matrix.height() {
        let (columns, values) = matrix.row(user);
        if columns.len() < MIN_ITEMS {
            continue;
        }
        sum.fill(0.0);
        for (column, value) in columns.iter().zip(values) {
            let from = *column as usize * dims;
            for (sum, part) in sum.iter_mut().zip(&vectors[from..from + dims]) {
                *sum += value * part;
            }
        }
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 1e-9 {
            users.push(user);
            places.extend(sum.iter().map(|value| value / length));
        }
    }
    (users, places)
}

#[cfg(test)]
mod tests {
    use novastream_datasets::events::Event;
    use novastream_models::recommender::Weighting;

    use super::super::ranker::item_vectors;
    use super::*;

    fn events() -> Vec<Event> {
        // Two kinds of viewers with ten channels each.
        (0..1200_u32)
            .map(|at| Event {
                user: at % 60,
                item: (at % 2) * 10 + (at / 60 * 7 + at) % 10,
                time: i64::from(at),
                weight: 1.0,
                group: None,
            })
            .collect()
    }

    #[test]
    fn recommender_segments_find_the_kinds_of_viewers() {
        let events = events();
        let matrix = Matrix::from_events(&events, 60, 20, &Weighting::default(), 2000);
        let vectors = item_vectors(&events, 60, 20, 8, 7);
        let params = SegmentParams {
            segments: 2,
            smoothing: 5.0,
            seed: 7,
        };
        let fit = || {
            let params = params.check().expect("valid");
            params
                .fit(&matrix, &vectors, 8)
                .expect("fits")
                .expect("users")
        };
        let segments = fit();
        assert_eq!(segments, fit());
        let mut out = [0.0; 20];
        let all: Vec<u32> = (0..20).collect();
        segments.score(&[(13, 1.0)], &all, &mut out);
        let highest = out[..10].iter().copied().fold(f32::MIN, f32::max);
        assert!(out[10..].iter().all(|score| *score > highest), "{out:?}");
        let few = matrix.select(&[None; 20], 0);
        let none = params.check().expect("valid").fit(&few, &vectors, 8);
        assert_eq!(none.expect("fits"), None);
        let bad = SegmentParams {
            segments: 0,
            ..params
        };
        assert!(bad.check().is_err());
    }
}
