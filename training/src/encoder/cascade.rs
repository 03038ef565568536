//! The cascade's rule, fitted to held-out rows: which messages gain by going on to the encoder,
//! and on what scale the others are scored.
//!
//! What going on is worth to a message is exact for the area under the ROC curve: a positive that
//! moves from its own score to the joined one gains the share of negatives it passes, a negative
//! the share of positives that pass it. A regression on what is known beforehand turns that into an
//! expectation. Messages that stay are scored by a regression towards the joined score, so that
//! both kinds lie on one scale.

use novastream_models::encoder::{GAIN_INPUTS, Route, RouteInputs, Router, STAY_INPUTS};

use super::dense::{self, DenseRow};
use crate::metrics::auc;

/// Shares of ordinary chat that may go on, fewest first.
const SHARES: [f64; 9] = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09];
/// What a source's AUC may lose to the joined scores before more messages are sent on.
const MAY_LOSE: f64 = 0.0015;
/// What a source's AUC may lose by keeping longer messages.
const LONG_MAY_LOSE: f64 = 0.0003;
/// Shares of longer messages that stay, most first.
const LONG_STAYS: [f64; 6] = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05];
/// Weight of a message that is not ordinary chat in both fits.
const UNUSUAL: f32 = 0.4;
/// Pull of both fits, in rows.
const RIDGE: f64 = 2.0;
/// Rounds of "fit the scale to those that stay, then see who gains".
const ROUNDS: usize = 3;
/// Fewest held-out rows of each kind for a source to count.
const MIN_OF_EACH: usize = 20;
/// Below any gain.
const ALWAYS: f32 = -1e9;

/// One held-out message as the cascade sees it.
#[derive(Clone, Copy, Debug)]
pub struct CascadeRow {
    /// Its source.
    pub source: usize,
    /// What is known before the encoder is asked.
    pub inputs: RouteInputs,
    /// The joined overall score, 0 to 1.
    pub full: f32,
    /// The overall label.
    pub positive: bool,
    /// Whether it is ordinary chat: short, from a source of nothing but chat lines.
    pub ordinary: bool,
}

impl CascadeRow {
    fn short(&self) -> bool {
        self.inputs.bytes <= Route::SHORT
    }
}

/// A fitted rule and what it does to held-out rows.
#[derive(Clone, Debug)]
pub struct Cascade {
    /// The rule.
    pub route: Route,
    /// By source number: AUC of the joined scores, AUC of the cascade, share of its rows that go
    /// on.
    pub sources: Vec<(usize, f64, f64, f64)>,
    /// Share of ordinary chat that goes on.
    pub ordinary_share: f64,
}

/// Fits the rule. Without a source that has enough rows of both kinds, everything goes on.
pub fn fit(rows: &[CascadeRow]) -> Cascade {
    let counted = by_source(rows, |row| f64::from(row.full));
    if counted.is_empty() {
        return Cascade {
            route: Route::EVERYTHING,
            sources: Vec::new(),
            ordinary_share: 1.0,
        };
    }
    let mut router = Router {
        gain: [0.0; GAIN_INPUTS],
        short_from: f32::MAX,
        long_from: ALWAYS,
        stays: [0.0; STAY_INPUTS],
    };
    for _ in 0..ROUNDS {
        router.stays = fit_scale(rows, |row| !goes_on(&router, row));
        router.gain = fit_gain(rows, &router);
        router.long_from = long_from(rows, &router);
        router.short_from = short_from(rows, &router);
    }
    router.stays = fit_scale(rows, |row| !goes_on(&router, row));
    let after = by_source(rows, |row| mixed(&router, row));
    let sources = counted
        .iter()
        .zip(&after)
        .map(|((source, full), (_, cascade))| {
            let own = rows.iter().filter(|row| row.source == *source);
            (*source, *full, *cascade, share(own, &router))
        })
        .collect();
    Cascade {
        sources,
        ordinary_share: share(rows.iter().filter(|row| row.ordinary), &router),
        route: Route {
            router: Some(router),
            ..Route::EVERYTHING
        },
    }
}

fn goes_on(router: &Router, row: &CascadeRow) -> bool {
    let from = if row.short() {
        router.short_from
    } else {
        router.long_from
    };
    router.expected_gain(&row.inputs) >= from
}

