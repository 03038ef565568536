//! The network as it trains: blocks of convolution, batch norm, ReLU and pooling, then the mean and
//! the highest value over all places, then one layer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::SoundModelError;
use super::ops::{GlobalPool, MaxPool, NormRelu, TAPS, Unfold};

/// Numbers that make a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoundShape {
    /// Frames of a window; halved by every block but the last.
    pub frames: usize,
    /// Bands of a frame; halved like the frames.
    pub bands: usize,
    /// Channels of each block.
    pub channels: Vec<usize>,
    /// Classes.
    pub labels: usize,
    /// Mean of the input over the training data, taken off before anything else.
    pub mean: f32,
    /// Its deviation, divided by.
    pub deviation: f32,
    /// Whether the first block also sees how high each band lies. A convolution alone can't tell
    /// one band from another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heights: bool,
}

impl SoundShape {
    /// # Errors
    /// [`SoundModelError::Invalid`]: no block, no class, a size out of range, or a map that cannot be halved as
    /// often as the blocks ask.
    pub fn check(&self) -> Result<(), SoundModelError> {
        let halvings = self.channels.len().saturating_sub(1);
        let fits = |n: usize| (1..=4096).contains(&n);
        let sizes = self.channels.iter().all(|c| fits(*c)) && fits(self.labels);
        let maps = halvings < 12
            && [self.frames, self.bands]
                .iter()
                .all(|n| fits(*n) && n.is_multiple_of(1 << halvings));
        let input = self.mean.is_finite() && self.deviation.is_finite() && self.deviation > 0.0;
        if self.channels.is_empty() || !sizes || !maps || !input {
            return Err(SoundModelError::Invalid(format!(
                "no network has the shape {self:?}"
            )));
        }
        Ok(())
    }

    /// Inputs of each block.
    pub(super) fn inputs(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.maps()).chain(self.channels.iter().copied())
    }

    /// Maps that the first block sees.
    pub(super) fn maps(&self) -> usize {
        1 + usize::from(self.heights)
    }

    /// How high the bands lie, from -1 to 1.
    pub(super) fn band_heights(&self) -> impl Iterator<Item = f32> + Clone + use<> {
        let last = self.bands.saturating_sub(1).max(1) as f32;
        (0..self.bands).map(move |band| 2.0 * band as f32 / last - 1.0)
    }

    /// Channels of the last block.
    pub(super) fn last(&self) -> usize {
        self.channels.last().copied().unwrap_or(1)
    }
}

/// Sums of means and variances over batches, by block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NormStatistics {
    batches: usize,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl NormStatistics {
    pub(super) fn add(&mut self, mean: &[f32], variance: &[f32]) {
        self.batches += 1;
        self.mean.resize(mean.len(), 0.0);
        self.variance.resize(variance.len(), 0.0);
        for (sum, value) in self.mean.iter_mut().zip(mean) {
            *sum += f64::from(*value);
        }
        for (sum, value) in self.variance.iter_mut().zip(variance) {
            *sum += f64::from(*value);
        }
    }

    /// Mean over the batches of means and of variances.
    pub(super) fn averages(&self) -> (Vec<f32>, Vec<f32>) {
        let n = self.batches.max(1) as f64;
        let all = |sums: &[f64]| sums.iter().map(|s| (s / n) as f32).collect();
        (all(&self.mean), all(&self.variance))
    }
}

struct Block {
    /// `[9 · inputs, outputs]`.
    kernel: Var,
    /// `[2, outputs]`: scale and shift.
    norm: Var,
}

/// The network with its variables.
pub struct SoundNet {
    shape: SoundShape,
    blocks: Vec<Block>,
    /// `[2 · channels, labels]`.
    weight: Var,
    bias: Var,
}

impl SoundNet {
    /// A fresh network; `uniform` answers numbers spread evenly between -1 and 1.
    pub fn new(
        shape: SoundShape,
        mut uniform: impl FnMut() -> f32,
    ) -> Result<Self, SoundModelError> {
        shape.check()?;
        let mut filled = |rows: usize, columns: usize, scale: f32| {
            let values: Vec<f32> = (0..rows * columns).map(|_| uniform() * scale).collect();
            Var::from_vec(values, (rows, columns), &Device::Cpu)
        };
        let mut blocks = Vec::new();
        for (inputs, outputs) in shape.inputs().zip(&shape.channels) {
            let rows = TAPS * inputs;
            // He et al. 2015, as a uniform distribution.
            let kernel = filled(rows, *outputs, (6.0 / rows as f32).sqrt())?;
            let ones = [vec![1.0_f32; *outputs], vec![0.0; *outputs]].concat();
            let norm = Var::from_vec(ones, (2, *outputs), &Device::Cpu)?;
            blocks.push(Block { kernel, norm });
        }
        let rows = 2 * shape.last();
        let weight = filled(rows, shape.labels, (1.0 / rows as f32).sqrt())?;
        let bias = Var::zeros(shape.labels, candle_core::DType::F32, &Device::Cpu)?;
        Ok(Self {
            shape,
            blocks,
            weight,
            bias,
        })
    }

