//! How well labels are told apart.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::average_precision;

/// Figures on held-out clips.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Clips.
    pub n: usize,
    /// Share whose highest score is their own label's.
    pub accuracy: f64,
    /// Mean over labels.
    pub mean_average_precision: f64,
    /// By label.
    pub average_precision: BTreeMap<String, f64>,
    /// True label → given label → clips; without zeros.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
}

/// `truth`: indices into `labels`; `scores`: one row a clip, one value a label.
pub fn figures(labels: &[String], truth: &[usize], scores: &[Vec<f32>]) -> Figures {
    let mut figures = Figures {
        n: truth.len(),
        ..Figures::default()
    };
    let mut right = 0;
    for (label, row) in truth.iter().zip(scores) {
        let Some(given) = highest(row) else { continue };
        right += usize::from(given == *label);
        *figures
            .confusion
            .entry(labels[*label].clone())
            .or_default()
            .entry(labels[given].clone())
            .or_default() += 1;
    }
    figures.accuracy = right as f64 / truth.len().max(1) as f64;
    for (i, label) in labels.iter().enumerate() {
        let scored: Vec<(f32, bool)> = truth
            .iter()
            .zip(scores)
            .map(|(t, row)| (row[i], *t == i))
            .collect();
        if let Some(precision) = average_precision(&scored) {
            figures.average_precision.insert(label.clone(), precision);
        }
    }
    let all = &figures.average_precision;
    figures.mean_average_precision = all.values().sum::<f64>() / all.len().max(1) as f64;
    figures
}

/// Index of the highest value, the first of equals.
pub fn highest(row: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (i, value) in row.iter().enumerate() {
        if best.is_none_or(|(_, top)| *value > top) {
            best = Some((i, *value));
        }
    }
    best.map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_figures() {
        let labels = ["cat", "dog"].map(str::to_owned);
        let scores = vec![vec![0.9, 0.1], vec![0.4, 0.6], vec![0.2, 0.8]];
        let figures = figures(&labels, &[0, 0, 1], &scores);
        assert!((figures.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(figures.confusion["cat"]["dog"], 1);
        assert_eq!(figures.confusion["dog"]["dog"], 1);
        assert!((figures.average_precision["dog"] - 1.0).abs() < 1e-12);
    }
}
