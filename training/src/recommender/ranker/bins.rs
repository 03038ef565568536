//! Features as small whole numbers.

use rayon::prelude::*;

use super::lists::Lists;

/// Most bins of a feature; a bin number fits into a byte.
pub(super) const MAX_BINS: usize = 128;
/// Values that a quantile is taken from; more do not move it.
const QUANTILE_SAMPLE: usize = 100_000;

/// One feature of all rows.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Bin of each row.
    pub bins: Vec<u8>,
    /// Rows of bin `b` or below hold at most `edges[b]`; one less than there are bins.
    pub edges: Vec<f32>,
}

/// Bins every feature by quantiles.
pub(super) fn columns(lists: &Lists, width: usize) -> Vec<Column> {
    (0..width)
        .into_par_iter()
        .map(|feature| {
            let edges = edges(lists, feature);
            let bin = |value: f32| edges.partition_point(|edge| *edge < value) as u8;
            let bins = lists.column(feature).map(bin).collect();
            Column { bins, edges }
        })
        .collect()
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
