//! One Keras layer at a time → ONNX nodes.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Layer;
use super::conv::{Conv, padding_list};
use super::weights::Tensor;
use crate::import::ImportError;
use crate::manifest::Dim;
use crate::onnx::{Attr, GraphBuilder, Values};

/// Height, width and channels are at most this, so that products of them fit easily.
pub(super) const MAX_AXIS: usize = 1 << 16;

/// What a layer produced.
#[derive(Clone)]
pub enum Value {
    /// A value of the graph, [N,channels,height,width].
    Map {
        name: String,
        size: [usize; 2],
        channels: usize,
    },
    /// The same, to be padded with zeros (top, left, bottom, right) by its consumer.
    Padded {
        name: String,
        size: [usize; 2],
        channels: usize,
        pads: [usize; 4],
    },
    /// A convolution not yet written: batch normalisation may still be folded into it.
    Conv(Conv),
    /// A value of the graph, [N,len].
    Flat { name: String, len: usize },
}

impl Value {
    /// Whether the next layer changes it, so that nobody else may use it.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Padded { .. } | Self::Conv(_))
    }
}

/// Writes layers into a graph.
pub struct Converter {
    pub graph: GraphBuilder,
    pub weights: BTreeMap<String, Tensor>,
}

impl Converter {
    /// Converts one layer whose inputs are converted already.
    pub fn layer(&mut self, layer: &Layer, mut inputs: Vec<Value>) -> Result<Value, ImportError> {
        let expected = match layer.class_name.as_str() {
            "InputLayer" => 0,
            "Add" => 2,
            _ => 1,
        };
        if inputs.len() != expected {
            return Err(layer.fail("unexpected number of inputs"));
        }
        let second = if expected == 2 { inputs.pop() } else { None };
        match (layer.class_name.as_str(), inputs.pop(), second) {
            ("InputLayer", None, None) => self.input(layer),
            (
                "ZeroPadding2D",
                Some(Value::Map {
                    name,
                    size,
                    channels,
                }),
                None,
            ) => {
                let pads = padding_list(layer)?;
                Ok(Value::Padded {
                    name,
                    size,
                    channels,
                    pads,
                })
            }
            ("Conv2D" | "DepthwiseConv2D", Some(value), None) => self.conv(layer, value),
            ("BatchNormalization", Some(Value::Conv(conv)), None) => self.fold(layer, conv),
            ("ReLU", Some(value), None) => self.relu(layer, value),
            ("Add", Some(a), Some(b)) => self.add(layer, a, b),
            ("AveragePooling2D", Some(value), None) => self.pool(layer, value),
            (
                "Flatten",
                Some(Value::Map {
                    name,
                    size: [1, 1],
                    channels,
                }),
                None,
            ) => {
                let axis = [("axis", Attr::Int(1))];
                let name = self.graph.node("Flatten", "features", &[&name], &axis);
                Ok(Value::Flat {
                    name,
                    len: channels,
                })
            }
            ("Dense", Some(Value::Flat { name, len }), None) => self.dense(layer, &name, len),
            ("Rescaling", Some(value), None) => self.rescale(layer, value),
            ("Softmax", Some(Value::Flat { name, len }), None) => Ok(Value::Flat {
                name: self.softmax(&name),
                len,
            }),
            // Dropout does nothing when a model runs.
            ("Dropout", Some(value @ Value::Flat { .. }), None) => Ok(value),
            _ => Err(layer.fail("not supported here")),
        }
    }

    fn input(&mut self, layer: &Layer) -> Result<Value, ImportError> {
        let shape: Option<Vec<usize>> = layer.config["batch_input_shape"]
            .as_array()
            .and_then(|a| a.get(1..)?.iter().map(as_axis).collect());
        let Some(&[height, width, channels]) = shape.as_deref() else {
            return Err(layer.fail("expected an input of [N, height, width, channels]"));
        };
        let dims = [height, width, channels].map(|d| Dim::Fixed(d as u64));
        self.graph.input(
            "image",
            &[&[Dim::Named("N".to_owned())], dims.as_slice()].concat(),
        );
        let perm = [("perm", Attr::Ints(vec![0, 3, 1, 2]))];
        let name = self.graph.node("Transpose", "planes", &["image"], &perm);
        Ok(Value::Map {
            name,
            size: [height, width],
            channels,
        })
    }

    pub(super) fn tensor(&mut self, layer: &Layer, part: &str) -> Result<Tensor, ImportError> {
        let name = format!("{}/{part}", layer.name);
        self.weights
            .remove(&name)
            .ok_or_else(|| ImportError::Weights {
                name,
                message: "missing".to_owned(),
            })
    }

