//! The training loop of the sound network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use novastream_features::audio::{
    LogMel, NET_FRAMES, NET_STEP, NET_WINDOW, YAMNET_BANDS, loud_spans, net_window,
};
use novastream_models::candle_graph::CandleGraph;
use novastream_models::sound::{GRAPH_INPUT, SoundCnn, SoundNet, SoundShape};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::augment::{Spectrum, VALUES, example};
use super::clips::Clips;
use super::{AudioArgs, AudioError, Fitted, io};
use crate::chat::export::RunLog;
use crate::encoder::checkpoint::{self, Progress};
use crate::encoder::optimizer::{AdamW, Optimizer};

/// Part of a run in which the learning rate rises.
const WARM_UP: f32 = 0.1;
/// Passes over which the norms of the finished network are averaged.
const NORM_PASSES: u64 = 3;

/// Clips as spectra.
pub struct CnnTrainer<'a> {
    args: &'a AudioArgs,
    clips: &'a Clips,
    mel: LogMel,
    spectra: Vec<Spectrum>,
}

impl<'a> CnnTrainer<'a> {
    /// Computes the spectra of all clips.
    pub fn new(args: &'a AudioArgs, clips: &'a Clips) -> Self {
        let mel = LogMel::yamnet();
        let spectra = clips
            .all
            .par_iter()
            .map(|clip| Spectrum::new(&mel, &clip.samples))
            .collect();
        Self {
            args,
            clips,
            mel,
            spectra,
        }
    }

    /// Trains on the clips `train`, from the checkpoint of an earlier run called `name` where there
    /// is one. The last step's network is the answer: nothing is chosen on the way.
    pub fn fit(
        &mut self,
        train: &[usize],
        name: &str,
        log: &mut RunLog,
    ) -> Result<Fitted, AudioError> {
        let (mean, deviation) = self.moments(train);
        let shape = SoundShape {
            frames: NET_FRAMES,
            bands: YAMNET_BANDS,
            channels: self.args.channels.clone(),
            labels: self.clips.labels.len(),
            mean,
            deviation,
        };
        let mut rng = StdRng::seed_from_u64(self.args.seed);
        let net = SoundNet::new(shape, || rng.random_range(-1.0_f32..1.0))?;
        let settings = AdamW {
            weight_decay: self.args.weight_decay,
            clip: 5.0,
            ..AdamW::default()
        };
        let variables = net.variables().into_iter().map(|(n, var)| (n, var, 1.0));
        let mut optimizer = Optimizer::new(settings, variables)?;

        let dir = self.folder(name)?;
        let fingerprint = self.fingerprint(name)?;
        let mut step = 0;
        if let Some(progress) = checkpoint::load(&dir, &mut optimizer, &fingerprint)? {
            step = progress.steps;
            log.line(&format!("{name}: going on from step {step}"))?;
        }
        let batch = (self.args.batch as usize).min(train.len()).max(1);
        let per_pass = train.len().div_ceil(batch) as u64;
        let steps = per_pass * u64::from(self.args.epochs);
        let (mut loss, mut seen) = (0.0, 0_u32);
        while step < steps {
            let picks = self.picks(train, batch, step, per_pass);
            let (values, targets) = self.examples(&picks, train, step, mean);
            let keep = self.keep(picks.len() * net.features(), step);
            let logits = net.forward(&values, keep)?;
            let shape = (picks.len(), self.clips.labels.len());
            let targets = Tensor::from_vec(targets, shape, &Device::Cpu)?;
            let log_shares = candle_nn::ops::log_softmax(&logits, 1)?;
            let each = (log_shares * targets)?.sum_all()?.neg()?;
            let mean_loss = (each / picks.len() as f64)?;
            optimizer.step(&mean_loss.backward()?, self.rate(step, steps))?;
            loss += f64::from(mean_loss.to_scalar::<f32>()?);
            seen += 1;
            step += 1;
            let pass = step / per_pass;
            let due = step.is_multiple_of(per_pass)
                && pass.is_multiple_of(u64::from(self.args.checkpoint_every));
            if due || step == steps {
                let progress = Progress {
                    steps: step,
                    fingerprint: fingerprint.clone(),
                    loss: loss / f64::from(seen),
                    ..Progress::default()
                };
                checkpoint::save(&dir, &optimizer, &progress)?;
                log.line(&format!(
                    "{name}: pass {pass} of {}, loss {:.4}, {:.0} CPU seconds so far",
                    self.args.epochs,
                    progress.loss,
                    super::cpu_seconds(),
                ))?;
                (loss, seen) = (0.0, 0);
            }
        }
        // Norms as the finished network sees its examples.
        let mut statistics = Vec::new();
        for step in steps..steps + NORM_PASSES * per_pass {
            let picks = self.picks(train, batch, step, per_pass);
            let (values, _) = self.examples(&picks, train, step, mean);
            net.observe(&values, &mut statistics)?;
        }
        let cnn = SoundCnn::fold(&net, &statistics, self.clips.labels.clone())?;
        Ok(Fitted {
            weights: cnn.to_bytes()?,
            chosen: BTreeMap::new(),
        })
    }

