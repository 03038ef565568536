//! The mean of each text's tokens.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{lanes, values};

/// `[tokens, width]` → `[texts, width]`.
pub struct MeanPool {
    /// The tokens of each text, in order and apart.
    pub texts: Arc<[(usize, usize)]>,
}

impl CustomOp1 for MeanPool {
    fn name(&self) -> &'static str {
        "mean-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let x = values::slice(x, layout)?;
        if self
            .texts
            .iter()
            .any(|(from, to)| from > to || *to > tokens)
        {
            bail!("a text reaches beyond {tokens} tokens");
        }
        let texts = self.texts.len();
        let mut y = vec![0.0; texts * width];
        for (y, (from, to)) in y.chunks_exact_mut(width).zip(self.texts.iter()) {
            let share = 1.0 / (to - from).max(1) as f32;
            for row in x[from * width..to * width].chunks_exact(width) {
                lanes::add_scaled(y, share, row);
            }
        }
        Ok((CpuStorage::F32(y), Shape::from((texts, width))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (tokens, width) = x.dims2()?;
        let mut dx = vec![0.0; tokens * width];
        values::with(grad, |grad| {
            for (grad, (from, to)) in grad.chunks_exact(width).zip(self.texts.iter()) {
                let share = 1.0 / (to - from).max(1) as f32;
                for row in dx[from * width..to * width].chunks_exact_mut(width) {
                    lanes::add_scaled(row, share, grad);
                }
            }
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(dx, (tokens, width), x.device())?))
    }
}
