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

/// As [`quantize`] by column. A column whose values are whole multiples of one number, because they were
/// whole numbers before, keeps them to the last bit.
pub(crate) fn quantize_again(shape: [usize; 2], values: &[f32]) -> Quantized {
    let [_, columns] = shape;
    let mut matrix = quantize(shape, values, false);
    for column in 0..columns {
        let own = || values.iter().skip(column).step_by(columns);
        let Some(scale) = common_scale(own()) else {
            continue;
        };
        matrix.scales[column] = scale;
        let steps = matrix.steps.iter_mut().skip(column).step_by(columns);
        for (step, value) in steps.zip(own()) {
            *step = (value / scale).round() as i8;
        }
    }
    matrix
}

/// The largest number that all values are whole multiples of, at most 127 or 128 times.
fn common_scale<'a>(values: impl Iterator<Item = &'a f32> + Clone) -> Option<f32> {
    // Of a float's rounding, 127 times.
    const ROOM: f32 = 1e-4;
    let top = values.clone().map(|v| v.abs()).fold(0.0, f32::max);
    let fits = |scale: f32| {
        values.clone().all(|value| {
            let steps = value / scale;
            let whole = steps.round();
            (steps - whole).abs() <= ROOM && (-128.0..=127.0).contains(&whole)
        })
    };
    let mut scales = (1..=128).map(|steps| top / steps as f32);
    scales.find(|scale| *scale > 0.0 && fits(*scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_what_they_were() {
        // Whole numbers times one number a column; the third column has none in common.
        let rows = [[-128, 5, 0], [64, -15, 0], [3, 20, 0], [127, 0, 0]];
        let odd = [0.11, 0.53, -0.97, 0.7];
        let values: Vec<f32> = rows
            .iter()
            .zip(odd)
            .flat_map(|(row, odd)| [row[0] as f32 * 0.0173, row[1] as f32 * 0.31, odd])
            .collect();
        let matrix = quantize_again([4, 3], &values);
        for (at, (step, value)) in matrix.steps.iter().zip(&values).enumerate() {
            let found = f32::from(*step) * matrix.scales[at % 3];
            let room = if at % 3 == 2 { 0.01 } else { 1e-6 };
            assert!((found - value).abs() <= room, "{found} is not {value}");
        }
        let zeros = quantize_again([2, 1], &[0.0; 2]);
        assert_eq!(zeros.steps, [0; 2]);
    }
}
