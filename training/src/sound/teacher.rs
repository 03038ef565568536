//! What YAMNet hears in the clips, for the small network to learn beside the labels.
//!
//! A label says one thing about a clip; YAMNet's embedding says a thousand (distillation of
//! features, Romero et al. 2015). The targets are those of the clip as it was recorded, whatever is
//! done to the example, so that the network learns to hear through it.

use std::ops::Range;

use novastream_features::audio::{LogMel, YAMNET_HOP, YAMNET_WINDOW, loud_spans};
use rayon::prelude::*;

use super::clips::Clips;
use super::yamnet::{base, embeddings};
use super::{AudioError, Teacher};
use crate::chat::export::RunLog;

/// Added to deviations, so that an embedding that never fires asks for nothing.
const SMALL: f32 = 0.05;
/// Targets further from their mean, in deviations, are cut: a few rare values must not outweigh the
/// rest.
const FURTHEST: f32 = 3.0;

/// One clip's windows and what was heard in each.
#[derive(Debug)]
struct Heard {
    /// Samples.
    spans: Vec<Range<usize>>,
    /// `[spans, width]`.
    values: Vec<f32>,
}

/// What a teacher heard in every clip.
#[derive(Debug)]
pub struct Lessons {
    /// `name@version`.
    id: String,
    width: usize,
    heard: Vec<Heard>,
}

impl Lessons {
    /// Runs the teacher over all clips, once.
    pub fn new(teacher: Teacher, clips: &Clips, log: &mut RunLog) -> Result<Self, AudioError> {
        let Teacher::Yamnet = teacher;
        let (id, graph) = base(log)?;
        log.line(&format!("{id} listens to the clips, as the teacher"))?;
        let mel = LogMel::yamnet();
        let heard = clips
            .all
            .par_iter()
            .map(|clip| {
                let spans = loud_spans(&clip.samples, YAMNET_WINDOW, YAMNET_HOP);
                let (_, values) = embeddings(&graph, &mel, &clip.samples, &spans)?;
                Ok(Heard { spans, values })
            })
            .collect::<Result<Vec<_>, AudioError>>()?;
        let width = heard
            .iter()
            .find(|h| !h.spans.is_empty())
            .map_or(0, |h| h.values.len() / h.spans.len());
        Ok(Self { id, width, heard })
    }

    /// `name@version` of the teacher.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Values of a target.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The targets for a network that learns from the clips `train` only.
    pub fn lesson(&self, train: &[usize]) -> Lesson<'_> {
        let width = self.width;
        let windows = || {
            let heard = train.iter().map(|clip| &self.heard[*clip]);
            heard.flat_map(|h| h.values.chunks_exact(width.max(1)))
        };
        let n = windows().count().max(1) as f64;
        let (mut mean, mut square) = (vec![0.0_f64; width], vec![0.0_f64; width]);
        for window in windows() {
            for (i, value) in window.iter().enumerate() {
                let value = f64::from(*value);
                mean[i] += value / n;
                square[i] += value * value / n;
            }
        }
        let scale = mean.iter().zip(&square).map(|(mean, square)| {
            let deviation = (square - mean * mean).max(0.0).sqrt() as f32;
            1.0 / (deviation + SMALL)
        });
        Lesson {
            scale: scale.collect(),
            mean: mean.iter().map(|m| *m as f32).collect(),
            lessons: self,
        }
    }
}

/// Standardised targets.
pub struct Lesson<'a> {
    lessons: &'a Lessons,
    mean: Vec<f32>,
    scale: Vec<f32>,
}

