//! Choosing settings on held-out events, one after the other.

use indicatif::ProgressBar;
use novastream_models::recommender::{Blend, BlendPart, CountScale, ScorerKind, Weighting};
use serde::{Deserialize, Serialize};

use super::als::AlsParams;
use super::ease::EaseParams;
use super::inner::{Figure, Goal, InnerSplit};
use super::knn::KnnParams;
use super::matrix::Matrix;
use super::{FitError, popularity};

/// EASE is tried on at most this many of the most taken items.
const HEAD: usize = 4000;
/// A change of settings must gain this share to be taken: smaller gains are chance, and of
/// settings that do alike the one nearer to plain EASE carries over best to other questions.
const GAIN: f64 = 4e-3;

/// Settings, and how they did on held-out events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How events become weights.
    pub weighting: Weighting,
    /// EASE.
    pub ease: EaseParams,
    /// Matrix factorisation.
    pub factors: AlsParams,
    /// Item neighbourhoods.
    pub knn: KnnParams,
    /// How scores are joined.
    pub blend: Blend,
}

impl Settings {
    /// Settings that do well on most data.
    pub fn usual(seed: u64) -> Self {
        Self {
            weighting: Weighting::default(),
            ease: EaseParams::default(),
            factors: AlsParams {
                seed,
                ..AlsParams::default()
            },
            knn: KnnParams::default(),
            blend: Blend {
                parts: vec![BlendPart {
                    kind: ScorerKind::Ease,
                    factor: 1.0,
                }],
            },
        }
    }
}

/// What may be tried.
#[derive(Clone, Copy, Debug)]
pub struct Freedom {
    /// λ was given.
    pub fixed_lambda: bool,
    /// The exponent was given.
    pub fixed_exponent: bool,
    /// The damping was given.
    pub fixed_damping: bool,
    /// The events have weights beside 1.
    pub weighted: bool,
    /// Users take items more than once.
    pub repeats: bool,
    /// Time is more than an order, so that decay makes sense.
    pub timed: bool,
    /// Matrix factorisation may be used.
    pub factors: bool,
    /// EASE covers only a part of the items.
    pub partial: bool,
}

/// A change of settings to try.
type Change = Box<dyn Fn(&mut Settings)>;

/// One try: what was tried and how it did.
#[derive(Clone, Debug, Serialize)]
pub struct Try {
    /// The settings tried.
    pub what: String,
    /// NDCG@10 on the held-out cases.
    #[serde(flatten)]
    pub figure: Figure,
}

/// A search over an inner split.
pub struct Search<'a> {
    split: &'a InnerSplit,
    users: usize,
    items: usize,
    /// Every try, in order.
    pub tries: Vec<Try>,
    progress: &'a ProgressBar,
}

impl<'a> Search<'a> {
    /// A search that reports its tries to a progress bar.
    pub fn new(
        split: &'a InnerSplit,
        users: usize,
        items: usize,
        progress: &'a ProgressBar,
    ) -> Self {
        Self {
            split,
            users,
            items,
            tries: Vec::new(),
            progress,
        }
    }

    /// Chooses settings, starting from the given ones.
    pub fn run(
        &mut self,
        start: Settings,
        goal: Goal,
        free: Freedom,
    ) -> Result<Settings, FitError> {
        let mut best = start;
        let mut figure = self.ease(&best)?;
        if !free.fixed_lambda {
            self.climb(&mut best, &mut figure, 1.5)?;
        }
        let mut options: Vec<Change> = Vec::new();
        for damping in [0.0, 0.5].into_iter().filter(|_| !free.fixed_damping) {
            options.push(Box::new(move |settings| settings.ease.damping = damping));
        }
        for exponent in [0.0, 0.5, 0.75]
            .into_iter()
            .filter(|_| !free.fixed_exponent)
        {
            options.push(Box::new(move |settings| settings.ease.exponent = exponent));
        }
        if free.weighted {
            for strength in [0.3, 0.6, 1.0] {
                options.push(Box::new(move |s| s.weighting.strength = strength));
            }
        }
        if free.repeats {
            for counts in [CountScale::Binary, CountScale::Linear] {
                options.push(Box::new(move |settings| settings.weighting.counts = counts));
            }
        }
        if free.timed && goal == Goal::Live {
            let (first, last) = match (self.split.fit.first(), self.split.fit.last()) {
                (Some(first), Some(last)) => (first.time, last.time),
                _ => (0, 0),
            };
            let span = (last - first).max(1) as f64;
            for part in [0.5, 0.25, 0.125] {
                options.push(Box::new(move |s| s.weighting.half_life = Some(span * part)));
            }
        }
        for change in options {
            self.try_ease(&mut best, &mut figure, |settings| change(settings))?;
        }
        if !free.fixed_lambda {
            self.climb(&mut best, &mut figure, 1.5)?;
        }
        if free.factors {
            self.factors(&mut best, goal, free.partial)?;
        }
        Ok(best)
    }

