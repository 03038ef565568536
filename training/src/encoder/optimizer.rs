//! AdamW (Loshchilov and Hutter 2019) over named variables, one pass over memory a step.
//!
//! Candle's own makes a dozen temporary tensors for each variable, which costs more than the
//! gradient does for short texts.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

/// Settings that stay the same through a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the mean.
    pub beta1: f32,
    /// Decay of the mean square.
    pub beta2: f32,
    /// Added to the deviation.
    pub epsilon: f32,
    /// Pull of matrices towards zero, times the learning rate.
    pub weight_decay: f32,
    /// The gradient's length is cut to this.
    pub clip: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
        }
    }
}

/// One variable with its moments.
pub struct Slot {
    /// The variable.
    pub var: Var,
    /// Learning rate beside the others'.
    pub rate: f32,
    /// Values, kept beside the variable so that a step needs no read.
    values: Vec<f32>,
    /// Running mean of the gradient.
    mean: Vec<f32>,
    /// Running mean of its square.
    square: Vec<f32>,
}

/// Variables, moments and the number of steps taken.
pub struct Optimizer {
    settings: AdamW,
    slots: BTreeMap<String, Slot>,
    steps: u64,
}

/// Values that one task works on.
const CHUNK: usize = 1 << 14;

impl Optimizer {
    /// Starts from the variables' values with moments of zero. `rate` is the learning rate of a
    /// variable beside the others'.
    pub fn new(
        settings: AdamW,
        vars: impl IntoIterator<Item = (String, Var, f32)>,
    ) -> candle_core::Result<Self> {
        let mut slots = BTreeMap::new();
        for (name, var, rate) in vars {
            let values: Vec<f32> = var.flatten_all()?.to_vec1()?;
            let zeros = vec![0.0; values.len()];
            let slot = Slot {
                var,
                rate,
                values,
                mean: zeros.clone(),
                square: zeros,
            };
            slots.insert(name, slot);
        }
        Ok(Self {
            settings,
            slots,
            steps: 0,
        })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes one step; answers the length of the gradient before it was cut. A variable without a
    /// gradient stays as it is.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f32) -> candle_core::Result<f32> {
        let mut grads: Vec<Option<Vec<f32>>> = Vec::with_capacity(self.slots.len());
        let mut squares = 0.0_f64;
        for slot in self.slots.values() {
            let grad = gradients.get(slot.var.as_tensor());
            let grad: Option<Vec<f32>> = grad.map(|g| g.flatten_all()?.to_vec1()).transpose()?;
            // Chunks in parallel, then in order: the same sum on any number of threads.
            let parts: Vec<f64> = grad
                .as_deref()
                .unwrap_or_default()
                .par_chunks(CHUNK)
                .map(|chunk| chunk.iter().map(|g| f64::from(*g) * f64::from(*g)).sum())
                .collect();
            squares += parts.iter().sum::<f64>();
            grads.push(grad);
        }
        let length = squares.sqrt() as f32;
        if !length.is_finite() {
            candle_core::bail!("the gradient is not finite; lower the learning rate");
        }
        let cut = (self.settings.clip / length.max(1e-12)).min(1.0);
        self.steps += 1;
        let s = self.settings;
        let n = self.steps.min(1 << 24) as i32;
        let (fix1, fix2) = (1.0 - s.beta1.powi(n), 1.0 - s.beta2.powi(n));
        for (slot, grad) in self.slots.values_mut().zip(grads) {
            let Some(grad) = grad else { continue };
            let rate = learning_rate * slot.rate;
            // Biases and norms are not pulled.
            let matrix = slot.var.rank() == 2 && slot.var.dims()[0] > 3;
            let pull = if matrix { rate * s.weight_decay } else { 0.0 };
            slot.values
                .par_chunks_mut(CHUNK)
                .zip(slot.mean.par_chunks_mut(CHUNK))
                .zip(slot.square.par_chunks_mut(CHUNK))
                .zip(grad.par_chunks(CHUNK))
                .for_each(|(((values, means), squares), grads)| {
                    for (((value, mean), square), grad) in
                        values.iter_mut().zip(means).zip(squares).zip(grads)
                    {
                        let grad = grad * cut;
                        *mean += (1.0 - s.beta1) * (grad - *mean);
                        *square += (1.0 - s.beta2) * (grad * grad - *square);
                        let step = (*mean / fix1) / ((*square / fix2).sqrt() + s.epsilon);
                        *value -= rate * step + pull * *value;
                    }
                });
            let device = slot.var.device().clone();
            let shape = slot.var.shape().clone();
            slot.var
                .set(&Tensor::from_slice(&slot.values, shape, &device)?)?;
        }
        Ok(length)
    }

