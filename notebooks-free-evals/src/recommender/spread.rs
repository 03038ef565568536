//! How the lists are made up, beyond what they hit: coverage, novelty, popularity bias.

use std::collections::BTreeMap;

use serde::Serialize;

use super::case::Case;

/// How the lists are made up, beyond hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Share of the model's items that were in some list of ten.
    pub coverage: f64,
    /// Novelty: mean of −log2 of the share of all starts before that a shown item had; bits, higher
    /// is less known. (M. Zhou et al., PNAS 2010: self-information.)
    pub novelty_bits: f64,
    /// Entropy of the shown places over items: bits, higher is less of the same.
    pub entropy_bits: f64,
    /// Share of all shown places that the ten most shown items took.
    pub top_ten_share: f64,
    /// Gini coefficient of the shown places over the items shown: 0 even, 1 one item only.
    pub gini: f64,
    /// Mean of ln(1 + starts before) of right answers; compare with that of the hits.
    pub popularity_of_targets: f64,
    /// The same over right answers among the ten: above it, popular channels win more.
    pub popularity_of_hits: f64,
}

/// How often each item was shown.
pub(super) fn shown<'a>(lists: impl Iterator<Item = &'a [u32]>) -> BTreeMap<u32, usize> {
    let mut shown = BTreeMap::new();
    for item in lists.flatten() {
        *shown.entry(*item).or_default() += 1;
    }
    shown
}

/// Mean of −log2 of the share of all starts that the items of a list had, each as if it had one
/// more; 0 for an empty list.
pub(super) fn surprise(list: &[u32], starts: impl Fn(u32) -> u32, all: usize) -> f64 {
    let bits = |item: &u32| -((f64::from(starts(*item)) + 1.0) / (all as f64 + 1.0)).log2();
    list.iter().map(bits).sum::<f64>() / list.len().max(1) as f64
}

/// The spread of lists, of which each comes with its surprise; popularity is left at 0.
pub(super) fn of_lists<'a>(
    lists: impl Iterator<Item = (&'a [u32], f64)> + Clone,
    items: usize,
) -> Spread {
    let mut counts: Vec<usize> = shown(lists.clone().map(|(list, _)| list))
        .into_values()
        .collect();
    counts.sort_unstable();
    let places = counts.iter().sum::<usize>().max(1) as f64;
    let bits = |count: &usize| {
        let share = *count as f64 / places;
        -share * share.log2()
    };
    let n = counts.len() as f64;
    let ranked: f64 = counts
        .iter()
        .zip(1..)
        .map(|(count, at)| (at * count) as f64)
        .sum();
    let (mut surprise, mut length) = (0.0, 0);
    for (_, bits) in lists {
        surprise += bits;
        length += 1;
    }
    Spread {
        coverage: n / items.max(1) as f64,
        novelty_bits: surprise / f64::from(length.max(1)),
        entropy_bits: counts.iter().map(bits).sum(),
        top_ten_share: counts.iter().rev().take(10).sum::<usize>() as f64 / places,
        gini: if n > 0.0 {
            (2.0 * ranked / (n * places) - (n + 1.0) / n).max(0.0)
        } else {
            0.0
        },
        ..Spread::default()
    }
}

/// The spread of cases with one right answer each.
pub(super) fn of_cases(cases: &[Case], items: usize) -> Spread {
    let lists = cases.iter().map(|case| (&case.top[..], case.surprise));
    let mean = |cases: &mut dyn Iterator<Item = &Case>| {
        let (mut sum, mut count) = (0.0, 0.0);
        for case in cases {
            sum += f64::from(case.item_starts).ln_1p();
            count += 1.0;
        }
        sum / f64::max(count, 1.0)
    };
    Spread {
        popularity_of_targets: mean(&mut cases.iter()),
        popularity_of_hits: mean(&mut cases.iter().filter(|case| case.placed.rank < 10.0)),
        ..of_lists(lists, items)
    }
}

impl Spread {
    /// Names and values, for tables.
    pub(super) fn rows(&self) -> [(&'static str, f64); 7] {
        [
            ("coverage", self.coverage),
            ("novelty, bits", self.novelty_bits),
            ("entropy of what is shown, bits", self.entropy_bits),
            ("share of the ten most shown", self.top_ten_share),
            ("Gini of what is shown", self.gini),
            ("ln(1 + starts) of targets", self.popularity_of_targets),
            ("ln(1 + starts) of hits", self.popularity_of_hits),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_spread_of_lists_by_hand() {
        let lists = [vec![0, 1], vec![0, 2], vec![0, 1], vec![0, 3]];
        let starts = |item: u32| if item == 0 { 7 } else { 1 };
        let with = lists
            .iter()
            .map(|list| (&list[..], surprise(list, starts, 15)));
        let spread = of_lists(with, 8);
        assert!((spread.coverage - 0.5).abs() < 1e-12);
        // 8 of 16 is one bit, 2 of 16 is three.
        assert!((spread.novelty_bits - 2.0).abs() < 1e-12);
        // Half of the places, a quarter, and two eighths.
        assert!((spread.entropy_bits - 1.75).abs() < 1e-12);
        assert!((spread.top_ten_share - 1.0).abs() < 1e-12);
        assert_eq!(of_lists(std::iter::empty(), 8).novelty_bits, 0.0);
    }
}
