//! What a step does.

use super::block::Block;
use super::head::Linear;
use super::pointwise::Pointwise;

/// One operation; numbers are buffers.
pub(super) enum Op {
    /// Three convolutions, and a map that is added.
    Block(Box<Block>, Option<usize>),
    Pointwise(Pointwise),
    /// Mean over all pixels.
    Pool,
    Linear(Linear),
    Softmax,
}

impl Op {
    /// What it does, with its numbers of channels.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Block(block, plus) => {
                let sum = if plus.is_some() { " and sum" } else { "" };
                format!("{}{sum}", block.describe())
            }
            Self::Pointwise(part) => format!("one pixel {} > {}", part.inputs, part.outputs),
            Self::Pool => "mean".to_owned(),
            Self::Linear(part) => {
                let outputs = part.bias.len();
                format!("dense {} > {outputs}", part.weights.len() / outputs)
            }
            Self::Softmax => "shares".to_owned(),
        }
    }
}