    /// Everything that a run needs to go on: values under their names, moments under
    /// `mean.NAME` and `square.NAME`, with their shapes.
    pub fn state(&self) -> impl Iterator<Item = (String, Vec<usize>, &[f32])> {
        self.slots.iter().flat_map(|(name, slot)| {
            let shape = slot.var.dims().to_vec();
            [
                (name.clone(), shape.clone(), slot.values.as_slice()),
                (format!("mean.{name}"), shape.clone(), slot.mean.as_slice()),
                (format!("square.{name}"), shape, slot.square.as_slice()),
            ]
        })
    }

    /// Puts a state back. `get` answers the numbers by name; a name or a length that is not there
    /// is an error and leaves nothing half done that training would go on from.
    pub fn restore(
        &mut self,
        steps: u64,
        mut get: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> candle_core::Result<()> {
        for (name, slot) in &mut self.slots {
            for (key, into) in [
                (name.clone(), &mut slot.values),
                (format!("mean.{name}"), &mut slot.mean),
                (format!("square.{name}"), &mut slot.square),
            ] {
                match get(&key) {
                    Some(values) if values.len() == into.len() => *into = values,
                    _ => candle_core::bail!("the checkpoint has no {key} of the right size"),
                }
            }
            let shape = slot.var.shape().clone();
            let device = slot.var.device().clone();
            slot.var
                .set(&Tensor::from_slice(&slot.values, shape, &device)?)?;
        }
        self.steps = steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn one() -> (Var, Optimizer) {
        let var = Var::from_vec(vec![1.0_f32, -2.0, 3.0, 0.5], 4, &Device::Cpu).unwrap();
        let slots = [("x".to_owned(), var.clone(), 1.0)];
        (var, Optimizer::new(AdamW::default(), slots).unwrap())
    }

    #[test]
    fn it_finds_the_minimum() {
        let (var, mut optimizer) = one();
        for _ in 0..400 {
            let loss = (var.as_tensor() - 1.0)
                .unwrap()
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap();
            optimizer.step(&loss.backward().unwrap(), 0.05).unwrap();
        }
        for value in var.to_vec1::<f32>().unwrap() {
            assert!((value - 1.0).abs() < 0.02, "{value}");
        }
    }

    #[test]
    fn a_run_that_stops_and_goes_on_ends_where_one_that_does_not_ends() {
        let train = |optimizer: &mut Optimizer, var: &Var, n: usize| {
            for _ in 0..n {
                let loss = var.sqr().unwrap().sum_all().unwrap();
                optimizer.step(&loss.backward().unwrap(), 0.01).unwrap();
            }
        };
        let (whole_var, mut whole) = one();
        train(&mut whole, &whole_var, 20);
        let (var, mut first) = one();
        train(&mut first, &var, 10);
        let state: BTreeMap<String, Vec<f32>> = first
            .state()
            .map(|(name, _, values)| (name, values.to_vec()))
            .collect();
        let (var, mut second) = one();
        second
            .restore(first.steps(), |name| state.get(name).cloned())
            .unwrap();
        train(&mut second, &var, 10);
        assert_eq!(
            var.to_vec1::<f32>().unwrap(),
            whole_var.to_vec1::<f32>().unwrap()
        );
        assert!(second.restore(1, |_| None).is_err());
    }
}
