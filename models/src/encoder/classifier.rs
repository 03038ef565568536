//! An encoder with one logistic output a label.

use std::collections::HashMap;

use candle_core::Tensor;

use super::{Encoder, EncoderConfig, EncoderError, Packed};

/// Name of the output matrix, `[width, labels]`.
pub const HEAD_WEIGHT: &str = "head.weight";
/// Name of the output biases, `[labels]`.
pub const HEAD_BIAS: &str = "head.bias";

/// Texts to logits.
pub struct TextClassifier {
    encoder: Encoder,
    weight: Tensor,
    bias: Tensor,
}

impl TextClassifier {
    /// Takes an encoder's weights and [`HEAD_WEIGHT`], [`HEAD_BIAS`].
    pub fn new(
        config: EncoderConfig,
        weights: &HashMap<String, Tensor>,
    ) -> Result<Self, EncoderError> {
        let get = |name: &str| {
            let missing = || EncoderError::Missing(name.to_owned());
            weights.get(name).cloned().ok_or_else(missing)
        };
        let (weight, bias) = (get(HEAD_WEIGHT)?, get(HEAD_BIAS)?);
        let expected = vec![config.width, bias.elem_count()];
        if weight.dims() != expected {
            return Err(EncoderError::Shape {
                name: HEAD_WEIGHT.to_owned(),
                found: weight.dims().to_vec(),
                expected,
            });
        }
        Ok(Self {
            encoder: Encoder::new(config, weights)?,
            weight,
            bias,
        })
    }

    /// Numbers that made the encoder.
    pub fn config(&self) -> EncoderConfig {
        self.encoder.config()
    }

    /// `[texts, labels]`, through which a gradient flows.
    pub fn forward(&self, texts: &Packed) -> Result<Tensor, EncoderError> {
        let pooled = self.encoder.forward(texts)?;
        Ok(pooled.matmul(&self.weight)?.broadcast_add(&self.bias)?)
    }

    /// One row of logits a text.
    pub fn logits(&self, texts: &Packed) -> Result<Vec<Vec<f32>>, EncoderError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.forward(texts)?.to_vec2()?)
    }
}

/// Numbers that a blend weighs; see [`blend_inputs`].
pub const BLEND_INPUTS: usize = 6;

/// What is known of one head of one message: the encoder's logit, the fast tier's, both times a
/// number that is near 1 for a word and near 0 for a paragraph, that number, and 1.
pub fn blend_inputs(encoder: f32, fast: f32, tokens: usize) -> [f32; BLEND_INPUTS] {
    let short = 8.0 / (8.0 + tokens as f32);
    [encoder, fast, short * encoder, short * fast, short, 1.0]
}
