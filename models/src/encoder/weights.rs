//! Weights by name: ours, and those of a Hugging Face BERT checkpoint.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use super::{EncoderConfig, EncoderError};

/// The parts of a Hugging Face `config.json` that matter here.
#[derive(serde::Deserialize)]
struct BertConfig {
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: String,
}

impl EncoderConfig {
    /// Reads a BERT checkpoint's `config.json`.
    pub fn from_bert(json: &[u8]) -> Result<Self, EncoderError> {
        let fail = |message: String| EncoderError::Input(format!("config.json: {message}"));
        let bert: BertConfig = serde_json::from_slice(json).map_err(|e| fail(e.to_string()))?;
        if bert.hidden_act != "gelu" {
            return Err(fail(format!(
                "hidden_act {:?} is not \"gelu\"",
                bert.hidden_act
            )));
        }
        Ok(Self {
            vocabulary: bert.vocab_size,
            positions: bert.max_position_embeddings,
            segments: bert.type_vocab_size,
            width: bert.hidden_size,
            inner: bert.intermediate_size,
            layers: bert.num_hidden_layers,
            heads: bert.num_attention_heads,
        })
    }
}

/// Names of a layer's weights, without the `layers.N.` before them.
pub const LAYER_WEIGHTS: [&str; 8] = [
    "qkv",
    "qkv_bias",
    "out",
    "attention_norm",
    "up",
    "up_bias",
    "down",
    "norm",
];

/// Full names of one layer's weights.
pub fn layer_names(layer: usize) -> impl Iterator<Item = String> {
    LAYER_WEIGHTS
        .iter()
        .map(move |name| format!("layers.{layer}.{name}"))
}

/// Reads a BERT checkpoint (`model.safetensors`, with or without the `bert.` before the names)
/// into our names and layout: matrices `[in, out]`, queries, keys and values side by side, a
/// norm's incoming bias, scale and shift as three rows.
pub fn import_bert(
    bytes: &[u8],
    config: &EncoderConfig,
) -> Result<HashMap<String, Tensor>, EncoderError> {
    let file = SafeTensors::deserialize(bytes)?;
    let get = |name: &str| {
        let view = file
            .tensor(name)
            .or_else(|_| file.tensor(&format!("bert.{name}")));
        let view = view.map_err(|_| EncoderError::Missing(name.to_owned()))?;
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(EncoderError::Input(format!(
                "{name} is not of 32-bit floats"
            )));
        }
        let (values, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(Tensor::from_vec(values, view.shape(), &Device::Cpu)?)
    };
    let turned = |name: &str| -> Result<Tensor, EncoderError> { Ok(get(name)?.t()?.contiguous()?) };
    let norm = |bias: Tensor, name: &str| -> Result<Tensor, EncoderError> {
        let (scale, shift) = (
            get(&format!("{name}.weight"))?,
            get(&format!("{name}.bias"))?,
        );
        Ok(Tensor::stack(&[bias, scale, shift], 0)?)
    };
    let none = Tensor::zeros(config.width, DType::F32, &Device::Cpu)?;
    let mut out = HashMap::new();
    let mut put = |name: String, tensor: Tensor| out.insert(name, tensor);
    for (ours, theirs) in [
        ("words", "word"),
        ("positions", "position"),
        ("segments", "token_type"),
    ] {
        let table = get(&format!("embeddings.{theirs}_embeddings.weight"))?;
        put(format!("embeddings.{ours}"), table);
    }
    let embedding_norm = norm(none, "embeddings.LayerNorm")?;
    put("embeddings.norm".to_owned(), embedding_norm);
    for layer in 0..config.layers {
        let from = format!("encoder.layer.{layer}");
        let mut put = |name: &str, tensor| put(format!("layers.{layer}.{name}"), tensor);
        let three = |part: &str| -> Result<Vec<Tensor>, EncoderError> {
            ["query", "key", "value"]
                .iter()
                .map(|which| {
                    let name = format!("{from}.attention.self.{which}.{part}");
                    if part == "bias" {
                        get(&name)
                    } else {
                        turned(&name)
                    }
                })
                .collect()
        };
        put("qkv", Tensor::cat(&three("weight")?, 1)?);
        put("qkv_bias", Tensor::cat(&three("bias")?, 0)?);
        put(
            "out",
            turned(&format!("{from}.attention.output.dense.weight"))?,
        );
        let bias = get(&format!("{from}.attention.output.dense.bias"))?;
        put(
            "attention_norm",
            norm(bias, &format!("{from}.attention.output.LayerNorm"))?,
        );
        put("up", turned(&format!("{from}.intermediate.dense.weight"))?);
        put("up_bias", get(&format!("{from}.intermediate.dense.bias"))?);
        put("down", turned(&format!("{from}.output.dense.weight"))?);
        let bias = get(&format!("{from}.output.dense.bias"))?;
        put("norm", norm(bias, &format!("{from}.output.LayerNorm"))?);
    }
    Ok(out)
}
