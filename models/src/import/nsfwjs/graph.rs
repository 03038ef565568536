//! A TensorFlow graph, as the converter writes it for models that were not plain Keras layers,
//! told as the layers that [`super::layers`] knows.
//!
//! The graph is an optimised one: biases and activations are fused into the convolutions, and the
//! first two nodes rescale the input.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Layer;
use super::weights::Tensor;
use crate::import::ImportError;

/// One node of the graph.
#[derive(Deserialize)]
pub struct Node {
    name: String,
    op: String,
    #[serde(default)]
    input: Vec<String>,
    #[serde(default)]
    attr: BTreeMap<String, Json>,
}

impl Node {
    fn fail(&self, message: &str) -> ImportError {
        ImportError::Layer {
            layer: format!("{} ({})", self.name, self.op),
            message: message.to_owned(),
        }
    }

    /// The name of an input's node; `:0` is its first and here only output.
    fn input(&self, index: usize) -> Result<&str, ImportError> {
        let name = self
            .input
            .get(index)
            .ok_or_else(|| self.fail("an input is missing"))?;
        Ok(name.strip_suffix(":0").unwrap_or(name))
    }

    fn expect_inputs(&self, count: usize) -> Result<(), ImportError> {
        if self.input.len() == count {
            Ok(())
        } else {
            Err(self.fail("unexpected number of inputs"))
        }
    }

    /// A list of integers, which the converter writes as text.
    fn ints(&self, key: &str) -> Vec<u64> {
        let list = self.attr.get(key).and_then(|a| a["list"]["i"].as_array());
        let number = |v: &Json| v.as_u64().or_else(|| v.as_str()?.parse().ok());
        list.into_iter().flatten().filter_map(number).collect()
    }

    /// A text, which the converter writes in base64.
    fn text(value: &Json) -> Option<String> {
        String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
    }

    fn fused(&self) -> Vec<String> {
        let list = self.attr.get("fused_ops").map(|a| &a["list"]["s"]);
        let list = list.and_then(Json::as_array);
        list.into_iter().flatten().filter_map(Self::text).collect()
    }

    /// Height and width of a list that has batch and channels around them, each 1.
    fn inner(&self, key: &str) -> Result<[u64; 2], ImportError> {
        match self.ints(key).as_slice() {
            [1, height, width, 1] => Ok([*height, *width]),
            _ => Err(self.fail("a size or stride is not understood")),
        }
    }

    fn check_layout(&self) -> Result<(), ImportError> {
        let layout = self
            .attr
            .get("data_format")
            .and_then(|a| Self::text(&a["s"]));
        if layout.as_deref() == Some("NHWC") {
            Ok(())
        } else {
            Err(self.fail("layout not supported"))
        }
    }

    fn padding(&self) -> Result<String, ImportError> {
        self.attr
            .get("padding")
            .and_then(|a| Self::text(&a["s"]))
            .map(|p| p.to_lowercase())
            .ok_or_else(|| self.fail("padding not understood"))
    }
}

/// The layers of a graph; its weights are renamed to what the layers expect.
pub fn layers(
    nodes: &[Node],
    weights: &mut BTreeMap<String, Tensor>,
) -> Result<Vec<Layer>, ImportError> {
    let mut layers = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node.op.as_str() {
            // Its values are among the weights.
            "Const" => {}
            "Placeholder" => layers.push(placeholder(node)?),
            "Mul" | "Sub" => layers.push(rescaling(node, weights)?),
            "_FusedConv2D" | "FusedDepthwiseConv2dNative" => {
                convolution(node, weights, &mut layers)?;
            }
            "AddV2" => {
                node.expect_inputs(2)?;
                let inputs = [node.input(0)?, node.input(1)?];
                layers.push(layer(&node.name, "Add", json!({}), &inputs));
            }
            "AvgPool" => {
                node.check_layout()?;
                let config = json!({"pool_size": node.inner("ksize")?, "padding": node.padding()?});
                layers.push(layer(
                    &node.name,
                    "AveragePooling2D",
                    config,
                    &[node.input(0)?],
                ));
            }
            "Squeeze" if node.ints("squeeze_dims") == [1, 2] => {
                layers.push(layer(&node.name, "Flatten", json!({}), &[node.input(0)?]));
            }
            "_FusedMatMul" => layers.push(dense(node, weights)?),
            "Softmax" => layers.push(layer(&node.name, "Softmax", json!({}), &[node.input(0)?])),
            "Identity" => layers.push(layer(&node.name, "Dropout", json!({}), &[node.input(0)?])),
            _ => return Err(node.fail("not supported here")),
        }
    }
    Ok(layers)
}

