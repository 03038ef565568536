//! Whether scores mean what they say: the expected calibration error and its bins.
//!
//! Scores are calibrated so that 0.5 is the shipped threshold, which the best F1 chose; so a file
//! with few positives is over-called by design, and the error says by how much.

use serde::Serialize;

/// Bins of equal width.
const BINS: usize = 10;

/// Rows whose scores are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Mean score.
    pub score: f64,
    /// Share of positives.
    pub positive: f64,
    /// Rows.
    pub n: usize,
}

/// How far scores are from shares of positives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// Mean distance of a bin's score from its share of positives, by rows (Naeini et al. 2015).
    pub ece: f64,
    /// Bins that hold rows, lowest scores first.
    pub bins: Vec<Bin>,
}

/// Of scores, 0 to 1, with labels; `None` without rows.
pub fn reliability(rows: &[(f32, bool)]) -> Option<Reliability> {
    if rows.is_empty() {
        return None;
    }
    let mut sums = [(0.0_f64, 0_usize, 0_usize); BINS];
    for (score, positive) in rows {
        let at = ((score * BINS as f32) as usize).min(BINS - 1);
        sums[at].0 += f64::from(*score);
        sums[at].1 += usize::from(*positive);
        sums[at].2 += 1;
    }
    let bins: Vec<Bin> = sums
        .iter()
        .filter(|sum| sum.2 > 0)
        .map(|&(score, positives, n)| Bin {
            score: score / n as f64,
            positive: positives as f64 / n as f64,
            n,
        })
        .collect();
    let gap = |bin: &Bin| bin.n as f64 * (bin.score - bin.positive).abs();
    Some(Reliability {
        ece: bins.iter().map(gap).sum::<f64>() / rows.len() as f64,
        bins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_scores_have_no_error() {
        let rows: Vec<(f32, bool)> = (0..100).map(|i| (0.25, i % 4 == 0)).collect();
        let honest = reliability(&rows).unwrap();
        assert!(honest.ece < 1e-6 && honest.bins.len() == 1);
        let proud: Vec<(f32, bool)> = (0..100).map(|i| (1.0, i % 4 == 0)).collect();
        assert!((reliability(&proud).unwrap().ece - 0.75).abs() < 1e-6);
        assert_eq!(reliability(&[]), None);
    }
}
