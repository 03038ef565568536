//! Convolutions, means and dense layers: all of them one QLinearConv.

use super::{Converter, MAX_AXIS, Quantised, Result, fail};
use crate::import::tflite::{Operator, Tensor, kind};
use crate::onnx::{Attr, Values};

/// A kernel in ONNX layout with a scale per output or one for all.
struct Kernel {
    /// Outputs, inputs per group, height, width.
    shape: [usize; 4],
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
}

/// A node just written.
struct Written {
    name: String,
    scale: String,
    zero: String,
}

impl Written {
    /// The node's value as the TFLite tensor `tensor` of the size `map`.
    fn at(self, tensor: i32, map: [usize; 3]) -> Quantised {
        let Self { name, scale, zero } = self;
        Quantised {
            name,
            tensor,
            scale,
            zero,
            map,
        }
    }
}

impl Converter<'_> {
    /// `CONV_2D` and `DEPTHWISE_CONV_2D` with "same" padding.
    pub(super) fn conv(
        &mut self,
        layer: &str,
        operator: &Operator<'_>,
        input: &Quantised,
        depthwise: bool,
    ) -> Result<Quantised> {
        let (index, output) = self.output(operator)?;
        let kernel = self.tensor(operator.inputs.get(1))?;
        let (fused, dilation) = if depthwise { (4, 5) } else { (3, 4) };
        check_range(layer, operator.byte(fused)?, output)?;
        let [height, width, channels] = input.map;
        let &[first, kh, kw, last] = kernel.shape.as_slice() else {
            return fail(layer, "kernel must have four axes");
        };
        let plausible = [first, kh, kw, last]
            .iter()
            .all(|d| (1..=MAX_AXIS).contains(d));
        let fits = if depthwise {
            first == 1 && last == channels
        } else {
            last == channels
        };
        let dilated = operator.int(dilation, 1)? != 1 || operator.int(dilation + 1, 1)? != 1;
        if !plausible || !fits || dilated || operator.byte(0)? != 0 {
            return fail(layer, "kernel, dilation or padding not supported");
        }
        let stride = |id| match operator.int(id, 0)? {
            s @ 1..=16 => Ok(s as usize),
            _ => fail(layer, "stride out of range"),
        };
        let (stride_w, stride_h) = (stride(1)?, stride(2)?);
        let outputs = if depthwise { channels } else { first };
        let map = [height.div_ceil(stride_h), width.div_ceil(stride_w), outputs];
        if output.shape != [1, map[0], map[1], map[2]] {
            return fail(layer, "output shape does not follow from the input");
        }
        let (top, bottom) = same(height, kh, stride_h);
        let (left, right) = same(width, kw, stride_w);
        let quantised = kernel_values(layer, kernel)?;
        let (weights, axis) = if depthwise {
            (transpose(&quantised, kh * kw, channels), 3)
        } else {
            let area = kh * kw;
            let outer = quantised.chunks_exact(area * channels);
            (
                outer.flat_map(|o| transpose(o, area, channels)).collect(),
                0,
            )
        };
        if kernel.axis != axis || kernel.scales.len() != outputs {
            return fail(layer, "expected a scale per output channel");
        }
        let attributes = [
            (
                "group",
                Attr::Int(if depthwise { channels as i64 } else { 1 }),
            ),
            ("kernel_shape", ints(&[kh, kw])),
            ("pads", ints(&[top, left, bottom, right])),
            ("strides", ints(&[stride_h, stride_w])),
        ];
        let kernel = Kernel {
            shape: [outputs, if depthwise { 1 } else { channels }, kh, kw],
            weights,
            scales: kernel.scales.clone(),
            bias: bias_values(layer, self.tensor(operator.inputs.get(2))?, outputs)?,
        };
        let name = self.write(layer, input, kernel, output, &attributes)?;
        Ok(name.at(index, map))
    }

    /// The mean over height and width: every weight is one, and the scale divides by the area.
    pub(super) fn mean(
        &mut self,
        layer: &str,
        operator: &Operator<'_>,
        input: &Quantised,
    ) -> Result<Quantised> {
        let (index, output) = self.output(operator)?;
        let [height, width, channels] = input.map;
        let axes = self.tensor(operator.inputs.get(1))?;
        let axes: Vec<_> = axes
            .data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| i32::from_le_bytes(*b))
            .collect();
        if axes != [1, 2] || output.shape != [1, 1, 1, channels] {
            return fail(layer, "only the mean over height and width is supported");
        }
        let attributes = [
            ("group", Attr::Int(channels as i64)),
            ("kernel_shape", ints(&[height, width])),
        ];
        let area = height * width;
        let kernel = Kernel {
            shape: [channels, 1, height, width],
            weights: vec![1; area * channels],
            scales: vec![1.0 / area as f32],
            bias: vec![0; channels],
        };
        let value = self.write(layer, input, kernel, output, &attributes)?;
        let value = value.at(index, [1, 1, channels]);
        if self.embeddings.replace(channels).is_some() {
            return fail(layer, "a second mean is not supported");
        }
        self.flat("embeddings", &value);
        Ok(value)
    }

    /// `FULLY_CONNECTED` on a map of one pixel.
    pub(super) fn dense(
        &mut self,
        layer: &str,
        operator: &Operator<'_>,
        input: &Quantised,
    ) -> Result<Quantised> {
        let (index, output) = self.output(operator)?;
        let kernel = self.tensor(operator.inputs.get(1))?;
        let &[units, len] = kernel.shape.as_slice() else {
            return fail(layer, "kernel must have two axes");
        };
        let plausible = [units, len].iter().all(|d| (1..=MAX_AXIS).contains(d));
        if !plausible || input.map != [1, 1, len] || output.shape != [1, units] {
            return fail(layer, "kernel does not fit its input");
        }
        if operator.byte(0)? != 0 || kernel.scales.len() != 1 {
            return fail(layer, "activation or per-row scales are not supported");
        }
        let kernel = Kernel {
            shape: [units, len, 1, 1],
            weights: kernel_values(layer, kernel)?,
            scales: kernel.scales.clone(),
            bias: bias_values(layer, self.tensor(operator.inputs.get(2))?, units)?,
        };
        let attributes = [("kernel_shape", ints(&[1, 1]))];
        let value = self.write(layer, input, kernel, output, &attributes)?;
        Ok(value.at(index, [1, 1, units]))
    }

    /// Writes one QLinearConv.
    fn write(
        &mut self,
        layer: &str,
        input: &Quantised,
        kernel: Kernel,
        output: &Tensor<'_>,
        attributes: &[(&str, Attr)],
    ) -> Result<Written> {
        let Kernel {
            shape,
            weights,
            scales,
            bias,
        } = kernel;
        if scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return fail(layer, "a kernel scale is not positive");
        }
        let (scale, zero) = self.quantisation(layer, output)?;
        let shifted = weights
            .iter()
            .map(|w| (i16::from(*w) + 128) as u8)
            .collect();
        let g = &mut self.graph;
        let w = g.constant(&format!("{layer}/w"), &shape, &Values::U8(shifted));
        let axes: &[usize] = if scales.len() == 1 { &[] } else { &shape[..1] };
        let zeros = vec![128; scales.len()];
        let ws = g.constant(&format!("{layer}/w_scale"), axes, &Values::F32(scales));
        let wz = g.constant(&format!("{layer}/w_zero"), axes, &Values::U8(zeros));
        let b = g.constant(&format!("{layer}/b"), &shape[..1], &Values::I32(bias));
        let inputs = [
            input.name.as_str(),
            &input.scale,
            &input.zero,
            &w,
            &ws,
            &wz,
            &scale,
            &zero,
            &b,
        ];
        let name = g.node("QLinearConv", layer, &inputs, attributes);
        Ok(Written { name, scale, zero })
    }
}

