//! Products in eight bits, which the text encoder and the picture networks share.

mod matrix;
pub(crate) mod product;

pub use matrix::Quantized;
pub(crate) use matrix::{quantize, quantize_again};
