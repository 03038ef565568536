//! Functional tests of hate detection: the shipped cases, kind by kind.

use std::collections::BTreeMap;

use novastream_datasets::functional::{FunctionalCase, functional_cases};
use serde::Serialize;

/// One kind of case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindFigures {
    /// Whether its cases are hateful.
    pub hateful: bool,
    /// Cases.
    pub n: usize,
    /// Share that is judged right at the shipped threshold of `hate`.
    pub right: f64,
}

/// All kinds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionalFigures {
    /// Cases.
    pub n: usize,
    /// Mean of the share of hateful and of harmless cases that are judged right.
    pub balanced_accuracy: f64,
    /// By kind.
    pub kinds: BTreeMap<String, KindFigures>,
}

/// The cases to score.
pub fn cases() -> Vec<FunctionalCase> {
    functional_cases()
}

/// Figures from the cases' `hate` scores, in their order; `None` without cases of both labels.
pub fn figures(
    cases: &[FunctionalCase],
    scores: &[f32],
    threshold: f32,
) -> Option<FunctionalFigures> {
    let mut kinds: BTreeMap<String, (bool, usize, usize)> = BTreeMap::new();
    let mut by_label = [(0_usize, 0_usize); 2];
    for (case, score) in cases.iter().zip(scores) {
        let right = (*score >= threshold) == case.hateful;
        let kind = kinds
            .entry(case.kind.clone())
            .or_insert((case.hateful, 0, 0));
        kind.1 += 1;
        kind.2 += usize::from(right);
        let label = &mut by_label[usize::from(case.hateful)];
        label.0 += 1;
        label.1 += usize::from(right);
    }
    let share = |(n, right): (usize, usize)| right as f64 / n as f64;
    (by_label[0].0 > 0 && by_label[1].0 > 0).then(|| FunctionalFigures {
        n: cases.len(),
        balanced_accuracy: f64::midpoint(share(by_label[0]), share(by_label[1])),
        kinds: kinds
            .into_iter()
            .map(|(name, (hateful, n, right))| {
                let right = share((n, right));
                (name, KindFigures { hateful, n, right })
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_flags_nothing_is_right_about_half() {
        let cases = cases();
        let calm = figures(&cases, &vec![0.0; cases.len()], 0.5).unwrap();
        assert_eq!(calm.balanced_accuracy, 0.5);
        assert_eq!(calm.kinds["counter-quote"].right, 1.0);
        assert_eq!(calm.kinds["plain-attack"].right, 0.0);
        let scores: Vec<f32> = cases
            .iter()
            .map(|c| f32::from(u8::from(c.hateful)))
            .collect();
        assert_eq!(
            figures(&cases, &scores, 0.5).unwrap().balanced_accuracy,
            1.0
        );
        assert_eq!(figures(&[], &[], 0.5), None);
    }
}
