//! Turns the nodes of a graph into steps over numbered buffers.
//!
//! Convolutions that belong to one block become one step; so do a clip and the sum of a shortcut with
//! what they follow. What does not fit that form is refused.

use std::collections::HashMap;

use super::block::{Block, Source};
use super::conv::{ALL, Conv, clip, spreads};
use super::dense::Dense;
use super::depthwise::{Depthwise, SIDE};
use super::head::Linear;
use super::op::Op;
use super::pointwise::Pointwise;
use crate::candle_graph::{
    GraphError,
    node::{Constants, Node},
    ops::Range,
};
use crate::onnx::proto::NodeProto;

/// An operation from one buffer into another.
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The steps, and how many values each buffer has. Buffer 0 is the picture.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) lengths: Vec<usize>,
}

/// What a name of the graph stands for.
enum Value {
    /// The input; `true`: as planes.
    Picture(bool),
    /// A map that exists only inside a block, before or after its depthwise convolution, and the buffer
    /// that it is made of.
    Wide(Source, usize, [usize; 2]),
    Spread(Source, usize, [usize; 2], Depthwise, [usize; 2]),
    /// A buffer with a map: height, width, channels.
    Map(usize, [usize; 3]),
    /// A buffer with one row.
    Flat(usize, usize),
}

/// Makes the plan for pictures of `size` (height, width, channels) at `input`; the map has the buffers of
/// the rows among the graph's values.
pub(super) fn plan<'a>(
    nodes: &'a [NodeProto],
    constants: &'a Constants,
    (input, size): (&'a str, [usize; 3]),
    outputs: &[&'a str],
) -> Result<(Plan, HashMap<&'a str, usize>), GraphError> {
    let mut users: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
    for node in nodes {
        for name in &node.input {
            users.entry(name).or_default().push(node);
        }
    }
    for output in outputs {
        // A value that leaves the network can't be part of something else.
        users.remove(output);
    }
    let mut planner = Planner {
        constants,
        users,
        values: HashMap::from([(input, Value::Picture(false))]),
        size,
        plan: Plan {
            steps: Vec::new(),
            lengths: vec![size.iter().product()],
        },
        rescale: vec![[1.0, 0.0]; size[2]],
    };
    for proto in nodes {
        planner.node(proto)?;
    }
    let rows = planner.values.into_iter().filter_map(|(name, value)| {
        if let Value::Flat(buffer, _) = value {
            return Some((name, buffer));
        }
        None
    });
    Ok((planner.plan, rows.collect()))
}

struct Planner<'a> {
    constants: &'a Constants,
    /// Nodes that read a value.
    users: HashMap<&'a str, Vec<&'a NodeProto>>,
    values: HashMap<&'a str, Value>,
    size: [usize; 3],
    plan: Plan,
    /// Scale and offset of every channel of the picture.
    rescale: Vec<[f32; 2]>,
}

impl<'a> Planner<'a> {
    fn node(&mut self, proto: &'a NodeProto) -> Result<(), GraphError> {
        let node = Node::new(proto, self.constants);
        let output = node.output()?;
        if self.values.contains_key(output) {
            // Became part of the node before it.
            return Ok(());
        }
        let value = match node.op().as_str() {
            "Transpose" => {
                node.allow(&["perm"])?;
                let planes = node.sizes("perm")?.as_deref() == Some(&[0, 3, 1, 2]);
                match self.input(&node)? {
                    Value::Picture(false) if planes => Value::Picture(true),
                    _ => return node.fail("only the picture may be transposed, to planes"),
                }
            }
            "Conv" => return self.conv(&node, output),
            "GlobalAveragePool" => {
                node.allow(&[])?;
                let Value::Map(from, [_, _, channels]) = *self.input(&node)? else {
                    return node.fail("needs a map");
                };
                let to = self.step(Op::Pool, from, channels);
                Value::Map(to, [1, 1, channels])
            }
            "Flatten" => {
                node.allow(&["axis"])?;
                match *self.input(&node)? {
                    Value::Map(buffer, [1, 1, length]) if node.int("axis", 1) == 1 => {
                        Value::Flat(buffer, length)
                    }
                    _ => return node.fail("only a map of one pixel is supported"),
                }
            }
            "Gemm" => return self.gemm(&node, output),
            "Softmax" => {
                node.allow(&["axis"])?;
                match *self.input(&node)? {
                    Value::Flat(from, length) if matches!(node.int("axis", -1), 1 | -1) => {
                        Value::Flat(self.step(Op::Softmax, from, length), length)
                    }
                    _ => return node.fail("only the shares of a row are supported"),
                }
            }
            _ => return node.fail("operator is not supported here"),
        };
        self.values.insert(output, value);
        Ok(())
    }

