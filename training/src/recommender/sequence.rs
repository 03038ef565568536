//! Training the sequence model with Candle.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::{layer_norm_slow, log_softmax, softmax};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use novastream_datasets::events::Event;
use novastream_models::recommender::{Axis, SEQUENCE_ARRAYS, SEQUENCE_EPSILON, Sequence};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::FitError;

/// Larger catalogues would need a loss over drawn items.
const MOST_ITEMS: usize = 20_000;
/// Stands before the first start.
const NOTHING: u32 = u32::MAX;

/// Unchecked settings of the sequence model.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SequenceParams {
    /// Length of a vector, 8..=512.
    pub dims: usize,
    /// Places in a sequence, 2..=256.
    pub length: usize,
    /// Passes over all sequences, at least 1.
    pub passes: usize,
    /// Sequences in a step, at least 1.
    pub batch: usize,
    /// Length of a step, above 0.
    pub rate: f64,
    /// Share of the inputs that is silenced while learning, 0..1.
    pub dropout: f32,
    /// Seed of the first values, the order and the silenced inputs.
    pub seed: u64,
}

impl Default for SequenceParams {
    fn default() -> Self {
        Self {
            dims: 48,
            length: 32,
            passes: 8,
            batch: 32,
            rate: 2e-3,
            dropout: 0.2,
            seed: 7,
        }
    }
}

/// Settings of the sequence model that were checked.
#[derive(Clone, Copy, Debug)]
pub struct ValidSequenceParams(SequenceParams);

impl SequenceParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidSequenceParams, FitError> {
        if !(8..=512).contains(&self.dims) || !(2..=256).contains(&self.length) {
            return Err(FitError::Params(
                "sequence: dims within 8..=512, length within 2..=256",
            ));
        }
        if self.passes == 0 || self.batch == 0 {
            return Err(FitError::Params(
                "sequence: at least one pass and batch of 1",
            ));
        }
        let rate = self.rate.is_finite() && self.rate > 0.0;
        if !rate || !(0.0..1.0).contains(&self.dropout) {
            return Err(FitError::Params(
                "sequence: rate must be above 0, dropout within 0..1",
            ));
        }
        Ok(ValidSequenceParams(self))
    }
}

impl ValidSequenceParams {
    /// Learns from the starts of users below `users`, in the order of time. `None` where nobody
    /// started two things.
    pub fn fit(
        &self,
        events: &[Event],
        users: usize,
        items: usize,
    ) -> Result<Option<Sequence>, FitError> {
        if items > MOST_ITEMS {
            return Err(FitError::Params(
                "sequence: a catalogue of at most 20,000 items",
            ));
        }
        let mut windows = windows(events, users, self.0.length);
        if windows.is_empty() || items == 0 {
            return Ok(None);
        }
        let mut rng = SmallRng::seed_from_u64(self.0.seed);
        self.train(&mut windows, items, &mut rng)
            .map_err(|error| FitError::Sequence(error.to_string()))
            .map(Some)
    }

    fn train(
        &self,
        windows: &mut [Vec<u32>],
        items: usize,
        rng: &mut SmallRng,
    ) -> candle_core::Result<Sequence> {
        let params = self.0;
        let net = Net::new(&params, items, rng)?;
        let settings = ParamsAdamW {
            lr: params.rate,
            weight_decay: 1e-4,
            ..ParamsAdamW::default()
        };
        let mut optimizer = AdamW::new(net.vars.values().cloned().collect(), settings)?;
        let steps = params.passes * windows.len().div_ceil(params.batch);
        let mut step = 0;
        for _ in 0..params.passes {
            windows.shuffle(rng);
            for batch in windows.chunks(params.batch) {
                // Falls to nothing at the end.
                let left = 1.0 - step as f64 / steps as f64;
                optimizer.set_learning_rate(params.rate * left);
                let loss = net.loss(batch, params.dropout, rng)?;
                optimizer.backward_step(&loss)?;
                step += 1;
            }
        }
        net.model()
    }
}

/// Runs of `length + 1` starts of one user, the latest last, so that each start but a user's first
/// is once what follows. What is short is filled from the front.
fn windows(events: &[Event], users: usize, length: usize) -> Vec<Vec<u32>> {
    let mut by_user: Vec<Vec<u32>> = vec![Vec::new(); users];
    for event in events {
        by_user[event.user as usize].push(event.item);
    }
    let mut windows = Vec::new();
    for starts in by_user {
        let mut end = starts.len();
        while end >= 2 {
            let from = end.saturating_sub(length + 1);
            let mut window = vec![NOTHING; length + 1 - (end - from)];
            window.extend_from_slice(&starts[from..end]);
            windows.push(window);
            end = end.saturating_sub(length);
        }
    }
    windows
}

