//! Integer convolutions as ONNX defines them, with ONNX Runtime's rounding.
//!
//! The sums are computed in floating point, where they are exact: products of nine-bit values
//! fit 16 bits, so a float holds the sum of 256 of them (a depthwise kernel) and a double any sum
//! that memory allows (a matrix product). Then comes one float multiplication per output and
//! rounding half to even.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::GraphError;
use super::depthwise::Depthwise;
use super::float::Window;
use super::node::Node;
use super::ops::Bytes;
use crate::onnx::Values;

/// Longest sum of products below 2¹⁶ that is exact in a float of 24 bits.
const MAX_FLOAT_SUM: usize = 1 << 8;
/// Longest sum whose result surely fits 31 bits together with the bias, as ONNX wants it.
const MAX_SUM: usize = 1 << 14;
/// Largest bias that leaves room for such a sum.
const MAX_BIAS: u32 = 1 << 30;

/// real = (byte - zero) · scale.
#[derive(Debug, Clone, Copy)]
pub struct Quantisation {
    pub scale: f32,
    pub zero: u8,
}

impl Quantisation {
    /// Reads constant inputs `scale` and `zero`; only unsigned bytes per tensor.
    pub fn load(node: &Node<'_>, scale: usize, zero: usize) -> Result<Self, GraphError> {
        let scale = node.scalar(scale)?;
        match node.constant(zero)?.1 {
            Values::U8(values) if values.len() == 1 && scale.is_finite() && scale > 0.0 => {
                Ok(Self {
                    scale,
                    zero: values[0],
                })
            }
            _ => node.fail("needs a positive scale and an unsigned zero point per tensor"),
        }
    }

    /// Rounds half to even and saturates; NaN becomes the zero point.
    fn byte(self, scaled: f32) -> u8 {
        let zero = f32::from(self.zero);
        // Clamped before rounding, as ONNX Runtime does; `as` turns NaN into 0.
        let rounded = scaled.clamp(-zero, 255.0 - zero).round_ties_even() as i32;
        (rounded + i32::from(self.zero)) as u8
    }

    pub fn quantize(self, x: &Tensor) -> Result<Bytes, String> {
        let values: Vec<f32> = x
            .flatten_all()
            .and_then(|x| x.to_vec1())
            .map_err(|e| e.to_string())?;
        let data = values.iter().map(|v| self.byte(v / self.scale)).collect();
        Ok(Bytes {
            shape: x.dims().to_vec(),
            data: Arc::new(data),
        })
    }

    pub fn dequantize(self, x: &Bytes) -> Result<Tensor, String> {
        let real = |b: &u8| (i32::from(*b) - i32::from(self.zero)) as f32 * self.scale;
        let values: Vec<f32> = x.data.iter().map(real).collect();
        Tensor::from_vec(values, x.shape.as_slice(), &Device::Cpu).map_err(|e| e.to_string())
    }
}

/// How the sums are computed.
#[derive(Debug)]
enum Kind {
    /// Float kernels [channels, 1, height, width].
    Depthwise(Tensor),
    /// Double matrix [out, in · height · width].
    Dense(Tensor),
}

/// A quantised convolution, dense or depthwise.
#[derive(Debug)]
pub struct QuantConv {
    input: Quantisation,
    output: Quantisation,
    kind: Kind,
    bias: Vec<i32>,
    /// From the sum's unit to the output's, per output channel.
    scales: Vec<f32>,
    window: Window,
    inputs: usize,
}

impl QuantConv {
    pub fn load(node: &Node<'_>) -> Result<Self, GraphError> {
        node.allow(&["group", "kernel_shape", "pads", "strides"])?;
        let input = Quantisation::load(node, 1, 2)?;
        let output = Quantisation::load(node, 6, 7)?;
        let (shape, values) = node.constant(3)?;
        let &[outputs, inner, kh, kw] = shape else {
            return node.fail("needs four axes");
        };
        let Values::U8(values) = values else {
            return node.fail("weights must be unsigned");
        };
        let Values::U8(zeros) = node.constant(5)?.1 else {
            return node.fail("weights' zero point must be unsigned");
        };
        let scales = node.floats(4)?.1;
        let per = |len: usize| len == 1 || len == outputs;
        if values.is_empty() || !per(zeros.len()) || !per(scales.len()) {
            return node.fail("needs one scale and zero point, or one per output");
        }
        let group = node.int("group", 1);
        let depthwise = group != 1;
        if depthwise && (inner != 1 || group != outputs as i64) {
            return node.fail("only dense and depthwise are supported");
        }
        let bias = match node.has(8).then(|| node.constant(8)).transpose()? {
            None => vec![0; outputs],
            Some((_, Values::I32(bias))) if bias.len() == outputs => bias.clone(),
            Some(_) => return node.fail("bias must be one int32 per output"),
        };
        let length = inner * kh * kw;
        let longest = if depthwise { MAX_FLOAT_SUM } else { MAX_SUM };
        if length > longest || bias.iter().any(|b| b.unsigned_abs() > MAX_BIAS) {
            return node.fail("sums could overflow");
        }
        let pick = |index: usize, len: usize| if len == 1 { 0 } else { index };
        let weights = values.iter().enumerate().map(|(i, w)| {
            f32::from(i16::from(*w) - i16::from(zeros[pick(i / length, zeros.len())]))
        });
        let kind = if depthwise {
            Tensor::from_iter(weights, &Device::Cpu)
                .and_then(|t| t.reshape(shape))
                .map(Kind::Depthwise)
        } else {
            let matrix = Tensor::from_iter(weights.map(f64::from), &Device::Cpu);
            matrix
                .and_then(|t| t.reshape((outputs, length)))
                .map(Kind::Dense)
        };
        let scale = |o: usize| input.scale * scales[pick(o, scales.len())] / output.scale;
        Ok(Self {
            input,
            output,
            kind: kind.or_else(|e| node.fail(e.to_string()))?,
            bias,
            scales: (0..outputs).map(scale).collect(),
            window: Window::load(node, [kh, kw])?,
            inputs: if depthwise { outputs } else { inner },
        })
    }

