//! Depthwise convolution: one kernel a channel. Candle's own goes through im2col channel by
//! channel, which is many times slower.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape};
use rayon::prelude::*;

use super::float::Window;

/// [N,C,H,W] with kernels [C,1,kh,kw] → [N,C,H',W'].
pub struct Depthwise {
    pub window: Window,
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        kernels: &CpuStorage,
        kernel_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, channels, height, width) = layout.shape().dims4()?;
        let (outputs, _, kh, kw) = kernel_layout.shape().dims4()?;
        let (CpuStorage::F32(x), CpuStorage::F32(k)) = (storage, kernels) else {
            candle_core::bail!("expected floats");
        };
        let (Some((from, to)), Some((kernel_from, kernel_to))) = (
            layout.contiguous_offsets(),
            kernel_layout.contiguous_offsets(),
        ) else {
            candle_core::bail!("expected contiguous values");
        };
        let (x, k) = (&x[from..to], &k[kernel_from..kernel_to]);
        let Some([oh, ow]) = self.window.output([height, width]) else {
            candle_core::bail!("the input is smaller than the kernel");
        };
        if outputs != channels || [kh, kw] != self.window.kernel || x.is_empty() {
            candle_core::bail!("{outputs} kernels for {channels} channels");
        }
        let mut y = vec![0_f32; n * channels * oh * ow];
        let planes = y
            .par_chunks_exact_mut(oh * ow)
            .zip(x.par_chunks_exact(height * width));
        planes.enumerate().for_each(|(index, (to, from))| {
            let kernel = &k[index % channels * kh * kw..][..kh * kw];
            plane(self.window, from, [height, width], kernel, to, ow);
        });
        Ok((CpuStorage::F32(y), Shape::from((n, channels, oh, ow))))
    }
}

/// One channel of one picture: for every kernel value, adds a scaled row of the input to a row
/// of the output.
fn plane(
    window: Window,
    x: &[f32],
    [height, width]: [usize; 2],
    kernel: &[f32],
    y: &mut [f32],
    ow: usize,
) {
    let [stride_y, stride_x] = window.strides;
    let [top, left, ..] = window.pads;
    for (oy, row) in y.chunks_exact_mut(ow).enumerate() {
        for (ky, weights) in kernel.chunks_exact(window.kernel[1]).enumerate() {
            let Some(iy) = (oy * stride_y + ky)
                .checked_sub(top)
                .filter(|iy| *iy < height)
            else {
                continue;
            };
            let input = &x[iy * width..][..width];
            for (kx, weight) in weights.iter().enumerate() {
                // Columns whose input column ox · stride + kx - left lies inside the row.
                let first = left.saturating_sub(kx).div_ceil(stride_x).min(ow);
                let end = (width + left)
                    .saturating_sub(kx)
                    .div_ceil(stride_x)
                    .clamp(first, ow);
                let from = (first * stride_x + kx).saturating_sub(left).min(width);
                let inputs = input[from..].iter().step_by(stride_x);
                if stride_x == 1 {
                    for (to, value) in row[first..end].iter_mut().zip(&input[from..]) {
                        *to += weight * value;
                    }
                } else {
                    for (to, value) in row[first..end].iter_mut().zip(inputs) {
                        *to += weight * value;
                    }
                }
            }
        }
    }
}