    /// Moves λ by a factor while it helps.
    fn climb(&mut self, best: &mut Settings, figure: &mut Figure, by: f32) -> Result<(), FitError> {
        for by in [by, 1.0 / by] {
            let mut moved = false;
            for _ in 0..6 {
                if !self.try_ease(best, figure, |settings| settings.ease.lambda *= by)? {
                    break;
                }
                moved = true;
            }
            if moved {
                break;
            }
        }
        Ok(())
    }

    fn try_ease(
        &mut self,
        best: &mut Settings,
        figure: &mut Figure,
        change: impl Fn(&mut Settings),
    ) -> Result<bool, FitError> {
        let mut settings = best.clone();
        change(&mut settings);
        let found = self.ease(&settings)?;
        let better = found.objective() > figure.objective() * (1.0 + GAIN);
        if better {
            *best = settings;
            *figure = found;
        }
        Ok(better)
    }

    fn ease(&mut self, settings: &Settings) -> Result<Figure, FitError> {
        let matrix = self.matrix(&settings.weighting);
        let model = settings.ease.check()?.fit_head(&matrix, HEAD, HEAD)?;
        let figure = self.split.judge(&model, &settings.weighting);
        let EaseParams {
            lambda,
            exponent,
            damping,
        } = settings.ease;
        let Weighting {
            counts,
            strength,
            half_life,
            ..
        } = settings.weighting;
        let what = format!(
            "EASE λ {lambda:.0} exponent {exponent} damping {damping}, counts {counts:?}, strength {strength}, half-life {}",
            half_life.map_or_else(|| "none".to_owned(), |steps| format!("{steps:.0} steps"))
        );
        self.note(what, figure);
        Ok(figure)
    }

