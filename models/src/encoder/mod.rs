//! A BERT encoder (Devlin et al. 2019) in Candle that trains and runs over packed texts.
//!
//! Texts of a batch stand one after the other with no padding between them: matrix products run
//! over all tokens at once, attention over one text at a time. Bias, residual, normalisation and
//! activation are operations of our own with their gradients, one pass each; Candle's general ones
//! make training several times slower on a CPU, and its fused ones have no gradient. Word,
//! position and segment embeddings with their norm are constants: nothing here trains them.

mod add_norm;
mod attention;
mod classifier;
mod gelu;
mod int8;
mod lanes;
mod onnx;
pub mod pack;
mod pool;
mod route;
#[cfg(test)]
mod tests;
pub(crate) mod values;
mod weights;

use std::{collections::HashMap, sync::Arc};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

pub use classifier::{BLEND_INPUTS, HEAD_BIAS, HEAD_WEIGHT, TextClassifier, blend_inputs};
pub use int8::Int8Classifier;
pub use pack::{ChatEncoder, ChatHead, fast_logit};
pub use route::{GAIN_INPUTS, Route, RouteInputs, Router, STAY_INPUTS};
pub use weights::{import_bert, layer_names};

use add_norm::AddNorm;
use attention::Attention;
use gelu::BiasGelu;
use pool::MeanPool;

/// Numbers that make an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderConfig {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub positions: usize,
    /// Kinds of segments.
    pub segments: usize,
    /// Numbers a token.
    pub width: usize,
    /// Numbers inside a feed-forward block.
    pub inner: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads a layer; divides `width`.
    pub heads: usize,
}

/// An encoder that can't be made or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A weight is missing.
    #[error("weight {0:?} is missing")]
    Missing(String),
    /// A weight has another shape than the configuration says.
    #[error("weight {name:?} has shape {found:?}, not {expected:?}")]
    Shape {
        /// The weight.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The right one.
        expected: Vec<usize>,
    },
    /// A token, a segment or a length outside the configuration.
    #[error("{0}")]
    Input(String),
    /// The file of weights is not one.
    #[error("not a safetensors file: {0}")]
    File(#[from] safetensors::SafeTensorError),
    /// The processor lacks what the code is compiled for.
    #[error("this processor has no AVX2 and FMA")]
    Processor,
    /// Candle refused.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl EncoderError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::Shape { .. } | Self::File(_) => "encoder_weights",
            Self::Input(_) => "encoder_input",
            Self::Candle(_) | Self::Processor => "encoder_compute",
        }
    }
}

/// Some texts as tokens, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    ids: Vec<u32>,
    segments: Vec<u8>,
    ends: Vec<usize>,
    /// End of each text's own tokens; what follows up to its end is context.
    own: Vec<usize>,
}

impl Packed {
    /// Adds a text of at least one token (segment 0) and its context (segment 1), which the text
    /// sees but which is not pooled with it.
    pub fn push(&mut self, text: &[u32], context: &[u32]) -> Result<(), EncoderError> {
        if text.is_empty() {
            return Err(EncoderError::Input("a text without tokens".to_owned()));
        }
        self.ids.extend_from_slice(text);
        self.own.push(self.ids.len());
        self.ids.extend_from_slice(context);
        self.segments.resize(self.own[self.own.len() - 1], 0);
        self.segments.resize(self.ids.len(), 1);
        self.ends.push(self.ids.len());
        Ok(())
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Whether an encoder of these numbers can read it.
    fn check(&self, config: &EncoderConfig) -> Result<(), EncoderError> {
        for pair in self.bounds().windows(2) {
            let length = pair[1] - pair[0];
            if length > config.positions {
                return Err(EncoderError::Input(format!(
                    "a text of {length} tokens; the encoder reads {}",
                    config.positions
                )));
            }
        }
        let word = |id: &u32| *id as usize >= config.vocabulary;
        let segment = |segment: &u8| usize::from(*segment) >= config.segments;
        if self.ids.iter().any(word) || self.segments.iter().any(segment) {
            let message = "a token or segment that the encoder does not know";
            return Err(EncoderError::Input(message.to_owned()));
        }
        Ok(())
    }

    fn bounds(&self) -> Arc<[usize]> {
        std::iter::once(0)
            .chain(self.ends.iter().copied())
            .collect()
    }

    /// Where each text's own tokens begin and end.
    fn pooled(&self) -> Arc<[(usize, usize)]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.own.iter().copied()).collect()
    }
}

