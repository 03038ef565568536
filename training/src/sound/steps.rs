//! What a step of the sound network learns from, the same whenever the step is taken.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::augment::example;
use super::cnn::CnnTrainer;
use super::teacher::{Lesson, Lessons};

/// Examples, one after the other.
pub struct Batch {
    /// Log-mel windows.
    pub windows: Vec<f32>,
    /// Shares of the labels.
    pub targets: Vec<f32>,
    /// What the teacher hears, standardised; empty without one.
    pub heard: Vec<f32>,
}

impl CnnTrainer<'_> {
    /// The clips of a step: all in another order every pass. The last step of a pass is filled up
    /// from its beginning, so that every norm is over equally many.
    pub(super) fn picks(
        &self,
        train: &[usize],
        batch: usize,
        step: u64,
        per_pass: u64,
    ) -> Vec<usize> {
        let (pass, at) = (step / per_pass, (step % per_pass) as usize);
        let mut order = train.to_vec();
        order.shuffle(&mut self.rng(1, pass));
        let from = at * batch;
        (from..from + batch)
            .map(|i| order[i % order.len()])
            .collect()
    }

    /// Everything once in batches of one size, in an order by chance; the last is filled up from
    /// the beginning.
    pub(super) fn shuffled<'w>(&self, all: &[&'w [f32]], batch: usize) -> Vec<Vec<&'w [f32]>> {
        let mut order = all.to_vec();
        order.shuffle(&mut self.rng(4, 0));
        let first = order.clone();
        let missing = order.len().next_multiple_of(batch) - order.len();
        order.extend(first.iter().cycle().take(missing));
        order.chunks_exact(batch).map(<[_]>::to_vec).collect()
    }

    /// The examples of a step, with targets by `lesson` where one is given. `fill` stands for what
    /// is left out of a window.
    pub(super) fn examples(
        &self,
        picks: &[usize],
        train: &[usize],
        step: u64,
        fill: f32,
        lesson: Option<&Lesson<'_>>,
    ) -> Batch {
        let labels = self.clips.labels.len();
        let width = self.lessons.as_ref().map_or(0, Lessons::width);
        let made: Vec<[Vec<f32>; 3]> = picks
            .par_iter()
            .enumerate()
            .map(|(k, pick)| {
                let mut rng = self.rng(2, step << 12 | k as u64);
                let other = train[rng.random_range(0..train.len())];
                let made = example(
                    &self.spectra[*pick],
                    &self.spectra[other],
                    self.args.mixup,
                    fill,
                    &mut rng,
                );
                let mut target = vec![0.0_f32; labels];
                target[self.clips.all[*pick].label] += made.share;
                target[self.clips.all[other].label] += 1.0 - made.share;
                let mut heard = Vec::new();
                if let Some(lesson) = lesson {
                    heard.resize(width, 0.0);
                    lesson.add(*pick, &made.stretch, made.share, &mut heard);
                    if let Some(stretch) = &made.other {
                        lesson.add(other, stretch, 1.0 - made.share, &mut heard);
                    }
                }
                [made.window, target, heard]
            })
            .collect();
        let all = |of: usize| made.iter().flat_map(|m| m[of].iter().copied()).collect();
        Batch {
            windows: all(0),
            targets: all(1),
            heard: all(2),
        }
    }

    /// A dropout mask: 0, or what makes up for those that are 0.
    pub(super) fn keep(&self, n: usize, step: u64) -> Option<Vec<f32>> {
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
}
