//! One head: strength, weights, calibration and gate, and how it does on held-out pictures.

use novastream_models::frame_heads::{FrameHead, Screened, Weights};
use serde::Serialize;

use super::features::Features;
use super::fit::{FitOptions, Rows, fit};
use super::{FOLDS, FramesArgs, FramesTrainError, head_name};
use crate::chat::calibration::{Point, calibrate};
use crate::metrics::{Confusion, auc, average_precision, tpr_at_fpr};

/// Strengths of the penalty that are tried.
const ALPHAS: [f64; 4] = [10.0, 50.0, 300.0, 2000.0];
/// Share of the positives that the screen may lose.
const LOST: f64 = 0.02;
/// Taken off the gate besides: pictures of a stream are not those of the set.
const MARGIN: f32 = 0.5;
/// Highest logit of what lies below the gate.
const FLOOR: f32 = -3.0;
/// The held-out part.
const HELD_OUT: u64 = 0;

/// One picture's features: as it is, then the views to learn from.
pub struct Sample {
    /// The folder's name.
    pub label: String,
    /// Which part of the split it belongs to.
    pub fold: u64,
    /// Never empty.
    pub views: Vec<Features>,
}

/// A head on held-out pictures, judged as serving would.
#[derive(Clone, Debug, Serialize)]
pub struct HeadFigures {
    /// The head.
    pub head: String,
    /// Pictures judged and positives among them.
    pub n: usize,
    /// Positives among them.
    pub pos: usize,
    /// Chance that a positive scores above a negative.
    pub auc: Option<f64>,
    /// Precision over all thresholds, weighted by the recall it adds.
    pub average_precision: Option<f64>,
    /// Share of positives above all but one in a hundred negatives.
    pub tpr_at_1_percent_fpr: Option<f64>,
    /// At a score of 0.5: positives found, negatives called positive, left alone, positives missed.
    pub confusion: [u64; 4],
    /// Share of the negatives that the large network is asked about.
    pub negatives_asked: f64,
    /// Strength of the penalty that was chosen.
    pub alpha: f64,
    /// Figures of the other folds, each by models that did not see it, by strength: AUC.
    pub tried: Vec<(f64, f64)>,
}

impl HeadFigures {
    /// In one line.
    pub fn line(&self) -> String {
        let cell = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
        format!(
            "{}: held-out AUC {}, AP {}, TPR at 1 % FPR {}, {} of {} found and {} false alarms at 0.5; \
             alpha {}, large network asked about {:.1} % of negatives",
            self.head,
            cell(self.auc),
            cell(self.average_precision),
            cell(self.tpr_at_1_percent_fpr),
            self.confusion[0],
            self.pos,
            self.confusion[1],
            self.alpha,
            100.0 * self.negatives_asked,
        )
    }
}

/// Logits of pictures and whether each is a positive.
type Points = Vec<(f32, bool)>;

/// Which weights a fit makes.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Screen,
    Joint,
}

struct Task<'a> {
    label: &'a str,
    samples: &'a [Sample],
    options: FitOptions,
}

impl Task<'_> {
    /// Fits on all views but the unchanged one of pictures that `learn` picks.
    fn fit(
        &self,
        part: Part,
        alpha: f64,
        learn: impl Fn(&Sample) -> bool,
    ) -> Result<Weights, FramesTrainError> {
        let (mut features, mut positive) = (Vec::new(), Vec::new());
        for sample in self.samples.iter().filter(|s| learn(s)) {
            for view in &sample.views[1..] {
                let large: &[f32] = if part == Part::Joint {
                    &view.large
                } else {
                    &[]
                };
                features.push([view.small.as_slice(), large]);
                positive.push(sample.label == self.label);
            }
        }
        let rows = Rows { features, positive };
        fit(
            &rows,
            &FitOptions {
                alpha,
                ..self.options
            },
        )
    }

    /// Logits of every sample outside the held-out part, by weights that did not see its fold.
    fn across(&self, part: Part, alpha: f64) -> Result<Vec<(f32, bool)>, FramesTrainError> {
        let mut out = Vec::new();
        for fold in 0..FOLDS {
            if fold == HELD_OUT || !self.samples.iter().any(|s| s.fold == fold) {
                continue;
            }
            let weights = self.fit(part, alpha, |s| s.fold != fold && s.fold != HELD_OUT)?;
            for sample in self.samples.iter().filter(|s| s.fold == fold) {
                out.push((logit(&weights, part, sample), sample.label == self.label));
            }
        }
        Ok(out)
    }
}

fn logit(weights: &Weights, part: Part, sample: &Sample) -> f32 {
    let view = &sample.views[0];
    match part {
        Part::Screen => weights.logit(&[&view.small]),
        Part::Joint => weights.logit(&[&view.small, &view.large]),
    }
}

