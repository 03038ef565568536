//! Features as small whole numbers.

use rayon::prelude::*;

use super::lists::Lists;

/// Most bins of a feature; a bin number fits into a byte.
pub(super) const MAX_BINS: usize = 128;
/// Values that a quantile is taken from; more do not move it.
const QUANTILE_SAMPLE: usize = 100_000;

/// Rows that are binned together.
const CHUNK: usize = 4096;

/// All features of all rows. The bins of a row lie side by side: what is summed for one feature
/// after the other then goes to different places, where rows of one column would wait for the sum
/// that the row before is still writing, because most rows fall into few bins.
#[derive(Clone, Debug)]
pub(super) struct Bins {
    /// Bin of each feature, row after row.
    numbers: Vec<u8>,
    width: usize,
    /// By feature: rows of bin `b` or below hold at most `edges[b]`; one less than there are bins.
    pub edges: Vec<Vec<f32>>,
}

impl Bins {
    /// Bins every feature by quantiles.
    pub fn new(lists: &Lists, width: usize) -> Self {
        let edges: Vec<Vec<f32>> = (0..width)
            .into_par_iter()
            .map(|feature| edges(lists, feature))
            .collect();
        let mut numbers = vec![0_u8; lists.rows() * width];
        numbers
            .par_chunks_mut((CHUNK * width).max(1))
            .zip(lists.values.par_chunks((CHUNK * width).max(1)))
            .for_each(|(bins, values)| {
                let rows = values.chunks_exact(width);
                for (bins, values) in bins.chunks_exact_mut(width).zip(rows) {
                    for ((bin, value), edges) in bins.iter_mut().zip(values).zip(&edges) {
                        *bin = edges.partition_point(|edge| edge < value) as u8;
                    }
                }
            });
        Self {
            numbers,
            width,
            edges,
        }
    }

    /// The bins of a row.
    pub fn row(&self, row: usize) -> &[u8] {
        &self.numbers[row * self.width..(row + 1) * self.width]
    }
}

/// Borders half-way between neighbouring values, at most one less than [`MAX_BINS`].
fn edges(lists: &Lists, feature: usize) -> Vec<f32> {
    let stride = (lists.rows() / QUANTILE_SAMPLE).max(1);
    let mut values: Vec<f32> = lists.column(feature).step_by(stride).collect();
    values.sort_by(f32::total_cmp);
    let total = values.len();
    let mut distinct: Vec<(f32, usize)> = Vec::new();
    for value in values {
        match distinct.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => distinct.push((value, 1)),
        }
    }
    let mut edges = Vec::new();
    let few = distinct.len() <= MAX_BINS;
    let (mut filled, mut rest) = (0, total);
    for pair in distinct.windows(2) {
        filled += pair[0].1;
        let open = MAX_BINS - 1 - edges.len();
        // What is left is spread evenly over the bins that are left: a value that fills a bin
        // alone costs the others nothing.
        let full = few || (open > 0 && filled * (open + 1) >= rest);
        if full && open > 0 {
            edges.push(f32::midpoint(pair[0].0, pair[1].0));
            rest -= filled;
            filled = 0;
        }
    }
    edges
}