    fn input(&self, node: &Node<'_>) -> Result<&Value, GraphError> {
        let name = node.input(0).unwrap_or_default();
        match self.values.get(name) {
            Some(value) => Ok(value),
            None => node.fail(format!(
                "input {name:?} is made by no earlier node, or is not kept"
            )),
        }
    }

    /// The only node that reads a value which is no output.
    fn user(&self, name: &str) -> Option<&'a NodeProto> {
        match self.users.get(name).map(Vec::as_slice) {
            Some([one]) => Some(one),
            _ => None,
        }
    }

    /// The range of the clip after a value, and the name of what is clipped.
    fn clipped(&self, name: &'a str) -> Result<(Range, &'a str), GraphError> {
        let Some(user) = self.user(name) else {
            return Ok((ALL, name));
        };
        let node = Node::new(user, self.constants);
        match clip(&node)? {
            Some(range) => Ok((range, node.output()?)),
            None => Ok((ALL, name)),
        }
    }

    fn step(&mut self, op: Op, from: usize, length: usize) -> usize {
        let to = self.plan.lengths.len();
        self.plan.lengths.push(length);
        self.plan.steps.push(Step { op, from, to });
        to
    }

    fn conv(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), GraphError> {
        let conv = Conv::load(node)?;
        let (range, output) = self.clipped(output)?;
        let name = node.input(0).unwrap_or_default();
        // What exists only inside a block has one user, which is this node.
        let input = match self.input(node)? {
            Value::Picture(planes) => Value::Picture(*planes),
            Value::Map(buffer, size) => Value::Map(*buffer, *size),
            _ => match self.values.remove(name) {
                Some(value) => value,
                None => return node.fail("has no input"),
            },
        };
        let spread = self.user(output);
        let spread = spread.is_some_and(|user| spreads(&Node::new(user, self.constants)));
        let value = match input {
            Value::Picture(true) => {
                let [height, width, channels] = self.size;
                let size = conv.output(node, [height, width], channels)?;
                let whole = range == ALL && output == node.output()?;
                if conv.is_rescaling() && whole && self.user(name).is_some() {
                    self.rescale(&conv);
                    Value::Picture(true)
                } else if conv.group == 1 && spread {
                    let mut dense =
                        Dense::new(conv.window, self.size, conv.weights, &conv.bias, range);
                    dense.rescale(&self.rescale);
                    Value::Wide(Source::Dense(dense), 0, size)
                } else {
                    return node.fail("must be followed by a depthwise convolution");
                }
            }
            Value::Map(buffer, [height, width, channels]) if conv.is_pointwise() => {
                let size = conv.output(node, [height, width], channels)?;
                let pointwise = Pointwise::new(conv.inputs, conv.weights, &conv.bias, range);
                if spread {
                    Value::Wide(Source::Expand(pointwise), buffer, size)
                } else {
                    let shape = [height, width, conv.outputs];
                    let op = Op::Pointwise(pointwise);
                    Value::Map(self.step(op, buffer, shape.iter().product()), shape)
                }
            }
            Value::Wide(source, buffer, wide) if conv.is_depthwise() => {
                let size = conv.output(node, wide, source.outputs())?;
                let window = conv.window;
                if window.kernel != [SIDE, SIDE]
                    || window.strides.iter().any(|stride| *stride > 2)
                    || window.pads.iter().any(|pad| *pad >= SIDE)
                {
                    return node.fail("only three by three with strides to two is supported");
                }
                if range.low < 0.0 {
                    return node.fail("must be clipped at zero");
                }
                let pointwise = self
                    .user(output)
                    .map(|user| Node::new(user, self.constants));
                if !pointwise.is_some_and(|node| Conv::load(&node).is_ok_and(|c| c.is_pointwise()))
                {
                    return node.fail("must be followed by a convolution of one pixel");
                }
                let depthwise = Depthwise::new(window, conv.weights, &conv.bias, range);
                Value::Spread(source, buffer, wide, depthwise, size)
            }
            Value::Spread(source, buffer, wide, depthwise, size) if conv.is_pointwise() => {
                conv.output(node, size, depthwise.channels)?;
                let project = Pointwise::new(conv.inputs, conv.weights, &conv.bias, range);
                let block = Block::new(source, depthwise, project, wide, size);
                return self.block(block, buffer, output);
            }
            _ => return node.fail("is in no place that is supported here"),
        };
        self.values.insert(output, value);
        Ok(())
    }

    /// Writes a block, with the sum after it.
    fn block(&mut self, block: Block, from: usize, output: &'a str) -> Result<(), GraphError> {
        let size = block.size();
        let (mut output, mut plus) = (output, None);
        if let Some(user) = self
            .user(output)
            .filter(|n| n.op_type.as_deref() == Some("Add"))
        {
            let node = Node::new(user, self.constants);
            node.allow(&[])?;
            let other = user.input.iter().find(|name| *name != output);
            let other = other.and_then(|name| self.values.get(name.as_str()));
            match other {
                Some(Value::Map(buffer, found)) if *found == size => plus = Some(*buffer),
                _ => return node.fail("only a map of the same shape can be added to a block"),
            }
            output = node.output()?;
        }
        let op = Op::Block(Box::new(block), plus);
        let to = self.step(op, from, size.iter().product());
        self.values.insert(output, Value::Map(to, size));
        Ok(())
    }

    fn rescale(&mut self, conv: &Conv<'_>) {
        let numbers = conv.weights.iter().zip(&conv.bias);
        for ([scale, offset], (by, plus)) in self.rescale.iter_mut().zip(numbers) {
            *scale *= by;
            *offset = *offset * by + plus;
        }
    }

    fn gemm(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), GraphError> {
        node.allow(&["alpha", "beta", "transA", "transB"])?;
        let plain = node.float("alpha", 1.0) == 1.0 && node.float("beta", 1.0) == 1.0;
        if !plain || node.int("transA", 0) != 0 {
            return node.fail("only x · weights + bias is supported");
        }
        let Value::Flat(from, length) = *self.input(node)? else {
            return node.fail("needs a row");
        };
        let (shape, weights) = node.floats(1)?;
        let bias = node.floats(2)?.1;
        let turned = node.int("transB", 0) != 0;
        let outputs = bias.len();
        let expected = if turned {
            [outputs, length]
        } else {
            [length, outputs]
        };
        if shape != expected || outputs == 0 {
            return node.fail("its weights do not fit its input");
        }
        let weights = if turned {
            let of_input = |i| (0..outputs).map(move |o| weights[o * length + i]);
            (0..length).flat_map(of_input).collect()
        } else {
            weights.to_vec()
        };
        if !weights.iter().chain(bias).all(|value| value.is_finite()) {
            return node.fail("holds a weight that is no number");
        }
        let (range, output) = self.clipped(output)?;
        let bias = bias.to_vec();
        let op = Op::Linear(Linear {
            weights,
            bias,
            range,
        });
        let to = self.step(op, from, outputs);
        self.values.insert(output, Value::Flat(to, outputs));
        Ok(())
    }
}
