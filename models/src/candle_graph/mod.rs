//! Runs the ONNX subset that our importers write, on Candle and the CPU: the fallback for
//! machines without ONNX Runtime.
//!
//! Operators: Transpose, Conv (dense with equal strides, pointwise, depthwise), Clip, Relu, Add,
//! GlobalAveragePool, GlobalMaxPool, MaxPool (two by two), Flatten, Gemm, Softmax, Sigmoid, Unsqueeze, QuantizeLinear,
//! DequantizeLinear, QLinearConv. Anything else, and any attribute that we would ignore, is
//! refused when the graph is loaded. Integer convolutions are exact: the same bytes as ONNX
//! Runtime gives.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::manifest::Dim;
use crate::onnx::proto::{Axis, ValueInfo};
use crate::onnx::{self, OnnxError};
use ops::Value;
use plan::Step;

mod depthwise;
pub(crate) mod float;
pub(crate) mod node;
pub(crate) mod ops;
mod plan;
mod quant;

#[cfg(test)]
mod tests;

/// Most values that one run may be fed with.
const MAX_INPUT: usize = 1 << 28;

/// A graph that can't be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Not an ONNX file.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// An operator, attribute or form of one that is not in the subset.
    #[error("node {node:?}: {message}")]
    Unsupported {
        /// The node.
        node: String,
        /// What is not supported.
        message: String,
    },
    /// An input is missing, unknown or of another shape than declared.
    #[error("input {name:?}: {message}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The arithmetic failed, for instance because shapes do not fit each other.
    #[error("node {node:?}: {message}")]
    Run {
        /// The node.
        node: String,
        /// Why.
        message: String,
    },
}

impl GraphError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Onnx(error) => error.code(),
            Self::Unsupported { .. } => "graph_unsupported",
            Self::Input { .. } => "graph_input",
            Self::Run { .. } => "graph_run",
        }
    }
}

/// A named tensor: name, shape, values row-major.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

/// Name and declared shape of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Axes; a named one may have any length.
    pub shape: Vec<Dim>,
}

/// A loaded graph. Running it needs no lock: share one between threads.
#[derive(Debug)]
pub struct CandleGraph {
    steps: Vec<Step>,
    slots: usize,
    inputs: Vec<(Port, usize)>,
    outputs: Vec<(Port, usize)>,
}

