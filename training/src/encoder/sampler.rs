//! Which rows a run sees, in which order.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, seq::SliceRandom};

/// Bounds of how often a row of a source is seen a pass, so that a tiny source is not learned by
/// heart and a huge one is not lost.
const SHARE: std::ops::RangeInclusive<f64> = 0.2..=3.0;

/// Balances sources: one of `n` rows has `n^(1 − balance)` picks a pass, relative to the others,
/// times its own weight.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// Row numbers by source.
    rows: Vec<Vec<u32>>,
    /// Picks a row by source.
    shares: Vec<f64>,
    seed: u64,
}

impl Sampler {
    /// `sources` has each training row's number and source; `weights` one number a source.
    pub fn new(
        sources: impl IntoIterator<Item = (u32, usize)>,
        weights: &[f64],
        balance: f64,
        seed: u64,
    ) -> Self {
        let mut rows = vec![Vec::new(); weights.len()];
        for (row, source) in sources {
            rows[source].push(row);
        }
        let all: usize = rows.iter().map(Vec::len).sum();
        let wanted: f64 = rows
            .iter()
            .map(|r| (r.len() as f64).powf(1.0 - balance))
            .sum();
        let scale = all as f64 / wanted.max(1e-9);
        let shares = rows
            .iter()
            .zip(weights)
            .map(|(rows, weight)| {
                let share = scale * (rows.len().max(1) as f64).powf(-balance) * weight;
                if *weight > 0.0 {
                    share.clamp(*SHARE.start(), *SHARE.end())
                } else {
                    0.0
                }
            })
            .collect();
        Self { rows, shares, seed }
    }

    /// Rows of one pass, shuffled. The same pass always has the same order.
    pub fn pass(&self, pass: u64) -> Vec<u32> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ pass.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut out = Vec::new();
        for (rows, share) in self.rows.iter().zip(&self.shares) {
            let mut own = rows.clone();
            own.shuffle(&mut rng);
            let whole = share.floor() as usize;
            for _ in 0..whole {
                out.extend_from_slice(&own);
            }
            let rest = (share - share.floor()) * own.len() as f64;
            // The part of a row that is left over is a chance.
            let rest = rest.floor() as usize + usize::from(rng.random::<f64>() < rest.fract());
            out.extend_from_slice(&own[..rest.min(own.len())]);
        }
        out.shuffle(&mut rng);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sources_are_seen_more_often_and_passes_repeat() {
        let rows = (0..1100_u32).map(|row| (row, usize::from(row >= 1000)));
        let sampler = Sampler::new(rows, &[1.0, 1.0], 0.5, 7);
        let pass = sampler.pass(0);
        let small = pass.iter().filter(|row| **row >= 1000).count();
        assert!((200..=300).contains(&small), "{small}");
        assert!(
            (700..=1000).contains(&(pass.len() - small)),
            "{}",
            pass.len()
        );
        assert_eq!(pass, sampler.pass(0));
        assert_ne!(pass, sampler.pass(1));
    }

    #[test]
    fn a_weight_of_zero_leaves_a_source_out() {
        let sampler = Sampler::new(
            (0..10).map(|row| (row, row as usize % 2)),
            &[1.0, 0.0],
            0.0,
            1,
        );
        assert!(sampler.pass(0).iter().all(|row| row % 2 == 0));
    }
}
