//! The reference's low-pass filter: a running mean along rows, then columns, twice.
//!
//! Running sums round differently in any other order of operations, so both passes keep the
//! reference's order within each row or column and only work on many of them side by side.

/// Rows that are summed side by side: enough independent additions to hide their latency.
const LANES: usize = 8;

/// Filters `luma` (`height` rows of `width`) in place.
pub(super) fn tent(luma: &mut [f32], width: usize, height: usize) {
    let mut buffer = vec![0.0; luma.len()];
    for _ in 0..2 {
        rows(luma, &mut buffer, width, window(width));
        columns(&buffer, luma, width, height, window(height));
    }
}

/// Half the distance between two of the 64 samples, rounded up.
fn window(side: usize) -> usize {
    side.div_ceil(128)
}

/// What one output needs: add the input at `add`, drop the one at `sub`, divide by `size`.
struct Step {
    out: Option<usize>,
    add: Option<usize>,
    sub: Option<usize>,
    size: f32,
}

/// The window grows at the start, slides, and shrinks at the end.
fn steps(length: usize, window: usize) -> Vec<Step> {
    let lead = window / 2;
    let tail = window - lead;
    let mut steps = Vec::with_capacity(length + lead);
    let mut size = 0.0;
    for add in 0..length {
        let full = add >= window;
        if !full {
            size += 1.0;
        }
        steps.push(Step {
            out: (add >= lead).then(|| add - lead),
            add: Some(add),
            sub: full.then(|| add - lead - tail),
            size,
        });
    }
    for out in length - lead..length {
        size -= 1.0;
        steps.push(Step {
            out: Some(out),
            add: None,
            sub: Some(out - tail),
            size,
        });
    }
    steps
}

fn rows(input: &[f32], output: &mut [f32], width: usize, window: usize) {
    let steps = steps(width, window);
    let mut inputs = input.chunks(width * LANES);
    for (source, target) in inputs.by_ref().zip(output.chunks_mut(width * LANES)) {
        if source.len() == width * LANES {
            row_block::<LANES>(source, target, width, &steps);
        } else {
            for (row, out) in source.chunks(width).zip(target.chunks_mut(width)) {
                row_block::<1>(row, out, width, &steps);
            }
        }
    }
}

fn row_block<const N: usize>(source: &[f32], target: &mut [f32], width: usize, steps: &[Step]) {
    let mut sums = [0.0f32; N];
    for step in steps {
        if let Some(add) = step.add {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += source[lane * width + add];
            }
        }
        if let Some(sub) = step.sub {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum -= source[lane * width + sub];
            }
        }
        if let Some(out) = step.out {
            for (lane, sum) in sums.iter().enumerate() {
                target[lane * width + out] = sum / step.size;
            }
        }
    }
}

fn columns(input: &[f32], output: &mut [f32], width: usize, height: usize, window: usize) {
    let mut sums = vec![0.0f32; width];
    for step in steps(height, window) {
        if let Some(add) = step.add {
            for (sum, value) in sums.iter_mut().zip(&input[add * width..][..width]) {
                *sum += value;
            }
        }
        if let Some(sub) = step.sub {
            for (sum, value) in sums.iter_mut().zip(&input[sub * width..][..width]) {
                *sum -= value;
            }
        }
        if let Some(out) = step.out {
            for (sum, value) in sums.iter().zip(&mut output[out * width..][..width]) {
                *value = sum / step.size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_is_the_mean_of_its_window() {
        for (length, window) in [(5, 1), (9, 2), (20, 3), (64, 4), (33, 7), (50, 8)] {
            let input: Vec<f32> = (0..length).map(|i| ((i * 37) % 101) as f32).collect();
            let mut output = vec![f32::NAN; length];
            row_block::<1>(&input, &mut output, length, &steps(length, window));
            // An even window looks one further ahead than back.
            let ahead = window / 2;
            let back = window - 1 - ahead;
            for (at, got) in output.iter().enumerate() {
                let part = &input[at.saturating_sub(back)..(at + ahead + 1).min(length)];
                let mean = part.iter().sum::<f32>() / part.len() as f32;
                assert!(
                    (got - mean).abs() < 1e-3,
                    "{length} {window} {at}: {got} {mean}"
                );
            }
        }
    }

    #[test]
    fn both_directions_agree() {
        let (width, height) = (37, 19);
        let image: Vec<f32> = (0..width * height)
            .map(|i| ((i * 31) % 256) as f32)
            .collect();
        let turned: Vec<f32> = (0..width * height)
            .map(|i| image[(i % height) * width + i / height])
            .collect();
        let (mut a, mut b) = (vec![0.0; image.len()], vec![0.0; image.len()]);
        rows(&image, &mut a, width, 3);
        columns(&turned, &mut b, height, width, 3);
        for y in 0..height {
            for x in 0..width {
                assert_eq!(a[y * width + x], b[x * height + y]);
            }
        }
    }
}