impl CandleGraph {
    /// Loads an ONNX file. Weights are copied out, `bytes` are not needed afterwards.
    pub fn load(bytes: &[u8]) -> Result<Self, GraphError> {
        let graph = onnx::decode(bytes)?.graph.unwrap_or_default();
        let mut constants = HashMap::new();
        for tensor in &graph.initializer {
            let name = tensor.name.clone().unwrap_or_default();
            constants.insert(name, onnx::tensor_values(tensor)?);
        }
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut inputs = Vec::new();
        let declared = graph.input.iter().map(port);
        for (info, port) in graph.input.iter().zip(declared) {
            let name = info.name.as_deref().unwrap_or_default();
            // Old files list their constants as inputs too.
            if !constants.contains_key(name) {
                names.insert(name, inputs.len());
                inputs.push((port, inputs.len()));
            }
        }
        let outputs: Vec<_> = graph
            .output
            .iter()
            .map(|o| o.name.as_deref().unwrap_or_default())
            .collect();
        let (steps, names) = plan::plan(&graph.node, &constants, names, &outputs)?;
        let slots = steps
            .iter()
            .map(|s| s.output + 1)
            .chain([inputs.len()])
            .max()
            .unwrap_or(0);
        let outputs = graph
            .output
            .iter()
            .map(|info| {
                let port = port(info);
                match names.get(port.name.as_str()) {
                    Some(slot) => Ok((port, *slot)),
                    None => Err(GraphError::Unsupported {
                        node: port.name,
                        message: "an output that no node makes".to_owned(),
                    }),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            steps,
            slots,
            inputs,
            outputs,
        })
    }

    /// Inputs in the graph's order.
    pub fn inputs(&self) -> impl Iterator<Item = &Port> {
        self.inputs.iter().map(|(port, _)| port)
    }

    /// Outputs in the graph's order.
    pub fn outputs(&self) -> impl Iterator<Item = &Port> {
        self.outputs.iter().map(|(port, _)| port)
    }

    /// Runs the graph on all its inputs (name, shape, values) and returns all outputs in the
    /// graph's order. Uses every core that rayon's pool has.
    pub fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, GraphError> {
        let mut slots: Vec<Option<Value>> = vec![None; self.slots];
        for (name, shape, values) in inputs {
            let fail = |message: String| GraphError::Input {
                name: name.clone(),
                message,
            };
            let Some((port, slot)) = self.inputs.iter().find(|(p, _)| p.name == name) else {
                return Err(fail("the graph has no such input".to_owned()));
            };
            check_shape(port, &shape, values.len()).map_err(fail)?;
            let tensor =
                Tensor::from_vec(values, shape, &Device::Cpu).map_err(|e| GraphError::Input {
                    name: name.clone(),
                    message: e.to_string(),
                })?;
            slots[*slot] = Some(Value::Float(tensor));
        }
        if let Some((port, _)) = self.inputs.iter().find(|(_, slot)| slots[*slot].is_none()) {
            let message = "not given".to_owned();
            return Err(GraphError::Input {
                name: port.name.clone(),
                message,
            });
        }
        for step in &self.steps {
            let run = |message: String| GraphError::Run {
                node: step.name.clone(),
                message,
            };
            let mut arguments = Vec::with_capacity(step.inputs.len());
            for slot in &step.inputs {
                arguments.push(
                    slots[*slot]
                        .clone()
                        .ok_or_else(|| run("no value".to_owned()))?,
                );
            }
            let value = step.op.run(&arguments).map_err(run)?;
            slots[step.output] = Some(value);
            for slot in &step.finished {
                slots[*slot] = None;
            }
        }
        let output = |(port, slot): &(Port, usize)| {
            let run = |message: String| GraphError::Run {
                node: port.name.clone(),
                message,
            };
            let Some(Value::Float(tensor)) = &slots[*slot] else {
                return Err(run("an output must be float".to_owned()));
            };
            let values = tensor.flatten_all().and_then(|t| t.to_vec1());
            let values = values.map_err(|e| run(e.to_string()))?;
            Ok((port.name.clone(), tensor.dims().to_vec(), values))
        };
        self.outputs.iter().map(output).collect()
    }
}

pub(crate) fn port(info: &ValueInfo) -> Port {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let dims = tensor
        .and_then(|t| t.shape.as_ref())
        .map(|s| s.dim.as_slice());
    let axis = |value: &Option<Axis>| match value {
        Some(Axis::Value(n)) => Dim::Fixed(u64::try_from(*n).unwrap_or_default()),
        Some(Axis::Param(name)) => Dim::Named(name.clone()),
        None => Dim::Named(String::new()),
    };
    Port {
        name: info.name.clone().unwrap_or_default(),
        shape: dims
            .unwrap_or_default()
            .iter()
            .map(|d| axis(&d.value))
            .collect(),
    }
}

pub(crate) fn check_shape(port: &Port, shape: &[usize], len: usize) -> Result<(), String> {
    let fits = shape.len() == port.shape.len()
        && shape.iter().zip(&port.shape).all(|(n, dim)| match dim {
            Dim::Fixed(m) => *n as u64 == *m,
            Dim::Named(_) => *n > 0,
        });
    if !fits {
        let declared: Vec<_> = port.shape.iter().map(ToString::to_string).collect();
        return Err(format!("shape {shape:?} is not [{}]", declared.join(", ")));
    }
    let count = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
    match count.filter(|n| *n <= MAX_INPUT) {
        Some(count) if count == len => Ok(()),
        Some(count) => Err(format!("{len} values for a shape of {count}")),
        None => Err("too large".to_owned()),
    }
}