/// The variables while learning.
struct Net {
    vars: BTreeMap<&'static str, Var>,
    dims: usize,
    length: usize,
    items: usize,
    /// 0 where a place may look, −∞ (nearly) where it may not.
    causal: Tensor,
}

impl Net {
    fn new(params: &SequenceParams, items: usize, rng: &mut SmallRng) -> candle_core::Result<Self> {
        let (dims, length) = (params.dims, params.length);
        let mut vars = BTreeMap::new();
        for (name, [height, width]) in SEQUENCE_ARRAYS {
            let size = |axis| match axis {
                Axis::One => 1,
                Axis::Dims => dims,
                Axis::Length => length,
                Axis::Items => items,
            };
            let shape = (size(height), size(width));
            let spread = (1.0 / dims as f32).sqrt();
            let values: Vec<f32> = (0..shape.0 * shape.1)
                .map(|_| match name {
                    _ if name.contains(".scale") => 1.0,
                    _ if name.contains(".shift") => 0.0,
                    _ => (rng.random::<f32>() + rng.random::<f32>() - 1.0) * 2.0 * spread,
                })
                .collect();
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
            vars.insert(name, Var::from_tensor(&tensor)?);
        }
        let blocked = |at: usize| {
            let later = at % length > at / length;
            if later { -1e9_f32 } else { 0.0 }
        };
        let causal: Vec<f32> = (0..length * length).map(blocked).collect();
        Ok(Self {
            vars,
            dims,
            length,
            items,
            causal: Tensor::from_vec(causal, (length, length), &Device::Cpu)?,
        })
    }

    fn var(&self, name: &str) -> &Tensor {
        // Every name of the code is one of the arrays, which all have a variable.
        self.vars[name].as_tensor()
    }

    /// Mean −ln of the chance that each place gives to what follows it.
    fn loss(
        &self,
        batch: &[Vec<u32>],
        dropout: f32,
        rng: &mut SmallRng,
    ) -> candle_core::Result<Tensor> {
        let inputs = batch.iter().map(|window| &window[..self.length]);
        let states = self.states(&inputs.collect::<Vec<_>>(), dropout, rng)?;
        let places = batch.len() * self.length;
        let logits = states
            .reshape((places, self.dims))?
            .matmul(&self.var("items").t()?)?;
        let chances = log_softmax(&logits, D::Minus1)?;
        // A place counts where something stands on it; something follows then.
        let follow = batch.iter().flat_map(|window| window.windows(2));
        let (targets, counts): (Vec<u32>, Vec<f32>) = follow
            .map(|pair| match pair {
                [NOTHING, _] | [_, NOTHING] => (0, 0.0),
                [_, next] => (*next, 1.0),
                _ => (0, 0.0),
            })
            .unzip();
        let total: f32 = counts.iter().sum();
        let targets = Tensor::from_vec(targets, (places, 1), &Device::Cpu)?;
        let counts = Tensor::from_vec(counts, (places, 1), &Device::Cpu)?;
        let found = chances.gather(&targets, 1)?.mul(&counts)?.sum_all()?;
        found.affine(-1.0 / f64::from(total.max(1.0)), 0.0)
    }

    /// States of shape batch × length × dims.
    fn states(
        &self,
        inputs: &[&[u32]],
        dropout: f32,
        rng: &mut SmallRng,
    ) -> candle_core::Result<Tensor> {
        let (size, length, dims) = (inputs.len(), self.length, self.dims);
        let flat = || inputs.iter().flat_map(|input| input.iter());
        let numbers: Vec<u32> = flat()
            .map(|item| if *item == NOTHING { 0 } else { *item })
            .collect();
        let blocked: Vec<f32> = flat()
            .map(|item| if *item == NOTHING { -1e9 } else { 0.0 })
            .collect();
        let numbers = Tensor::from_vec(numbers, size * length, &Device::Cpu)?;
        let blocked = Tensor::from_vec(blocked, (size, 1, length), &Device::Cpu)?;
        let items = self.var("items").index_select(&numbers, 0)?;
        let items = items.reshape((size, length, dims))?;
        let mut x = items.broadcast_add(&self.var("places").unsqueeze(0)?)?;
        if dropout > 0.0 {
            let kept = 1.0 - dropout;
            let mask: Vec<f32> = (0..size * length * dims)
                .map(|_| {
                    if rng.random::<f32>() < kept {
                        1.0 / kept
                    } else {
                        0.0
                    }
                })
                .collect();
            x = x.mul(&Tensor::from_vec(mask, (size, length, dims), &Device::Cpu)?)?;
        }
        let normed = self.norm("norm1", &x)?;
        let (query, key, value) = (
            self.product("query", &normed)?,
            self.product("key", &normed)?,
            self.product("value", &normed)?,
        );
        let scale = 1.0 / (dims as f64).sqrt();
        let weights = query
            .matmul(&key.transpose(1, 2)?.contiguous()?)?
            .affine(scale, 0.0)?
            .broadcast_add(&self.causal.unsqueeze(0)?)?
            .broadcast_add(&blocked)?;
        let x = x.add(&softmax(&weights, D::Minus1)?.matmul(&value)?)?;
        let normed = self.norm("norm2", &x)?;
        let inner = self
            .product("inner", &normed)?
            .broadcast_add(self.var("inner.shift"))?
            .relu()?;
        let outer = self
            .product("outer", &inner)?
            .broadcast_add(self.var("outer.shift"))?;
        self.norm("norm3", &x.add(&outer)?)
    }

