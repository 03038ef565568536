//! Bias, residual and layer normalisation in one pass (Ba et al. 2016).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use pulp::Arch;
use rayon::prelude::*;

use super::{lanes, values};

/// `x [tokens, width]`, `residual [tokens, width]`, `parameters [3, width]` (bias of `x`, then the
/// norm's scale and shift) → `norm(x + bias + residual) · scale + shift`.
pub struct AddNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Rows that share one partial sum of the parameters' gradient.
const ROWS: usize = 32;

impl AddNorm {
    /// The sum of a row into `to`, normalised without scale and shift; answers 1 / deviation.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn normalised(&self, x: &[f32], residual: &[f32], bias: &[f32], to: &mut [f32]) -> f32 {
        let n = to.len();
        for (((to, x), r), b) in to.iter_mut().zip(x).zip(residual).zip(bias) {
            *to = x + r + b;
        }
        let mean = lanes::sum(n, |i| to[i]) / n as f32;
        for to in to.iter_mut() {
            *to -= mean;
        }
        let variance = lanes::sum(n, |i| to[i] * to[i]) / n as f32;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        for to in to.iter_mut() {
            *to *= scale;
        }
        scale
    }
}

impl CustomOp3 for AddNorm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let x = values::slice(x, layout)?;
        let residual = values::slice(residual, residual_layout)?;
        let parameters = values::slice(parameters, parameters_layout)?;
        if residual.len() != x.len() || parameters.len() != 3 * width || width == 0 {
            bail!("shapes of a residual sum differ");
        }
        let (bias, norm) = parameters.split_at(width);
        let (gain, shift) = norm.split_at(width);
        let mut y = vec![0.0; tokens * width];
        y.par_chunks_exact_mut(width)
            .zip(x.par_chunks_exact(width))
            .zip(residual.par_chunks_exact(width))
            .for_each(|((y, x), residual)| {
                Arch::new().dispatch(|| {
                    self.normalised(x, residual, bias, y);
                    for ((y, gain), shift) in y.iter_mut().zip(gain).zip(shift) {
                        *y = *y * gain + shift;
                    }
                });
            });
        Ok((CpuStorage::F32(y), Shape::from((tokens, width))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        parameters: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (tokens, width) = x.dims2()?;
        let mut dx = vec![0.0; tokens * width];
        let parts = values::with(x, |x| {
            values::with(residual, |residual| {
                values::with(parameters, |parameters| {
                    values::with(grad, |grad| {
                        let chunk = ROWS * width;
                        let parts: Vec<Vec<f32>> = dx
                            .par_chunks_mut(chunk)
                            .zip(x.par_chunks(chunk))
                            .zip(residual.par_chunks(chunk))
                            .zip(grad.par_chunks(chunk))
                            .map(|(((dx, x), residual), grad)| {
                                self.backward_rows(x, residual, parameters, grad, dx, width)
                            })
                            .collect();
                        Ok(parts)
                    })
                })
            })
        })?;
        let dp = values::total(parts, 3 * width);
        let device = x.device();
        let dx = Tensor::from_vec(dx, (tokens, width), device)?;
        let dp = Tensor::from_vec(dp, (3, width), device)?;
        Ok((Some(dx.clone()), Some(dx), Some(dp)))
    }
}

impl AddNorm {
    /// The gradient of some rows into `dx`; answers their part of the parameters' gradient.
    fn backward_rows(
        &self,
        x: &[f32],
        residual: &[f32],
        parameters: &[f32],
        grad: &[f32],
        dx: &mut [f32],
        width: usize,
    ) -> Vec<f32> {
        let (bias, norm) = parameters.split_at(width);
        let gain = &norm[..width];
        let mut part = vec![0.0; 3 * width];
        let mut hat = vec![0.0; width];
        Arch::new().dispatch(|| {
            let (d_bias, d_norm) = part.split_at_mut(width);
            let (d_gain, d_shift) = d_norm.split_at_mut(width);
            for (((dx, x), residual), grad) in dx
                .chunks_exact_mut(width)
                .zip(x.chunks_exact(width))
                .zip(residual.chunks_exact(width))
                .zip(grad.chunks_exact(width))
            {
                let scale = self.normalised(x, residual, bias, &mut hat);
                for i in 0..width {
                    d_gain[i] += grad[i] * hat[i];
                    d_shift[i] += grad[i];
                    dx[i] = grad[i] * gain[i];
                }
                let mean = lanes::sum(width, |i| dx[i]) / width as f32;
                let along = lanes::sum(width, |i| dx[i] * hat[i]) / width as f32;
                for i in 0..width {
                    dx[i] = scale * (dx[i] - mean - hat[i] * along);
                    d_bias[i] += dx[i];
                }
            }
        });
        part
    }
}
