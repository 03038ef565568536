//! How an encoder's logit and the fast tier's join: a small logistic regression per head on
//! held-out rows (stacking; Wolpert 1992).
//!
//! The encoder understands prose and the n-grams know slang, so how much each is worth depends on
//! how long a message is: both also enter multiplied by `8 / (8 + tokens)`, which is near 1 for a
//! word and near 0 for a paragraph.

use novastream_models::encoder::{BLEND_INPUTS, blend_inputs};

/// One held-out row of a head.
#[derive(Clone, Copy, Debug)]
pub struct BlendRow {
    /// The encoder's logit.
    pub encoder: f32,
    /// The fast tier's logit, 0 where it has no such head.
    pub fast: f32,
    /// Tokens of the message.
    pub tokens: usize,
    /// Its label.
    pub positive: bool,
    /// Its weight.
    pub weight: f32,
}

/// Pull towards "the encoder alone", in units of rows.
const RIDGE: f64 = 2.0;
const STEPS: usize = 50;

/// Fits the weights of [`blend_inputs`], the last of them the constant.
pub fn fit(rows: &[BlendRow]) -> [f32; BLEND_INPUTS] {
    let start = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let mut w: [f64; BLEND_INPUTS] = start;
    for _ in 0..STEPS {
        let mut gradient = [0.0; BLEND_INPUTS];
        let mut curve = [[0.0; BLEND_INPUTS]; BLEND_INPUTS];
        for i in 0..BLEND_INPUTS {
            gradient[i] = RIDGE * (w[i] - start[i]);
            curve[i][i] = RIDGE;
        }
        for row in rows {
            let x = blend_inputs(row.encoder, row.fast, row.tokens).map(f64::from);
            let z: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            let p = 1.0 / (1.0 + (-z).exp());
            let weight = f64::from(row.weight);
            let gap = weight * (p - f64::from(u8::from(row.positive)));
            for i in 0..BLEND_INPUTS {
                gradient[i] += gap * x[i];
                for j in 0..BLEND_INPUTS {
                    curve[i][j] += weight * p * (1.0 - p) * x[i] * x[j];
                }
            }
        }
        let step = solve(curve, gradient);
        let size = step.iter().map(|s| s.abs()).fold(0.0, f64::max);
        for (w, step) in w.iter_mut().zip(step) {
            // Far steps overshoot where a head is nearly separable.
            *w -= step / size.max(1.0);
        }
        if size < 1e-7 {
            break;
        }
    }
    w.map(|w| w as f32)
}

/// Solves a positive definite system by elimination.
fn solve(
    mut a: [[f64; BLEND_INPUTS]; BLEND_INPUTS],
    mut b: [f64; BLEND_INPUTS],
) -> [f64; BLEND_INPUTS] {
    for i in 0..BLEND_INPUTS {
        let pivot = a[i];
        for j in i + 1..BLEND_INPUTS {
            let by = a[j][i] / pivot[i];
            for k in i..BLEND_INPUTS {
                a[j][k] -= by * pivot[k];
            }
            b[j] -= by * b[i];
        }
    }
    for i in (0..BLEND_INPUTS).rev() {
        for k in i + 1..BLEND_INPUTS {
            b[i] -= a[i][k] * b[k];
        }
        b[i] /= a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(truth: impl Fn(f32, f32, usize) -> bool) -> Vec<BlendRow> {
        (0..2000)
            .map(|i| {
                let (encoder, fast) = ((i % 41) as f32 / 10.0 - 2.0, (i % 37) as f32 / 9.0 - 2.0);
                let tokens = if i % 2 == 0 { 4 } else { 60 };
                // Some noise, so that nothing is separable.
                let positive = truth(encoder, fast, tokens) ^ (i % 11 == 0);
                BlendRow {
                    encoder,
                    fast,
                    tokens,
                    positive,
                    weight: 1.0,
                }
            })
            .collect()
    }

    fn score(w: &[f32; BLEND_INPUTS], encoder: f32, fast: f32, tokens: usize) -> f32 {
        blend_inputs(encoder, fast, tokens)
            .iter()
            .zip(w)
            .map(|(x, w)| x * w)
            .sum()
    }

    #[test]
    fn it_trusts_whoever_is_right_where_he_is_right() {
        let w = fit(&rows(|encoder, fast, tokens| {
            if tokens < 10 {
                fast > 0.0
            } else {
                encoder > 0.0
            }
        }));
        assert!(score(&w, -1.0, 1.5, 4) > 0.0, "{w:?}");
        assert!(score(&w, 1.5, -1.0, 60) > 0.0, "{w:?}");
        assert!(score(&w, -1.5, 1.0, 60) < 0.0, "{w:?}");
    }

    #[test]
    fn without_rows_the_encoder_speaks_alone() {
        assert_eq!(fit(&[]), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
