//! A chat encoder as it ships: eight-bit matrices, how its heads join the fast tier, vocabulary.
//!
//! One safetensors file: matrices as int8 with one scale an output column (the embedding table: a
//! row), everything else as float32, the description as JSON in the file's metadata. ONNX Runtime
//! gets a graph made of it in memory, Candle the same weights as floats.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};
use serde::{Deserialize, Serialize};

use super::{BLEND_INPUTS, EncoderConfig, EncoderError, Route, TextClassifier, blend_inputs};
pub use crate::int8::Quantized;
use crate::int8::quantize;

/// File name of the weights inside a model folder.
pub const WEIGHTS_FILE: &str = "encoder.safetensors";
/// File name of the vocabulary inside a model folder.
pub const VOCABULARY_FILE: &str = "vocab.txt";
/// Metadata key of the description.
const DESCRIPTION: &str = "novastream";
/// End of the names of scales.
const SCALE: &str = ".scale";
/// The embedding table: one scale a row.
const WORDS: &str = "embeddings.words";

/// How one head's score is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatHead {
    /// Category name of the taxonomy, or `toxicity`.
    pub name: String,
    /// Weights of [`super::blend_inputs`]: the score is the sigmoid of the sum, 0.5 the shipped
    /// threshold.
    pub blend: [f32; BLEND_INPUTS],
}

impl ChatHead {
    /// The score, 0 to 1, from the encoder's logit, the fast tier's logit and the message's tokens.
    pub fn score(&self, encoder: f32, fast: f32, tokens: usize) -> f32 {
        let inputs = blend_inputs(encoder, fast, tokens);
        let z: f32 = inputs.iter().zip(self.blend).map(|(x, w)| x * w).sum();
        1.0 / (1.0 + (-z).exp())
    }
}

/// The logit of the fast tier's calibrated score, bounded so that a head that is sure of itself
/// does not drown the encoder.
pub fn fast_logit(score: f32) -> f32 {
    const BOUND: f32 = 8.0;
    let score = score.clamp(1e-6, 1.0 - 1e-6);
    (score / (1.0 - score)).ln().clamp(-BOUND, BOUND)
}

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The encoder.
    pub config: EncoderConfig,
    /// Tokens of a message that are read.
    pub own_tokens: usize,
    /// Tokens of the messages before it that are read.
    pub context_tokens: usize,
    /// Whether emoji are read by their names.
    #[serde(default)]
    pub emoji_names: bool,
    /// Which messages go on to the encoder.
    pub route: Route,
    /// One output each, in order.
    pub heads: Vec<ChatHead>,
}

