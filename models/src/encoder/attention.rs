//! Multi-head self-attention over packed texts (Vaswani et al. 2017): every text attends to
//! itself only, and no padding is computed.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::Arch;
use rayon::prelude::*;

use super::{lanes, values};

/// `qkv [tokens, 3 · width]`, `bias [3 · width]` → `[tokens, width]`.
pub struct Attention {
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Where each text begins, and the number of tokens at the end.
    pub bounds: Arc<[usize]>,
}

/// One head's queries, keys and values of one text, each `[n, d]`, and transposes `[d, n]`.
struct Head {
    n: usize,
    d: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    kt: Vec<f32>,
    vt: Vec<f32>,
    /// One row of scores, and of their gradient.
    p: Vec<f32>,
    dp: Vec<f32>,
}

impl Head {
    fn new(n: usize, d: usize) -> Self {
        let make = || vec![0.0; n * d];
        let (q, k, v, kt, vt) = (make(), make(), make(), make(), make());
        let (p, dp) = (vec![0.0; n], vec![0.0; n]);
        Self {
            n,
            d,
            q,
            k,
            v,
            kt,
            vt,
            p,
            dp,
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn load(&mut self, qkv: &[f32], bias: &[f32], width: usize, head: usize) {
        let (d, n) = (self.d, self.n);
        let scale = 1.0 / (d as f32).sqrt();
        for (i, row) in qkv.chunks_exact(3 * width).enumerate() {
            for c in 0..d {
                let at = head * d + c;
                let k = row[width + at] + bias[width + at];
                let v = row[2 * width + at] + bias[2 * width + at];
                self.q[i * d + c] = (row[at] + bias[at]) * scale;
                self.k[i * d + c] = k;
                self.v[i * d + c] = v;
                self.kt[c * n + i] = k;
                self.vt[c * n + i] = v;
            }
        }
    }

    /// Attention probabilities of token `i` into `p`.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn probabilities(&mut self, i: usize) {
        self.p.fill(0.0);
        for c in 0..self.d {
            let q = self.q[i * self.d + c];
            lanes::add_scaled(&mut self.p, q, &self.kt[c * self.n..][..self.n]);
        }
        lanes::softmax(&mut self.p);
    }

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn forward(&mut self, out: &mut [f32], width: usize, head: usize) {
        let d = self.d;
        for i in 0..self.n {
            self.probabilities(i);
            let out = &mut out[i * width + head * d..][..d];
            for (j, p) in self.p.iter().enumerate() {
                lanes::add_scaled(out, *p, &self.v[j * d..][..d]);
            }
        }
    }

    /// Adds the gradient of one head to `dqkv`.
    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn backward(&mut self, grad: &[f32], dqkv: &mut [f32], width: usize, head: usize) {
        let (n, d) = (self.n, self.d);
        let scale = 1.0 / (d as f32).sqrt();
        for i in 0..n {
            self.probabilities(i);
            let g = &grad[i * width + head * d..][..d];
            self.dp.fill(0.0);
            for (c, g) in g.iter().enumerate() {
                lanes::add_scaled(&mut self.dp, *g, &self.vt[c * n..][..n]);
            }
            let (p, dp) = (&self.p, &mut self.dp);
            let along = lanes::sum(n, |j| p[j] * dp[j]);
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - along);
            }
            let at = head * d;
            for j in 0..n {
                let row = &mut dqkv[j * 3 * width..][..3 * width];
                lanes::add_scaled(
                    &mut row[width + at..][..d],
                    self.dp[j],
                    &self.q[i * d..][..d],
                );
                lanes::add_scaled(&mut row[2 * width + at..][..d], self.p[j], g);
            }
            let dq = &mut dqkv[i * 3 * width + at..][..d];
            for j in 0..n {
                lanes::add_scaled(dq, self.dp[j] * scale, &self.k[j * d..][..d]);
            }
        }
    }
}

impl Attention {
    fn check(&self, tokens: usize, columns: usize) -> Result<usize> {
        let width = columns / 3;
        let ordered = self.bounds.is_sorted() && self.bounds.first() == Some(&0);
        if self.heads == 0 || !columns.is_multiple_of(3 * self.heads) || columns == 0 {
            bail!("{columns} columns can't be shared by {} heads", self.heads);
        }
        if !ordered || self.bounds.last() != Some(&tokens) {
            bail!("the bounds of the texts do not cover {tokens} tokens");
        }
        Ok(width)
    }

    /// Splits a matrix of `columns` columns by text.
    fn parts<'a>(&self, mut values: &'a mut [f32], columns: usize) -> Vec<(usize, &'a mut [f32])> {
        let mut parts = Vec::with_capacity(self.bounds.len());
        for (text, pair) in self.bounds.windows(2).enumerate() {
            let (part, rest) = values.split_at_mut((pair[1] - pair[0]) * columns);
            parts.push((text, part));
            values = rest;
        }
        parts
    }

    fn rows<'a>(&self, values: &'a [f32], columns: usize, text: usize) -> &'a [f32] {
        &values[self.bounds[text] * columns..self.bounds[text + 1] * columns]
    }
}

impl CustomOp2 for Attention {
    fn name(&self) -> &'static str {
        "packed-attention"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, columns) = layout.shape().dims2()?;
        let width = self.check(tokens, columns)?;
        let qkv = values::slice(qkv, layout)?;
        let bias = values::slice(bias, bias_layout)?;
        if bias.len() != columns {
            bail!("{} biases for {columns} columns", bias.len());
        }
        let mut out = vec![0.0; tokens * width];
        self.parts(&mut out, width)
            .into_par_iter()
            .for_each(|(text, out)| {
                let qkv = self.rows(qkv, columns, text);
                let mut scratch = Head::new(out.len() / width, width / self.heads);
                Arch::new().dispatch(|| {
                    for head in 0..self.heads {
                        scratch.load(qkv, bias, width, head);
                        scratch.forward(out, width, head);
                    }
                });
            });
        Ok((CpuStorage::F32(out), Shape::from((tokens, width))))
    }

    fn bwd(
        &self,
        qkv: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tokens, columns) = qkv.dims2()?;
        let width = self.check(tokens, columns)?;
        let mut dqkv = vec![0.0; tokens * columns];
        values::with(qkv, |qkv| {
            values::with(bias, |bias| {
                values::with(grad, |grad| {
                    self.parts(&mut dqkv, columns)
                        .into_par_iter()
                        .for_each(|(text, dqkv)| {
                            let qkv = self.rows(qkv, columns, text);
                            let grad = self.rows(grad, width, text);
                            let mut scratch = Head::new(dqkv.len() / columns, width / self.heads);
                            Arch::new().dispatch(|| {
                                for head in 0..self.heads {
                                    scratch.load(qkv, bias, width, head);
                                    scratch.backward(grad, dqkv, width, head);
                                }
                            });
                        });
                    Ok(())
                })
            })
        })?;
        let db = values::column_sums(&dqkv, columns);
        let device = qkv.device();
        Ok((
            Some(Tensor::from_vec(dqkv, (tokens, columns), device)?),
            Some(Tensor::from_vec(db, columns, device)?),
        ))
    }
}
