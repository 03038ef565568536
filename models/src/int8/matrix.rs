//! Matrices in eight bits.

use rayon::prelude::*;

/// A matrix in eight bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Row by row.
    pub steps: Vec<i8>,
    /// Value of one step, by column; of the embedding table, by row.
    pub scales: Vec<f32>,
}

/// Symmetric, one scale a column (or a row), the scale that leaves the smallest squared error
/// among some below the largest value.
pub(crate) fn quantize(shape: [usize; 2], values: &[f32], by_row: bool) -> Quantized {
    let [rows, columns] = shape;
    let groups = if by_row { rows } else { columns };
    let scales: Vec<f32> = (0..groups)
        .into_par_iter()
        .map(|group| {
            let own: Vec<f32> = if by_row {
                values[group * columns..(group + 1) * columns].to_vec()
            } else {
                (0..rows).map(|row| values[row * columns + group]).collect()
            };
            best_scale(&own)
        })
        .collect();
    let steps = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let scale = scales[if by_row { at / columns } else { at % columns }];
            (value / scale).round().clamp(-127.0, 127.0) as i8
        })
        .collect();
    Quantized {
        shape,
        steps,
        scales,
    }
}

fn best_scale(values: &[f32]) -> f32 {
    let top = values.iter().map(|v| v.abs()).fold(0.0, f32::max);
    if top == 0.0 {
        return 1.0;
    }
    let error = |scale: f32| -> f64 {
        values
            .iter()
            .map(|v| {
                let gap = v - (v / scale).round().clamp(-127.0, 127.0) * scale;
                f64::from(gap * gap)
            })
            .sum()
    };
    let candidates = (0..8).map(|i| top / 127.0 * (1.0 - 0.05 * i as f32));
    let best = candidates.min_by(|a, b| error(*a).total_cmp(&error(*b)));
    best.unwrap_or(top / 127.0)
}