fn layer(name: &str, class_name: &str, config: Json, inputs: &[&str]) -> Layer {
    let inputs: Vec<Json> = inputs.iter().map(|i| json!([i, 0, 0, {}])).collect();
    Layer {
        name: name.to_owned(),
        class_name: class_name.to_owned(),
        config,
        inbound_nodes: json!([inputs]),
    }
}

fn placeholder(node: &Node) -> Result<Layer, ImportError> {
    let dims = node.attr.get("shape").map(|a| &a["shape"]["dim"]);
    let size = |dim: &Json| {
        let size = &dim["size"];
        size.as_i64().or_else(|| size.as_str()?.parse().ok())
    };
    let shape: Option<Vec<Option<i64>>> = dims
        .and_then(Json::as_array)
        .map(|dims| dims.iter().map(|d| size(d).filter(|n| *n >= 0)).collect());
    let shape = shape.ok_or_else(|| node.fail("the input has no shape"))?;
    let config = json!({"batch_input_shape": shape});
    Ok(layer(&node.name, "InputLayer", config, &[]))
}

/// `x · a`, `a · x` and `x - a` with a number that is a weight.
fn rescaling(node: &Node, weights: &mut BTreeMap<String, Tensor>) -> Result<Layer, ImportError> {
    node.expect_inputs(2)?;
    let (a, b) = (node.input(0)?, node.input(1)?);
    let number = |name: &str| match weights.get(name)?.values.as_slice() {
        [value] => Some(f64::from(*value)),
        _ => None,
    };
    let (input, config) = match (node.op.as_str(), number(a), number(b)) {
        ("Mul", Some(scale), None) => (b, json!({"scale": scale, "offset": 0.0})),
        ("Mul", None, Some(scale)) => (a, json!({"scale": scale, "offset": 0.0})),
        ("Sub", None, Some(offset)) => (a, json!({"scale": 1.0, "offset": -offset})),
        _ => return Err(node.fail("only a number times or taken from a value is supported")),
    };
    Ok(layer(&node.name, "Rescaling", config, &[input]))
}

fn convolution(
    node: &Node,
    weights: &mut BTreeMap<String, Tensor>,
    layers: &mut Vec<Layer>,
) -> Result<(), ImportError> {
    node.expect_inputs(3)?;
    node.check_layout()?;
    let clipped = match node.fused().iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["BiasAdd"] => false,
        ["BiasAdd", "Relu6"] => true,
        _ => return Err(node.fail("fused operations not supported")),
    };
    let depthwise = node.op == "FusedDepthwiseConv2dNative";
    // The activation keeps the node's name, because that is what the others refer to.
    let name = if clipped {
        format!("{}/linear", node.name)
    } else {
        node.name.clone()
    };
    let (kernel, class) = if depthwise {
        ("depthwise_kernel", "DepthwiseConv2D")
    } else {
        ("kernel", "Conv2D")
    };
    rename(node, weights, 1, &format!("{name}/{kernel}"))?;
    rename(node, weights, 2, &format!("{name}/bias"))?;
    let config = json!({
        "strides": node.inner("strides")?,
        "dilation_rate": node.inner("dilations")?,
        "padding": node.padding()?,
        "use_bias": true,
        "activation": "linear",
        "data_format": "channels_last",
        // Its normalisation is in the weights already, and several nodes may use it.
        "written": true,
    });
    layers.push(layer(&name, class, config, &[node.input(0)?]));
    if clipped {
        let config = json!({"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0});
        layers.push(layer(&node.name, "ReLU", config, &[&name]));
    }
    Ok(())
}

fn dense(node: &Node, weights: &mut BTreeMap<String, Tensor>) -> Result<Layer, ImportError> {
    node.expect_inputs(3)?;
    let transposed = |key: &str| node.attr.get(key).is_some_and(|a| a["b"] == json!(true));
    if node.fused() != ["BiasAdd"] || transposed("transpose_a") || transposed("transpose_b") {
        return Err(node.fail("only a plain product with a bias is supported"));
    }
    rename(node, weights, 1, &format!("{}/kernel", node.name))?;
    rename(node, weights, 2, &format!("{}/bias", node.name))?;
    let config = json!({"activation": "linear"});
    Ok(layer(&node.name, "Dense", config, &[node.input(0)?]))
}

fn rename(
    node: &Node,
    weights: &mut BTreeMap<String, Tensor>,
    index: usize,
    name: &str,
) -> Result<(), ImportError> {
    let tensor = weights
        .remove(node.input(index)?)
        .ok_or_else(|| ImportError::Weights {
            name: node.input[index].clone(),
            message: "missing".to_owned(),
        })?;
    weights.insert(name.to_owned(), tensor);
    Ok(())
}