/// Weights of one layer. Matrices are `[in, out]`.
struct Layer {
    qkv: Tensor,
    qkv_bias: Tensor,
    out: Tensor,
    attention_norm: Tensor,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    norm: Tensor,
}

/// An encoder with its weights.
pub struct Encoder {
    config: EncoderConfig,
    words: Tensor,
    positions: Tensor,
    segments: Tensor,
    embedding_norm: Tensor,
    layers: Vec<Layer>,
}

/// BERT's.
const EPSILON: f32 = 1e-12;

impl Encoder {
    /// Takes weights by the names that [`import_bert`] gives. Where they are Candle variables, a
    /// gradient reaches them.
    pub fn new(
        config: EncoderConfig,
        weights: &HashMap<String, Tensor>,
    ) -> Result<Self, EncoderError> {
        let get = |name: &str, shape: &[usize]| {
            let missing = || EncoderError::Missing(name.to_owned());
            let tensor = weights.get(name).ok_or_else(missing)?;
            if tensor.dims() != shape {
                return Err(EncoderError::Shape {
                    name: name.to_owned(),
                    found: tensor.dims().to_vec(),
                    expected: shape.to_vec(),
                });
            }
            Ok(tensor.clone())
        };
        let (w, inner) = (config.width, config.inner);
        if config.heads == 0 || w == 0 || !w.is_multiple_of(config.heads) {
            return Err(EncoderError::Input(format!(
                "{} heads can't share a width of {w}",
                config.heads
            )));
        }
        let layers = (0..config.layers)
            .map(|layer| {
                let get = |name, shape: &[usize]| get(&format!("layers.{layer}.{name}"), shape);
                Ok(Layer {
                    qkv: get("qkv", &[w, 3 * w])?,
                    qkv_bias: get("qkv_bias", &[3 * w])?,
                    out: get("out", &[w, w])?,
                    attention_norm: get("attention_norm", &[3, w])?,
                    up: get("up", &[w, inner])?,
                    up_bias: get("up_bias", &[inner])?,
                    down: get("down", &[inner, w])?,
                    norm: get("norm", &[3, w])?,
                })
            })
            .collect::<Result<_, EncoderError>>()?;
        Ok(Self {
            config,
            words: get("embeddings.words", &[config.vocabulary, w])?,
            positions: get("embeddings.positions", &[config.positions, w])?,
            segments: get("embeddings.segments", &[config.segments, w])?,
            embedding_norm: get("embeddings.norm", &[3, w])?,
            layers,
        })
    }

    /// The numbers it was made by.
    pub fn config(&self) -> EncoderConfig {
        self.config
    }

    /// One row a text: the mean of its own tokens' vectors, `[texts, width]`.
    pub fn forward(&self, texts: &Packed) -> Result<Tensor, EncoderError> {
        let bounds = texts.bounds();
        let attention = |bounds: &Arc<[usize]>| Attention {
            heads: self.config.heads,
            bounds: bounds.clone(),
        };
        let norm = || AddNorm { epsilon: EPSILON };
        let mut x = self.embed(texts, &bounds)?;
        for layer in &self.layers {
            let qkv = x.matmul(&layer.qkv)?;
            let heads = qkv.apply_op2(&layer.qkv_bias, attention(&bounds))?;
            let y = heads.matmul(&layer.out)?;
            x = y.apply_op3(&x, &layer.attention_norm, norm())?;
            let inner = x.matmul(&layer.up)?.apply_op2(&layer.up_bias, BiasGelu)?;
            let y = inner.matmul(&layer.down)?;
            x = y.apply_op3(&x, &layer.norm, norm())?;
        }
        let texts = texts.pooled();
        Ok(x.apply_op1(MeanPool { texts })?)
    }

    fn embed(&self, texts: &Packed, bounds: &[usize]) -> Result<Tensor, EncoderError> {
        texts.check(&self.config)?;
        let lengths = bounds.windows(2).map(|pair| (pair[1] - pair[0]) as u32);
        let positions: Vec<u32> = lengths.flat_map(|length| 0..length).collect();
        let segments: Vec<u32> = texts.segments.iter().map(|s| u32::from(*s)).collect();
        let rows = |table: &Tensor, ids: Vec<u32>| {
            let n = ids.len();
            table.index_select(&Tensor::from_vec(ids, n, &Device::Cpu)?, 0)
        };
        let words = rows(&self.words, texts.ids.clone())?;
        let places = (rows(&self.positions, positions)? + rows(&self.segments, segments)?)?;
        let norm = AddNorm { epsilon: EPSILON };
        Ok(words.apply_op3(&places, &self.embedding_norm, norm)?)
    }
}
