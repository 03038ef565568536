//! The training loop: masked logistic losses, warm-up, a long plateau and a cool-down.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use novastream_datasets::chat::CHAT_HEADS;
use novastream_models::encoder::{
    EncoderConfig, HEAD_BIAS, HEAD_WEIGHT, TextClassifier, layer_names,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::batch::{Batch, Batcher};
use super::checkpoint::{self, Progress};
use super::optimizer::{AdamW, Optimizer};
use super::sampler::Sampler;
use super::start::Output;
use crate::chat::TrainError;

/// Part of a run in which the learning rate falls to zero (the warm-up, stable, decay schedule of
/// Hu et al. 2024: a run can be given fewer steps while it goes, and still cool down).
const COOL_DOWN: f64 = 0.3;
/// Steps in which the learning rate rises.
const WARM_UP: u64 = 100;
/// The new output layer learns this much faster than the pretrained encoder.
const HEAD_RATE: f32 = 10.0;

/// What a run is made with.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Steps in all.
    pub steps: u64,
    /// Rows a step.
    pub batch: usize,
    /// Learning rate of the encoder on the plateau.
    pub learning_rate: f32,
    /// Lowest layers that stay as they were.
    pub frozen_layers: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints without a better one before a run stops.
    pub patience: usize,
    /// Seed of order, disguise and context.
    pub seed: u64,
}

impl Settings {
    /// Everything that must be the same for a run to go on; the number of steps may change.
    pub fn fingerprint(&self, data: &str) -> String {
        format!(
            "{data} {} {} {} {}",
            self.batch, self.learning_rate, self.frozen_layers, self.seed
        )
    }

    /// Learning rate of the encoder at a step.
    pub fn rate(&self, step: u64) -> f32 {
        let cool = ((self.steps as f64 * COOL_DOWN) as u64).max(1);
        let up = (step + 1) as f64 / WARM_UP as f64;
        let down = (self.steps.saturating_sub(step)) as f64 / cool as f64;
        self.learning_rate * up.min(down).clamp(0.0, 1.0) as f32
    }
}

/// A run: variables, optimiser and the model over them.
pub struct Trainer<'a> {
    settings: Settings,
    batcher: &'a Batcher<'a>,
    optimizer: Optimizer,
    model: TextClassifier,
    weights: BTreeMap<String, Tensor>,
}

impl<'a> Trainer<'a> {
    /// Makes variables of the layers that learn and of the output layer, which is fresh but for
    /// `outputs`.
    pub fn new(
        settings: Settings,
        config: EncoderConfig,
        mut pretrained: HashMap<String, Tensor>,
        outputs: &[Output],
        batcher: &'a Batcher<'a>,
    ) -> Result<Self, TrainError> {
        let mut vars: Vec<(String, Var, f32)> = Vec::new();
        for name in (settings.frozen_layers..config.layers).flat_map(layer_names) {
            if let Some(tensor) = pretrained.get_mut(&name) {
                let var = Var::from_tensor(tensor)?;
                *tensor = var.as_tensor().clone();
                vars.push((name, var, 1.0));
            }
        }
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let scale = 1.0 / (config.width as f32).sqrt();
        let n = config.width * CHAT_HEADS.len();
        let mut weight: Vec<f32> = (0..n).map(|_| rng.random_range(-scale..scale)).collect();
        // Most messages are harmless: start there.
        let mut bias = vec![-2.0_f32; CHAT_HEADS.len()];
        for output in outputs {
            bias[output.head] = output.bias;
            for (row, known) in weight.chunks_mut(CHAT_HEADS.len()).zip(&output.weight) {
                row[output.head] = *known;
            }
        }
        let weight = Var::from_vec(weight, (config.width, CHAT_HEADS.len()), &Device::Cpu)?;
        let bias = Var::from_vec(bias, CHAT_HEADS.len(), &Device::Cpu)?;
        for (name, var) in [(HEAD_WEIGHT, weight), (HEAD_BIAS, bias)] {
            pretrained.insert(name.to_owned(), var.as_tensor().clone());
            vars.push((name.to_owned(), var, HEAD_RATE));
        }
        Ok(Self {
            model: TextClassifier::new(config, &pretrained)?,
            optimizer: Optimizer::new(AdamW::default(), vars)?,
            weights: pretrained.into_iter().collect(),
            settings,
            batcher,
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &TextClassifier {
        &self.model
    }

    /// Copies of all weights as they are now.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let copy = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.copy()?));
        self.weights.iter().map(copy).collect()
    }

    /// Trains to the end, from a checkpoint in `dir` where there is one. `judge` answers how good
    /// the model is on held-out rows; the best checkpoint's weights are the answer. `say` gets a
    /// line now and then.
    pub fn run(
        &mut self,
        sampler: &Sampler,
        dir: &Path,
        data: &str,
        mut judge: impl FnMut(&TextClassifier) -> Result<f64, TrainError>,
        mut say: impl FnMut(&str) -> Result<(), TrainError>,
    ) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let fingerprint = self.settings.fingerprint(data);
        let (mut step, mut worse, mut best) = (0, 0, None);
        if let Some(progress) = checkpoint::load(dir, &mut self.optimizer, &fingerprint)? {
            (step, worse) = (progress.steps, progress.worse);
            if let Some(quality) = progress.best {
                best = Some((quality, checkpoint::load_best(dir)?));
            }
            say(&format!("going on from step {step}"))?;
        }
        let mut picks = Picks::new(sampler, self.settings.batch, step);
        let (mut loss, mut tokens, mut since) = (0.0, 0, Instant::now());
        while step < self.settings.steps {
            let seed = self.settings.seed.wrapping_add(step << 20);
            let batch = self.batcher.training(&picks.next_batch(), seed)?;
            loss += f64::from(self.step(&batch, step)?);
            tokens += batch.texts.tokens();
            step += 1;
            let last = step == self.settings.steps;
            if !step.is_multiple_of(self.settings.checkpoint_every) && !last {
                continue;
            }
            let mean = loss / self.settings.checkpoint_every as f64;
            let rate = tokens as f64 / since.elapsed().as_secs_f64();
            let quality = judge(&self.model)?;
            worse += 1;
            if best.as_ref().is_none_or(|(bar, _)| quality > *bar) {
                let weights = self.weights()?;
                checkpoint::save_best(dir, &weights)?;
                (worse, best) = (0, Some((quality, weights)));
            }
            let progress = Progress {
                steps: step,
                fingerprint: fingerprint.clone(),
                loss: mean,
                best: best.as_ref().map(|(quality, _)| *quality),
                worse,
            };
            checkpoint::save(dir, &self.optimizer, &progress)?;
            say(&format!(
                "step {step} of {}: loss {mean:.4}, held-out AUC {quality:.4}, {rate:.0} tokens/s",
                self.settings.steps
            ))?;
            (loss, tokens, since) = (0.0, 0, Instant::now());
            if worse > 0 && worse >= self.settings.patience {
                say("no better for long enough: done early")?;
                break;
            }
        }
        best.map_or_else(|| self.weights(), |(_, weights)| Ok(weights))
    }

    fn step(&mut self, batch: &Batch, step: u64) -> Result<f32, TrainError> {
        let logits = self.model.forward(&batch.texts)?;
        let loss = masked_loss(&logits, batch)?;
        let gradients = loss.backward()?;
        self.optimizer.step(&gradients, self.settings.rate(step))?;
        Ok(loss.to_scalar()?)
    }
}

/// Mean binary cross-entropy over the labels that somebody gave.
pub fn masked_loss(logits: &Tensor, batch: &Batch) -> Result<Tensor, TrainError> {
    let shape = logits.shape().clone();
    let labels = Tensor::from_slice(&batch.labels, shape.clone(), &Device::Cpu)?;
    let total: f32 = batch.weights.iter().sum();
    let weights = Tensor::from_slice(&batch.weights, shape, &Device::Cpu)?;
    // log(1 + e^z) − y·z, in the form that does not overflow.
    let soft = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let each = (soft - (logits * labels)?)?;
    Ok(((each * weights)?.sum_all()? / f64::from(total.max(1e-6)))?)
}

/// Row numbers by step, pass after pass.
struct Picks<'a> {
    sampler: &'a Sampler,
    batch: usize,
    pass: u64,
    rows: Vec<u32>,
    at: usize,
}

