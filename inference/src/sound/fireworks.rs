//! Fireworks told from shots.
//!
//! Event models hear shots in fireworks nearly every time. What tells them apart is the company: a
//! display goes on, and between two bangs that sound like shots there are some that do not. So the
//! score for fireworks is remembered for a while and held against the score for shots and blasts.

use serde::{Deserialize, Serialize};

/// Milliseconds in which a memory halves.
const HALF_LIFE_MS: f32 = 4_000.0;
/// A shot must score this much above fireworks to count in full, and counts for nothing this much
/// below.
const MARGIN: f32 = 0.3;

/// What a stream's past says about the sounds to come. Stored with the stream's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SoundMemory {
    fireworks: f32,
    at_ms: i64,
}

impl SoundMemory {
    /// Hears fireworks with the score `now` at `at_ms`; answers how present they are: the score or
    /// what is left of an earlier one.
    pub(crate) fn hear(&mut self, at_ms: i64, now: f32) -> f32 {
        let passed = at_ms.abs_diff(self.at_ms) as f32;
        let left = self.fireworks * (-passed / HALF_LIFE_MS).exp2();
        self.fireworks = now.max(left);
        self.at_ms = at_ms;
        self.fireworks
    }
}

/// What is left of a score for shots or blasts beside fireworks.
pub(crate) fn beside_fireworks(score: f32, fireworks: f32) -> f32 {
    let share = (score - fireworks + MARGIN) / (2.0 * MARGIN);
    score * share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shot_alone_counts_in_full_and_one_in_a_display_does_not() {
        assert_eq!(beside_fireworks(0.9, 0.1), 0.9);
        assert_eq!(beside_fireworks(0.5, 0.8), 0.0);
        assert!((beside_fireworks(0.6, 0.6) - 0.3).abs() < 1e-6);
        let mut memory = SoundMemory::default();
        assert_eq!(memory.hear(0, 0.8), 0.8);
        assert!((memory.hear(4_000, 0.0) - 0.4).abs() < 1e-6);
        assert!(memory.hear(60_000, 0.0) < 0.001);
        assert_eq!(memory.hear(60_480, 0.3), 0.3);
    }

    proptest! {
        #[test]
        fn more_fireworks_never_means_more_danger(s in 0.0_f32..1.0, f in 0.0_f32..1.0, g in 0.0_f32..1.0) {
            let (low, high) = (f.min(g), f.max(g));
            prop_assert!(beside_fireworks(s, high) <= beside_fireworks(s, low));
            prop_assert!((0.0..=s).contains(&beside_fireworks(s, f)));
        }
    }
}
