//! Float convolutions and matrix products.

use candle_core::{Device, Tensor};

use super::GraphError;
use super::depthwise::Depthwise;
use super::node::Node;
use super::ops::{BiasClip, Range};

/// Geometry of a convolution over height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

impl Window {
    /// Reads `kernel_shape`, `strides` and `pads`; `kernel` are the weights' last two axes.
    pub fn load(node: &Node<'_>, kernel: [usize; 2]) -> Result<Self, GraphError> {
        if node.sizes("kernel_shape")?.is_some_and(|k| k != kernel) {
            return node.fail("kernel_shape differs from the weights");
        }
        let strides = node.sizes("strides")?.unwrap_or_else(|| vec![1, 1]);
        let pads = node.sizes("pads")?.unwrap_or_else(|| vec![0; 4]);
        match (
            <[usize; 2]>::try_from(strides),
            <[usize; 4]>::try_from(pads),
        ) {
            (Ok(strides), Ok(pads)) if !strides.contains(&0) && !kernel.contains(&0) => Ok(Self {
                kernel,
                strides,
                pads,
            }),
            _ => node.fail("strides or pads are not those of a 2-D convolution"),
        }
    }

    /// Height and width of the output; `None`: the kernel is larger than the padded input.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let padded = size[i] + self.pads[i] + self.pads[i + 2];
            Some(padded.checked_sub(self.kernel[i])? / self.strides[i] + 1)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// A kernel of one pixel that changes no size: a matrix product.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.strides == [1, 1] && self.pads == [0; 4]
    }
}

/// How a convolution is computed.
#[derive(Debug)]
enum Kind {
    /// Matrix [out, in].
    Pointwise(Tensor),
    /// Kernels [channels, 1, height, width].
    Depthwise(Tensor),
    /// Kernels [out, in, height, width].
    Dense(Tensor),
}

/// A float convolution with bias and, where the next node clipped, its range.
#[derive(Debug)]
pub struct Conv {
    kind: Kind,
    bias: Vec<f32>,
    window: Window,
    pub range: Option<Range>,
}

impl Conv {
    pub fn load(node: &Node<'_>) -> Result<Self, GraphError> {
        node.allow(&["group", "kernel_shape", "pads", "strides"])?;
        let (shape, weights) = node.floats(1)?;
        let &[outputs, inputs, kh, kw] = shape else {
            return node.fail("needs four axes");
        };
        if weights.is_empty() {
            return node.fail("has no weights");
        }
        let window = Window::load(node, [kh, kw])?;
        let bias = if node.has(2) {
            node.floats(2)?.1.to_vec()
        } else {
            vec![0.0; outputs]
        };
        if bias.len() != outputs {
            return node.fail("bias has the wrong length");
        }
        let tensor = |shape: &[usize]| match Tensor::from_slice(weights, shape, &Device::Cpu) {
            Ok(tensor) => Ok(tensor),
            Err(error) => node.fail(error.to_string()),
        };
        let group = node.int("group", 1);
        let kind = if group == 1 && window.is_pointwise() {
            Kind::Pointwise(tensor(&[outputs, inputs])?)
        } else if group == 1 && window.strides[0] == window.strides[1] {
            Kind::Dense(tensor(shape)?)
        } else if inputs == 1 && group == outputs as i64 {
            Kind::Depthwise(tensor(shape)?)
        } else {
            return node.fail("only dense (equal strides) and depthwise are supported");
        };
        Ok(Self {
            kind,
            bias,
            window,
            range: None,
        })
    }

    /// [N,in,H,W] → [N,out,H',W'].
    pub fn run(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (n, channels, height, width) = x.dims4()?;
        let Some([oh, ow]) = self.window.output([height, width]) else {
            candle_core::bail!("the input is smaller than the kernel");
        };
        let x = x.contiguous()?;
        let y = match &self.kind {
            Kind::Pointwise(matrix) => {
                let x = x.reshape((n, channels, height * width))?;
                let image = |i| matrix.matmul(&x.get(i)?);
                let images = (0..n).map(image).collect::<candle_core::Result<Vec<_>>>()?;
                Tensor::stack(&images, 0)?.reshape((n, self.bias.len(), oh, ow))?
            }
            Kind::Depthwise(kernels) => x.apply_op2_no_bwd(
                kernels,
                &Depthwise {
                    window: self.window,
                },
            )?,
            Kind::Dense(kernels) => {
                let [top, left, bottom, right] = self.window.pads;
                let x = x
                    .pad_with_zeros(2, top, bottom)?
                    .pad_with_zeros(3, left, right)?;
                x.conv2d(kernels, 0, self.window.strides[0], 1, 1)?
                    .contiguous()?
            }
        };
        y.inplace_op1(&BiasClip {
            bias: &self.bias,
            range: self.range,
        })?;
        Ok(y)
    }
}

/// y = x · weights + bias.
#[derive(Debug)]
pub struct Gemm {
    /// [in, out].
    weights: Tensor,
    bias: Tensor,
}

impl Gemm {
    pub fn load(node: &Node<'_>) -> Result<Self, GraphError> {
        node.allow(&["alpha", "beta", "transA", "transB"])?;
        let plain = node.float("alpha", 1.0) == 1.0 && node.float("beta", 1.0) == 1.0;
        if !plain || node.int("transA", 0) != 0 {
            return node.fail("only x · weights + bias is supported");
        }
        let (shape, weights) = node.floats(1)?;
        let (bias_shape, bias) = node.floats(2)?;
        let build = || {
            let weights = Tensor::from_slice(weights, shape, &Device::Cpu)?;
            let weights = if node.int("transB", 0) == 0 {
                weights
            } else {
                weights.t()?
            };
            let bias = Tensor::from_slice(bias, bias_shape, &Device::Cpu)?;
            if weights.dims2()?.1 != bias.dims1()? {
                candle_core::bail!("bias has the wrong length");
            }
            Ok(Self {
                weights: weights.contiguous()?,
                bias,
            })
        };
        build().or_else(|e: candle_core::Error| node.fail(e.to_string()))
    }

    /// [N,in] → [N,out].
    pub fn run(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.weights)?.broadcast_add(&self.bias)
    }
}
