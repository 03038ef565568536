//! The training loop of the sound network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use novastream_features::audio::{
    LogMel, NET_FRAMES, NET_STEP, NET_WINDOW, YAMNET_BANDS, loud_spans, net_window,
};
use novastream_models::candle_graph::CandleGraph;
use novastream_models::sound::{GRAPH_INPUT, SoundCnn, SoundNet, SoundShape};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::augment::{Spectrum, VALUES};
use super::clips::Clips;
use super::teacher::{Lesson, Lessons};
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
    pub(super) args: &'a AudioArgs,
    pub(super) clips: &'a Clips,
    mel: LogMel,
    pub(super) spectra: Vec<Spectrum>,
    pub(super) lessons: Option<Lessons>,
}

/// One training, at some step of it.
struct Training<'a> {
    train: &'a [usize],
    name: &'a str,
    net: SoundNet,
    pupil: Option<Pupil<'a>>,
    optimizer: Optimizer,
    /// Steps done.
    step: u64,
    /// Of the whole training.
    steps: u64,
    per_pass: u64,
    batch: usize,
    dir: PathBuf,
    fingerprint: String,
}

/// The layer that says what the teacher hears, from the network's pooled features. It is thrown
/// away in the end.
struct Pupil<'a> {
    lesson: Lesson<'a>,
    weight: Var,
    bias: Var,
}

impl Pupil<'_> {
    /// Mean square of what it gets wrong.
    fn loss(&self, pooled: &Tensor, targets: Vec<f32>) -> Result<Tensor, AudioError> {
        let said = pooled.matmul(&self.weight)?.broadcast_add(&self.bias)?;
        let targets = Tensor::from_vec(targets, said.shape().clone(), &Device::Cpu)?;
        Ok((said - targets)?.sqr()?.mean_all()?)
    }
}

impl<'a> CnnTrainer<'a> {
    /// Computes the spectra of all clips, and lets the teacher listen to them where there is one.
    pub fn new(
        args: &'a AudioArgs,
        clips: &'a Clips,
        log: &mut RunLog,
    ) -> Result<Self, AudioError> {
        let mel = LogMel::yamnet();
        let spectra = clips
            .all
            .par_iter()
            .map(|clip| Spectrum::new(&mel, &clip.samples))
            .collect();
        let teacher = args.teacher;
        let lessons = teacher.map(|teacher| Lessons::new(teacher, clips, log));
        Ok(Self {
            args,
            clips,
            mel,
            spectra,
            lessons: lessons.transpose()?,
        })
    }

    /// Trains on the clips `train`, from the checkpoint of an earlier run called `name` where there
    /// is one. The last step's network is the answer: nothing is chosen on the way.
    pub fn fit(
        &mut self,
        train: &[usize],
        name: &str,
        log: &mut RunLog,
    ) -> Result<Fitted, AudioError> {
        let mut training = self.start(train, name, log)?;
        self.learn(&mut training, u64::MAX, log)?;
        self.finish(&training)
    }

