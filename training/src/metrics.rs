//! How good scores are.

/// Area under the ROC curve: the chance that a positive scores above a negative, ties counting
/// half. `None` without at least one of each. Scores that are not numbers rank lowest.
pub fn auc(scored: &[(f32, bool)]) -> Option<f64> {
    let pos = scored.iter().filter(|(_, positive)| *positive).count();
    let neg = scored.len() - pos;
    if pos == 0 || neg == 0 {
        return None;
    }
    let (mut pairs, mut negatives_above) = (0.0, 0);
    for tied in descending(scored).chunk_by(|a, b| a.0 == b.0) {
        let here = tied.iter().filter(|(_, positive)| *positive).count();
        let others = tied.len() - here;
        let below = neg - negatives_above - others;
        pairs += here as f64 * (below as f64 + others as f64 / 2.0);
        negatives_above += others;
    }
    Some(pairs / (pos as f64 * neg as f64))
}

/// Average precision: precision at every threshold, weighted by the recall it adds. Equal scores
/// share a threshold. `None` without at least one of each.
pub fn average_precision(scored: &[(f32, bool)]) -> Option<f64> {
    let pos = scored.iter().filter(|(_, positive)| *positive).count();
    if pos == 0 || pos == scored.len() {
        return None;
    }
    let (mut found, mut seen, mut sum) = (0, 0, 0.0);
    for tied in descending(scored).chunk_by(|a, b| a.0 == b.0) {
        let here = tied.iter().filter(|(_, positive)| *positive).count();
        found += here;
        seen += tied.len();
        sum += here as f64 * found as f64 / seen as f64;
    }
    Some(sum / pos as f64)
}

/// Share of the positives that score above all but the share `fpr` of the negatives. `None` without
/// at least one of each.
pub fn tpr_at_fpr(scored: &[(f32, bool)], fpr: f64) -> Option<f64> {
    let pos = scored.iter().filter(|(_, positive)| *positive).count();
    let neg = scored.len() - pos;
    if pos == 0 || neg == 0 {
        return None;
    }
    let allowed = (neg as f64 * fpr) as usize;
    let (mut found, mut false_alarms) = (0, 0);
    for tied in descending(scored).chunk_by(|a, b| a.0 == b.0) {
        let here = tied.iter().filter(|(_, positive)| *positive).count();
        false_alarms += tied.len() - here;
        if false_alarms > allowed {
            break;
        }
        found += here;
    }
    Some(found as f64 / pos as f64)
}

fn descending(scored: &[(f32, bool)]) -> Vec<(f32, bool)> {
    let number = |score: f32| {
        if score.is_nan() {
            f32::NEG_INFINITY
        } else {
            score
        }
    };
    let mut sorted: Vec<_> = scored
        .iter()
        .map(|(score, p)| (number(*score), *p))
        .collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    sorted
}

/// Outcomes at a threshold; a score equal to the threshold counts as positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Positives found.
    pub true_pos: u64,
    /// Negatives called positive.
    pub false_pos: u64,
    /// Negatives left alone.
    pub true_neg: u64,
    /// Positives missed.
    pub false_neg: u64,
}

impl Confusion {
    /// Counts outcomes at a threshold.
    pub fn at(threshold: f32, scored: &[(f32, bool)]) -> Self {
        let mut counts = Self::default();
        for (score, positive) in scored {
            match (*score >= threshold, positive) {
                (true, true) => counts.true_pos += 1,
                (true, false) => counts.false_pos += 1,
                (false, false) => counts.true_neg += 1,
                (false, true) => counts.false_neg += 1,
            }
        }
        counts
    }

    /// Harmonic mean of precision and recall, 0 when nothing is found.
    pub fn f1(&self) -> f64 {
        let found = 2.0 * self.true_pos as f64;
        ratio(found, found + (self.false_pos + self.false_neg) as f64)
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        let right = (self.true_pos + self.true_neg) as f64;
        ratio(right, right + (self.false_pos + self.false_neg) as f64)
    }

    /// Mean of the shares of positives and of negatives judged right; `None` without one of each.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let (pos, neg) = (
            self.true_pos + self.false_neg,
            self.true_neg + self.false_pos,
        );
        (pos > 0 && neg > 0).then(|| {
            f64::midpoint(
                ratio(self.true_pos as f64, pos as f64),
                ratio(self.true_neg as f64, neg as f64),
            )
        })
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        let scored = [(0.1, false), (0.4, false), (0.35, true), (0.8, true)];
        assert!((auc(&scored).expect("both") - 0.75).abs() < 1e-12);
        assert!((average_precision(&scored).expect("both") - 5.0 / 6.0).abs() < 1e-12);
        let counts = Confusion::at(0.38, &scored);
        assert_eq!(
            counts,
            Confusion {
                true_pos: 1,
                false_pos: 1,
                true_neg: 1,
                false_neg: 1
            }
        );
        assert!((counts.f1() - 0.5).abs() < 1e-12);
        assert_eq!(counts.balanced_accuracy(), Some(0.5));
    }

    #[test]
    fn recall_at_few_false_alarms() {
        let mut scored: Vec<(f32, bool)> = (0..200).map(|i| (i as f32 / 200.0, false)).collect();
        scored.extend([(0.994, true), (0.9925, true), (0.5, true), (2.0, true)]);
        // Two of two hundred may be false: 0.995 and 0.99.
        assert_eq!(tpr_at_fpr(&scored, 0.01), Some(0.75));
        assert_eq!(tpr_at_fpr(&scored, 0.0), Some(0.25));
        assert_eq!(tpr_at_fpr(&scored[..200], 0.01), None);
    }

    #[test]
    fn one_kind_alone_has_no_figure() {
        assert_eq!(auc(&[]), None);
        assert_eq!(auc(&[(0.5, true)]), None);
        assert_eq!(average_precision(&[(0.5, false)]), None);
        assert_eq!(Confusion::at(0.5, &[(0.7, true)]).balanced_accuracy(), None);
        assert_eq!(Confusion::default().f1(), 0.0);
    }

    #[test]
    fn what_is_not_a_number_ranks_lowest() {
        assert_eq!(auc(&[(f32::NAN, false), (0.0, true)]), Some(1.0));
    }

    proptest! {
        #[test]
        fn auc_counts_pairs(scored in prop::collection::vec((0_u8..6, any::<bool>()), 2..60)) {
            let scored: Vec<(f32, bool)> = scored.iter().map(|(s, p)| (f32::from(*s), *p)).collect();
            let (mut sum, mut pairs) = (0.0, 0.0);
            for (p, _) in scored.iter().filter(|(_, positive)| *positive) {
                for (n, _) in scored.iter().filter(|(_, positive)| !*positive) {
                    sum += if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
                    pairs += 1.0;
                }
            }
            if let Some(found) = auc(&scored) {
                prop_assert!((found - sum / pairs).abs() < 1e-9);
            } else {
                prop_assert_eq!(pairs, 0.0);
            }
        }
    }
}