    fn product(&self, name: &str, x: &Tensor) -> candle_core::Result<Tensor> {
        let (size, length, dims) = x.dims3()?;
        x.reshape((size * length, dims))?
            .matmul(self.var(name))?
            .reshape((size, length, dims))
    }

    /// The fused normalisation has no gradient; this one has.
    fn norm(&self, name: &str, x: &Tensor) -> candle_core::Result<Tensor> {
        let scale = self.var(&format!("{name}.scale")).squeeze(0)?;
        let shift = self.var(&format!("{name}.shift")).squeeze(0)?;
        layer_norm_slow(x, &scale, &shift, SEQUENCE_EPSILON)
    }

    fn model(&self) -> candle_core::Result<Sequence> {
        let mut arrays = BTreeMap::new();
        for (name, var) in &self.vars {
            let values = var.as_tensor().to_dtype(DType::F32)?.flatten_all()?;
            arrays.insert((*name).to_owned(), values.to_vec1::<f32>()?);
        }
        Sequence::new(self.dims, self.length, self.items, arrays)
            .ok_or_else(|| candle_core::Error::Msg("values that are not numbers".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> SequenceParams {
        SequenceParams {
            dims: 16,
            length: 6,
            passes: 30,
            batch: 8,
            rate: 1e-2,
            dropout: 0.1,
            seed: 5,
        }
    }

    /// Users who go round a circle of channels, each at a point of their own.
    fn events() -> Vec<Event> {
        (0..900_u32)
            .map(|at| Event {
                user: at % 30,
                item: (at % 30 + at / 30) % 12,
                time: i64::from(at),
                weight: 1.0,
                group: None,
            })
            .collect()
    }

    #[test]
    fn recommender_sequence_every_variable_gets_a_gradient() {
        let mut rng = SmallRng::seed_from_u64(1);
        let net = Net::new(&params(), 12, &mut rng).expect("net");
        let windows = windows(&events(), 30, 6);
        let loss = net.loss(&windows[..8], 0.0, &mut rng).expect("loss");
        let gradients = loss.backward().expect("gradients");
        for (name, var) in &net.vars {
            let gradient = gradients.get(var.as_tensor());
            let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
            let size = gradient.abs().and_then(|g| g.max_all()).expect("size");
            assert!(size.to_scalar::<f32>().expect("a number") > 1e-9, "{name}");
        }
    }

    #[test]
    fn recommender_sequence_scores_as_it_was_trained() {
        let mut rng = SmallRng::seed_from_u64(2);
        let net = Net::new(&params(), 12, &mut rng).expect("net");
        let model = net.model().expect("model");
        let input = [NOTHING, NOTHING, 3, 7, 1, 4];
        let states = net.states(&[&input], 0.0, &mut rng).expect("states");
        let logits = states.reshape((6, 16)).expect("shape");
        let logits = logits.matmul(&net.var("items").t().expect("t"));
        let logits = logits.and_then(|l| l.to_vec2::<f32>()).expect("logits");
        let mut out = [0.0; 12];
        let all: Vec<u32> = (0..12).collect();
        model.score(&input[2..], &all, &mut out);
        for (found, expected) in out.iter().zip(&logits[5]) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn recommender_sequence_learns_what_follows_and_is_the_same_every_time() {
        let fit = || {
            let params = params().check().expect("valid");
            params
                .fit(&events(), 30, 12)
                .expect("fits")
                .expect("starts")
        };
        let model = fit();
        let all: Vec<u32> = (0..12).collect();
        let mut out = [0.0; 12];
        let right = (0..12_u32)
            .filter(|item| {
                model.score(&[(item + 11) % 12, *item], &all, &mut out);
                let best = (0..12).max_by(|a, b| out[*a].total_cmp(&out[*b]));
                best == Some((*item as usize + 1) % 12)
            })
            .count();
        assert!(right >= 11, "{right} of 12");
        assert_eq!(model, fit());
        let nobody = params()
            .check()
            .expect("valid")
            .fit(&events()[..20], 30, 12);
        assert_eq!(nobody.expect("fits"), None);
        let bad = SequenceParams {
            dims: 4,
            ..params()
        };
        assert!(bad.check().is_err());
    }
}
