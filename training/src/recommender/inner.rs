//! Held-out cases from the training events themselves: what settings are chosen by.
//!
//! Nothing outside the training events is looked at. Two shapes of case, by how the model will be
//! used: *live* holds out the last stretch of time and ranks the channel that a viewer chose
//! among those live at that moment; *rest* holds out a fifth of each user's items at random and
//! ranks them among all items that the user has not taken.

use std::collections::BTreeSet;

use novastream_datasets::events::{Availability, Clock, Event};
use novastream_models::recommender::{Scorer, Weighting, top_n};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::matrix::PastByUser;

/// Length of the lists that are judged.
const TOP: usize = 10;
/// Most cases judged: beyond, they are thinned evenly.
const MAX_CASES: usize = 4000;
/// Share of events, the latest, that live cases come from.
const LIVE_SHARE: f64 = 0.05;
/// One in this many items is held out of a user's rest.
const REST_ONE_IN: u64 = 5;
/// Fewest distinct items of a user who is judged by the rest.
const MIN_ITEMS: usize = 5;

/// How the model will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// The next channel among those live now.
    Live,
    /// Unseen items of the whole catalogue.
    Rest,
}

/// One held-out question.
#[derive(Clone, Debug)]
struct Case {
    user: u32,
    /// The history is what came before; `i64::MAX` takes all.
    time: i64,
    /// Right answers.
    targets: Vec<u32>,
    /// Whether the target is new to the user.
    new: bool,
}

/// Events to fit on, and cases to judge the fit by.
#[derive(Clone, Debug)]
pub struct InnerSplit {
    /// Events to fit on, in the order of time.
    pub fit: Vec<Event>,
    /// Time that histories and fits are weighed at.
    pub now: i64,
    goal: Goal,
    cases: Vec<Case>,
    past: PastByUser,
    live: Availability,
}

/// Mean NDCG@10 over cases, in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Figure {
    /// Over all cases; of the rest, the list against all held-out items of the user.
    pub all: f64,
    /// Live: over cases whose target is new to the user. Of the rest: each held-out item ranked
    /// by itself, without the user's other held-out items.
    pub hard: f64,
}

impl Figure {
    /// What settings are chosen by: the geometric mean, so that a tenth more of either counts
    /// alike. A live list mostly shows a viewer's own channels, which a ranker finds without
    /// help; and a list with many right answers favours popular items.
    pub fn objective(self) -> f64 {
        (self.all * self.hard).sqrt()
    }
}

impl InnerSplit {
    /// Splits events in the order of time. `None` when they give fewer than 30 cases.
    pub fn new(
        events: &[Event],
        users: usize,
        clock: Clock,
        goal: Goal,
        seed: u64,
    ) -> Option<Self> {
        let split = match goal {
            Goal::Live => Self::live(events, users, clock)?,
            Goal::Rest => Self::rest(events, users, seed),
        };
        (split.cases.len() >= 30 && !split.fit.is_empty()).then_some(split)
    }

    fn live(events: &[Event], users: usize, clock: Clock) -> Option<Self> {
        let from = (events.len() as f64 * (1.0 - LIVE_SHARE)) as usize;
        let now = events.get(from)?.time;
        let cut = events.partition_point(|event| event.time < now);
        let past = PastByUser::new(events, users);
        let cases: Vec<Case> = thin(&events[cut..])
            .map(|event| {
                let before = past.of(event.user as usize);
                let seen = before
                    .iter()
                    .any(|past| past.time < event.time && past.item == event.item);
                Case {
                    user: event.user,
                    time: event.time,
                    targets: vec![event.item],
                    new: !seen,
                }
            })
            .collect();
        let live = Availability::from_events(events, clock, cases.iter().map(|case| case.time));
        Some(Self {
            fit: events[..cut].to_vec(),
            now,
            goal: Goal::Live,
            cases,
            past,
            live,
        })
    }

