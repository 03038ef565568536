//! Operations of a convolutional network with their gradients, channels last.
//!
//! Candle's own convolution has a gradient that goes value by value on the CPU. Unfolded into a
//! matrix, forward and backward are matrix products, and what remains (unfolding, norm with
//! activation, pooling) is one pass over memory each.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::Arch;
use rayon::prelude::*;

use super::net::NormStatistics;
use crate::encoder::values;

/// Side of every kernel.
pub const SIDE: usize = 3;
/// Values of a kernel for one input channel.
pub const TAPS: usize = SIDE * SIDE;
/// Added to variances.
pub const EPSILON: f32 = 1e-5;
/// Rows that share one partial sum.
const ROWS: usize = 256;

/// `[N, H, W, C]` → `[N·H·W, 9·C]`: the 3 × 3 neighbourhood of every place, zeros outside.
pub struct Unfold;

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, h, w, c) = layout.shape().dims4()?;
        let x = values::slice(x, layout)?;
        let mut y = vec![0.0_f32; n * h * w * TAPS * c];
        y.par_chunks_exact_mut(w * TAPS * c)
            .enumerate()
            .for_each(|(line, out)| {
                let (image, row) = (line / h, line % h);
                for (column, cell) in out.chunks_exact_mut(TAPS * c).enumerate() {
                    for (ky, taps) in cell.chunks_exact_mut(SIDE * c).enumerate() {
                        let Some(from_row) = (row + ky).checked_sub(1).filter(|r| *r < h) else {
                            continue;
                        };
                        // The three neighbours of a row lie side by side in memory.
                        let first = column.saturating_sub(1);
                        let last = (column + 2).min(w);
                        let skip = usize::from(column == 0) * c;
                        let from = ((image * h + from_row) * w + first) * c;
                        let len = (last - first) * c;
                        taps[skip..skip + len].copy_from_slice(&x[from..from + len]);
                    }
                }
            });
        Ok((CpuStorage::F32(y), Shape::from((n * h * w, TAPS * c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (n, h, w, c) = x.dims4()?;
        let dx = values::with(grad, |grad| {
            let mut dx = vec![0.0_f32; n * h * w * c];
            dx.par_chunks_exact_mut(w * c)
                .enumerate()
                .for_each(|(line, out)| {
                    let (image, row) = (line / h, line % h);
                    Arch::new().dispatch(|| fold_row(grad, image, row, [h, w, c], out));
                });
            Ok(dx)
        })?;
        Ok(Some(Tensor::from_vec(dx, (n, h, w, c), x.device())?))
    }
}

/// Sums into one row of the input what every neighbourhood took from it.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "dispatched code uses the instruction set only as far as it is inlined"
)]
fn fold_row(grad: &[f32], image: usize, row: usize, [h, w, c]: [usize; 3], out: &mut [f32]) {
    for ky in 0..SIDE {
        // The place whose tap `ky` lies on this row.
        let Some(at) = (row + 1).checked_sub(ky).filter(|r| *r < h) else {
            continue;
        };
        for column in 0..w {
            let cell = ((image * h + at) * w + column) * TAPS * c + ky * SIDE * c;
            let first = column.saturating_sub(1);
            let last = (column + 2).min(w);
            let skip = usize::from(column == 0) * c;
            let len = (last - first) * c;
            let from = &grad[cell + skip..cell + skip + len];
            for (to, from) in out[first * c..last * c].iter_mut().zip(from) {
                *to += from;
            }
        }
    }
}

/// Batch normalisation (Ioffe and Szegedy 2015) over the rows of `x [M, C]`, then ReLU.
/// `parameters [2, C]`: scale and shift.
pub struct NormRelu {
    seen: Mutex<Option<(Vec<f32>, Vec<f32>)>>,
    report: Option<Arc<Mutex<NormStatistics>>>,
}

impl NormRelu {
    /// `report` gets the batch's mean and variance.
    pub fn new(report: Option<Arc<Mutex<NormStatistics>>>) -> Self {
        Self {
            seen: Mutex::new(None),
            report,
        }
    }
}

/// Sums `f(row, sums)` over all rows of width `c`: chunks in parallel, then in order.
fn sums(rows: &[f32], c: usize, width: usize, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = rows
        .par_chunks(ROWS * c)
        .map(|chunk| {
            let mut part = vec![0.0; width];
            Arch::new().dispatch(|| {
                for row in chunk.chunks_exact(c) {
                    f(row, &mut part);
                }
            });
            part
        })
        .collect();
    let mut total = vec![0.0_f64; width];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += f64::from(part);
        }
    }
    total.into_iter().map(|v| v as f32).collect()
}

