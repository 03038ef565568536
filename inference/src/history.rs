//! What a stream's past contributes to its next verdict.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    category::Category, pace::Pace, policy::Confirm, sound::SoundMemory, verdict::Modality,
    vision::ScreenMemory,
};

/// Observations further than this from the newest one, either way, no longer confirm anything.
const SPAN_MS: i64 = 30_000;

/// The temporal state of one stream.
///
/// It starts empty, is advanced by every segment or window of the stream in order, and is bounded:
/// at most one track per category and modality, [`Confirm::MAX_N`] scores each, one thumbnail with
/// the lines read off the last picture, and one sketch with the scores of the last judged one. It can be stored and restored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamHistory {
    tracks: Vec<Track>,
    pub(crate) screen: Option<ScreenMemory>,
    pub(crate) sound: SoundMemory,
    pub(crate) pace: Pace,
}

impl StreamHistory {
    /// The track of one category in one modality, made on first use.
    pub(crate) fn track(&mut self, category: Category, modality: Modality) -> &mut Track {
        let found = self
            .tracks
            .iter()
            .position(|t| t.category == category && t.modality == modality)
            .unwrap_or_else(|| {
                self.tracks.push(Track::new(category, modality));
                self.tracks.len() - 1
            });
        &mut self.tracks[found]
    }

    /// Forgets everything that a gap makes stale: what was seen before a long gap confirms nothing
    /// after it, and the picture has to be read again.
    pub fn forget(&mut self) {
        for track in &mut self.tracks {
            track.recent.clear();
            track.active = false;
        }
        self.screen = None;
        self.sound = SoundMemory::default();
        self.pace = Pace::default();
    }
}

/// The latest scores of one category in one modality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    category: Category,
    modality: Modality,
    recent: VecDeque<(i64, f32)>,
    active: bool,
    #[serde(default)]
    suspended_ms: Option<i64>,
}

impl Track {
    fn new(category: Category, modality: Modality) -> Self {
        Self {
            category,
            modality,
            recent: VecDeque::new(),
            active: false,
            suspended_ms: None,
        }
    }

    /// Adds a score and keeps the newest `n`.
    pub(crate) fn push(&mut self, at_ms: i64, score: f32, n: usize) {
        self.recent
            .retain(|(at, _)| at.abs_diff(at_ms) <= SPAN_MS as u64);
        self.recent.push_back((at_ms, score));
        while self.recent.len() > n.min(Confirm::MAX_N) {
            self.recent.pop_front();
        }
    }

    /// The `k`-th highest of the newest `n` scores; 0 if there are fewer than `k`.
    pub(crate) fn kth(&self, k: usize, n: usize) -> f32 {
        let mut scores: Vec<f32> = self.recent.iter().rev().take(n).map(|(_, s)| *s).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.get(k.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// How many of the newest `n` scores reach `threshold`.
    pub(crate) fn at_least(&self, threshold: f32, n: usize) -> usize {
        self.recent
            .iter()
            .rev()
            .take(n)
            .filter(|(_, s)| *s >= threshold)
            .count()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    pub(crate) fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    /// Whether the last `suspend` is far enough away.
    pub(crate) fn may_suspend(&self, now_ms: i64, confirm: &Confirm) -> bool {
        self.suspended_ms
            .is_none_or(|at| now_ms.abs_diff(at) >= confirm.cooldown_ms as u64)
    }

    pub(crate) fn suspended(&mut self, now_ms: i64) {
        self.suspended_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn old_scores_confirm_nothing() {
        let mut track = Track::new(Category::Sexual, Modality::Frame);
        track.push(0, 0.9, 3);
        track.push(SPAN_MS + 1, 0.9, 3);
        assert_eq!(track.kth(2, 3), 0.0);
        track.push(SPAN_MS + 1000, 0.8, 3);
        assert_eq!(track.kth(2, 3), 0.8);
        // A stream that begins again at 0 does not inherit either.
        track.push(0, 0.9, 3);
        assert_eq!(track.recent.len(), 1);
    }

    #[test]
    fn history_survives_json_and_forgets() {
        let mut history = StreamHistory::default();
        history
            .track(Category::Sexual, Modality::Frame)
            .push(5, 0.25, 3);
        history
            .track(Category::Sexual, Modality::Frame)
            .set_active(true);
        let json = serde_json::to_string(&history).unwrap();
        assert_eq!(
            serde_json::from_str::<StreamHistory>(&json).unwrap(),
            history
        );
        history.forget();
        assert_eq!(
            history.track(Category::Sexual, Modality::Frame).kth(1, 3),
            0.0
        );
        assert!(!history.track(Category::Sexual, Modality::Frame).is_active());
    }

    proptest! {
        #[test]
        fn the_ring_is_bounded_and_kth_falls_with_k(
            scores in prop::collection::vec(0.0f32..1.0, 0..200), n in 1usize..64,
        ) {
            let mut track = Track::new(Category::Hate, Modality::Audio);
            for (i, s) in scores.iter().enumerate() {
                track.push(i as i64 * 480, *s, n);
            }
            prop_assert!(track.recent.len() <= n.min(Confirm::MAX_N));
            for k in 1..n {
                prop_assert!(track.kth(k, n) >= track.kth(k + 1, n));
            }
        }
    }
}
