//! Figures of ranked lists.

use std::cmp::Ordering;

use serde::Serialize;

/// Where a target came in its list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Who asked.
    pub user: u32,
    /// How many are ahead, equal scores counting half; from 0.
    pub rank: f64,
    /// Whether the user had taken the target before.
    pub repeat: bool,
}

/// Hit rates and discounted gain of single targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HitFigures {
    /// Share of targets ranked first.
    #[serde(rename = "hr@1")]
    pub hr1: f64,
    /// Share among the first five.
    #[serde(rename = "hr@5")]
    pub hr5: f64,
    /// Share among the first ten.
    #[serde(rename = "hr@10")]
    pub hr10: f64,
    /// 1 / log2(rank + 2) for ranks below ten, on average.
    #[serde(rename = "ndcg@10")]
    pub ndcg10: f64,
    /// Targets.
    pub n: usize,
}

impl HitFigures {
    /// Means over the targets; all zero for none.
    pub fn of<'a>(placed: impl IntoIterator<Item = &'a Placed>) -> Self {
        let mut sums = Self::default();
        for place in placed {
            sums.n += 1;
            sums.hr1 += share(place.rank, 1.0);
            sums.hr5 += share(place.rank, 5.0);
            sums.hr10 += share(place.rank, 10.0);
            sums.ndcg10 += gain(place.rank);
        }
        let n = sums.n.max(1) as f64;
        Self {
            hr1: sums.hr1 / n,
            hr5: sums.hr5 / n,
            hr10: sums.hr10 / n,
            ndcg10: sums.ndcg10 / n,
            n: sums.n,
        }
    }
}

fn share(rank: f64, below: f64) -> f64 {
    f64::from(u8::from(rank < below))
}

/// What a target at this rank adds to NDCG@10.
pub fn gain(rank: f64) -> f64 {
    share(rank, 10.0) / (rank + 2.0).log2()
}

/// Rank of `scores[target]`: those above, and half of the others that equal it. Scores that are
/// not numbers count as above, so that a broken model can't shine.
pub fn rank(scores: &[f32], target: usize) -> f64 {
    let own = scores[target];
    let (mut above, mut equal) = (0_usize, 0_usize);
    for score in scores {
        match score.partial_cmp(&own) {
            Some(Ordering::Equal) => equal += 1,
            Some(Ordering::Less) => {}
            Some(Ordering::Greater) | None => above += 1,
        }
    }
    above as f64 + equal.saturating_sub(1) as f64 / 2.0
}

/// Precision, recall, average precision and NDCG of one list of ten against a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ListFigures {
    /// Mean average precision within ten, over the size of the set, as Microsoft Recommenders
    /// counts it.
    pub map: f64,
    /// With gain 1 for each hit, against the best order.
    #[serde(rename = "ndcg@10")]
    pub ndcg10: f64,
    /// Hits over ten.
    #[serde(rename = "precision@10")]
    pub precision10: f64,
    /// Hits over the set.
    #[serde(rename = "recall@10")]
    pub recall10: f64,
    /// Users.
    pub n: usize,
}

impl ListFigures {
    /// Figures of one user: whether each of the first ten was right, and how many right answers
    /// there are.
    pub fn of(hits: &[bool], right: usize) -> Self {
        let (mut found, mut precision, mut dcg) = (0.0, 0.0, 0.0);
        for (place, _) in hits.iter().take(10).enumerate().filter(|(_, hit)| **hit) {
            found += 1.0;
            precision += found / (place + 1) as f64;
            dcg += 1.0 / (place as f64 + 2.0).log2();
        }
        let best: f64 = (0..right.min(10))
            .map(|place| 1.0 / (place as f64 + 2.0).log2())
            .sum();
        Self {
            map: precision / right.max(1) as f64,
            ndcg10: if best > 0.0 { dcg / best } else { 0.0 },
            precision10: found / 10.0,
            recall10: found / right.max(1) as f64,
            n: 1,
        }
    }

    /// Mean over users.
    pub fn mean<'a>(figures: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sums = Self::default();
        for figure in figures {
            sums.map += figure.map;
            sums.ndcg10 += figure.ndcg10;
            sums.precision10 += figure.precision10;
            sums.recall10 += figure.recall10;
            sums.n += 1;
        }
        let n = sums.n.max(1) as f64;
        Self {
            map: sums.map / n,
            ndcg10: sums.ndcg10 / n,
            precision10: sums.precision10 / n,
            recall10: sums.recall10 / n,
            n: sums.n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_ranks_count_equal_scores_half() {
        assert_eq!(rank(&[3.0, 1.0, 2.0], 2), 1.0);
        assert_eq!(rank(&[1.0, 1.0, 1.0], 0), 1.0);
        assert_eq!(rank(&[f32::NAN, 1.0], 1), 1.0);
        assert_eq!(rank(&[f32::NAN, 1.0], 0), 2.0);
    }

    #[test]
    fn recommender_list_figures_agree_with_a_case_by_hand() {
        let figures = ListFigures::of(&[true, false, true], 4);
        assert!((figures.map - (1.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        assert!((figures.recall10 - 0.5).abs() < 1e-12);
        assert!((figures.precision10 - 0.2).abs() < 1e-12);
        let dcg = 1.0 + 0.5;
        let best = 1.0 + 1.0 / 3.0_f64.log2() + 0.5 + 1.0 / 5.0_f64.log2();
        assert!((figures.ndcg10 - dcg / best).abs() < 1e-12);
        assert_eq!(ListFigures::mean([]).n, 0);
    }
}
