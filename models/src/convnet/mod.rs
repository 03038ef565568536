//! The picture networks on a processor: convolutions in eight bits, several in one go.
//!
//! Runs graphs of the MobileNetV2 family (Sandler et al. 2018) that our importers write: a convolution
//! over the picture, inverted residual blocks, one more convolution, mean, dense layers, shares.
//! Convolutions of one pixel, nearly all of the work, are products of pixels with an eight-bit matrix:
//! weights are rounded a column at a time when the graph is loaded, every pixel by its own range to seven
//! bits, and sums are exact ([`crate::int8`]). Everything else stays in floats. Pictures go through one by
//! one, so an answer does not depend on what else is in the batch; one call runs on the calling thread.
//!
//! Inputs and outputs are those of the graph. What is not of this form is refused when it is loaded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::candle_graph::{GraphError, NamedTensor, Port, check_shape, port};
use crate::int8::product;
use crate::manifest::Dim;
use crate::onnx;
use conv::MAX_SIDE;
use op::Op;
use plan::Plan;

mod band;
mod block;
mod conv;
mod dense;
mod depthwise;
mod head;
mod op;
mod plan;
mod pointwise;
mod steps;
mod vector;

#[cfg(test)]
mod tests;

/// A loaded network. Share one between threads.
pub struct ConvNet {
    plan: Plan,
    input: Port,
    outputs: Vec<(Port, usize)>,
    /// Memory of calls that have ended, for those to come.
    rooms: Mutex<Vec<Room>>,
}

/// Memory of one call.
#[derive(Default)]
struct Room {
    buffers: Vec<Vec<f32>>,
    block: block::Room,
}

impl ConvNet {
    /// Whether this is the fastest way on this processor: x86-64 with AVX2 and FMA. Without them on that
    /// architecture it can't run; on others it runs without vector instructions of its own.
    pub fn is_fast() -> bool {
        cfg!(target_arch = "x86_64") && product::is_supported()
    }