/// The cascade's overall score.
fn mixed(router: &Router, row: &CascadeRow) -> f64 {
    f64::from(if goes_on(router, row) {
        row.full
    } else {
        router.score(&row.inputs)
    })
}

fn share<'a>(rows: impl Iterator<Item = &'a CascadeRow>, router: &Router) -> f64 {
    let (mut all, mut on) = (0_usize, 0_usize);
    for row in rows {
        all += 1;
        on += usize::from(goes_on(router, row));
    }
    on as f64 / all.max(1) as f64
}

/// Each counted source's AUC of a score.
fn by_source(rows: &[CascadeRow], score: impl Fn(&CascadeRow) -> f64) -> Vec<(usize, f64)> {
    let sources = rows.iter().map(|row| row.source + 1).max().unwrap_or(0);
    let mut own: Vec<Vec<(f32, bool)>> = vec![Vec::new(); sources];
    for row in rows {
        own[row.source].push((score(row) as f32, row.positive));
    }
    own.iter()
        .enumerate()
        .filter(|(_, rows)| {
            let positives = rows.iter().filter(|row| row.1).count();
            positives >= MIN_OF_EACH && rows.len() - positives >= MIN_OF_EACH
        })
        .filter_map(|(source, rows)| Some((source, auc(rows)?)))
        .collect()
}

/// A row's weight: sources count by the root of their size.
fn weights(rows: &[CascadeRow]) -> Vec<f32> {
    let sources = rows.iter().map(|row| row.source + 1).max().unwrap_or(0);
    let mut sizes = vec![0_usize; sources];
    for row in rows {
        sizes[row.source] += 1;
    }
    let weight = |row: &CascadeRow| {
        let usual = if row.ordinary { 1.0 } else { UNUSUAL };
        usual / (sizes[row.source] as f32).sqrt()
    };
    let all: Vec<f32> = rows.iter().map(weight).collect();
    let mean = all.iter().sum::<f32>() / all.len().max(1) as f32;
    all.iter().map(|w| w / mean.max(1e-9)).collect()
}

/// The scale of messages that stay: a regression towards the joined score.
fn fit_scale(rows: &[CascadeRow], stays: impl Fn(&CascadeRow) -> bool) -> [f32; STAY_INPUTS] {
    let dense: Vec<DenseRow<STAY_INPUTS>> = rows
        .iter()
        .zip(weights(rows))
        .filter(|(row, _)| stays(row))
        .map(|(row, weight)| (row.inputs.stay_inputs(), row.full, weight))
        .collect();
    let mut start = [0.0; STAY_INPUTS];
    start[0] = 1.0;
    dense::logistic(&dense, start, RIDGE)
}

/// What each row gains by going on, in AUC of its source, times the source's rows; regressed on
/// what is known beforehand.
fn fit_gain(rows: &[CascadeRow], router: &Router) -> [f32; GAIN_INPUTS] {
    let sources = rows.iter().map(|row| row.source + 1).max().unwrap_or(0);
    // What the row is compared with: long messages at their joined score, short ones where they
    // stay.
    let standing = |row: &CascadeRow| {
        if row.short() {
            router.score(&row.inputs)
        } else {
            row.full
        }
    };
    let mut ranked: Vec<[Vec<f32>; 2]> = vec![[Vec::new(), Vec::new()]; sources];
    for row in rows {
        ranked[row.source][usize::from(row.positive)].push(standing(row));
    }
    for scores in ranked.iter_mut().flatten() {
        scores.sort_by(f32::total_cmp);
    }
    let below = |scores: &[f32], score: f32| {
        scores.partition_point(|other| *other < score) as f64 / scores.len().max(1) as f64
    };
    let dense: Vec<DenseRow<GAIN_INPUTS>> = rows
        .iter()
        .zip(weights(rows))
        .filter(|(row, _)| {
            let [negatives, positives] = &ranked[row.source];
            negatives.len().min(positives.len()) >= MIN_OF_EACH
        })
        .map(|(row, weight)| {
            let [negatives, positives] = &ranked[row.source];
            let n = (negatives.len() + positives.len()) as f64;
            let (stays, full) = (router.score(&row.inputs), row.full);
            let as_positive =
                (below(negatives, full) - below(negatives, stays)) * n / positives.len() as f64;
            let as_negative =
                (below(positives, stays) - below(positives, full)) * n / negatives.len() as f64;
            // The label is right and noisy, the joined score smooth: half of each.
            let chance = f64::midpoint(f64::from(u8::from(row.positive)), f64::from(full));
            let gain = chance * as_positive + (1.0 - chance) * as_negative;
            (row.inputs.gain_inputs(), gain as f32, weight)
        })
        .collect();
    dense::least_squares(&dense, RIDGE)
}