/// Checks that saturating to int8 is the fused activation (0 none, 1 ReLU, 3 ReLU6).
fn check_range(layer: &str, activation: i8, output: &Tensor<'_>) -> Result<()> {
    let (Some(&scale), Some(&zero)) = (output.scales.first(), output.zero_points.first()) else {
        return fail(layer, "output is not quantised");
    };
    let begins_at_zero = zero == -128;
    let ends_by_six = (6.0 / scale).round() >= 255.0;
    match activation {
        0 => Ok(()),
        1 if begins_at_zero => Ok(()),
        3 if begins_at_zero && ends_by_six => Ok(()),
        _ => fail(
            layer,
            "fused activation is not covered by the output's range",
        ),
    }
}

fn kernel_values(layer: &str, kernel: &Tensor<'_>) -> Result<Vec<i8>> {
    let count: usize = kernel.shape.iter().product();
    let symmetric = kernel.zero_points.iter().all(|z| *z == 0);
    if kernel.kind != kind::INT8 || kernel.data.len() != count || !symmetric {
        return fail(layer, "expected a constant symmetric int8 kernel");
    }
    Ok(kernel.data.iter().map(|b| *b as i8).collect())
}

fn bias_values(layer: &str, bias: &Tensor<'_>, outputs: usize) -> Result<Vec<i32>> {
    if bias.kind != kind::INT32 || bias.data.len() != 4 * outputs {
        return fail(layer, "expected an int32 bias per output");
    }
    Ok(bias
        .data
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| i32::from_le_bytes(*b))
        .collect())
}

/// [rows, columns] → [columns, rows].
fn transpose(values: &[i8], rows: usize, columns: usize) -> Vec<i8> {
    (0..columns)
        .flat_map(|c| (0..rows).map(move |r| values[r * columns + c]))
        .collect()
}

fn ints(list: &[usize]) -> Attr {
    Attr::Ints(list.iter().map(|v| *v as i64).collect())
}

/// TFLite's "same" padding: the odd zero goes to the end.
fn same(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
    (total / 2, total - total / 2)
}
