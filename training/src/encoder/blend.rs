//! How an encoder's logit and the fast tier's join: a small logistic regression per head on
//! held-out rows (stacking; Wolpert 1992).
//!
//! The encoder understands prose and the n-grams know slang, so how much each is worth depends on
//! how long a message is: both also enter multiplied by `8 / (8 + tokens)`, which is near 1 for a
//! word and near 0 for a paragraph.

use novastream_models::encoder::{BLEND_INPUTS, blend_inputs};

use super::dense::{self, DenseRow};

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
/// Fits the weights of [`blend_inputs`], the last of them the constant.
pub fn fit(rows: &[BlendRow]) -> [f32; BLEND_INPUTS] {
    let rows: Vec<DenseRow<BLEND_INPUTS>> = rows
        .iter()
        .map(|row| {
            let inputs = blend_inputs(row.encoder, row.fast, row.tokens);
            (inputs, f32::from(u8::from(row.positive)), row.weight)
        })
        .collect();
    dense::logistic(&rows, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], RIDGE)
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
