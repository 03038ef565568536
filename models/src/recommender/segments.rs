//! Audience segments: what kinds of viewers there are, and what each kind takes.
//!
//! A history belongs to each segment with the chance that Bayes' rule gives from the segments'
//! shares; a candidate scores the shares of the segments by these chances. One start says
//! little, so the answer stays near what everybody takes, and moves as more is known: made for
//! users with little history, and for nobody's at all it is popularity.

/// Shares of items by segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    items: usize,
    /// Chance of each segment before anything is known.
    prior: Vec<f32>,
    /// Segment after segment, one share an item, above 0.
    shares: Vec<f32>,
    /// ln of the shares.
    logs: Vec<f32>,
}

impl Segments {
    /// Joins priors, at least one, and `prior.len() × items` shares; `None` when they do not fit
    /// or are not above 0.
    pub fn new(items: usize, prior: Vec<f32>, shares: Vec<f32>) -> Option<Self> {
        let sound = |value: &f32| value.is_finite() && *value > 0.0;
        let fits = !prior.is_empty()
            && shares.len() == prior.len() * items
            && prior.iter().all(sound)
            && shares.iter().all(sound);
        let logs = shares.iter().map(|share| share.ln()).collect();
        fits.then_some(Self {
            items,
            prior,
            shares,
            logs,
        })
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Chance of each segment before anything is known.
    pub fn prior(&self) -> &[f32] {
        &self.prior
    }

    /// Segment after segment, one share an item.
    pub fn shares(&self) -> &[f32] {
        &self.shares
    }

    /// The chance of each segment for a history.
    pub fn chances(&self, history: &[(u32, f32)]) -> Vec<f32> {
        let mut chances: Vec<f32> = self.prior.iter().map(|prior| prior.ln()).collect();
        for (chance, logs) in chances
            .iter_mut()
            .zip(self.logs.chunks_exact(self.items.max(1)))
        {
            for (item, weight) in history {
                *chance += weight * logs.get(*item as usize).copied().unwrap_or(0.0);
            }
        }
        let most = chances.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for chance in &mut chances {
            *chance = (*chance - most).exp();
            sum += *chance;
        }
        for chance in &mut chances {
            *chance /= sum;
        }
        chances
    }

    /// Scores candidates by ln of their expected share, against an even share; 0 for items that
    /// the segments do not know.
    pub fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        let chances = self.chances(history);
        for (score, item) in out.iter_mut().zip(candidates) {
            let item = *item as usize;
            if item >= self.items {
                *score = 0.0;
                continue;
            }
            let parts = chances.iter().enumerate();
            let share: f32 = parts
                .map(|(segment, chance)| chance * self.shares[segment * self.items + item])
                .sum();
            *score = (share * self.items as f32).max(f32::MIN_POSITIVE).ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_segments_follow_the_history_and_start_from_everybody() {
        let shares = vec![0.6, 0.3, 0.1, 0.1, 0.1, 0.8];
        let segments = Segments::new(3, vec![0.75, 0.25], shares).unwrap();
        let mut out = [9.0; 4];
        segments.score(&[], &[0, 1, 2, 9], &mut out);
        let everybody = [0.475_f32, 0.25, 0.275].map(|share| (share * 3.0).ln());
        for (found, expected) in out.iter().zip(everybody) {
            assert!((found - expected).abs() < 1e-5);
        }
        assert_eq!(out[3], 0.0);
        segments.score(&[(2, 1.0)], &[0, 1, 2], &mut out[..3]);
        assert!(out[2] > out[0]);
        assert!(segments.chances(&[(2, 3.0), (77, 1.0)])[1] > 0.9);
    }

    #[test]
    fn recommender_segments_that_do_not_fit_are_refused() {
        assert!(Segments::new(2, vec![1.0], vec![0.5, 0.5]).is_some());
        assert!(Segments::new(2, vec![1.0], vec![0.5, 0.0]).is_none());
        assert!(Segments::new(2, vec![], vec![]).is_none());
        assert!(Segments::new(2, vec![1.0], vec![0.5]).is_none());
    }
}
