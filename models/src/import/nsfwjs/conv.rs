//! Convolutions: read, normalised, written.

use serde_json::Value as Json;

use super::Layer;
use super::layers::{Converter, MAX_AXIS, Value, pair};
use crate::import::ImportError;
use crate::onnx::{Attr, Values};

/// A convolution: weights in ONNX layout, bias per output channel.
#[derive(Clone)]
pub struct Conv {
    name: String,
    input: String,
    shape: [usize; 4],
    weights: Vec<f64>,
    bias: Vec<f64>,
    strides: [usize; 2],
    pads: [usize; 4],
    group: usize,
    size: [usize; 2],
}

impl Converter {
    /// `Conv2D` and `DepthwiseConv2D`; nothing is written yet, unless the layer asks for it.
    pub(super) fn conv(&mut self, layer: &Layer, input: Value) -> Result<Value, ImportError> {
        let (name, size, channels, explicit) = match input {
            Value::Padded {
                name,
                size,
                channels,
                pads,
            } => (name, size, channels, Some(pads)),
            other => {
                let (name, size, channels) = self.map(layer, other)?;
                (name, size, channels, None)
            }
        };
        let depthwise = layer.class_name == "DepthwiseConv2D";
        let config = &layer.config;
        if config["dilation_rate"] != serde_json::json!([1, 1])
            || config["activation"] != "linear"
            || config["data_format"] != "channels_last"
        {
            return Err(layer.fail("dilation, activation or layout not supported"));
        }
        let kernel = self.tensor(
            layer,
            if depthwise {
                "depthwise_kernel"
            } else {
                "kernel"
            },
        )?;
        let Ok([kh, kw, cin, cout]) = <[usize; 4]>::try_from(kernel.shape.as_slice()) else {
            return Err(layer.fail("kernel must have four axes"));
        };
        let outputs = if depthwise { cin } else { cout };
        let plausible = [kh, kw, cin, cout]
            .iter()
            .all(|d| (1..=MAX_AXIS).contains(d));
        if !plausible || cin != channels || (depthwise && cout != 1) {
            return Err(layer.fail("kernel does not fit its input"));
        }
        let strides = pair(&config["strides"]).ok_or_else(|| layer.fail("strides"))?;
        let pads = match (config["padding"].as_str(), explicit) {
            (Some("valid"), pads) => pads.unwrap_or_default(),
            (Some("same"), None) => same_pads(size, [kh, kw], strides),
            _ => return Err(layer.fail("padding not supported")),
        };
        let out = |axis: usize| {
            let padded = size[axis] + pads[axis] + pads[axis + 2];
            let kernel = [kh, kw][axis];
            padded
                .checked_sub(kernel)
                .map(|room| room / strides[axis] + 1)
        };
        let (Some(height), Some(width)) = (out(0), out(1)) else {
            return Err(layer.fail("kernel is larger than its input"));
        };
        let weights = to_oihw(&kernel.values, [kh, kw, cin, cout], depthwise);
        let bias = if config["use_bias"] == Json::Bool(true) {
            self.vector(layer, "bias", outputs)?
        } else {
            vec![0.0; outputs]
        };
        let conv = Conv {
            name: layer.name.clone(),
            input: name,
            shape: [outputs, if depthwise { 1 } else { cin }, kh, kw],
            weights,
            bias,
            strides,
            pads,
            group: if depthwise { cin } else { 1 },
            size: [height, width],
        };
        if config["written"] != Json::Bool(true) {
            return Ok(Value::Conv(conv));
        }
        let (name, size, channels) = self.write(conv);
        Ok(Value::Map {
            name,
            size,
            channels,
        })
    }

    /// `x · scale + offset` for every value: a depthwise convolution of one pixel. It can't become
    /// part of the convolution after it, whose padding is zeros of the rescaled picture.
    pub(super) fn rescale(&mut self, layer: &Layer, input: Value) -> Result<Value, ImportError> {
        let number = |key: &str| {
            layer.config[key]
                .as_f64()
                .filter(|v| v.is_finite())
                .ok_or_else(|| layer.fail("scale or offset"))
        };
        let (scale, offset) = (number("scale")?, number("offset")?);
        let (input, size, channels) = match input {
            // The rescaling before this one, not written yet: the two become one.
            Value::Conv(mut conv)
                if conv.shape[1..] == [1, 1, 1] && conv.group == conv.shape[0] =>
            {
                conv.name.clone_from(&layer.name);
                conv.weights.iter_mut().for_each(|w| *w *= scale);
                for b in &mut conv.bias {
                    *b = *b * scale + offset;
                }
                return Ok(Value::Conv(conv));
            }
            other => self.map(layer, other)?,
        };
        Ok(Value::Conv(Conv {
            name: layer.name.clone(),
            input,
            shape: [channels, 1, 1, 1],
            weights: vec![scale; channels],
            bias: vec![offset; channels],
            strides: [1, 1],
            pads: [0; 4],
            group: channels,
            size,
        }))
    }

