//! The network as it ships: norms folded into eight-bit kernels, one safetensors file.

use std::collections::HashMap;

use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};
use serde::{Deserialize, Serialize};

use super::ops::{EPSILON, TAPS};
use super::{NormStatistics, SoundModelError, SoundNet, SoundShape};
use crate::int8::{Quantized, quantize};

/// File name of the weights inside a model folder.
pub const CNN_FILE: &str = "sound.safetensors";
/// Metadata key of the description.
const DESCRIPTION: &str = "novastream";

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Description {
    shape: SoundShape,
    labels: Vec<String>,
}

/// A convolution with its bias.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    /// `[9 · inputs, outputs]`, one scale an output.
    pub kernel: Quantized,
    pub bias: Vec<f32>,
}

/// A trained network, ready to be written or turned into a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundCnn {
    description: Description,
    pub(super) layers: Vec<Layer>,
    /// `[2 · channels, labels]`.
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl SoundCnn {
    /// Folds the norms into the kernels and rounds these to eight bits. `statistics` are those of
    /// [`SoundNet::observe`] over training windows.
    pub fn fold(
        net: &SoundNet,
        statistics: &[NormStatistics],
        labels: Vec<String>,
    ) -> Result<Self, SoundModelError> {
        let shape = net.shape().clone();
        if labels.len() != shape.labels || statistics.len() != shape.channels.len() {
            return Err(SoundModelError::Invalid(format!(
                "{} labels and {} norms for {shape:?}",
                labels.len(),
                statistics.len()
            )));
        }
        let mut values = net.values()?;
        let mut take = |name: String| values.remove(&name).ok_or(SoundModelError::Missing(name));
        let mut layers = Vec::new();
        for (i, (inputs, statistics)) in shape.inputs().zip(statistics).enumerate() {
            let outputs = shape.channels[i];
            let mut kernel = take(format!("block{i}.kernel"))?;
            let norm = take(format!("block{i}.norm"))?;
            let (gain, shift) = norm.split_at(outputs);
            let (mean, variance) = statistics.averages();
            let by: Vec<f32> = (0..outputs)
                .map(|c| gain[c] / (variance[c] + EPSILON).sqrt())
                .collect();
            for row in kernel.chunks_exact_mut(outputs) {
                for (value, by) in row.iter_mut().zip(&by) {
                    *value *= by;
                }
            }
            layers.push(Layer {
                kernel: quantize([TAPS * inputs, outputs], &kernel, false),
                bias: (0..outputs).map(|c| shift[c] - mean[c] * by[c]).collect(),
            });
        }
        Ok(Self {
            weight: take("head.weight".to_owned())?,
            bias: take("head.bias".to_owned())?,
            description: Description { shape, labels },
            layers,
        })
    }

    /// Its shape.
    pub fn shape(&self) -> &SoundShape {
        &self.description.shape
    }

    /// Its classes in order.
    pub fn labels(&self) -> &[String] {
        &self.description.labels
    }

    /// The file's bytes; the same model always gives the same.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SoundModelError> {
        let description = serde_json::to_string(&self.description)
            .map_err(|e| SoundModelError::Invalid(e.to_string()))?;
        let floats =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let kernel = &layer.kernel;
            let steps = kernel.steps.iter().map(|s| s.to_le_bytes()[0]).collect();
            let outputs = vec![layer.bias.len()];
            parts.push((
                format!("block{i}.kernel"),
                Dtype::I8,
                kernel.shape.to_vec(),
                steps,
            ));
            parts.push((
                format!("block{i}.scale"),
                Dtype::F32,
                outputs.clone(),
                floats(&kernel.scales),
            ));
            parts.push((
                format!("block{i}.bias"),
                Dtype::F32,
                outputs,
                floats(&layer.bias),
            ));
        }
        let rows = 2 * self.shape().last();
        let labels = self.labels().len();
        parts.push((
            "head.weight".to_owned(),
            Dtype::F32,
            vec![rows, labels],
            floats(&self.weight),
        ));
        parts.push((
            "head.bias".to_owned(),
            Dtype::F32,
            vec![labels],
            floats(&self.bias),
        ));
        let views: Vec<(&str, TensorView<'_>)> = parts
            .iter()
            .map(|(name, dtype, shape, data)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), data)?))
            })
            .collect::<Result<_, SoundModelError>>()?;
        let metadata = HashMap::from([(DESCRIPTION.to_owned(), description)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads a file that [`SoundCnn::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SoundModelError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let text = header.metadata().as_ref().and_then(|m| m.get(DESCRIPTION));
        let text = text.ok_or_else(|| SoundModelError::Missing(DESCRIPTION.to_owned()))?;
        let description: Description = serde_json::from_str(text)
            .map_err(|e| SoundModelError::Invalid(format!("the description: {e}")))?;
        description.shape.check()?;
        let shape = &description.shape;
        if description.labels.len() != shape.labels {
            return Err(SoundModelError::Invalid(
                "the description has other labels than its shape".to_owned(),
            ));
        }
        let file = SafeTensors::deserialize(bytes)?;
        let floats = |name: &str, expected: &[usize]| {
            let view = view(&file, name, Dtype::F32, expected)?;
            let (values, _) = view.as_chunks::<4>();
            Ok::<_, SoundModelError>(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let mut layers = Vec::new();
        for (i, (inputs, outputs)) in shape.inputs().zip(&shape.channels).enumerate() {
            let size = [TAPS * inputs, *outputs];
            let steps = view(&file, &format!("block{i}.kernel"), Dtype::I8, &size)?;
            layers.push(Layer {
                kernel: Quantized {
                    shape: size,
                    steps: steps.iter().map(|b| i8::from_le_bytes([*b])).collect(),
                    scales: floats(&format!("block{i}.scale"), &[*outputs])?,
                },
                bias: floats(&format!("block{i}.bias"), &[*outputs])?,
            });
        }
        let weight = floats("head.weight", &[2 * shape.last(), shape.labels])?;
        let bias = floats("head.bias", &[shape.labels])?;
        Ok(Self {
            description,
            layers,
            weight,
            bias,
        })
    }
}

fn view<'a>(
    file: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
    expected: &[usize],
) -> Result<&'a [u8], SoundModelError> {
    let view = file
        .tensor(name)
        .map_err(|_| SoundModelError::Missing(name.to_owned()))?;
    if view.dtype() != dtype || view.shape() != expected {
        return Err(SoundModelError::Shape {
            name: name.to_owned(),
            found: view.shape().to_vec(),
            expected: expected.to_vec(),
        });
    }
    Ok(view.data())
}