impl CustomOp2 for NormRelu {
    fn name(&self) -> &'static str {
        "norm-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (m, c) = layout.shape().dims2()?;
        let x = values::slice(x, layout)?;
        let parameters = values::slice(parameters, parameters_layout)?;
        if m == 0 || c == 0 || parameters.len() != 2 * c {
            bail!("a norm of {c} channels has {} parameters", parameters.len());
        }
        let mut mean = sums(x, c, c, |row, part| {
            for (part, x) in part.iter_mut().zip(row) {
                *part += x;
            }
        });
        for mean in &mut mean {
            *mean /= m as f32;
        }
        let mut variance = sums(x, c, c, |row, part| {
            for ((part, x), mean) in part.iter_mut().zip(row).zip(&mean) {
                *part += (x - mean) * (x - mean);
            }
        });
        for variance in &mut variance {
            *variance /= m as f32;
        }
        if let Some(report) = &self.report {
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(&mean, &variance);
        }
        let inverse: Vec<f32> = variance
            .iter()
            .map(|v| 1.0 / (v + EPSILON).sqrt())
            .collect();
        let (gain, shift) = parameters.split_at(c);
        let by: Vec<f32> = gain.iter().zip(&inverse).map(|(g, i)| g * i).collect();
        let plus: Vec<f32> = (0..c).map(|i| shift[i] - mean[i] * by[i]).collect();
        let mut y = vec![0.0; m * c];
        y.par_chunks_mut(ROWS * c)
            .zip(x.par_chunks(ROWS * c))
            .for_each(|(y, x)| {
                Arch::new().dispatch(|| {
                    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        for i in 0..c {
                            y[i] = (x[i] * by[i] + plus[i]).max(0.0);
                        }
                    }
                });
            });
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((mean, inverse));
        Ok((CpuStorage::F32(y), Shape::from((m, c))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (m, c) = x.dims2()?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((mean, inverse)) = seen.as_ref() else {
            bail!("a norm has no gradient before it ran");
        };
        let (dx, dp) = values::with(x, |x| {
            values::with(parameters, |parameters| {
                values::with(y, |y| {
                    values::with(grad, |grad| {
                        Ok(norm_gradient(
                            x,
                            &parameters[..c],
                            y,
                            grad,
                            [mean, inverse],
                            m,
                        ))
                    })
                })
            })
        })?;
        let dx = Tensor::from_vec(dx, (m, c), x.device())?;
        let dp = Tensor::from_vec(dp, (2, c), x.device())?;
        Ok((Some(dx), Some(dp)))
    }
}

/// The gradients of a batch norm with ReLU: of its input, and of scale and shift.
fn norm_gradient(
    x: &[f32],
    gain: &[f32],
    y: &[f32],
    grad: &[f32],
    [mean, inverse]: [&Vec<f32>; 2],
    m: usize,
) -> (Vec<f32>, Vec<f32>) {
    let c = gain.len();
    // Through the ReLU, in place of the input's gradient.
    let mut dx: Vec<f32> = vec![0.0; m * c];
    let chunk = ROWS * c;
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(y.par_chunks(chunk))
        .zip(grad.par_chunks(chunk))
        .map(|(((dx, x), y), grad)| {
            let mut part = vec![0.0; 2 * c];
            Arch::new().dispatch(|| {
                let (d_gain, d_shift) = part.split_at_mut(c);
                for (((dx, x), y), grad) in dx
                    .chunks_exact_mut(c)
                    .zip(x.chunks_exact(c))
                    .zip(y.chunks_exact(c))
                    .zip(grad.chunks_exact(c))
                {
                    for i in 0..c {
                        let g = if y[i] > 0.0 { grad[i] } else { 0.0 };
                        dx[i] = g;
                        d_shift[i] += g;
                        d_gain[i] += g * (x[i] - mean[i]) * inverse[i];
                    }
                }
            });
            part
        })
        .collect();
    let mut total = vec![0.0_f64; 2 * c];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += f64::from(part);
        }
    }
    let dp: Vec<f32> = total.into_iter().map(|v| v as f32).collect();
    let (d_gain, d_shift) = dp.split_at(c);
    let scale = 1.0 / m as f32;
    dx.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .for_each(|(dx, x)| {
            Arch::new().dispatch(|| {
                for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for i in 0..c {
                        let hat = (x[i] - mean[i]) * inverse[i];
                        let pulled = dx[i] - (d_shift[i] + hat * d_gain[i]) * scale;
                        dx[i] = gain[i] * inverse[i] * pulled;
                    }
                }
            });
        });
    (dx, dp)
}