    /// Batch normalisation y = (x - mean) / sqrt(variance + ε) · γ + β becomes part of the
    /// weights and the bias.
    pub(super) fn fold(&mut self, layer: &Layer, mut conv: Conv) -> Result<Value, ImportError> {
        let outputs = conv.shape[0];
        let epsilon = layer.config["epsilon"]
            .as_f64()
            .ok_or_else(|| layer.fail("epsilon"))?;
        let gamma = self.vector(layer, "gamma", outputs)?;
        let beta = self.vector(layer, "beta", outputs)?;
        let mean = self.vector(layer, "moving_mean", outputs)?;
        let variance = self.vector(layer, "moving_variance", outputs)?;
        let per_output = conv.weights.len() / outputs;
        for (o, kernel) in conv.weights.chunks_exact_mut(per_output).enumerate() {
            let scale = gamma[o] / (variance[o] + epsilon).sqrt();
            if !scale.is_finite() {
                return Err(layer.fail("variance is not positive"));
            }
            for weight in kernel {
                *weight *= scale;
            }
            conv.bias[o] = (conv.bias[o] - mean[o]) * scale + beta[o];
        }
        // Written at once: a second normalisation or another user would be a different model.
        let (name, size, channels) = self.write(conv);
        Ok(Value::Map {
            name,
            size,
            channels,
        })
    }

    /// Writes a convolution; its name, size and channels.
    pub(super) fn write(&mut self, conv: Conv) -> (String, [usize; 2], usize) {
        let Conv {
            name,
            input,
            shape,
            weights,
            bias,
            strides,
            pads,
            group,
            size,
        } = conv;
        let float = |values: Vec<f64>| Values::F32(values.iter().map(|v| *v as f32).collect());
        let w = self
            .graph
            .constant(&format!("{name}/weights"), &shape, &float(weights));
        let b = self
            .graph
            .constant(&format!("{name}/bias"), &[shape[0]], &float(bias));
        let ints = |list: &[usize]| Attr::Ints(list.iter().map(|v| *v as i64).collect());
        let attributes = [
            ("group", Attr::Int(group as i64)),
            ("kernel_shape", ints(&shape[2..])),
            ("pads", ints(&pads)),
            ("strides", ints(&strides)),
        ];
        let name = self
            .graph
            .node("Conv", &name, &[&input, &w, &b], &attributes);
        (name, size, shape[0])
    }
}

/// Kernel [height, width, in, out] (depthwise: [height, width, channels, 1]) → [out, in/group,
/// height, width].
fn to_oihw(values: &[f32], [kh, kw, cin, cout]: [usize; 4], depthwise: bool) -> Vec<f64> {
    let mut weights = Vec::with_capacity(values.len());
    let (outer, inner) = if depthwise { (cin, 1) } else { (cout, cin) };
    for o in 0..outer {
        for i in 0..inner {
            for y in 0..kh {
                for x in 0..kw {
                    let (c, o) = if depthwise { (o, 0) } else { (i, o) };
                    weights.push(f64::from(values[((y * kw + x) * cin + c) * cout + o]));
                }
            }
        }
    }
    weights
}

/// TensorFlow's "same": ceil(size / stride) outputs, the odd zero goes to the end.
fn same_pads(size: [usize; 2], kernel: [usize; 2], strides: [usize; 2]) -> [usize; 4] {
    let total = |axis: usize| {
        let out = size[axis].div_ceil(strides[axis]);
        ((out.saturating_sub(1)) * strides[axis] + kernel[axis]).saturating_sub(size[axis])
    };
    let (y, x) = (total(0), total(1));
    [y / 2, x / 2, y - y / 2, x - x / 2]
}

/// `[[top, bottom], [left, right]]` → top, left, bottom, right.
pub(super) fn padding_list(layer: &Layer) -> Result<[usize; 4], ImportError> {
    let at = |axis: usize, end: usize| {
        layer.config["padding"][axis][end]
            .as_u64()
            .filter(|v| *v <= MAX_AXIS as u64)
    };
    match (at(0, 0), at(1, 0), at(0, 1), at(1, 1)) {
        (Some(top), Some(left), Some(bottom), Some(right)) => {
            Ok([top, left, bottom, right].map(|v| v as usize))
        }
        _ => Err(layer.fail("padding not understood")),
    }
}