impl<'a> Picks<'a> {
    /// Stands where a run of `steps` steps stands.
    fn new(sampler: &'a Sampler, batch: usize, steps: u64) -> Self {
        let rows = sampler.pass(0);
        let mut picks = Self {
            sampler,
            batch,
            pass: 0,
            rows,
            at: 0,
        };
        for _ in 0..steps {
            picks.next_batch();
        }
        picks
    }

    fn next_batch(&mut self) -> Vec<u32> {
        let mut out = Vec::with_capacity(self.batch);
        while out.len() < self.batch && !self.rows.is_empty() {
            if self.at == self.rows.len() {
                self.pass += 1;
                self.rows = self.sampler.pass(self.pass);
                self.at = 0;
                continue;
            }
            let end = (self.at + self.batch - out.len()).min(self.rows.len());
            out.extend_from_slice(&self.rows[self.at..end]);
            self.at = end;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let settings = Settings {
            steps: 1000,
            batch: 8,
            learning_rate: 1.0,
            frozen_layers: 0,
            checkpoint_every: 100,
            patience: 3,
            seed: 1,
        };
        assert!(settings.rate(0) < 0.02);
        assert_eq!(settings.rate(500), 1.0);
        assert!((settings.rate(850) - 0.5).abs() < 1e-6);
        assert!(settings.rate(999) < 0.01);
    }

    #[test]
    fn picks_go_on_where_they_stood() {
        let sampler = Sampler::new((0..50).map(|row| (row, 0)), &[1.0], 0.0, 3);
        let mut whole = Picks::new(&sampler, 7, 0);
        let all: Vec<Vec<u32>> = (0..20).map(|_| whole.next_batch()).collect();
        assert_eq!(Picks::new(&sampler, 7, 12).next_batch(), all[12]);
        let mut first: Vec<u32> = all.iter().flatten().copied().take(50).collect();
        first.sort_unstable();
        assert_eq!(first, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn what_nobody_labelled_does_not_count() {
        let logits =
            Tensor::from_vec(vec![0.0_f32, 50.0, -50.0, 0.0], (2, 2), &Device::Cpu).unwrap();
        let batch = Batch {
            texts: novastream_models::encoder::Packed::default(),
            labels: vec![1.0, 0.0, 1.0, 0.0],
            weights: vec![1.0, 0.0, 0.0, 1.0],
        };
        let loss: f32 = masked_loss(&logits, &batch).unwrap().to_scalar().unwrap();
        assert!((loss - 2.0_f32.ln()).abs() < 1e-5, "{loss}");
        let batch = Batch {
            weights: vec![0.0, 1.0, 1.0, 0.0],
            ..batch
        };
        let loss: f32 = masked_loss(&logits, &batch).unwrap().to_scalar().unwrap();
        assert!((loss - 50.0).abs() < 1e-3, "{loss}");
    }
}
