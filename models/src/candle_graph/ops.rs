//! Runs one operation.

use std::sync::Arc;

use candle_core::{CpuStorage, D, InplaceOp1, Layout, Tensor};

use super::float::{Conv, Gemm};
use super::quant::{QuantConv, Quantisation};

/// A value between nodes.
#[derive(Debug, Clone)]
pub enum Value {
    /// Floats.
    Float(Tensor),
    /// Unsigned bytes.
    Bytes(Bytes),
}

/// A quantised tensor.
#[derive(Debug, Clone)]
pub struct Bytes {
    pub shape: Vec<usize>,
    pub data: Arc<Vec<u8>>,
}

/// Smallest and largest value that an activation lets through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub low: f32,
    pub high: f32,
}

impl Range {
    pub fn clamp(self, value: f32) -> f32 {
        value.max(self.low).min(self.high)
    }
}

/// An operation with its constants.
#[derive(Debug)]
pub enum Op {
    Transpose(Vec<usize>),
    Conv(Conv),
    Clip(Range),
    Add,
    /// Adds a constant, repeated along axes where it has one value.
    AddTo(Tensor),
    GlobalAveragePool,
    GlobalMaxPool,
    /// The highest of each two by two.
    MaxPool,
    Flatten,
    Gemm(Gemm),
    Softmax,
    Sigmoid,
    Unsqueeze(usize),
    Quantize(Quantisation),
    Dequantize(Quantisation),
    QuantConv(QuantConv),
}

impl Op {
    /// Runs the operation on its arguments; shapes that do not fit are an error message.
    pub fn run(&self, arguments: &[Value]) -> Result<Value, String> {
        match (self, arguments) {
            (Self::Dequantize(q), [Value::Bytes(x)]) => q.dequantize(x).map(Value::Float),
            (Self::Quantize(q), [Value::Float(x)]) => q.quantize(x).map(Value::Bytes),
            (Self::QuantConv(conv), [Value::Bytes(x)]) => conv.run(x).map(Value::Bytes),
            (Self::Add, [Value::Float(a), Value::Float(b)]) => {
                a.add(b).map(Value::Float).map_err(|e| e.to_string())
            }
            (_, [Value::Float(x)]) => self.float(x).map(Value::Float).map_err(|e| e.to_string()),
            _ => Err("an argument has the wrong element type".to_owned()),
        }
    }

    fn float(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Transpose(perm) => x.permute(perm.clone())?.contiguous(),
            Self::Conv(conv) => conv.run(x),
            Self::Clip(range) => {
                let y = x.copy()?;
                y.inplace_op1(&BiasClip {
                    bias: &[],
                    range: Some(*range),
                })?;
                Ok(y)
            }
            Self::AddTo(constant) => x.broadcast_add(constant),
            Self::GlobalAveragePool => x.mean_keepdim((2, 3)),
            Self::GlobalMaxPool => x.flatten_from(2)?.max_keepdim(2)?.unsqueeze(3),
            Self::MaxPool => x.max_pool2d(2),
            Self::Flatten => x.flatten_from(1),
            Self::Gemm(gemm) => gemm.run(x),
            Self::Softmax => {
                x.dims2()?;
                let powers = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
                powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
            }
            Self::Sigmoid => (x.neg()?.exp()? + 1.0)?.recip(),
            Self::Unsqueeze(axis) => x.unsqueeze(*axis),
            Self::Add | Self::Quantize(_) | Self::Dequantize(_) | Self::QuantConv(_) => {
                candle_core::bail!("not a float operation")
            }
        }
    }
}

/// Adds a bias per channel to [N,C,…] and clips, in place. No bias: only clips.
pub struct BiasClip<'a> {
    pub bias: &'a [f32],
    pub range: Option<Range>,
}

impl InplaceOp1 for BiasClip<'_> {
    fn name(&self) -> &'static str {
        "bias-clip"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(data), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("expected contiguous floats");
        };
        let data = &mut data[start..end];
        if self.bias.is_empty() {
            if let Some(range) = self.range {
                clip(data, range);
            }
            return Ok(());
        }
        let (n, c) = (layout.dims().first(), layout.dims().get(1));
        let (Some(&n), Some(&c)) = (n, c) else {
            candle_core::bail!("expected [N, C, …]")
        };
        if c != self.bias.len() || n == 0 || data.is_empty() {
            candle_core::bail!("{} biases for {c} channels", self.bias.len());
        }
        let plane = data.len() / (n * c);
        for (values, bias) in data.chunks_exact_mut(plane).zip(self.bias.iter().cycle()) {
            for value in values.iter_mut() {
                *value += bias;
            }
            if let Some(range) = self.range {
                clip(values, range);
            }
        }
        Ok(())
    }
}

fn clip(values: &mut [f32], range: Range) {
    for value in values {
        *value = range.clamp(*value);
    }
}