    fn rest(events: &[Event], users: usize, seed: u64) -> Self {
        let all = PastByUser::new(events, users);
        let judged = |user: u32| {
            let items: BTreeSet<u32> = all.of(user as usize).iter().map(|past| past.item).collect();
            items.len() >= MIN_ITEMS
        };
        let judged: Vec<bool> = (0..users as u32).into_par_iter().map(judged).collect();
        let held = |event: &Event| {
            let pair = u64::from(event.user) << 32 | u64::from(event.item);
            let hash = xxh3_64_with_seed(&pair.to_le_bytes(), seed);
            judged[event.user as usize] && hash.is_multiple_of(REST_ONE_IN)
        };
        let (held, fit): (Vec<Event>, Vec<Event>) = events.iter().partition(|event| held(event));
        let held = PastByUser::new(&held, users);
        let asked: Vec<u32> = (0..users as u32)
            .filter(|user| !held.of(*user as usize).is_empty())
            .collect();
        let cases = thin(&asked)
            .map(|user| {
                let mut targets: Vec<u32> = held
                    .of(*user as usize)
                    .iter()
                    .map(|past| past.item)
                    .collect();
                targets.sort_unstable();
                targets.dedup();
                Case {
                    user: *user,
                    time: i64::MAX,
                    targets,
                    new: true,
                }
            })
            .collect();
        Self {
            now: events.last().map_or(0, |event| event.time + 1),
            past: PastByUser::new(&fit, users),
            fit,
            goal: Goal::Rest,
            cases,
            live: Availability::default(),
        }
    }

    /// How many cases there are.
    pub fn cases(&self) -> usize {
        self.cases.len()
    }

    /// How one scorer does alone.
    pub fn judge(&self, scorer: &dyn Scorer, weighting: &Weighting) -> Figure {
        let figures = self.judge_blends(&[scorer], &[vec![1.0]], weighting);
        figures.into_iter().next().unwrap_or_default()
    }

    /// How weighted sums of scorers do: one figure for each list of factors.
    pub fn judge_blends(
        &self,
        scorers: &[&dyn Scorer],
        blends: &[Vec<f32>],
        weighting: &Weighting,
    ) -> Vec<Figure> {
        let answers: Vec<Vec<(f64, f64)>> = self
            .cases
            .par_iter()
            .map(|case| {
                let scores = self.scores(case, scorers, weighting);
                let mut sum = Vec::new();
                let blends = blends.iter().map(|factors| {
                    mix(&scores.each, factors, &mut sum);
                    match self.goal {
                        Goal::Live => {
                            let found = scores.target.map_or(0.0, |at| ndcg_of(at, &sum));
                            (found, found)
                        }
                        Goal::Rest => ndcg_of_list(&sum, &case.targets),
                    }
                });
                blends.collect()
            })
            .collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) =
                values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
            if count == 0 {
                0.0
            } else {
                sum / f64::from(count)
            }
        };
        let pairs = || self.cases.iter().zip(&answers);
        (0..blends.len())
            .map(|blend| Figure {
                all: mean(&mut pairs().map(|(_, answer)| answer[blend].0)),
                hard: mean(
                    &mut pairs()
                        .filter(|(case, _)| case.new)
                        .map(|(_, answer)| answer[blend].1),
                ),
            })
            .collect()
    }

    /// Spread of a scorer's scores within a case, averaged: what blends are scaled by.
    pub fn spread(&self, scorer: &dyn Scorer, weighting: &Weighting) -> f32 {
        let spreads: Vec<f64> = self
            .cases
            .par_iter()
            .take(512)
            .map(|case| {
                let scores = self.scores(case, &[scorer], weighting);
                let finite = || scores.each[0].iter().filter(|score| score.is_finite());
                let count = finite().count().max(1) as f64;
                let mean = finite().map(|score| f64::from(*score)).sum::<f64>() / count;
                let square = finite().map(|score| (f64::from(*score) - mean).powi(2));
                (square.sum::<f64>() / count).sqrt()
            })
            .collect();
        let mean = spreads.iter().sum::<f64>() / spreads.len().max(1) as f64;
        if mean > 0.0 { mean as f32 } else { 1.0 }
    }

    fn scores(&self, case: &Case, scorers: &[&dyn Scorer], weighting: &Weighting) -> Scores {
        let past = self.past.of(case.user as usize);
        let past = &past[..past.partition_point(|past| past.time < case.time)];
        let mut history = Vec::new();
        weighting.apply(past.iter().copied(), case.time.min(self.now), &mut history);
        let listed = match self.goal {
            Goal::Live => self.live.at(case.time),
            Goal::Rest => None,
        };
        let each = scorers.iter().map(|scorer| {
            if let Some(listed) = listed {
                let mut scores = vec![0.0; listed.len()];
                scorer.score(&history, listed, &mut scores);
                return scores;
            }
            let mut scores = vec![0.0; scorer.items()];
            scorer.score_all(&history, &mut scores);
            let taken = history.iter().filter(|_| self.goal == Goal::Rest);
            for (item, _) in taken {
                if let Some(score) = scores.get_mut(*item as usize) {
                    *score = f32::NEG_INFINITY;
                }
            }
            scores
        });
        let each = each.collect();
        let target = case.targets.first().map(|target| *target as usize);
        let target = match listed {
            Some(listed) => target.and_then(|target| listed.binary_search(&(target as u32)).ok()),
            None => target,
        };
        Scores { each, target }
    }
}

