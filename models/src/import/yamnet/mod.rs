//! YAMNet's int8 TFLite graph → an ONNX graph of integer convolutions.
//!
//! The float front end (frames, FFT, mel bands, logarithm) is left out: `features` computes it.
//! What follows is converted operator by operator, from `QUANTIZE` to `DEQUANTIZE`:
//!
//! | TFLite | ONNX |
//! |---|---|
//! | QUANTIZE | QuantizeLinear |
//! | CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED | QLinearConv |
//! | MEAN over a map | QLinearConv with a kernel of ones and the scale 1/area |
//! | LOGISTIC | DequantizeLinear, Sigmoid, QuantizeLinear |
//! | DEQUANTIZE | DequantizeLinear |
//!
//! TFLite stores signed bytes q with zero point z; we write unsigned bytes q + 128 with z + 128,
//! for activations and weights alike. The integers of every convolution stay the same, and ONNX
//! Runtime's unsigned kernels never saturate 16-bit intermediates, which its signed-weight
//! kernels do on x86 processors without VNNI. ReLU and ReLU6 need no node: the output's range
//! begins at 0 and ends at or below 6, so saturation does it (checked).

use super::ImportError;
use super::tflite::{Model, Operator, Tensor, kind, op};
use crate::manifest::Dim;
use crate::onnx::proto::ModelProto;
use crate::onnx::{Attr, GraphBuilder, Values};

mod convs;

#[cfg(test)]
mod tests;

type Result<T> = std::result::Result<T, ImportError>;

/// Axes longer than this are refused, so that products of four fit.
const MAX_AXIS: usize = 1 << 12;

fn fail<T>(layer: impl Into<String>, message: &str) -> Result<T> {
    Err(ImportError::Layer {
        layer: layer.into(),
        message: message.to_owned(),
    })
}

/// A quantised value of the graph under construction.
#[derive(Clone)]
struct Quantised {
    name: String,
    /// The TFLite tensor it stands for.
    tensor: i32,
    scale: String,
    zero: String,
    /// Height, width, channels.
    map: [usize; 3],
}

struct Converter<'a> {
    model: &'a Model<'a>,
    graph: GraphBuilder,
    /// Length of the pooled layer, once it was met.
    embeddings: Option<usize>,
}

/// Converts a file.
pub fn import(file: &[u8]) -> Result<ModelProto> {
    let model = Model::read(file)?;
    let start = model.operators.iter().position(|o| o.code == op::QUANTIZE);
    let Some(start) = start else {
        return fail("graph", "no QUANTIZE operator");
    };
    let mut converter = Converter {
        model: &model,
        graph: GraphBuilder::new("yamnet"),
        embeddings: None,
    };
    let mut value = converter.quantize(&model.operators[start])?;
    let mut outputs = None;
    for (index, operator) in model.operators.iter().enumerate().skip(start + 1) {
        let layer = format!("operator {index}");
        // SPLIT into one piece takes its value second.
        let input = operator.inputs.get(usize::from(operator.code == op::SPLIT));
        if outputs.is_some() || input != Some(&value.tensor) || operator.outputs.len() != 1 {
            return fail(layer, "not the chain that was expected");
        }
        value = match operator.code {
            op::RESHAPE => converter.reshape(&layer, operator, value)?,
            op::SPLIT => Quantised {
                tensor: operator.outputs[0],
                ..value
            },
            op::CONV_2D => converter.conv(&layer, operator, &value, false)?,
            op::DEPTHWISE_CONV_2D => converter.conv(&layer, operator, &value, true)?,
            op::MEAN => converter.mean(&layer, operator, &value)?,
            op::FULLY_CONNECTED => converter.dense(&layer, operator, &value)?,
            op::LOGISTIC => converter.logistic(&layer, operator, &value)?,
            op::DEQUANTIZE => {
                converter.flat("scores", &value);
                outputs = Some(value.map[2]);
                Quantised {
                    tensor: operator.outputs[0],
                    ..value
                }
            }
            code => return fail(layer, &format!("TFLite operator {code} is not supported")),
        };
    }
    let (Some(scores), Some(embeddings)) = (outputs, converter.embeddings) else {
        return fail("graph", "no MEAN or no DEQUANTIZE operator at the end");
    };
    let mut graph = converter.graph;
    for (name, len) in [("scores", scores), ("embeddings", embeddings)] {
        graph.output(name, &[Dim::Named("N".to_owned()), Dim::Fixed(len as u64)]);
    }
    Ok(graph.finish())
}

