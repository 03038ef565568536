//! Fitting the conditional logit: full gradients, steps by Adam.

use novastream_features::interactions::Rows;
use novastream_models::recommender::{Logit, LogitColumn};
use rayon::prelude::*;

use super::super::FitError;
use super::lists::{Lists, chances};

/// Unchecked settings of the conditional logit.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LogitParams {
    /// Passes over the lists, at least 1.
    pub passes: usize,
    /// Ridge on the weights, not below 0.
    pub l2: f32,
}

impl Default for LogitParams {
    fn default() -> Self {
        Self {
            passes: 120,
            l2: 1e-4,
        }
    }
}

/// Checked settings of the conditional logit.
#[derive(Clone, Copy, Debug)]
pub struct ValidLogitParams(LogitParams);

impl LogitParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidLogitParams, FitError> {
        if self.passes == 0 || !(self.l2.is_finite() && self.l2 >= 0.0) {
            return Err(FitError::Params(
                "logit: at least one pass, and l2 not below 0",
            ));
        }
        Ok(ValidLogitParams(self))
    }
}

/// Lists whose gradients are summed together, in order.
const CHUNK: usize = 256;
/// Most lists; a line needs no more.
const MOST_LISTS: usize = 6_000;
const RATE: f32 = 0.05;

impl ValidLogitParams {
    /// Learns one weight for each feature that may be used; the others keep 0.
    pub fn fit(&self, lists: &Lists, usable: &[bool]) -> Logit {
        let mut columns: Vec<LogitColumn> = (0..Rows::WIDTH)
            .map(|feature| scale(lists.column(feature)))
            .collect();
        let stride = lists.len().div_ceil(MOST_LISTS).max(1);
        let chosen: Vec<usize> = (0..lists.len()).step_by(stride).collect();
        let (mut speed, mut size) = ([0.0_f32; Rows::WIDTH], [0.0_f32; Rows::WIDTH]);
        for pass in 1..=self.0.passes {
            let gradient = gradient(lists, &chosen, &columns);
            let rate = RATE * (1.0 - pass as f32 / (self.0.passes + 1) as f32);
            let (grown, settled) = (
                1.0 - 0.9_f32.powi(pass as i32),
                1.0 - 0.99_f32.powi(pass as i32),
            );
            let columns = columns.iter_mut().enumerate();
            for (feature, column) in columns.filter(|(feature, _)| usable[*feature]) {
                let slope =
                    gradient[feature] / chosen.len().max(1) as f32 + self.0.l2 * column.weight;
                speed[feature] = 0.9 * speed[feature] + 0.1 * slope;
                size[feature] = 0.99 * size[feature] + 0.01 * slope * slope;
                let step = speed[feature] / grown / ((size[feature] / settled).sqrt() + 1e-8);
                column.weight -= rate * step;
            }
        }
        Logit { columns }
    }
}

/// Centre and spread of a feature; constant features stay out of the way.
fn scale(values: impl Iterator<Item = f32>) -> LogitColumn {
    let (mut count, mut sum, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
    for value in values {
        let value = f64::from(value);
        count += 1.0;
        sum += value;
        squares += value * value;
    }
    let centre = sum / count.max(1.0);
    let spread = (squares / count.max(1.0) - centre * centre).max(0.0).sqrt();
    LogitColumn {
        centre: centre as f32,
        scale: if spread > 1e-6 { spread as f32 } else { 1.0 },
        weight: 0.0,
    }
}

fn gradient(lists: &Lists, chosen: &[usize], columns: &[LogitColumn]) -> [f32; Rows::WIDTH] {
    let parts: Vec<[f32; Rows::WIDTH]> = chosen
        .par_chunks(CHUNK)
        .map(|part| {
            let mut sums = [0.0; Rows::WIDTH];
            let (mut rows, mut scores, mut chance) = (Vec::new(), Vec::new(), Vec::new());
            for list in part {
                let range = lists.range(*list);
                rows.clear();
                scores.clear();
                for row in lists.values[range.start * Rows::WIDTH..range.end * Rows::WIDTH]
                    .chunks_exact(Rows::WIDTH)
                {
                    let mut score = 0.0;
                    for (column, value) in columns.iter().zip(row) {
                        let value = column.squash(*value);
                        score += column.weight * value;
                        rows.push(value);
                    }
                    scores.push(score);
                }
                chance.resize(range.len(), 0.0);
                let at = lists.chosen[*list] - range.start;
                chances(&scores, &lists.weights[range], at, &mut chance);
                chance[at] -= 1.0;
                for (row, chance) in rows.chunks_exact(Rows::WIDTH).zip(&chance) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += chance * value;
                    }
                }
            }
            sums
        })
        .collect();
    let mut total = [0.0; Rows::WIDTH];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}
