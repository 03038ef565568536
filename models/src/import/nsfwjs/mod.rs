//! nsfwjs' networks in TensorFlow.js form → a float ONNX graph: MobileNetV2 is a Keras layers
//! model, MobileNetV2Mid an optimised graph, which [`graph`] tells as layers.
//!
//! Input `image` [N,224,224,3] (0..=1), outputs `probabilities` [N,5] and `features` [N,1280]
//! or [N,1792].
//! Batch normalisation is folded into the convolution before it (in double precision), zero
//! padding into the one after it.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value as Json;

use super::ImportError;
use crate::manifest::Dim;
use crate::onnx::GraphBuilder;
use crate::onnx::proto::ModelProto;
use layers::{Converter, Value};

mod conv;
mod graph;
mod layers;
mod script;
mod weights;

#[cfg(test)]
mod tests;

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "modelTopology")]
    topology: Topology,
    #[serde(rename = "weightsManifest")]
    weights: Vec<weights::Group>,
}

/// A Keras model has a `model_config`, a graph has `node`s.
#[derive(Deserialize)]
struct Topology {
    model_config: Option<ModelConfig>,
    #[serde(default)]
    node: Vec<graph::Node>,
}

#[derive(Deserialize)]
struct ModelConfig {
    config: GraphConfig,
}

#[derive(Deserialize)]
struct GraphConfig {
    layers: Vec<Layer>,
}

/// A Keras layer; `inbound_nodes` is `[[[name, node, tensor, {}], …]]`.
#[derive(Deserialize)]
struct Layer {
    name: String,
    class_name: String,
    config: Json,
    inbound_nodes: Json,
}

impl Layer {
    fn fail(&self, message: &str) -> ImportError {
        ImportError::Layer {
            layer: format!("{} ({})", self.name, self.class_name),
            message: message.to_owned(),
        }
    }

    fn inputs(&self) -> Vec<&str> {
        let nodes = self.inbound_nodes.get(0).and_then(Json::as_array);
        nodes
            .into_iter()
            .flatten()
            .filter_map(|n| n.get(0)?.as_str())
            .collect()
    }
}

/// Converts the module with the topology and those with the weights, in their order. `name` is the
/// graph's.
pub fn import(topology: &[u8], shards: &[&[u8]], name: &str) -> Result<ModelProto, ImportError> {
    let fail = |file: &'static str| {
        move |message: String| ImportError::Script {
            file: file.to_owned(),
            message,
        }
    };
    let literal = |file: &'static str, bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|_| fail(file)("not text".to_owned()))?;
        script::exported(text).map_err(|m| fail(file)(m.to_owned()))
    };
    let bundle: Bundle = serde_json::from_value(literal("topology", topology)?)
        .map_err(|e| fail("topology")(e.to_string()))?;
    let mut data = Vec::new();
    for shard in shards {
        let Json::String(encoded) = literal("shard", shard)? else {
            return Err(fail("shard")("exports no string".to_owned()));
        };
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|e| fail("shard")(e.to_string()))?;
        data.extend(bytes);
    }
    let [group] = bundle.weights.as_slice() else {
        return Err(fail("topology")("expected one group of weights".to_owned()));
    };
    let mut weights = weights::decode(group, &data)?;
    let layers = match bundle.topology.model_config {
        Some(model) => model.config.layers,
        None => graph::layers(&bundle.topology.node, &mut weights)?,
    };
    convert(&layers, weights, name)
}

fn convert(
    layers: &[Layer],
    weights: BTreeMap<String, weights::Tensor>,
    name: &str,
) -> Result<ModelProto, ImportError> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for input in layers.iter().flat_map(Layer::inputs) {
        *uses.entry(input).or_default() += 1;
    }
    let mut converter = Converter {
        graph: GraphBuilder::new(name),
        weights,
    };
    let mut values: HashMap<&str, Value> = HashMap::new();
    let mut last = None;
    for layer in layers {
        let inputs = layer.inputs();
        let mut resolved = Vec::with_capacity(inputs.len());
        for name in &inputs {
            let value = values
                .get(name)
                .ok_or_else(|| layer.fail("unknown input"))?
                .clone();
            if value.is_pending() && uses.get(name) != Some(&1) {
                return Err(layer.fail("its input can't be folded: others use it too"));
            }
            resolved.push(value);
        }
        let value = converter.layer(layer, resolved)?;
        values.insert(&layer.name, value);
        last = Some(layer);
    }
    let last = last.ok_or_else(|| ImportError::Script {
        file: "topology".to_owned(),
        message: "no layers".to_owned(),
    })?;
    let classes = match values.get(last.name.as_str()) {
        Some(Value::Flat { name, len }) if name == "probabilities" => *len,
        _ => return Err(last.fail("the last layer must be a softmax")),
    };
    let features = values
        .values()
        .find_map(|v| match v {
            Value::Flat { name, len } if name == "features" => Some(*len),
            _ => None,
        })
        .ok_or_else(|| last.fail("no layer flattens the features"))?;
    let n = || Dim::Named("N".to_owned());
    let mut graph = converter.graph;
    graph.output("probabilities", &[n(), Dim::Fixed(classes as u64)]);
    graph.output("features", &[n(), Dim::Fixed(features as u64)]);
    Ok(graph.finish())
}