    /// Scores by label of the clips `judge`: the mean over the windows that are not silent, by the
    /// graph that is served.
    pub fn scores(&self, weights: &[u8], judge: &[usize]) -> Result<Vec<Vec<f32>>, AudioError> {
        let graph = CandleGraph::load(&SoundCnn::from_bytes(weights)?.to_onnx())?;
        let one = |i: &usize| {
            let samples = &self.clips.all[*i].samples;
            let spans = loud_spans(samples, NET_WINDOW, NET_STEP);
            let mut values = Vec::with_capacity(spans.len() * VALUES);
            for span in &spans {
                net_window(&self.mel, &samples[span.clone()], &mut values);
            }
            let shape = vec![spans.len(), NET_FRAMES, YAMNET_BANDS];
            let outputs = graph.run(vec![(GRAPH_INPUT.to_owned(), shape, values)])?;
            let labels = self.clips.labels.len();
            let mut mean = vec![0.0; labels];
            for window in outputs.iter().flat_map(|(.., v)| v.chunks_exact(labels)) {
                for (mean, score) in mean.iter_mut().zip(window) {
                    *mean += score / spans.len() as f32;
                }
            }
            Ok(mean)
        };
        judge.par_iter().map(one).collect()
    }

    /// Mean and deviation of the log-mel values of some clips.
    fn moments(&self, train: &[usize]) -> (f32, f32) {
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0);
        for i in train {
            let (s, q, k) = self.spectra[*i].moments();
            (sum, squares, n) = (sum + s, squares + q, n + k);
        }
        let mean = sum / n.max(1) as f64;
        let variance = (squares / n.max(1) as f64 - mean * mean).max(1e-6);
        (mean as f32, variance.sqrt() as f32)
    }

    /// The clips of a step: all in another order every pass. The last step of a pass is filled up
    /// from its beginning, so that every norm is over equally many.
    fn picks(&self, train: &[usize], batch: usize, step: u64, per_pass: u64) -> Vec<usize> {
        let (pass, at) = (step / per_pass, (step % per_pass) as usize);
        let mut order = train.to_vec();
        order.shuffle(&mut self.rng(1, pass));
        let from = at * batch;
        (from..from + batch)
            .map(|i| order[i % order.len()])
            .collect()
    }

    /// Windows and soft labels of a step, one after the other.
    fn examples(
        &self,
        picks: &[usize],
        train: &[usize],
        step: u64,
        fill: f32,
    ) -> (Vec<f32>, Vec<f32>) {
        let labels = self.clips.labels.len();
        let made: Vec<(Vec<f32>, Vec<f32>)> = picks
            .par_iter()
            .enumerate()
            .map(|(k, pick)| {
                let mut rng = self.rng(2, step << 12 | k as u64);
                let other = train[rng.random_range(0..train.len())];
                let (window, share) = example(
                    &self.spectra[*pick],
                    &self.spectra[other],
                    self.args.mixup,
                    fill,
                    &mut rng,
                );
                let mut target = vec![0.0_f32; labels];
                target[self.clips.all[*pick].label] += share;
                target[self.clips.all[other].label] += 1.0 - share;
                (window, target)
            })
            .collect();
        let (windows, targets): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        (windows.concat(), targets.concat())
    }

    /// A dropout mask: 0, or what makes up for those that are 0.
    fn keep(&self, n: usize, step: u64) -> Option<Vec<f32>> {
        let drop = self.args.dropout;
        (drop > 0.0).then(|| {
            let mut rng = self.rng(3, step);
            let kept = 1.0 / (1.0 - drop);
            (0..n)
                .map(|_| {
                    if rng.random::<f32>() < drop {
                        0.0
                    } else {
                        kept
                    }
                })
                .collect()
        })
    }

    /// Chance for one purpose at one place of the run, the same whenever it is asked for.
    fn rng(&self, purpose: u64, place: u64) -> StdRng {
        let mixed = self.args.seed ^ (purpose << 60) ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        StdRng::seed_from_u64(mixed)
    }

    /// Rises over the first tenth, then falls along a cosine to nothing.
    fn rate(&self, step: u64, steps: u64) -> f32 {
        let at = (step as f32 + 0.5) / steps as f32;
        let share = if at < WARM_UP {
            at / WARM_UP
        } else {
            let rest = (at - WARM_UP) / (1.0 - WARM_UP);
            0.5 + 0.5 * (std::f32::consts::PI * rest).cos()
        };
        self.args.learning_rate * share
    }

    fn folder(&self, name: &str) -> Result<PathBuf, AudioError> {
        let dir = Path::new(&self.args.out)
            .join("checkpoints")
            .join(name.replace(' ', "-"));
        std::fs::create_dir_all(&dir).map_err(io(&dir))?;
        Ok(dir)
    }

    /// Everything that must be the same for a run to go on.
    fn fingerprint(&self, name: &str) -> Result<String, AudioError> {
        let a = self.args;
        Ok(serde_json::to_string(&(
            (name, self.clips.sha256(), &a.without, a.seed),
            (a.epochs, a.batch, a.learning_rate, a.weight_decay),
            (a.dropout, a.mixup, &a.channels),
        ))?)
    }
}