    /// What it was made as.
    pub fn shape(&self) -> &SoundShape {
        &self.shape
    }

    /// Variables by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let mut all = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            all.push((format!("block{i}.kernel"), block.kernel.clone()));
            all.push((format!("block{i}.norm"), block.norm.clone()));
        }
        all.push(("head.weight".to_owned(), self.weight.clone()));
        all.push(("head.bias".to_owned(), self.bias.clone()));
        all
    }

    /// `values` of `n` windows `[n, frames, bands]` → logits `[n, labels]`, with the norms of this
    /// batch. `keep` multiplies the pooled features: a dropout mask `[n, features]`, or nothing.
    pub fn forward(
        &self,
        values: &[f32],
        keep: Option<Vec<f32>>,
    ) -> Result<Tensor, SoundModelError> {
        self.logits(&self.pooled(values, keep)?)
    }

    /// The pooled features `[n, features]` on the way to the logits; arguments as for
    /// [`SoundNet::forward`].
    pub fn pooled(
        &self,
        values: &[f32],
        keep: Option<Vec<f32>>,
    ) -> Result<Tensor, SoundModelError> {
        let pooled = self.run(values, None)?;
        let Some(keep) = keep else { return Ok(pooled) };
        let keep = Tensor::from_vec(keep, pooled.shape().clone(), &Device::Cpu)?;
        Ok((pooled * keep)?)
    }

    /// Pooled features → logits `[n, labels]`.
    pub fn logits(&self, pooled: &Tensor) -> Result<Tensor, SoundModelError> {
        Ok(pooled.matmul(&self.weight)?.broadcast_add(&self.bias)?)
    }

    /// Features behind the pooling: the length of a row of a dropout mask.
    pub fn features(&self) -> usize {
        2 * self.shape.last()
    }

    /// Adds the batch's means and variances to `statistics`, one entry a block.
    pub fn observe(
        &self,
        values: &[f32],
        statistics: &mut Vec<NormStatistics>,
    ) -> Result<(), SoundModelError> {
        statistics.resize(self.blocks.len(), NormStatistics::default());
        let shared: Vec<Arc<Mutex<NormStatistics>>> = statistics
            .drain(..)
            .map(|s| Arc::new(Mutex::new(s)))
            .collect();
        let done = self.run(values, Some(&shared));
        for shared in shared {
            let inside = shared.lock().unwrap_or_else(PoisonError::into_inner);
            statistics.push(inside.clone());
        }
        done.map(|_| ())
    }

    /// All blocks and the pooling.
    fn run(
        &self,
        values: &[f32],
        statistics: Option<&[Arc<Mutex<NormStatistics>>]>,
    ) -> Result<Tensor, SoundModelError> {
        let (mut h, mut w) = (self.shape.frames, self.shape.bands);
        let n = values.len() / (h * w);
        if n == 0 || n * h * w != values.len() {
            return Err(SoundModelError::Invalid(format!(
                "{} values are not whole windows",
                values.len()
            )));
        }
        let scale = 1.0 / self.shape.deviation;
        let maps = self.shape.maps();
        let mut input = Vec::with_capacity(values.len() * maps);
        for (value, height) in values.iter().zip(self.shape.band_heights().cycle()) {
            input.push((value - self.shape.mean) * scale);
            if self.shape.heights {
                input.push(height);
            }
        }
        let mut x = Tensor::from_vec(input, (n, h, w, maps), &Device::Cpu)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let report = statistics.and_then(|s| s.get(i)).cloned();
            let channels = self.shape.channels[i];
            let y = x
                .apply_op1(Unfold)?
                .matmul(&block.kernel)?
                .apply_op2(&block.norm, NormRelu::new(report))?
                .reshape((n, h, w, channels))?;
            x = if i + 1 < self.blocks.len() {
                (h, w) = (h / 2, w / 2);
                y.apply_op1(MaxPool)?
            } else {
                y
            };
        }
        let channels = self.shape.last();
        Ok(x.reshape((n, h * w, channels))?.apply_op1(GlobalPool)?)
    }

    /// Values of the variables by name.
    pub(super) fn values(&self) -> Result<BTreeMap<String, Vec<f32>>, SoundModelError> {
        self.variables()
            .into_iter()
            .map(|(name, var)| Ok((name, var.flatten_all()?.to_vec1()?)))
            .collect()
    }
}
