//! Encoder and decoder, for inference.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::WhisperError;
use super::decode::Stepper;

/// Size of a layer norm's epsilon in every published model.
const EPSILON: f32 = 1e-5;

/// The part of a checkpoint's `config.json` that matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhisperConfig {
    /// Tokens.
    pub vocab_size: usize,
    /// Mel bands of the input.
    pub num_mel_bins: usize,
    /// Numbers a position.
    pub d_model: usize,
    /// Encoder layers.
    pub encoder_layers: usize,
    /// Attention heads of the encoder.
    pub encoder_attention_heads: usize,
    /// Decoder layers.
    pub decoder_layers: usize,
    /// Attention heads of the decoder.
    pub decoder_attention_heads: usize,
    /// Positions of the encoder: half of the input's frames.
    pub max_source_positions: usize,
    /// Tokens that the decoder can hold.
    pub max_target_positions: usize,
    /// Tokens that are never written, such as music notes and brackets.
    #[serde(default)]
    pub suppress_tokens: Option<Vec<i64>>,
    /// Tokens that may not come first.
    #[serde(default)]
    pub begin_suppress_tokens: Option<Vec<i64>>,
}

impl WhisperConfig {
    /// Reads and checks a `config.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, WhisperError> {
        let invalid = |message: String| WhisperError::Invalid {
            file: "config.json",
            message,
        };
        let config: Self = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        let c = &config;
        let sizes = [
            (c.vocab_size, 1 << 18),
            (c.num_mel_bins, 512),
            (c.d_model, 1 << 13),
            (c.encoder_layers, 256),
            (c.decoder_layers, 256),
            (c.max_source_positions, 1500),
            (c.max_target_positions, 4096),
        ];
        let heads = [c.encoder_attention_heads, c.decoder_attention_heads];
        if sizes.iter().any(|(n, most)| *n == 0 || n > most)
            || heads
                .iter()
                .any(|h| *h == 0 || !c.d_model.is_multiple_of(*h))
            || c.max_target_positions < 8
        {
            return Err(invalid("a size is out of range".to_owned()));
        }
        Ok(config)
    }
}

struct Weights(HashMap<String, Tensor>);

impl Weights {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, WhisperError> {
        let fail = |message: String| WhisperError::Weight {
            name: name.to_owned(),
            message,
        };
        // Checkpoints of the whole model carry a prefix. Taken out, so that the file's own type and
        // the floats do not lie in memory side by side for all weights.
        let found = self
            .0
            .remove(&format!("model.{name}"))
            .or_else(|| self.0.remove(name));
        let tensor = found.ok_or_else(|| fail("missing".to_owned()))?;
        if tensor.dims() != shape {
            return Err(fail(format!("is {:?}, not {shape:?}", tensor.dims())));
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }
}

/// `x · weightᵀ + bias`.
struct Linear {
    /// Transposed once.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn load(
        w: &mut Weights,
        name: &str,
        [inputs, outputs]: [usize; 2],
        bias: bool,
    ) -> Result<Self, WhisperError> {
        let weight = w.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = bias
            .then(|| w.take(&format!("{name}.bias"), &[outputs]))
            .transpose()?;
        Ok(Self {
            weight: weight.t()?.contiguous()?,
            bias,
        })
    }

    /// `[positions, inputs]` → `[positions, outputs]`.
    fn run(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

struct Norm {
    gain: Tensor,
    shift: Tensor,
}

impl Norm {
    fn load(w: &mut Weights, name: &str, width: usize) -> Result<Self, WhisperError> {
        Ok(Self {
            gain: w.take(&format!("{name}.weight"), &[width])?,
            shift: w.take(&format!("{name}.bias"), &[width])?,
        })
    }

    fn run(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.gain, &self.shift, EPSILON)
    }
}

struct Attention {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
}

impl Attention {
    fn load(w: &mut Weights, name: &str, width: usize, heads: usize) -> Result<Self, WhisperError> {
        let square = [width, width];
        let mut part = |part: &str, bias| Linear::load(w, &format!("{name}.{part}"), square, bias);
        Ok(Self {
            heads,
            query: part("q_proj", true)?,
            key: part("k_proj", false)?,
            value: part("v_proj", true)?,
            out: part("out_proj", true)?,
        })
    }

    /// `[positions, width]` → `[heads, positions, width of a head]`.
    fn split(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (positions, width) = x.dims2()?;
        x.reshape((positions, self.heads, width / self.heads))?
            .transpose(0, 1)?
            .contiguous()
    }

