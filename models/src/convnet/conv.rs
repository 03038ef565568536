//! A convolution node and the clip after it, read and checked.

use crate::candle_graph::{GraphError, float::Window, node::Node, ops::Range};

/// Channels and pixels along one side of a map are at most this many.
pub(super) const MAX_SIDE: usize = 1 << 12;

/// Everything goes through.
pub(super) const ALL: Range = Range {
    low: f32::MIN,
    high: f32::MAX,
};

/// A convolution as the file has it.
pub(super) struct Conv<'a> {
    pub(super) window: Window,
    /// Inputs a group.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) group: usize,
    /// `[outputs, inputs, height, width]`.
    pub(super) weights: &'a [f32],
    pub(super) bias: Vec<f32>,
}

impl<'a> Conv<'a> {
    pub(super) fn load(node: &Node<'a>) -> Result<Self, GraphError> {
        node.allow(&["group", "kernel_shape", "pads", "strides"])?;
        let (shape, weights) = node.floats(1)?;
        let &[outputs, inputs, height, width] = shape else {
            return node.fail("needs four axes");
        };
        let window = Window::load(node, [height, width])?;
        let bias = if node.has(2) {
            node.floats(2)?.1.to_vec()
        } else {
            vec![0.0; outputs]
        };
        if bias.len() != outputs {
            return node.fail("bias has the wrong length");
        }
        let sides = [outputs, inputs, height, width];
        if !sides.iter().all(|side| (1..=MAX_SIDE).contains(side)) {
            return node.fail("is empty or too large");
        }
        if !weights.iter().chain(&bias).all(|value| value.is_finite()) {
            return node.fail("holds a weight that is no number");
        }
        let Ok(group) = usize::try_from(node.int("group", 1)) else {
            return node.fail("group is negative");
        };
        Ok(Self {
            window,
            inputs,
            outputs,
            group,
            weights,
            bias,
        })
    }

    pub(super) fn is_pointwise(&self) -> bool {
        self.group == 1 && self.window.is_pointwise()
    }

    /// One kernel a channel.
    pub(super) fn is_depthwise(&self) -> bool {
        self.inputs == 1 && self.group == self.outputs
    }

    /// A number times each channel, and one added.
    pub(super) fn is_rescaling(&self) -> bool {
        self.is_depthwise() && self.window.is_pointwise()
    }

    /// Height and width after it, of a map of `channels`.
    pub(super) fn output(
        &self,
        node: &Node<'_>,
        size: [usize; 2],
        channels: usize,
    ) -> Result<[usize; 2], GraphError> {
        if self.inputs * self.group != channels {
            return node.fail("its weights do not fit its input");
        }
        match self.window.output(size) {
            Some(size) => Ok(size),
            None => node.fail("the kernel is larger than its input"),
        }
    }
}

/// What a `Clip` or `Relu` lets through; `None`: another operator.
pub(super) fn clip(node: &Node<'_>) -> Result<Option<Range>, GraphError> {
    let bound = |index: usize, none: f32| {
        if node.has(index) {
            node.scalar(index)
        } else {
            Ok(none)
        }
    };
    Ok(match node.op().as_str() {
        "Relu" => {
            node.allow(&[])?;
            Some(Range { low: 0.0, ..ALL })
        }
        "Clip" => {
            node.allow(&[])?;
            Some(Range {
                low: bound(1, ALL.low)?,
                high: bound(2, ALL.high)?,
            })
        }
        _ => None,
    })
}

/// Whether a node is a convolution with one kernel a channel that looks at neighbours.
pub(super) fn spreads(node: &Node<'_>) -> bool {
    let is_conv = node.op() == "Conv";
    is_conv && Conv::load(node).is_ok_and(|c| c.is_depthwise() && !c.window.is_pointwise())
}