/// Trains the head of `label`; all other pictures are its negatives.
pub fn head(
    label: &str,
    samples: &[Sample],
    args: &FramesArgs,
) -> Result<(FrameHead, HeadFigures), FramesTrainError> {
    let task = Task {
        label,
        samples,
        options: FitOptions {
            alpha: 1.0,
            rounds: args.hard_rounds,
            negatives_per_positive: args.negatives_per_positive as usize,
        },
    };
    let mut tried = Vec::new();
    let mut best: Option<(f64, f64, Points)> = None;
    for alpha in ALPHAS {
        let points = task.across(Part::Joint, alpha)?;
        let found = auc(&points).unwrap_or(0.0);
        tried.push((alpha, found));
        // Of equals the stronger penalty.
        if best.as_ref().is_none_or(|b| found >= b.1) {
            best = Some((alpha, found, points));
        }
    }
    let (alpha, _, joint) = best.ok_or(FramesTrainError::OneSided)?;
    let screen = task.across(Part::Screen, alpha)?;

    let points: Vec<Point> = joint.iter().map(|(l, p)| (*l, *p, 1.0)).collect();
    let negatives: Vec<(f32, f32)> = joint.iter().filter(|r| !r.1).map(|r| (r.0, 1.0)).collect();
    let calibration = calibrate(&points, &negatives);
    let gate = gate(&screen);
    let calibrated = |l: f32| calibration.slope * (l - calibration.threshold);
    let floor = floor(&screen, &joint, gate, calibrated);
    let build = |screen: Weights, joint: Weights| FrameHead {
        name: head_name(label),
        screen,
        gate,
        floor,
        joint: Weights {
            weights: joint
                .weights
                .iter()
                .map(|w| w * calibration.slope)
                .collect(),
            bias: calibrated(joint.bias),
        },
    };

    let learned = |s: &Sample| s.fold != HELD_OUT;
    let (a, b) = (
        task.fit(Part::Screen, alpha, learned)?,
        task.fit(Part::Joint, alpha, learned)?,
    );
    let judged = build(a, b);
    let mut figures = figures(&judged, task.label, samples);
    figures.alpha = alpha;
    figures.tried = tried;
    if args.no_refit {
        return Ok((judged, figures));
    }
    let (a, b) = (
        task.fit(Part::Screen, alpha, |_| true)?,
        task.fit(Part::Joint, alpha, |_| true)?,
    );
    Ok((build(a, b), figures))
}

/// The screen's logit that all but [`LOST`] of the positives reach, and a margin.
fn gate(screen: &[(f32, bool)]) -> f32 {
    let mut found: Vec<f32> = screen.iter().filter(|r| r.1).map(|r| r.0).collect();
    found.sort_by(f32::total_cmp);
    found
        .get((found.len() as f64 * LOST) as usize)
        .map_or(0.0, |l| l - MARGIN)
}

/// Where the scores below the gate end: the median of the negatives above it, but no more than
/// [`FLOOR`].
fn floor(
    screen: &[(f32, bool)],
    joint: &[(f32, bool)],
    gate: f32,
    calibrated: impl Fn(f32) -> f32,
) -> f32 {
    let pairs = screen.iter().zip(joint);
    let mut passed: Vec<f32> = pairs
        .filter(|(s, _)| !s.1 && s.0 >= gate)
        .map(|(_, j)| calibrated(j.0))
        .collect();
    passed.sort_by(f32::total_cmp);
    passed.get(passed.len() / 2).map_or(FLOOR, |l| l.min(FLOOR))
}

fn figures(head: &FrameHead, label: &str, samples: &[Sample]) -> HeadFigures {
    let held: Vec<&Sample> = samples.iter().filter(|s| s.fold == HELD_OUT).collect();
    let scored: Vec<(f32, bool)> = held
        .iter()
        .map(|s| {
            (
                head.score(&s.views[0].small, &s.views[0].large),
                s.label == label,
            )
        })
        .collect();
    let negatives = held.iter().filter(|s| s.label != label);
    let asked = negatives
        .clone()
        .filter(|s| head.screen(&s.views[0].small) == Screened::Suspect)
        .count();
    let counts = Confusion::at(0.5, &scored);
    HeadFigures {
        head: head.name.clone(),
        n: scored.len(),
        pos: scored.iter().filter(|r| r.1).count(),
        auc: auc(&scored),
        average_precision: average_precision(&scored),
        tpr_at_1_percent_fpr: tpr_at_fpr(&scored, 0.01),
        confusion: [
            counts.true_pos,
            counts.false_pos,
            counts.true_neg,
            counts.false_neg,
        ],
        negatives_asked: asked as f64 / negatives.count().max(1) as f64,
        alpha: 0.0,
        tried: Vec::new(),
    }
}