    /// Keys as `[heads, width of a head, positions]`, ready to be multiplied with, and values as
    /// `[heads, positions, width of a head]`.
    fn keys_and_values(&self, x: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        let keys = self.split(&self.key.run(x)?)?;
        let keys = keys.transpose(1, 2)?.contiguous()?;
        Ok((keys, self.split(&self.value.run(x)?)?))
    }

    /// `mask` is added to the scores, `[positions, sources]`.
    fn run(
        &self,
        x: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let (positions, width) = x.dims2()?;
        let query = self.split(&self.query.run(x)?)?;
        let scale = 1.0 / ((width / self.heads) as f64).sqrt();
        let mut scores = (query.matmul(keys)? * scale)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let shares = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let mixed = shares
            .matmul(values)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((positions, width))?;
        self.out.run(&mixed)
    }
}

struct Layer {
    attention: Attention,
    attention_norm: Norm,
    /// Of the decoder: attention to the sound.
    cross: Option<(Attention, Norm)>,
    up: Linear,
    down: Linear,
    last_norm: Norm,
}

impl Layer {
    fn load(
        w: &mut Weights,
        name: &str,
        width: usize,
        heads: usize,
        inner: usize,
        cross: bool,
    ) -> Result<Self, WhisperError> {
        let attention = Attention::load(w, &format!("{name}.self_attn"), width, heads)?;
        let attention_norm = Norm::load(w, &format!("{name}.self_attn_layer_norm"), width)?;
        let cross = if cross {
            let attention = Attention::load(w, &format!("{name}.encoder_attn"), width, heads)?;
            let norm = Norm::load(w, &format!("{name}.encoder_attn_layer_norm"), width)?;
            Some((attention, norm))
        } else {
            None
        };
        Ok(Self {
            attention,
            attention_norm,
            cross,
            up: Linear::load(w, &format!("{name}.fc1"), [width, inner], true)?,
            down: Linear::load(w, &format!("{name}.fc2"), [inner, width], true)?,
            last_norm: Norm::load(w, &format!("{name}.final_layer_norm"), width)?,
        })
    }

    fn feed(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let inner = self.up.run(&self.last_norm.run(x)?)?.gelu_erf()?;
        x + self.down.run(&inner)?
    }
}

/// A stretch of sound as the decoder attends to it: keys and values of every decoder layer.
#[derive(Clone)]
pub struct Encoded {
    layers: Vec<(Tensor, Tensor)>,
}

/// Keys and values of the tokens so far. Cloning it is cheap, which is what beams need.
#[derive(Clone, Default)]
pub struct Cache {
    layers: Vec<(Tensor, Tensor)>,
    tokens: usize,
}

/// The network. Running it changes nothing inside: share one between threads.
pub struct Whisper {
    config: WhisperConfig,
    first: (Tensor, Tensor),
    second: (Tensor, Tensor),
    positions: Tensor,
    encoder: Vec<Layer>,
    encoder_norm: Norm,
    words: Tensor,
    places: Tensor,
    decoder: Vec<Layer>,
    decoder_norm: Norm,
}

impl Whisper {
    /// From the bytes of a `model.safetensors`, in any float type.
    pub fn from_safetensors(config: WhisperConfig, bytes: &[u8]) -> Result<Self, WhisperError> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let mut w = Weights(tensors);
        let c = &config;
        let width = c.d_model;
        let inner = |w: &Weights, side: &str| -> Result<usize, WhisperError> {
            let name = format!("{side}.layers.0.fc1.weight");
            let found = w.0.get(&format!("model.{name}")).or_else(|| w.0.get(&name));
            match found.map(Tensor::dims) {
                Some([inner, _]) => Ok(*inner),
                _ => Err(WhisperError::Weight {
                    name,
                    message: "missing".to_owned(),
                }),
            }
        };
        let mut layers = |side: &str, n: usize, heads: usize, cross: bool| {
            let inner = inner(&w, side)?;
            (0..n)
                .map(|i| {
                    let name = format!("{side}.layers.{i}");
                    Layer::load(&mut w, &name, width, heads, inner, cross)
                })
                .collect::<Result<Vec<_>, WhisperError>>()
        };
        let encoder = layers(
            "encoder",
            c.encoder_layers,
            c.encoder_attention_heads,
            false,
        )?;
        let decoder = layers("decoder", c.decoder_layers, c.decoder_attention_heads, true)?;
        let mut conv = |name: &str, inputs: usize| {
            let weight = w.take(&format!("encoder.{name}.weight"), &[width, inputs, 3])?;
            let bias = w.take(&format!("encoder.{name}.bias"), &[width])?;
            Ok::<_, WhisperError>((weight, bias.reshape((1, width, 1))?))
        };
        let (first, second) = (conv("conv1", c.num_mel_bins)?, conv("conv2", width)?);
        let words = w.take("decoder.embed_tokens.weight", &[c.vocab_size, width])?;
        Ok(Self {
            first,
            second,
            positions: w.take(
                "encoder.embed_positions.weight",
                &[c.max_source_positions, width],
            )?,
            encoder,
            encoder_norm: Norm::load(&mut w, "encoder.layer_norm", width)?,
            words,
            places: w.take(
                "decoder.embed_positions.weight",
                &[c.max_target_positions, width],
            )?,
            decoder,
            decoder_norm: Norm::load(&mut w, "decoder.layer_norm", width)?,
            config,
        })
    }