    /// Loads an ONNX file and rounds its weights. `bytes` are not needed afterwards.
    ///
    /// # Errors
    /// Not ONNX, or a graph that is not of the supported form, with the node's name; a processor
    /// without the instructions.
    pub fn load(bytes: &[u8]) -> Result<Self, GraphError> {
        let refuse = |node: &str, message: &str| GraphError::Unsupported {
            node: node.to_owned(),
            message: message.to_owned(),
        };
        if !product::is_supported() {
            return Err(refuse("", "the processor has no AVX2 and FMA"));
        }
        let graph = onnx::decode(bytes)?.graph.unwrap_or_default();
        let mut constants = HashMap::new();
        for tensor in &graph.initializer {
            let name = tensor.name.clone().unwrap_or_default();
            constants.insert(name, onnx::tensor_values(tensor)?);
        }
        // Old files list their constants as inputs too.
        let given = |name: &str| !constants.contains_key(name);
        let mut inputs = graph.input.iter().map(port).filter(|p| given(&p.name));
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(refuse("", "the graph must have one input"));
        };
        let size = match input.shape.as_slice() {
            [Dim::Named(_), rest @ ..] => rest.iter().map(side).collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let Some(&[height, width, channels]) = size.as_deref() else {
            let message = "must be pictures [N, height, width, channels] of a modest size";
            return Err(refuse(&input.name, message));
        };
        let outputs: Vec<Port> = graph.output.iter().map(port).collect();
        let names: Vec<&str> = outputs.iter().map(|port| port.name.as_str()).collect();
        let picture = (input.name.as_str(), [height, width, channels]);
        let (plan, rows) = plan::plan(&graph.node, &constants, picture, &names)?;
        let outputs = outputs
            .iter()
            .map(|port| match rows.get(port.name.as_str()) {
                Some(buffer) => Ok((port.clone(), *buffer)),
                None => Err(refuse(
                    &port.name,
                    "an output must be a row that a node makes",
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            plan,
            outputs,
            input,
            rooms: Mutex::default(),
        })
    }

    /// The input: `[N, height, width, channels]`.
    pub fn input(&self) -> &Port {
        &self.input
    }

    /// Outputs in the graph's order, each `[N, length]`.
    pub fn outputs(&self) -> impl Iterator<Item = &Port> {
        self.outputs.iter().map(|(port, _)| port)
    }

    /// Runs the network on pictures of `shape`, as the input declares it, and returns all outputs in the
    /// graph's order.
    ///
    /// # Errors
    /// [`GraphError::Input`]: the shape is not the declared one, or a value is no number.
    pub fn run(&self, shape: &[usize], pictures: &[f32]) -> Result<Vec<NamedTensor>, GraphError> {
        let fail = |message: String| GraphError::Input {
            name: self.input.name.clone(),
            message,
        };
        check_shape(&self.input, shape, pictures.len()).map_err(fail)?;
        // It would pass through whole numbers unseen.
        // Without a way out, so that many are looked at together.
        if !pictures
            .iter()
            .fold(true, |all, value| all & value.is_finite())
        {
            return Err(fail("holds a value that is no number".to_owned()));
        }
        let mut room = self.room();
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.outputs.len()];
        for picture in pictures.chunks_exact(self.plan.lengths[0]) {
            // SAFETY: there is no network on a processor without the instructions.
            #[allow(unsafe_code, reason = "calls what is compiled for some processors")]
            unsafe {
                self.picture(picture, &mut room, &mut || {});
            }
            for (values, (_, buffer)) in values.iter_mut().zip(&self.outputs) {
                values.extend_from_slice(&room.buffers[*buffer]);
            }
        }
        self.put_back(room);
        let named = self.outputs.iter().zip(values).map(|((port, _), values)| {
            let shape = vec![shape[0], values.len() / shape[0]];
            (port.name.clone(), shape, values)
        });
        Ok(named.collect())
    }

    /// What the steps of the network are and how long each takes for one picture.
    ///
    /// # Errors
    /// `picture` has another number of values than one picture.
    pub fn step_times(&self, picture: &[f32]) -> Result<Vec<(String, Duration)>, GraphError> {
        let fail = |message: String| GraphError::Input {
            name: self.input.name.clone(),
            message,
        };
        if picture.len() != self.plan.lengths[0] {
            return Err(fail("is not one picture".to_owned()));
        }
        let mut room = self.room();
        let mut times = Vec::with_capacity(self.plan.steps.len());
        let mut last = Instant::now();
        let mut tick = || {
            let now = Instant::now();
            times.push(now - last);
            last = now;
        };
        // SAFETY: there is no network on a processor without the instructions.
        #[allow(unsafe_code, reason = "calls what is compiled for some processors")]
        unsafe {
            self.picture(picture, &mut room, &mut tick);
        }
        self.put_back(room);
        let names = self.plan.steps.iter().map(|step| step.op.describe());
        Ok(names.zip(times).collect())
    }

    fn room(&self) -> Room {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.pop().unwrap_or_default()
    }

    fn put_back(&self, room: Room) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.push(room);
    }

    /// Runs all steps and calls `after` after each.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn picture(&self, picture: &[f32], room: &mut Room, after: &mut dyn FnMut()) {
        let Room { buffers, block } = room;
        buffers.resize_with(self.plan.lengths.len(), Vec::new);
        // The first stands for the picture, which is where it is.
        for (buffer, length) in buffers.iter_mut().zip(&self.plan.lengths).skip(1) {
            buffer.resize(*length, 0.0);
        }
        for step in &self.plan.steps {
            // A step makes a buffer of its own, after those that it reads.
            let (before, others) = buffers.split_at_mut(step.to);
            let to = others[0].as_mut_slice();
            let from = match step.from {
                0 => picture,
                from => before[from].as_slice(),
            };
            match &step.op {
                Op::Block(part, plus) => {
                    let plus = plus.map(|buffer| before[buffer].as_slice());
                    part.run(from, plus, to, block);
                }
                Op::Pointwise(part) => part.run(from, to, &mut block.steps),
                Op::Pool => head::pool(from, to),
                Op::Linear(part) => part.run(from, to),
                Op::Softmax => head::softmax(from, to),
            }
            after();
        }
    }
}

/// A fixed number of pixels or channels that is not too large.
fn side(dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Fixed(n) => usize::try_from(*n).ok(),
        Dim::Named(_) => None,
    }
    .filter(|n| (1..=MAX_SIDE).contains(n))
}