    /// A training at its beginning, or where its checkpoint says.
    fn start<'b>(
        &'b self,
        train: &'b [usize],
        name: &'b str,
        log: &mut RunLog,
    ) -> Result<Training<'b>, AudioError> {
        let (mean, deviation) = self.moments(train);
        let shape = SoundShape {
            frames: NET_FRAMES,
            bands: YAMNET_BANDS,
            channels: self.args.channels.clone(),
            labels: self.clips.labels.len(),
            mean,
            deviation,
            heights: self.args.heights,
        };
        let mut rng = StdRng::seed_from_u64(self.args.seed);
        let net = SoundNet::new(shape, || rng.random_range(-1.0_f32..1.0))?;
        let mut variables = net.variables();
        let mut pupil = None;
        if let Some(lessons) = &self.lessons {
            let (rows, columns) = (net.features(), lessons.width());
            let scale = (1.0 / rows as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns)
                .map(|_| rng.random_range(-scale..scale))
                .collect();
            let weight = Var::from_vec(values, (rows, columns), &Device::Cpu)?;
            let bias = Var::zeros(columns, DType::F32, &Device::Cpu)?;
            variables.push(("teacher.weight".to_owned(), weight.clone()));
            variables.push(("teacher.bias".to_owned(), bias.clone()));
            pupil = Some(Pupil {
                lesson: lessons.lesson(train),
                weight,
                bias,
            });
        }
        let settings = AdamW {
            weight_decay: self.args.weight_decay,
            clip: 5.0,
            ..AdamW::default()
        };
        let variables = variables.into_iter().map(|(n, var)| (n, var, 1.0));
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
        Ok(Training {
            train,
            name,
            net,
            pupil,
            optimizer,
            step,
            steps: per_pass * u64::from(self.args.epochs),
            per_pass,
            batch,
            dir,
            fingerprint,
        })
    }

    /// Takes steps up to `until` or the end, with checkpoints.
    fn learn(
        &self,
        training: &mut Training<'_>,
        until: u64,
        log: &mut RunLog,
    ) -> Result<(), AudioError> {
        let (steps, per_pass) = (training.steps, training.per_pass);
        let (mut sums, mut seen) = ([0.0; 2], 0_u32);
        while training.step < steps.min(until) {
            let losses = self.step(training)?;
            for (sum, loss) in sums.iter_mut().zip(losses) {
                *sum += f64::from(loss);
            }
            seen += 1;
            training.step += 1;
            let pass = training.step / per_pass;
            let due = training.step.is_multiple_of(per_pass)
                && pass.is_multiple_of(u64::from(self.args.checkpoint_every));
            if due || training.step == steps {
                let [loss, teacher] = sums.map(|sum| sum / f64::from(seen));
                let progress = Progress {
                    steps: training.step,
                    fingerprint: training.fingerprint.clone(),
                    loss,
                    ..Progress::default()
                };
                checkpoint::save(&training.dir, &training.optimizer, &progress)?;
                let of_teacher = if training.pupil.is_some() {
                    format!(", teacher's {teacher:.4}")
                } else {
                    String::new()
                };
                log.line(&format!(
                    "{}: pass {pass} of {}, loss {loss:.4}{of_teacher}, {:.0} CPU seconds so far",
                    training.name,
                    self.args.epochs,
                    super::cpu_seconds(),
                ))?;
                (sums, seen) = ([0.0; 2], 0);
            }
        }
        Ok(())
    }

    /// One step; answers the loss by the labels and by the teacher.
    fn step(&self, training: &mut Training<'_>) -> Result<[f32; 2], AudioError> {
        let (net, step) = (&training.net, training.step);
        let picks = self.picks(training.train, training.batch, step, training.per_pass);
        let lesson = training.pupil.as_ref().map(|p| &p.lesson);
        let fill = net.shape().mean;
        let batch = self.examples(&picks, training.train, step, fill, lesson);
        let keep = self.keep(picks.len() * net.features(), step);
        let pooled = net.pooled(&batch.windows, keep)?;
        let logits = net.logits(&pooled)?;
        let targets = Tensor::from_vec(batch.targets, logits.shape().clone(), &Device::Cpu)?;
        let log_shares = candle_nn::ops::log_softmax(&logits, 1)?;
        let each = (log_shares * targets)?.sum_all()?.neg()?;
        let mut loss = (each / picks.len() as f64)?;
        let mut losses = [loss.to_scalar::<f32>()?, 0.0];
        if let Some(pupil) = &training.pupil {
            let taught = pupil.loss(&pooled, batch.heard)?;
            losses[1] = taught.to_scalar::<f32>()?;
            loss = (loss + (taught * f64::from(self.args.teacher_weight))?)?;
        }
        let rate = self.rate(step, training.steps);
        training.optimizer.step(&loss.backward()?, rate)?;
        Ok(losses)
    }

    /// Norms as the finished network sees its examples or the clips themselves, then what ships.
    fn finish(&self, training: &Training<'_>) -> Result<Fitted, AudioError> {
        let (net, per_pass) = (&training.net, training.per_pass);
        let mut statistics = Vec::new();
        if self.args.clean_norms {
            let all: Vec<f32> = training
                .train
                .iter()
                .flat_map(|i| self.windows(*i).1)
                .collect();
            let all: Vec<&[f32]> = all.chunks_exact(VALUES).collect();
            for windows in self.shuffled(&all, training.batch) {
                net.observe(&windows.concat(), &mut statistics)?;
            }
        } else {
            for step in training.steps..training.steps + NORM_PASSES * per_pass {
                let picks = self.picks(training.train, training.batch, step, per_pass);
                let fill = net.shape().mean;
                let batch = self.examples(&picks, training.train, step, fill, None);
                net.observe(&batch.windows, &mut statistics)?;
            }
        }
        let cnn = SoundCnn::fold(net, &statistics, self.clips.labels.clone())?;
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
            let (windows, values) = self.windows(*i);
            let shape = vec![windows, NET_FRAMES, YAMNET_BANDS];
            let outputs = graph.run(vec![(GRAPH_INPUT.to_owned(), shape, values)])?;
            let labels = self.clips.labels.len();
            let mut mean = vec![0.0; labels];
            for window in outputs.iter().flat_map(|(.., v)| v.chunks_exact(labels)) {
                for (mean, score) in mean.iter_mut().zip(window) {
                    *mean += score / windows as f32;
                }
            }
            Ok(mean)
        };
        judge.par_iter().map(one).collect()
    }

    /// How many windows of a clip are not silent, and those, one after the other.
    fn windows(&self, clip: usize) -> (usize, Vec<f32>) {
        let samples = &self.clips.all[clip].samples;
        let spans = loud_spans(samples, NET_WINDOW, NET_STEP);
        let mut values = Vec::with_capacity(spans.len() * VALUES);
        for span in &spans {
            net_window(&self.mel, &samples[span.clone()], &mut values);
        }
        (spans.len(), values)
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
            (a.dropout, a.mixup, &a.channels, a.heights),
            self.lessons.as_ref().map(|l| (l.id(), a.teacher_weight)),
        ))?)
    }
}

#[cfg(test)]
mod tests;