/// A chat encoder ready to be run or written.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatEncoder {
    /// What it is.
    pub description: Description,
    /// Matrices by name.
    pub matrices: BTreeMap<String, Quantized>,
    /// Everything else by name: shape and values.
    pub floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl ChatEncoder {
    /// Quantises trained weights. Only the outputs of `heads` (their place in the trained output
    /// layer beside them) and the positions that a message can have are kept.
    pub fn quantize(
        mut description: Description,
        places: &[usize],
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<Self, EncoderError> {
        let positions = description.own_tokens + description.context_tokens;
        description.config.positions = description.config.positions.min(positions);
        let mut out = Self {
            description,
            matrices: BTreeMap::new(),
            floats: BTreeMap::new(),
        };
        for (name, tensor) in weights {
            let tensor = match name.as_str() {
                "embeddings.positions" => tensor.narrow(0, 0, out.description.config.positions)?,
                super::HEAD_WEIGHT | super::HEAD_BIAS => {
                    let places: Vec<u32> = places.iter().map(|place| *place as u32).collect();
                    let n = places.len();
                    let places = Tensor::from_vec(places, n, &Device::Cpu)?;
                    tensor.index_select(&places, tensor.rank() - 1)?
                }
                _ => tensor.clone(),
            };
            let shape = tensor.dims().to_vec();
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let by_row = name == WORDS;
            match shape.as_slice() {
                // Norms are three rows; position, segment and output tables are small and
                // sensitive.
                [rows, columns] if *rows > 3 && (by_row || name.starts_with("layers.")) => {
                    let matrix = quantize([*rows, *columns], &values, by_row);
                    out.matrices.insert(name.clone(), matrix);
                }
                _ => {
                    out.floats.insert(name.clone(), (shape, values));
                }
            }
        }
        Ok(out)
    }

    /// Numbers in it.
    pub fn len(&self) -> usize {
        let matrices = self.matrices.values().map(|matrix| matrix.steps.len());
        let floats = self.floats.values().map(|(_, values)| values.len());
        matrices.sum::<usize>() + floats.sum::<usize>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same weights under another description, whose heads are some of this one's, in any
    /// order.
    ///
    /// # Errors
    /// A head that this model does not have.
    pub fn described_anew(mut self, description: Description) -> Result<Self, EncoderError> {
        let before = &self.description.heads;
        let place = |name: &str| before.iter().position(|head| head.name == name);
        let places: Vec<usize> = description
            .heads
            .iter()
            .map(|head| place(&head.name).ok_or_else(|| EncoderError::Missing(head.name.clone())))
            .collect::<Result<_, _>>()?;
        let columns = before.len();
        for name in [super::HEAD_WEIGHT, super::HEAD_BIAS] {
            let (shape, values) = self
                .floats
                .get_mut(name)
                .ok_or_else(|| EncoderError::Missing(name.to_owned()))?;
            let rows = values.chunks_exact(columns.max(1));
            *values = rows
                .flat_map(|row| places.iter().map(|at| row[*at]))
                .collect();
            if let Some(last) = shape.last_mut() {
                *last = places.len();
            }
        }
        self.description = description;
        Ok(self)
    }

    /// The file's bytes; the same model always gives the same.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncoderError> {
        let description = serde_json::to_string(&self.description)
            .map_err(|error| EncoderError::Input(error.to_string()))?;
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        for (name, matrix) in &self.matrices {
            let steps = matrix
                .steps
                .iter()
                .map(|step| step.to_le_bytes()[0])
                .collect();
            tensors.push((name.clone(), Dtype::I8, matrix.shape.to_vec(), steps));
            let scales = (
                format!("{name}.scale"),
                Dtype::F32,
                vec![matrix.scales.len()],
            );
            tensors.push((scales.0, scales.1, scales.2, bytes(&matrix.scales)));
        }
        for (name, (shape, values)) in &self.floats {
            tensors.push((name.clone(), Dtype::F32, shape.clone(), bytes(values)));
        }
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, dtype, shape, data)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), data)?))
            })
            .collect::<Result<_, EncoderError>>()?;
        let metadata = HashMap::from([(DESCRIPTION.to_owned(), description)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads a file that [`ChatEncoder::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncoderError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let description = header.metadata().as_ref().and_then(|m| m.get(DESCRIPTION));
        let description =
            description.ok_or_else(|| EncoderError::Missing(DESCRIPTION.to_owned()))?;
        let description = serde_json::from_str(description)
            .map_err(|error| EncoderError::Input(format!("the description: {error}")))?;
        let file = SafeTensors::deserialize(bytes)?;
        let mut out = Self {
            description,
            matrices: BTreeMap::new(),
            floats: BTreeMap::new(),
        };
        for (name, view) in file.tensors() {
            let shape = view.shape().to_vec();
            match (view.dtype(), shape.as_slice()) {
                (Dtype::I8, [rows, columns]) => {
                    let steps = view
                        .data()
                        .iter()
                        .map(|b| i8::from_le_bytes([*b]))
                        .collect();
                    let scales = file
                        .tensor(&format!("{name}.scale"))
                        .map_err(|_| EncoderError::Missing(format!("{name}.scale")))?;
                    let matrix = Quantized {
                        shape: [*rows, *columns],
                        steps,
                        scales: floats(scales.data()),
                    };
                    let expected = if name == WORDS { *rows } else { *columns };
                    if matrix.scales.len() != expected {
                        return Err(EncoderError::Shape {
                            name: format!("{name}.scale"),
                            found: vec![matrix.scales.len()],
                            expected: vec![expected],
                        });
                    }
                    out.matrices.insert(name, matrix);
                }
                (Dtype::F32, _) if name.strip_suffix(SCALE).is_none() => {
                    out.floats.insert(name, (shape, floats(view.data())));
                }
                (Dtype::F32, _) => {}
                _ => return Err(EncoderError::Input(format!("{name} has an unknown type"))),
            }
        }
        Ok(out)
    }

    /// The same weights as floats, run by Candle.
    pub fn to_classifier(&self) -> Result<TextClassifier, EncoderError> {
        TextClassifier::new(self.description.config, &self.to_weights()?)
    }

    /// The same weights as floats, by name; of the output layer, one column a head of the
    /// description.
    pub fn to_weights(&self) -> Result<HashMap<String, Tensor>, EncoderError> {
        let mut weights = HashMap::new();
        for (name, matrix) in &self.matrices {
            let [rows, columns] = matrix.shape;
            let values: Vec<f32> = matrix
                .steps
                .iter()
                .enumerate()
                .map(|(at, step)| {
                    let scale = if name == WORDS {
                        at / columns
                    } else {
                        at % columns
                    };
                    f32::from(*step) * matrix.scales[scale]
                })
                .collect();
            let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
            weights.insert(name.clone(), tensor);
        }
        for (name, (shape, values)) in &self.floats {
            let tensor = Tensor::from_slice(values, shape.as_slice(), &Device::Cpu)?;
            weights.insert(name.clone(), tensor.to_dtype(DType::F32)?);
        }
        Ok(weights)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