/// From which gain on longer messages go on: as few of them as lose next to nothing.
fn long_from(rows: &[CascadeRow], router: &Router) -> f32 {
    let all = Router {
        long_from: ALWAYS,
        ..*router
    };
    let best = by_source(rows, |row| mixed(&all, row));
    let mut gains: Vec<f32> = rows
        .iter()
        .filter(|row| !row.short())
        .map(|row| router.expected_gain(&row.inputs))
        .collect();
    gains.sort_by(f32::total_cmp);
    for share in LONG_STAYS {
        let Some(from) = gains.get((gains.len() as f64 * share) as usize) else {
            break;
        };
        let some = Router {
            long_from: *from,
            ..*router
        };
        if loses_at_most(&best, rows, &some, LONG_MAY_LOSE) {
            return *from;
        }
    }
    ALWAYS
}

/// From which gain on short messages go on: as few of ordinary chat as every source can do with,
/// at most the largest of [`SHARES`].
fn short_from(rows: &[CascadeRow], router: &Router) -> f32 {
    let full = by_source(rows, |row| f64::from(row.full));
    let mut gains: Vec<f32> = rows
        .iter()
        .filter(|row| row.ordinary)
        .map(|row| router.expected_gain(&row.inputs))
        .collect();
    if gains.is_empty() {
        let short = rows.iter().filter(|row| row.short());
        gains = short.map(|row| router.expected_gain(&row.inputs)).collect();
    }
    gains.sort_by(|a, b| b.total_cmp(a));
    let mut chosen = f32::MAX;
    for share in SHARES {
        let Some(from) = gains.get((gains.len() as f64 * share) as usize) else {
            break;
        };
        chosen = from.next_up();
        let some = Router {
            short_from: chosen,
            ..*router
        };
        if loses_at_most(&full, rows, &some, MAY_LOSE) {
            break;
        }
    }
    chosen
}

fn loses_at_most(best: &[(usize, f64)], rows: &[CascadeRow], router: &Router, most: f64) -> bool {
    let now = by_source(rows, |row| mixed(router, row));
    best.iter().zip(&now).all(|(a, b)| b.1 >= a.1 - most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fast tier is right but for messages at even odds; there only the full tier knows.
    fn rows() -> Vec<CascadeRow> {
        (0..4000)
            .map(|i| {
                let z = (i % 101) as f32 / 10.0 - 5.0;
                let unsure = z.abs() < 0.4;
                let positive = if unsure { i % 2 == 0 } else { z > 0.0 };
                let full: f32 = if positive { 3.0 } else { -3.0 };
                let mut heads = [-4.0; Route::HEADS.len()];
                heads[0] = z;
                CascadeRow {
                    source: usize::from(i % 4 == 0),
                    inputs: RouteInputs {
                        heads,
                        bytes: if i % 4 == 0 { 200 } else { 20 },
                        disguised: false,
                    },
                    full: 1.0 / (1.0 + (-full).exp()),
                    positive,
                    ordinary: i % 4 != 0,
                }
            })
            .collect()
    }

    #[test]
    fn those_that_gain_go_on_and_no_more_than_a_tenth() {
        let cascade = fit(&rows());
        assert!(cascade.ordinary_share <= 0.1, "{cascade:?}");
        let router = cascade.route.router.expect("a router");
        let gain = |z: f32| {
            let mut heads = [-4.0; Route::HEADS.len()];
            heads[0] = z;
            router.expected_gain(&RouteInputs {
                heads,
                bytes: 20,
                disguised: false,
            })
        };
        assert!(gain(0.0) > gain(2.0) && gain(0.0) > gain(-2.0));
        for (_, full, after, _) in &cascade.sources {
            assert!(after + 0.01 >= *full, "{cascade:?}");
        }
    }

    #[test]
    fn without_labels_everything_goes_on() {
        assert_eq!(fit(&[]).route, Route::EVERYTHING);
        let some: Vec<CascadeRow> = rows().into_iter().filter(|row| row.positive).collect();
        assert_eq!(fit(&some).route, Route::EVERYTHING);
    }
}
