//! The encoder on a processor, from the eight-bit weights as they ship.
//!
//! Texts are packed, so no padding is computed. What goes into a product is rounded row by row and the
//! product is exact in whole numbers ([`crate::int8::product`]), sums of floats have a fixed order, so a text has the
//! same logits in every batch and on every processor that has the instructions. One call runs on the
//! calling thread.

mod attention;

use super::pack::ChatEncoder;
use super::{EPSILON, EncoderConfig, EncoderError, HEAD_BIAS, HEAD_WEIGHT, Packed, lanes};
use crate::int8::{
    Quantized,
    product::{self, Panels, Steps},
};
use attention::Scratch;

/// Tokens that go through a layer's products together: what is between two products stays in the
/// processor's cache.
const ROWS: usize = 128;

/// Scale and shift of a layer normalisation.
struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// A matrix and what is added to its product.
struct Linear {
    matrix: Panels,
    bias: Vec<f32>,
}

struct Layer {
    qkv: Linear,
    out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// Texts to logits, in eight-bit weights.
pub struct Int8Classifier {
    config: EncoderConfig,
    words: Quantized,
    positions: Vec<f32>,
    segments: Vec<f32>,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    /// `[width, labels]`.
    head: Vec<f32>,
    head_bias: Vec<f32>,
}

impl Int8Classifier {
    /// Whether this is the fastest way on this processor: x86-64 with AVX2 and FMA. Without them on that
    /// architecture it can't run; on others it runs without vector instructions of its own.
    pub fn is_fast() -> bool {
        cfg!(target_arch = "x86_64") && product::is_supported()
    }

    /// Takes the weights, laid out anew.
    ///
    /// # Errors
    /// A weight is missing, misshapen or no number; [`EncoderError::Processor`].
    pub fn new(model: &ChatEncoder) -> Result<Self, EncoderError> {
        if !product::is_supported() {
            return Err(EncoderError::Processor);
        }
        let config = model.description.config;
        let (w, inner) = (config.width, config.inner);
        if config.heads == 0 || w == 0 || inner == 0 || !w.is_multiple_of(config.heads) {
            return Err(EncoderError::Input(format!(
                "{} heads can't share a width of {w}",
                config.heads
            )));
        }
        let parts = Parts(model);
        let layers = (0..config.layers)
            .map(|layer| {
                let n = |part: &str| format!("layers.{layer}.{part}");
                let linear = |name: &str, shape, bias| {
                    let matrix = Panels::new(parts.matrix(&n(name), shape, shape[1])?);
                    Ok::<_, EncoderError>(Linear { matrix, bias })
                };
                let (out_bias, attention_norm) = parts.norm(&n("attention_norm"), w)?;
                let (down_bias, norm) = parts.norm(&n("norm"), w)?;
                Ok(Layer {
                    qkv: linear("qkv", [w, 3 * w], parts.floats(&n("qkv_bias"), &[3 * w])?)?,
                    out: linear("out", [w, w], out_bias)?,
                    attention_norm,
                    up: linear("up", [w, inner], parts.floats(&n("up_bias"), &[inner])?)?,
                    down: linear("down", [inner, w], down_bias)?,
                    norm,
                })
            })
            .collect::<Result<_, EncoderError>>()?;
        let heads = model.description.heads.len();
        Ok(Self {
            config,
            words: parts
                .matrix(
                    "embeddings.words",
                    [config.vocabulary, w],
                    config.vocabulary,
                )?
                .clone(),
            positions: parts.floats("embeddings.positions", &[config.positions, w])?,
            segments: parts.floats("embeddings.segments", &[config.segments, w])?,
            embedding_norm: parts.norm("embeddings.norm", w)?.1,
            layers,
            head: parts.floats(HEAD_WEIGHT, &[w, heads])?,
            head_bias: parts.floats(HEAD_BIAS, &[heads])?,
        })
    }

