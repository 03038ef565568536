//! From cases to answers.

use std::collections::BTreeMap;

use novastream_datasets::events::Interner;

use super::case::Case;
use super::figures::{HitFigures, gain};
use super::report::{CalibrationBin, Outcome};
use super::spread;

/// Users with fewer starts, and channels with fewer, are cold.
const COLD_USER: u32 = 5;
const COLD_ITEM: u32 = 10;
/// Smaller segments say nothing.
const SMALLEST_SEGMENT: usize = 20;

/// Figures, intervals, spread and calibration of cases with one right answer.
pub(super) fn hits(cases: &[Case], items: usize) -> Outcome {
    let part = |repeat| {
        let part = cases
            .iter()
            .filter(move |case| case.placed.repeat == repeat);
        HitFigures::of(part.map(|case| &case.placed))
    };
    let (bins, error) = calibration(cases);
    let mut outcome = Outcome {
        hits: Some(HitFigures::of(cases.iter().map(|case| &case.placed))),
        repeat: Some(part(true)),
        new: Some(part(false)),
        spread: Some(spread::of_cases(cases, items)),
        calibration: bins,
        calibration_error: error,
        ..Outcome::default()
    };
    let below = |case: &Case, rank: f64| f64::from(u8::from(case.placed.rank < rank));
    let user = |case: &Case| case.placed.user;
    outcome.interval(
        "hr@1",
        cases.iter().map(|case| (user(case), below(case, 1.0))),
    );
    outcome.interval(
        "hr@10",
        cases.iter().map(|case| (user(case), below(case, 10.0))),
    );
    outcome.interval(
        "ndcg@10",
        cases
            .iter()
            .map(|case| (user(case), gain(case.placed.rank))),
    );
    for (name, repeat) in [("repeat.hr@10", true), ("new.hr@10", false)] {
        let part = cases.iter().filter(|case| case.placed.repeat == repeat);
        outcome.interval(name, part.map(|case| (user(case), below(case, 10.0))));
    }
    outcome
}

/// Cold and warm users and channels, and the groups of the events.
pub(super) fn segments(cases: &[Case], groups: &Interner) -> BTreeMap<String, HitFigures> {
    let mut segments = BTreeMap::new();
    let mut add = |name: String, keep: &dyn Fn(&Case) -> bool| {
        let part = cases.iter().filter(|case| keep(case));
        let figures = HitFigures::of(part.map(|case| &case.placed));
        if figures.n > 0 {
            segments.insert(name, figures);
        }
    };
    add(
        format!("users with fewer than {COLD_USER} starts"),
        &|case| case.user_starts < COLD_USER,
    );
    add(format!("users with {COLD_USER} to 49 starts"), &|case| {
        (COLD_USER..50).contains(&case.user_starts)
    });
    add("users with 50 starts or more".to_owned(), &|case| {
        case.user_starts >= 50
    });
    add(
        format!("channels with fewer than {COLD_ITEM} starts"),
        &|case| case.item_starts < COLD_ITEM,
    );
    add(
        format!("channels with {COLD_ITEM} starts or more"),
        &|case| case.item_starts >= COLD_ITEM,
    );
    for (group, name) in (0_u32..).zip(groups.names()) {
        let in_group = |case: &Case| case.group == Some(group);
        if cases.iter().filter(|case| in_group(case)).count() >= SMALLEST_SEGMENT {
            add(format!("group {name}"), &in_group);
        }
    }
    segments
}

fn calibration(cases: &[Case]) -> (Vec<CalibrationBin>, Option<f64>) {
    let mut bins = [(0.0_f64, 0.0_f64, 0_usize); 10];
    for case in cases.iter().filter(|case| case.confidence > 0.0) {
        let bin = &mut bins[((case.confidence * 10.0) as usize).min(9)];
        bin.0 += f64::from(case.confidence);
        bin.1 += f64::from(u8::from(case.placed.rank < 1.0));
        bin.2 += 1;
    }
    let total: usize = bins.iter().map(|bin| bin.2).sum();
    if total == 0 {
        return (Vec::new(), None);
    }
    let distance: f64 = bins
        .iter()
        .map(|(chance, right, _)| (chance - right).abs())
        .sum();
    let bins = bins
        .into_iter()
        .filter(|bin| bin.2 > 0)
        .map(|(chance, right, n)| CalibrationBin {
            chance: chance / n as f64,
            right: right / n as f64,
            n,
        })
        .collect();
    (bins, Some(distance / total as f64))
}

/// Items by name.
pub(super) struct Named<'a>(&'a Interner);

impl<'a> Named<'a> {
    pub(super) fn new(items: &'a Interner) -> Self {
        Self(items)
    }
}

impl Outcome {
    /// Fills in the items that were shown most.
    pub(super) fn name_popular<'a>(
        &mut self,
        names: &Named<'_>,
        lists: impl Iterator<Item = &'a [u32]>,
    ) {
        let mut shown: Vec<(u32, usize)> = spread::shown(lists).into_iter().collect();
        shown.sort_by_key(|(item, count)| (std::cmp::Reverse(*count), *item));
        let places = shown.iter().map(|(_, count)| count).sum::<usize>().max(1) as f64;
        self.most_shown = shown
            .into_iter()
            .take(10)
            .map(|(item, count)| {
                let name = names.0.name(item).unwrap_or_default().to_owned();
                (name, count as f64 / places)
            })
            .collect();
    }
}
