//! What everybody takes.

use super::Scorer;

/// One score per item, whoever asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    /// Share of all weight that went to each item, 0..=1.
    pub shares: Vec<f32>,
}

impl Scorer for Popularity {
    fn score(&self, _history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        for (score, item) in out.iter_mut().zip(candidates) {
            *score = self.shares.get(*item as usize).copied().unwrap_or(0.0);
        }
    }

    fn items(&self) -> usize {
        self.shares.len()
    }

    fn score_all(&self, _history: &[(u32, f32)], out: &mut [f32]) {
        out.copy_from_slice(&self.shares);
    }
}