/// `[N, H, W, C]` → `[N, H/2, W/2, C]`: the highest of four.
pub struct MaxPool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, h, w, c) = layout.shape().dims4()?;
        if h % 2 + w % 2 != 0 {
            bail!("only even maps are pooled, not {h} × {w}");
        }
        let x = values::slice(x, layout)?;
        let mut y = vec![0.0; n * h / 2 * w / 2 * c];
        y.par_chunks_exact_mut(w / 2 * c)
            .zip(x.par_chunks_exact(2 * w * c))
            .for_each(|(y, x)| {
                Arch::new().dispatch(|| {
                    let (upper, lower) = x.split_at(w * c);
                    for (i, y) in y.chunks_exact_mut(c).enumerate() {
                        let at = 2 * i * c;
                        for j in 0..c {
                            let a = upper[at + j].max(upper[at + c + j]);
                            let b = lower[at + j].max(lower[at + c + j]);
                            y[j] = a.max(b);
                        }
                    }
                });
            });
        Ok((CpuStorage::F32(y), Shape::from((n, h / 2, w / 2, c))))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (n, h, w, c) = x.dims4()?;
        let dx = values::with(x, |x| {
            values::with(y, |y| {
                values::with(grad, |grad| {
                    let mut dx = vec![0.0_f32; n * h * w * c];
                    dx.par_chunks_exact_mut(2 * w * c)
                        .zip(x.par_chunks_exact(2 * w * c))
                        .zip(y.par_chunks_exact(w / 2 * c))
                        .zip(grad.par_chunks_exact(w / 2 * c))
                        .for_each(|(((dx, x), y), grad)| {
                            for i in 0..w / 2 {
                                for j in 0..c {
                                    let (y, grad) = (y[i * c + j], grad[i * c + j]);
                                    let at = 2 * i * c + j;
                                    // The first that is the highest.
                                    let four = [at, at + c, w * c + at, w * c + at + c];
                                    if let Some(at) = four.into_iter().find(|k| x[*k] >= y) {
                                        dx[at] = grad;
                                    }
                                }
                            }
                        });
                    Ok(dx)
                })
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, (n, h, w, c), x.device())?))
    }
}

/// `[N, P, C]` → `[N, 2·C]`: the mean over places, then the highest.
pub struct GlobalPool;

impl CustomOp1 for GlobalPool {
    fn name(&self) -> &'static str {
        "global-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, places, c) = layout.shape().dims3()?;
        let x = values::slice(x, layout)?;
        let mut y = Vec::with_capacity(2 * n * c);
        for image in x.chunks_exact(places * c) {
            let (mut mean, mut top) = (vec![0.0; c], vec![f32::NEG_INFINITY; c]);
            for place in image.chunks_exact(c) {
                for i in 0..c {
                    mean[i] += place[i];
                    top[i] = top[i].max(place[i]);
                }
            }
            y.extend(mean.into_iter().map(|v| v / places as f32));
            y.extend(top);
        }
        Ok((CpuStorage::F32(y), Shape::from((n, 2 * c))))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (n, places, c) = x.dims3()?;
        let dx = values::with(x, |x| {
            values::with(y, |y| {
                values::with(grad, |grad| {
                    let mut dx = vec![0.0_f32; n * places * c];
                    for (((dx, x), y), grad) in dx
                        .chunks_exact_mut(places * c)
                        .zip(x.chunks_exact(places * c))
                        .zip(y.chunks_exact(2 * c))
                        .zip(grad.chunks_exact(2 * c))
                    {
                        let mut found = vec![false; c];
                        for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                            for i in 0..c {
                                dx[i] = grad[i] / places as f32;
                                if !found[i] && x[i] >= y[c + i] {
                                    dx[i] += grad[c + i];
                                    found[i] = true;
                                }
                            }
                        }
                    }
                    Ok(dx)
                })
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, (n, places, c), x.device())?))
    }
}