    /// [N,in,H,W] → [N,out,H',W'].
    pub fn run(&self, x: &Bytes) -> Result<Bytes, String> {
        let &[n, channels, height, width] = x.shape.as_slice() else {
            return Err("the input must have four axes".to_owned());
        };
        let size = [height, width];
        let output = self
            .window
            .output(size)
            .ok_or("the input is smaller than the kernel")?;
        if channels != self.inputs || x.data.is_empty() {
            return Err(format!(
                "{channels} channels where {} are needed",
                self.inputs
            ));
        }
        let area = output[0] * output[1];
        let mut data = Vec::with_capacity(n * self.bias.len() * area);
        for picture in x.data.chunks_exact(channels * height * width) {
            let sums = self
                .sums(picture, size, output)
                .map_err(|e| e.to_string())?;
            for (o, plane) in sums.chunks_exact(area).enumerate() {
                let byte = |sum: &f64| {
                    self.output
                        .byte((*sum as i64 + i64::from(self.bias[o])) as f32 * self.scales[o])
                };
                data.extend(plane.iter().map(byte));
            }
        }
        Ok(Bytes {
            shape: vec![n, self.bias.len(), output[0], output[1]],
            data: Arc::new(data),
        })
    }

    /// Exact sums of one picture, [out][pixel].
    fn sums(
        &self,
        picture: &[u8],
        [height, width]: [usize; 2],
        output: [usize; 2],
    ) -> candle_core::Result<Vec<f64>> {
        let zero = i16::from(self.input.zero);
        let values = picture.iter().map(|b| i16::from(*b) - zero);
        match &self.kind {
            Kind::Depthwise(kernels) => {
                let x = Tensor::from_iter(values.map(f32::from), &Device::Cpu)?;
                let x = x.reshape((1, self.inputs, height, width))?;
                let sums = x.apply_op2_no_bwd(
                    kernels,
                    &Depthwise {
                        window: self.window,
                    },
                )?;
                Ok(sums
                    .flatten_all()?
                    .to_vec1::<f32>()?
                    .into_iter()
                    .map(f64::from)
                    .collect())
            }
            Kind::Dense(matrix) => {
                let x: Vec<f64> = values.map(f64::from).collect();
                let x = if self.window.is_pointwise() {
                    x
                } else {
                    self.columns(&x, [height, width], output)
                };
                let rows = matrix.dim(1)?;
                let x = Tensor::from_vec(x, (rows, output[0] * output[1]), &Device::Cpu)?;
                matrix.matmul(&x)?.flatten_all()?.to_vec1()
            }
        }
    }

    /// What each output pixel looks at: [channel · ky · kx][pixel], zero outside the picture.
    fn columns(&self, x: &[f64], [height, width]: [usize; 2], [oh, ow]: [usize; 2]) -> Vec<f64> {
        let Window {
            kernel: [kh, kw],
            strides,
            pads,
        } = self.window;
        let mut columns = Vec::with_capacity(self.inputs * kh * kw * oh * ow);
        for plane in x.chunks_exact(height * width) {
            for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                    let iy = (oy * strides[0] + ky)
                        .checked_sub(pads[0])
                        .filter(|y| *y < height);
                    let ix = (ox * strides[1] + kx)
                        .checked_sub(pads[1])
                        .filter(|x| *x < width);
                    columns.push(match (iy, ix) {
                        (Some(iy), Some(ix)) => plane[iy * width + ix],
                        _ => 0.0,
                    });
                }
            }
        }
        columns
    }
}