    /// What it was made from.
    pub fn config(&self) -> &WhisperConfig {
        &self.config
    }

    /// Reads a spectrum, one row of `2 · max_source_positions` values a band.
    pub fn encode(&self, spectrum: &[f32]) -> Result<Encoded, WhisperError> {
        let bands = self.config.num_mel_bins;
        let frames = 2 * self.config.max_source_positions;
        let x = Tensor::from_slice(spectrum, (1, bands, frames), &Device::Cpu)?;
        let x = x
            .conv1d(&self.first.0, 1, 1, 1, 1)?
            .broadcast_add(&self.first.1)?
            .gelu_erf()?;
        let x = x
            .conv1d(&self.second.0, 1, 2, 1, 1)?
            .broadcast_add(&self.second.1)?
            .gelu_erf()?;
        let mut x = (x.squeeze(0)?.t()?.contiguous()? + &self.positions)?;
        for layer in &self.encoder {
            let inner = layer.attention_norm.run(&x)?;
            let (keys, values) = layer.attention.keys_and_values(&inner)?;
            x = (&x + layer.attention.run(&inner, &keys, &values, None)?)?;
            x = layer.feed(&x)?;
        }
        let x = self.encoder_norm.run(&x)?;
        let cross = |layer: &Layer| match &layer.cross {
            Some((attention, _)) => attention.keys_and_values(&x),
            None => candle_core::bail!("a decoder layer attends to no sound"),
        };
        Ok(Encoded {
            layers: self.decoder.iter().map(cross).collect::<Result<_, _>>()?,
        })
    }

    /// A decoder over `sound`.
    pub fn decoder<'a>(&'a self, sound: &'a Encoded) -> Decoder<'a> {
        Decoder { model: self, sound }
    }
}

/// The decoder over one stretch of sound.
pub struct Decoder<'a> {
    model: &'a Whisper,
    sound: &'a Encoded,
}

impl Stepper for Decoder<'_> {
    type State = Cache;

    fn room(&self) -> usize {
        self.model.config.max_target_positions
    }

    fn step(&self, state: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>, WhisperError> {
        let model = self.model;
        let (n, past) = (tokens.len(), state.tokens);
        let ids = Tensor::from_slice(tokens, n, &Device::Cpu)?;
        let places = model.places.narrow(0, past, n)?;
        let mut x = (model.words.index_select(&ids, 0)? + places)?;
        // Every token sees those before it; a single one sees all there are.
        let mask = (n > 1)
            .then(|| {
                let hidden = (0..n).flat_map(|row| {
                    (0..past + n).map(move |column| {
                        if column > past + row {
                            f32::NEG_INFINITY
                        } else {
                            0.0
                        }
                    })
                });
                Tensor::from_vec(hidden.collect::<Vec<f32>>(), (n, past + n), &Device::Cpu)
            })
            .transpose()?;
        let mut kept = Vec::with_capacity(model.decoder.len());
        for (i, layer) in model.decoder.iter().enumerate() {
            let inner = layer.attention_norm.run(&x)?;
            let (mut keys, mut values) = layer.attention.keys_and_values(&inner)?;
            if let Some((old_keys, old_values)) = state.layers.get(i) {
                keys = Tensor::cat(&[old_keys, &keys], 2)?;
                values = Tensor::cat(&[old_values, &values], 1)?;
            }
            x = (&x + layer.attention.run(&inner, &keys, &values, mask.as_ref())?)?;
            kept.push((keys, values));
            if let (Some((cross, norm)), Some((keys, values))) =
                (&layer.cross, self.sound.layers.get(i))
            {
                x = (&x + cross.run(&norm.run(&x)?, keys, values, None)?)?;
            }
            x = layer.feed(&x)?;
        }
        state.layers = kept;
        state.tokens += n;
        let last = model.decoder_norm.run(&x.narrow(0, n - 1, 1)?)?;
        Ok(last.matmul(&model.words.t()?)?.flatten_all()?.to_vec1()?)
    }
}