    /// Chooses the settings of matrix factorisation for what it adds to EASE, and the blend.
    fn factors(&mut self, best: &mut Settings, goal: Goal, partial: bool) -> Result<(), FitError> {
        let weighting = best.weighting;
        let matrix = self.matrix(&weighting);
        let ease = best.ease.check()?.fit_head(&matrix, HEAD, HEAD)?;
        let knn = best.knn.check()?.fit(&matrix)?;
        let popular = popularity::fit(&matrix);
        let scale = 1.0 / self.split.spread(&ease, &weighting);
        let share = [0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5];
        let mut top: Option<(Figure, AlsParams, [f32; 2])> = None;
        let mut model = None;
        let start = best.factors;
        let mut current = start;
        let changes: [&dyn Fn(&mut AlsParams); 6] = [
            &|_| {},
            &|params| params.regularisation *= 3.0,
            &|params| params.regularisation /= 3.0,
            &|params| params.unobserved *= 3.0,
            &|params| params.unobserved /= 3.0,
            &|params| params.dims /= 2,
        ];
        for change in changes {
            let mut params = current;
            change(&mut params);
            let fitted = params.check()?.fit(&matrix, None)?;
            let own = 1.0 / self.split.spread(&fitted, &weighting);
            let mut blends: Vec<Vec<f32>> = share.iter().map(|b| vec![scale, b * own]).collect();
            if partial {
                // Nothing but factors knows all items.
                blends.remove(0);
                blends.push(vec![0.0, own]);
            }
            let figures = self
                .split
                .judge_blends(&[&ease, &fitted], &blends, &weighting);
            let found = if partial {
                best_of(&figures)
            } else {
                smallest_share(&figures)
            };
            let [ease_part, factor_part] = [0, 1].map(|part| blends[found][part]);
            let what = format!(
                "{:.2} · EASE + {:.2} · factors of {} dims, regularisation {:.4}, unobserved {:.3}",
                ease_part / scale,
                factor_part / own,
                params.dims,
                params.regularisation,
                params.unobserved
            );
            self.note(what, figures[found]);
            let better = top.is_none_or(|(figure, ..)| {
                figures[found].objective() > figure.objective() * (1.0 + GAIN)
            });
            if better {
                top = Some((figures[found], params, [ease_part, factor_part]));
                current = params;
                model = Some(fitted);
            }
        }
        let (Some((figure, params, [scale, factor])), Some(fitted)) = (top, model) else {
            return Ok(());
        };
        best.factors = params;
        let (knn_scale, popular_scale) = (
            1.0 / self.split.spread(&knn, &weighting),
            1.0 / self.split.spread(&popular, &weighting),
        );
        let mut blends = vec![vec![scale, factor, 0.0, 0.0]];
        for share in [0.05, 0.1, 0.2, 0.4] {
            blends.push(vec![scale, factor, share * knn_scale, 0.0]);
        }
        for share in [0.02, 0.05, 0.1, 0.2] {
            blends.push(vec![scale, factor, 0.0, share * popular_scale]);
        }
        let scorers: [&dyn novastream_models::recommender::Scorer; 4] =
            [&ease, &fitted, &knn, &popular];
        let figures = self.split.judge_blends(&scorers, &blends, &weighting);
        let (mut found, mut highest) = (0, figure);
        for (at, figure) in figures.iter().enumerate().skip(1) {
            if figure.objective() > highest.objective() * (1.0 + GAIN) {
                (found, highest) = (at, *figure);
            }
        }
        let kinds = [
            ScorerKind::Ease,
            ScorerKind::Factors,
            ScorerKind::ItemKnn,
            ScorerKind::Popularity,
        ];
        best.blend.parts = kinds
            .into_iter()
            .zip(&blends[found])
            .filter(|(_, factor)| **factor > 0.0)
            .map(|(kind, factor)| BlendPart {
                kind,
                factor: *factor,
            })
            .collect();
        let names: Vec<String> = best
            .blend
            .parts
            .iter()
            .map(|part| format!("{:?}", part.kind))
            .collect();
        let for_goal = match goal {
            Goal::Live => "live",
            Goal::Rest => "rest",
        };
        self.note(
            format!("blend for {for_goal}: {}", names.join(" + ")),
            highest,
        );
        Ok(())
    }

    fn matrix(&self, weighting: &Weighting) -> Matrix {
        Matrix::from_events(
            &self.split.fit,
            self.users,
            self.items,
            weighting,
            self.split.now,
        )
    }

    fn note(&mut self, what: String, figure: Figure) {
        tracing::debug!("{what}: NDCG@10 {:.4}, {:.4}", figure.all, figure.hard);
        self.progress
            .set_message(format!("NDCG@10 {:.4}", figure.all));
        self.progress.inc(1);
        self.tries.push(Try { what, figure });
    }
}

/// The first of those that do best.
fn best_of(figures: &[Figure]) -> usize {
    let objective = |at: &usize| figures[*at].objective();
    let mut order = 0..figures.len();
    let first = order.next().unwrap_or(0);
    order.fold(first, |best, at| {
        if objective(&at) > objective(&best) {
            at
        } else {
            best
        }
    })
}

/// The first of rising shares that keeps at least half of what the best one gains over the first:
/// held-out events of the past make a blend look better than it will be, and the first share is
/// plain EASE, which is solved exactly.
fn smallest_share(figures: &[Figure]) -> usize {
    let objective = |figure: &Figure| figure.objective();
    let highest = figures.iter().map(objective).fold(0.0, f64::max);
    let first = figures.first().map_or(0.0, objective);
    let enough = f64::midpoint(first, highest);
    let found = figures
        .iter()
        .position(|figure| objective(figure) >= enough);
    found
        .filter(|_| highest > first * (1.0 + GAIN))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_blends_stay_near_plain_ease() {
        let figures = |all: &[f64]| -> Vec<Figure> {
            let figure = |all: &f64| Figure {
                all: *all,
                hard: *all,
            };
            all.iter().map(figure).collect()
        };
        assert_eq!(
            smallest_share(&figures(&[0.40, 0.421, 0.43, 0.44, 0.41])),
            1
        );
        assert_eq!(smallest_share(&figures(&[0.40, 0.401])), 0);
        assert_eq!(smallest_share(&figures(&[0.40, 0.39])), 0);
        assert_eq!(smallest_share(&[]), 0);
        assert_eq!(best_of(&figures(&[0.40, 0.43, 0.43, 0.41])), 1);
    }
}