    /// One row of logits a text.
    ///
    /// # Errors
    /// [`EncoderError::Input`]: a token, a segment or a length that the encoder does not know.
    pub fn logits(&self, texts: &Packed) -> Result<Vec<Vec<f32>>, EncoderError> {
        texts.check(&self.config)?;
        // SAFETY: there is no classifier on a processor without the instructions.
        #[allow(unsafe_code, reason = "calls what is compiled for some processors")]
        Ok(unsafe { self.run(texts) })
    }

    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn run(&self, texts: &Packed) -> Vec<Vec<f32>> {
        let w = self.config.width;
        let mut x = self.embed(texts);
        let mut room = Room::default();
        for layer in &self.layers {
            self.layer(layer, texts, &mut x, &mut room);
        }
        let labels = self.head_bias.len();
        let mut mean = vec![0.0; w];
        let mut rows = Vec::with_capacity(texts.len());
        for (from, to) in texts.pooled().iter() {
            mean.fill(0.0);
            let share = 1.0 / (to - from) as f32;
            for row in x[from * w..to * w].chunks_exact(w) {
                lanes::add_scaled(&mut mean, share, row);
            }
            let mut logits = self.head_bias.clone();
            for (value, weights) in mean.iter().zip(self.head.chunks_exact(labels)) {
                lanes::add_scaled(&mut logits, *value, weights);
            }
            rows.push(logits);
        }
        rows
    }

    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn embed(&self, texts: &Packed) -> Vec<f32> {
        let w = self.config.width;
        let mut x = vec![0.0; texts.tokens() * w];
        let bounds = texts.bounds();
        let positions = bounds.windows(2).flat_map(|pair| 0..pair[1] - pair[0]);
        let tokens = texts.ids.iter().zip(&texts.segments).zip(positions);
        for (x, ((id, segment), position)) in x.chunks_exact_mut(w).zip(tokens) {
            let id = *id as usize;
            let (steps, scale) = (&self.words.steps[id * w..][..w], self.words.scales[id]);
            let places = self.positions[position * w..][..w]
                .iter()
                .zip(&self.segments[usize::from(*segment) * w..][..w]);
            for ((x, step), (position, segment)) in x.iter_mut().zip(steps).zip(places) {
                *x = f32::from(*step) * scale + (position + segment);
            }
            self.embedding_norm.apply(x);
        }
        x
    }

    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn layer(&self, layer: &Layer, texts: &Packed, x: &mut [f32], room: &mut Room) {
        let (w, inner) = (self.config.width, self.config.inner);
        let tokens = texts.tokens();
        room.qkv.resize(tokens * 3 * w, 0.0);
        room.attended.resize(tokens * w, 0.0);
        for (x, qkv) in x.chunks(ROWS * w).zip(room.qkv.chunks_mut(ROWS * 3 * w)) {
            layer.qkv.apply(x, w, qkv);
        }
        let mut attended = room.attended.as_mut_slice();
        for pair in texts.bounds().windows(2) {
            let qkv = &room.qkv[pair[0] * 3 * w..pair[1] * 3 * w];
            let (own, rest) = attended.split_at_mut((pair[1] - pair[0]) * w);
            attention::attend(qkv, w, self.config.heads, &mut room.attention, own);
            attended = rest;
        }
        for (x, attended) in x.chunks_mut(ROWS * w).zip(room.attended.chunks(ROWS * w)) {
            let rows = x.len() / w;
            room.sum.resize(rows * w, 0.0);
            room.inner.resize(rows * inner, 0.0);
            layer.out.apply(attended, w, &mut room.sum);
            layer.attention_norm.add(x, &room.sum, w);
            layer.up.apply(x, w, &mut room.inner);
            gelu(&mut room.inner);
            layer.down.apply(&room.inner, inner, &mut room.sum);
            layer.norm.add(x, &room.sum, w);
        }
    }
}

/// Memory that the layers of one call share.
#[derive(Default)]
struct Room {
    qkv: Vec<f32>,
    attended: Vec<f32>,
    sum: Vec<f32>,
    inner: Vec<f32>,
    attention: Scratch,
}

impl Linear {
    /// `x [rows, width] · matrix + bias`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn apply(&self, x: &[f32], width: usize, out: &mut [f32]) {
        let steps = Steps::new(x, width);
        self.matrix.multiply(&steps, &self.bias, out);
    }
}

impl Norm {
    /// `x = norm(x + y)`, row by row.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn add(&self, x: &mut [f32], y: &[f32], width: usize) {
        for (x, y) in x.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
            lanes::add(x, y);
            self.apply(x);
        }
    }

    /// Normalises a row (Ba et al. 2016).
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn apply(&self, x: &mut [f32]) {
        let n = x.len();
        let mean = lanes::sum(n, |i| x[i]) / n as f32;
        for x in x.iter_mut() {
            *x -= mean;
        }
        let variance = lanes::sum(n, |i| x[i] * x[i]) / n as f32;
        let by = 1.0 / (variance + EPSILON).sqrt();
        for ((x, scale), shift) in x.iter_mut().zip(&self.scale).zip(&self.shift) {
            *x = *x * by * scale + shift;
        }
    }
}

/// GELU (Hendrycks and Gimpel 2016, the exact form with erf).
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn gelu(values: &mut [f32]) {
    for x in values {
        *x *= lanes::normal(*x).0;
    }
}

/// Weights of a model by name, with the shapes that they must have.
struct Parts<'a>(&'a ChatEncoder);

impl Parts<'_> {
    fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        scales: usize,
    ) -> Result<&Quantized, EncoderError> {
        let missing = || EncoderError::Missing(name.to_owned());
        let matrix = self.0.matrices.get(name).ok_or_else(missing)?;
        let whole = matrix.steps.len() == shape[0] * shape[1] && matrix.scales.len() == scales;
        if matrix.shape != shape || !whole {
            return Err(EncoderError::Shape {
                name: name.to_owned(),
                found: matrix.shape.to_vec(),
                expected: shape.to_vec(),
            });
        }
        finite(name, &matrix.scales)?;
        Ok(matrix)
    }

    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EncoderError> {
        let missing = || EncoderError::Missing(name.to_owned());
        let (found, values) = self.0.floats.get(name).ok_or_else(missing)?;
        if found != shape || values.len() != shape.iter().product::<usize>() {
            return Err(EncoderError::Shape {
                name: name.to_owned(),
                found: found.clone(),
                expected: shape.to_vec(),
            });
        }
        finite(name, values)?;
        Ok(values.clone())
    }

    /// The bias before a norm, and the norm.
    fn norm(&self, name: &str, width: usize) -> Result<(Vec<f32>, Norm), EncoderError> {
        let mut bias = self.floats(name, &[3, width])?;
        let mut scale = bias.split_off(width);
        let shift = scale.split_off(width);
        Ok((bias, Norm { scale, shift }))
    }
}

/// A weight that is no number would pass through whole numbers unseen.
fn finite(name: &str, values: &[f32]) -> Result<(), EncoderError> {
    if values.iter().all(|v| v.is_finite()) {
        return Ok(());
    }
    Err(EncoderError::Input(format!(
        "weight {name:?} holds a value that is no number"
    )))
}