impl Lesson<'_> {
    /// Adds `share` of what was heard in a stretch of a clip to `target`: the mean over the
    /// teacher's windows, each counting as much as it lies within the stretch; the nearest one
    /// where none does. `stretch` is in samples and may begin before the clip.
    pub fn add(&self, clip: usize, stretch: &Range<f32>, share: f32, target: &mut [f32]) {
        let heard = &self.lessons.heard[clip];
        let overlap = |span: &Range<usize>| {
            let (from, to) = (span.start as f32, span.end as f32);
            (to.min(stretch.end) - from.max(stretch.start)).max(0.0)
        };
        let mut weights: Vec<f32> = heard.spans.iter().map(overlap).collect();
        let mut total: f32 = weights.iter().sum();
        if total <= 0.0 {
            let middle = stretch.start.midpoint(stretch.end);
            let far = |span: &Range<usize>| {
                ((span.start as f32).midpoint(span.end as f32) - middle).abs()
            };
            let spans = heard.spans.iter().enumerate();
            let Some((nearest, _)) = spans.min_by(|a, b| far(a.1).total_cmp(&far(b.1))) else {
                return;
            };
            weights[nearest] = 1.0;
            total = 1.0;
        }
        let width = self.lessons.width;
        let mut mean = vec![0.0_f32; width];
        let windows = heard.values.chunks_exact(width.max(1));
        for (window, weight) in windows.zip(&weights).filter(|(_, w)| **w > 0.0) {
            for (mean, value) in mean.iter_mut().zip(window) {
                *mean += value * weight / total;
            }
        }
        for (i, to) in target.iter_mut().enumerate() {
            let value = (mean[i] - self.mean[i]) * self.scale[i];
            *to += share * value.clamp(-FURTHEST, FURTHEST);
        }
    }
}

#[cfg(test)]
impl Lessons {
    /// Of one window a clip, made up.
    pub fn made_up(values: Vec<Vec<f32>>, samples: usize) -> Self {
        let width = values[0].len();
        let heard = values.into_iter().map(|values| Heard {
            spans: std::iter::repeat_n(0..samples, values.len() / width).collect(),
            values,
        });
        Self {
            id: "made-up@0.0.0".to_owned(),
            width,
            heard: heard.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lessons() -> Lessons {
        let heard = |spans: Vec<Range<usize>>, values: Vec<f32>| Heard { spans, values };
        Lessons {
            id: "made-up@0.0.0".to_owned(),
            width: 2,
            heard: vec![
                heard(vec![0..100, 100..200], vec![0.0, 7.0, 2.0, 7.0]),
                heard(std::iter::once(0..100).collect(), vec![1000.0, 7.0]),
            ],
        }
    }

    #[test]
    fn a_target_is_the_mean_of_what_lies_within_the_stretch() {
        let lessons = lessons();
        // Standardised by the first clip alone: mean 1, deviation 1.
        let lesson = lessons.lesson(&[0]);
        let of = |clip, stretch: Range<f32>| {
            let mut target = vec![0.0; 2];
            lesson.add(clip, &stretch, 1.0, &mut target);
            target
        };
        let unit = 1.0 / (1.0 + SMALL);
        for (stretch, expected) in [
            (-50.0..100.0, -unit),
            (100.0..300.0, unit),
            (50.0..150.0, 0.0),
            (75.0..175.0, 0.5 * unit),
            // Behind the end: the nearest window.
            (400.0..500.0, unit),
        ] {
            let target = of(0, stretch.clone());
            assert!(
                (target[0] - expected).abs() < 1e-5,
                "{stretch:?}: {target:?}"
            );
            assert_eq!(target[1], 0.0);
        }
        assert_eq!(of(1, 0.0..100.0)[0], FURTHEST);
    }

    #[test]
    fn a_mixture_has_both_targets_by_their_shares() {
        let lessons = lessons();
        let lesson = lessons.lesson(&[0]);
        let mut target = vec![0.0; 2];
        lesson.add(0, &(0.0..100.0), 0.25, &mut target);
        lesson.add(0, &(100.0..200.0), 0.75, &mut target);
        assert!((target[0] - 0.5 / (1.0 + SMALL)).abs() < 1e-5, "{target:?}");
    }
}