    pub(super) fn vector(
        &mut self,
        layer: &Layer,
        part: &str,
        len: usize,
    ) -> Result<Vec<f64>, ImportError> {
        let tensor = self.tensor(layer, part)?;
        if tensor.values.len() != len {
            return Err(layer.fail("a vector of weights has the wrong length"));
        }
        Ok(tensor.values.iter().map(|v| f64::from(*v)).collect())
    }

    /// A value as a map of the graph; writes a convolution that waited.
    pub(super) fn map(
        &mut self,
        layer: &Layer,
        value: Value,
    ) -> Result<(String, [usize; 2], usize), ImportError> {
        match value {
            Value::Map {
                name,
                size,
                channels,
            } => Ok((name, size, channels)),
            Value::Conv(conv) => Ok(self.write(conv)),
            Value::Padded { .. } | Value::Flat { .. } => Err(layer.fail("needs a plain map")),
        }
    }

    fn relu(&mut self, layer: &Layer, input: Value) -> Result<Value, ImportError> {
        let config = &layer.config;
        let is = |key: &str, value: f64| config[key].as_f64() == Some(value);
        if !is("max_value", 6.0) || !is("negative_slope", 0.0) || !is("threshold", 0.0) {
            return Err(layer.fail("only ReLU6 is supported"));
        }
        let (input, size, channels) = self.map(layer, input)?;
        let low = self.graph.scalar(&format!("{}/min", layer.name), 0.0);
        let high = self.graph.scalar(&format!("{}/max", layer.name), 6.0);
        let name = self
            .graph
            .node("Clip", &layer.name, &[&input, &low, &high], &[]);
        Ok(Value::Map {
            name,
            size,
            channels,
        })
    }

    fn add(&mut self, layer: &Layer, a: Value, b: Value) -> Result<Value, ImportError> {
        let (a, size, channels) = self.map(layer, a)?;
        let (b, size_b, channels_b) = self.map(layer, b)?;
        if (size, channels) != (size_b, channels_b) {
            return Err(layer.fail("its inputs differ in shape"));
        }
        let name = self.graph.node("Add", &layer.name, &[&a, &b], &[]);
        Ok(Value::Map {
            name,
            size,
            channels,
        })
    }

    fn pool(&mut self, layer: &Layer, input: Value) -> Result<Value, ImportError> {
        let (input, size, channels) = self.map(layer, input)?;
        if pair(&layer.config["pool_size"]) != Some(size) || layer.config["padding"] != "valid" {
            return Err(layer.fail("must pool the whole map"));
        }
        let name = self
            .graph
            .node("GlobalAveragePool", &layer.name, &[&input], &[]);
        Ok(Value::Map {
            name,
            size: [1, 1],
            channels,
        })
    }

    fn dense(&mut self, layer: &Layer, input: &str, len: usize) -> Result<Value, ImportError> {
        let kernel = self.tensor(layer, "kernel")?;
        let &[rows, units] = kernel.shape.as_slice() else {
            return Err(layer.fail("kernel must have two axes"));
        };
        if rows != len || units == 0 {
            return Err(layer.fail("kernel does not fit its input"));
        }
        let bias = self.tensor(layer, "bias")?;
        if bias.values.len() != units {
            return Err(layer.fail("bias has the wrong length"));
        }
        let name = &layer.name;
        let w = Values::F32(kernel.values);
        let w = self
            .graph
            .constant(&format!("{name}/weights"), &[rows, units], &w);
        let b = self
            .graph
            .constant(&format!("{name}/bias"), &[units], &Values::F32(bias.values));
        let sums = self
            .graph
            .node("Gemm", &format!("{name}/sums"), &[input, &w, &b], &[]);
        let name = match layer.config["activation"].as_str() {
            Some("linear") => sums,
            Some("relu") => self.graph.node("Relu", name, &[&sums], &[]),
            Some("softmax") => self.softmax(&sums),
            _ => return Err(layer.fail("activation not supported")),
        };
        Ok(Value::Flat { name, len: units })
    }

    fn softmax(&mut self, sums: &str) -> String {
        let axis = [("axis", Attr::Int(1))];
        self.graph.node("Softmax", "probabilities", &[sums], &axis)
    }
}

fn as_axis(value: &Json) -> Option<usize> {
    value
        .as_u64()
        .and_then(|v| usize::try_from(v).ok())
        .filter(|v| (1..=MAX_AXIS).contains(v))
}

pub(super) fn pair(value: &Json) -> Option<[usize; 2]> {
    let [a, b] = value.as_array()?.as_slice() else {
        return None;
    };
    Some([as_axis(a)?, as_axis(b)?])
}