/// Scores of one case by each scorer, and where the first target is among them.
struct Scores {
    each: Vec<Vec<f32>>,
    target: Option<usize>,
}

fn mix(each: &[Vec<f32>], factors: &[f32], sum: &mut Vec<f32>) {
    sum.clear();
    sum.resize(each.first().map_or(0, Vec::len), 0.0);
    for (scores, factor) in each.iter().zip(factors) {
        if *factor != 0.0 {
            for (sum, score) in sum.iter_mut().zip(scores) {
                *sum += factor * score;
            }
        }
    }
}

/// NDCG@10 of one right answer; ties count half.
fn ndcg_of(target: usize, scores: &[f32]) -> f64 {
    let Some(own) = scores.get(target) else {
        return 0.0;
    };
    let above = scores.iter().filter(|score| *score > own).count();
    let tied = scores.iter().filter(|score| *score == own).count() - 1;
    let rank = above as f64 + tied as f64 / 2.0;
    if rank < TOP as f64 {
        1.0 / (rank + 2.0).log2()
    } else {
        0.0
    }
}

/// NDCG@10 of a list with several right answers, and the mean NDCG@10 of each right answer ranked
/// without the others.
fn ndcg_of_list(scores: &[f32], targets: &[u32]) -> (f64, f64) {
    let discount = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let (mut list, mut alone, mut wrong) = (0.0, 0.0, 0);
    // Every right answer that is in the first ten without the others is among these.
    for (place, (item, _)) in top_n(scores, TOP + targets.len()).into_iter().enumerate() {
        if targets.binary_search(&item).is_err() {
            wrong += 1;
        } else {
            if place < TOP {
                list += discount(place);
            }
            alone += discount(wrong);
        }
        if wrong >= TOP {
            break;
        }
    }
    let best: f64 = (0..targets.len().min(TOP)).map(discount).sum();
    if targets.is_empty() {
        (0.0, 0.0)
    } else {
        (list / best, alone / targets.len() as f64)
    }
}

/// Every k-th of a list, so that at most [`MAX_CASES`] stay.
fn thin<T>(all: &[T]) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(MAX_CASES).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_inner_figures_are_the_known_ones() {
        assert_eq!(ndcg_of(1, &[3.0, 3.0, 1.0]), 1.0 / 2.5_f64.log2());
        assert_eq!(ndcg_of(0, &[1.0; 40]), 0.0);
        let (list, alone) = ndcg_of_list(&[0.1, 0.9, 0.5], &[0, 2]);
        let second = 1.0 / 3_f64.log2();
        assert!((list - (second + 0.5) / (1.0 + second)).abs() < 1e-12);
        assert!((alone - second).abs() < 1e-12);
    }

    #[test]
    fn recommender_inner_split_keeps_held_items_out_of_the_fit() {
        let events: Vec<Event> = (0..4000_u32)
            .map(|at| Event {
                user: at % 100,
                item: at / 100,
                time: i64::from(at),
                weight: 1.0,
                group: None,
            })
            .collect();
        let rest = InnerSplit::new(&events, 100, Clock::Order, Goal::Rest, 7).expect("cases");
        assert_eq!(rest.cases(), 100);
        let held: usize = rest.cases.iter().map(|case| case.targets.len()).sum();
        assert_eq!(rest.fit.len() + held, events.len());
        assert!((600..1000).contains(&held), "{held}");
        let clock = Clock::Seconds(600.0);
        let live = InnerSplit::new(&events, 100, clock, Goal::Live, 7).expect("cases");
        assert_eq!((live.now, live.fit.len(), live.cases()), (3800, 3800, 200));
        assert!(InnerSplit::new(&events[..10], 100, clock, Goal::Live, 7).is_none());
    }
}
