//! Bias and GELU in one pass (Hendrycks and Gimpel 2016, the exact form with erf).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::Arch;
use rayon::prelude::*;

use super::{lanes, values};

/// `[tokens, width]`, `[width]` → `[tokens, width]`.
pub struct BiasGelu;

impl CustomOp2 for BiasGelu {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let (x, bias) = (values::slice(x, layout)?, values::slice(bias, bias_layout)?);
        if bias.len() != width || width == 0 {
            bail!("{} biases for {width} columns", bias.len());
        }
        let mut y = vec![0.0; tokens * width];
        y.par_chunks_exact_mut(width)
            .zip(x.par_chunks_exact(width))
            .for_each(|(y, x)| {
                Arch::new().dispatch(|| {
                    for ((y, x), b) in y.iter_mut().zip(x).zip(bias) {
                        let x = x + b;
                        *y = x * lanes::normal(x).0;
                    }
                });
            });
        Ok((CpuStorage::F32(y), Shape::from((tokens, width))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tokens, width) = x.dims2()?;
        let dx = values::with(x, |x| {
            values::with(bias, |bias| {
                values::with(grad, |grad| {
                    let mut dx = vec![0.0; tokens * width];
                    dx.par_chunks_exact_mut(width)
                        .zip(x.par_chunks_exact(width))
                        .zip(grad.par_chunks_exact(width))
                        .for_each(|((dx, x), grad)| {
                            Arch::new().dispatch(|| {
                                for (((dx, x), grad), b) in dx.iter_mut().zip(x).zip(grad).zip(bias)
                                {
                                    let x = x + b;
                                    let (below, density) = lanes::normal(x);
                                    *dx = grad * (below + x * density);
                                }
                            });
                        });
                    Ok(dx)
                })
            })
        })?;
        let db = values::column_sums(&dx, width);
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(dx, (tokens, width), device)?),
            Some(Tensor::from_vec(db, width, device)?),
        ))
    }
}
