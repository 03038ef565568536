//! Turns nodes into steps over numbered slots, with a clip fused into the convolution before it.

use std::collections::{HashMap, HashSet};

use candle_core::{Device, Tensor};

use super::GraphError;
use super::float::{Conv, Gemm};
use super::node::{Constants, Node};
use super::ops::{Op, Range};
use super::quant::{QuantConv, Quantisation};
use crate::onnx::proto::NodeProto;

/// One operation on slots.
#[derive(Debug)]
pub struct Step {
    /// Name of the node, for errors.
    pub name: String,
    /// What to do.
    pub op: Op,
    /// Slots of the arguments.
    pub inputs: Vec<usize>,
    /// Slot of the result.
    pub output: usize,
    /// Slots that nobody needs afterwards.
    pub finished: Vec<usize>,
}

/// Makes the steps. `names` maps graph inputs to slots; the returned map has every value.
pub fn plan<'a>(
    nodes: &'a [NodeProto],
    constants: &'a Constants,
    mut names: HashMap<&'a str, usize>,
    outputs: &[&str],
) -> Result<(Vec<Step>, HashMap<&'a str, usize>), GraphError> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    let used = nodes.iter().flat_map(|n| &n.input).map(String::as_str);
    for name in used.chain(outputs.iter().copied()) {
        *uses.entry(name).or_default() += 1;
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut next = names.len();
    for proto in nodes {
        let node = Node::new(proto, constants);
        let (op, arity) = operator(&node)?;
        let mut inputs = Vec::with_capacity(arity);
        for index in 0..arity {
            let name = node.input(index).unwrap_or_default();
            let Some(slot) = names.get(name) else {
                return node.fail(format!("input {name:?} is made by no earlier node"));
            };
            inputs.push(*slot);
        }
        let output = node.output()?;
        if names.contains_key(output) || constants.contains_key(output) {
            return node.fail("makes a value that exists already");
        }
        // A clip of a convolution that nobody else reads happens inside the convolution.
        if let (Op::Clip(range), Some(last)) = (&op, steps.last_mut())
            && last.output == inputs[0]
            && node.input(0).and_then(|n| uses.get(n)) == Some(&1)
            && let Op::Conv(conv) = &mut last.op
            && conv.range.is_none()
        {
            conv.range = Some(*range);
            names.insert(output, last.output);
            continue;
        }
        names.insert(output, next);
        steps.push(Step {
            name: node.name(),
            op,
            inputs,
            output: next,
            finished: Vec::new(),
        });
        next += 1;
    }
    mark_finished(&mut steps, &names, outputs);
    Ok((steps, names))
}

fn mark_finished(steps: &mut [Step], names: &HashMap<&str, usize>, outputs: &[&str]) {
    let mut kept: HashSet<usize> = outputs
        .iter()
        .filter_map(|o| names.get(o))
        .copied()
        .collect();
    for step in steps.iter_mut().rev() {
        for slot in &step.inputs {
            if kept.insert(*slot) {
                step.finished.push(*slot);
            }
        }
    }
}

/// The operation and how many of the node's first inputs are values (the rest are constants).
fn operator(node: &Node<'_>) -> Result<(Op, usize), GraphError> {
    let bound = |index: usize, none: f32| {
        if node.has(index) {
            node.scalar(index)
        } else {
            Ok(none)
        }
    };
    let op = match node.op().as_str() {
        "Transpose" => {
            node.allow(&["perm"])?;
            match node.sizes("perm")? {
                Some(perm) => Op::Transpose(perm),
                None => return node.fail("perm is needed"),
            }
        }
        "Conv" => Op::Conv(Conv::load(node)?),
        "Clip" => {
            node.allow(&[])?;
            Op::Clip(Range {
                low: bound(1, f32::MIN)?,
                high: bound(2, f32::MAX)?,
            })
        }
        "Relu" => {
            node.allow(&[])?;
            Op::Clip(Range {
                low: 0.0,
                high: f32::MAX,
            })
        }
        "Add" => {
            node.allow(&[])?;
            let Ok((shape, values)) = node.floats(1) else {
                return Ok((Op::Add, 2));
            };
            match Tensor::from_slice(values, shape, &Device::Cpu) {
                Ok(constant) => Op::AddTo(constant),
                Err(error) => return node.fail(error.to_string()),
            }
        }
        "GlobalAveragePool" => {
            node.allow(&[])?;
            Op::GlobalAveragePool
        }
        "GlobalMaxPool" => {
            node.allow(&[])?;
            Op::GlobalMaxPool
        }
        "MaxPool" => {
            node.allow(&["kernel_shape", "strides"])?;
            let two = Some(vec![2, 2]);
            if node.sizes("kernel_shape")? != two || node.sizes("strides")? != two {
                return node.fail("only two by two is supported");
            }
            Op::MaxPool
        }
        "Flatten" => {
            node.allow(&["axis"])?;
            if node.int("axis", 1) != 1 {
                return node.fail("only axis 1 is supported");
            }
            Op::Flatten
        }
        "Gemm" => Op::Gemm(Gemm::load(node)?),
        "Softmax" => {
            node.allow(&["axis"])?;
            if !matches!(node.int("axis", -1), 1 | -1) {
                return node.fail("only axis 1 is supported");
            }
            Op::Softmax
        }
        "Sigmoid" => {
            node.allow(&[])?;
            Op::Sigmoid
        }
        "Unsqueeze" => {
            node.allow(&[])?;
            match node.axes(1)?.as_slice() {
                [axis] => Op::Unsqueeze(*axis),
                _ => return node.fail("only one axis is supported"),
            }
        }
        "QuantizeLinear" => {
            node.allow(&[])?;
            Op::Quantize(Quantisation::load(node, 1, 2)?)
        }
        "DequantizeLinear" => {
            node.allow(&[])?;
            Op::Dequantize(Quantisation::load(node, 1, 2)?)
        }
        "QLinearConv" => Op::QuantConv(QuantConv::load(node)?),
        _ => return node.fail("operator is not supported without ONNX Runtime"),
    };
    Ok((op, 1))
}