impl<'a> Converter<'a> {
    fn tensor(&self, index: Option<&i32>) -> Result<&'a Tensor<'a>> {
        let index = index.and_then(|i| usize::try_from(*i).ok());
        match index.and_then(|i| self.model.tensors.get(i)) {
            Some(tensor) => Ok(tensor),
            None => fail("operator", "a tensor is missing"),
        }
    }

    fn output(&self, operator: &Operator<'_>) -> Result<(i32, &'a Tensor<'a>)> {
        let tensor = self.tensor(operator.outputs.first())?;
        Ok((operator.outputs[0], tensor))
    }

    /// Writes scale and zero point of a signed tensor, shifted to unsigned.
    fn quantisation(&mut self, layer: &str, tensor: &Tensor<'_>) -> Result<(String, String)> {
        let ([scale], [zero]) = (tensor.scales.as_slice(), tensor.zero_points.as_slice()) else {
            return fail(layer, "expected one scale and one zero point");
        };
        if tensor.kind != kind::INT8 || !(scale.is_finite() && *scale > 0.0) {
            return fail(layer, "expected int8 with a positive scale");
        }
        let Ok(zero) = u8::try_from(zero.saturating_add(128)) else {
            return fail(layer, "zero point outside int8");
        };
        let scale = self.graph.scalar(&format!("{layer}/scale"), *scale);
        let zero = self
            .graph
            .constant(&format!("{layer}/zero"), &[], &Values::U8(vec![zero]));
        Ok((scale, zero))
    }

    fn quantize(&mut self, operator: &Operator<'_>) -> Result<Quantised> {
        let (index, tensor) = self.output(operator)?;
        let &[1, height, width] = tensor.shape.as_slice() else {
            return fail("QUANTIZE", "expected [1, frames, bands]");
        };
        if !(1..=MAX_AXIS).contains(&height) || !(1..=MAX_AXIS).contains(&width) {
            return fail("QUANTIZE", "axis out of range");
        }
        let dims = [Dim::Fixed(height as u64), Dim::Fixed(width as u64)];
        self.graph.input(
            "log_mel",
            &[&[Dim::Named("N".to_owned())], dims.as_slice()].concat(),
        );
        let axes = self
            .graph
            .constant("input/axes", &[1], &Values::I64(vec![1]));
        let map = self
            .graph
            .node("Unsqueeze", "input/map", &["log_mel", &axes], &[]);
        let (scale, zero) = self.quantisation("input", tensor)?;
        let name = self
            .graph
            .node("QuantizeLinear", "input", &[&map, &scale, &zero], &[]);
        Ok(Quantised {
            name,
            tensor: index,
            scale,
            zero,
            map: [height, width, 1],
        })
    }

    /// Only [1, height, width] → [1, height, width, 1], which the map already is.
    fn reshape(
        &mut self,
        layer: &str,
        operator: &Operator<'_>,
        input: Quantised,
    ) -> Result<Quantised> {
        let (index, tensor) = self.output(operator)?;
        let [height, width, channels] = input.map;
        if tensor.shape != [1, height, width, channels] {
            return fail(layer, "reshape is not supported here");
        }
        Ok(Quantised {
            tensor: index,
            ..input
        })
    }

    fn logistic(
        &mut self,
        layer: &str,
        operator: &Operator<'_>,
        input: &Quantised,
    ) -> Result<Quantised> {
        let (index, output) = self.output(operator)?;
        let parts = [input.name.as_str(), &input.scale, &input.zero];
        let logits = self
            .graph
            .node("DequantizeLinear", &format!("{layer}/logits"), &parts, &[]);
        let sigmoid = self
            .graph
            .node("Sigmoid", &format!("{layer}/sigmoid"), &[&logits], &[]);
        let (scale, zero) = self.quantisation(layer, output)?;
        let name = self
            .graph
            .node("QuantizeLinear", layer, &[&sigmoid, &scale, &zero], &[]);
        Ok(Quantised {
            name,
            tensor: index,
            scale,
            zero,
            map: input.map,
        })
    }

    /// Makes the float value `name`, [N, channels], from a map of one pixel.
    fn flat(&mut self, name: &str, value: &Quantised) {
        let parts = [value.name.as_str(), &value.scale, &value.zero];
        let float = self
            .graph
            .node("DequantizeLinear", &format!("{name}/map"), &parts, &[]);
        self.graph
            .node("Flatten", name, &[&float], &[("axis", Attr::Int(1))]);
    }
}
