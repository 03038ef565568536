//! Sounds as stretches of time with a beginning, an end and a peak.

use crate::verdict::SoundEvent;

/// From this score on a sound is told.
const TOLD: f32 = 0.5;
/// Two stretches of one sound that are no further apart than this are one, in milliseconds.
pub(crate) const GAP_MS: i64 = 1_000;
/// Most events of one stretch of sound.
const MOST: usize = 64;

/// Events as they come, window by window in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SoundEvents(Vec<SoundEvent>);

impl SoundEvents {
    /// Adds what one window holds of a sound; below one half it is not worth telling.
    pub(super) fn add(&mut self, sound: &str, label: &str, score: f32, start_ms: i64, end_ms: i64) {
        if score < TOLD {
            return;
        }
        let open = self
            .0
            .iter_mut()
            .rfind(|e| e.sound == sound && start_ms - e.end_ms <= GAP_MS);
        if let Some(event) = open {
            event.end_ms = event.end_ms.max(end_ms);
            if score > event.peak {
                event.peak = score;
                label.clone_into(&mut event.label);
            }
        } else if self.0.len() < MOST {
            self.0.push(SoundEvent {
                sound: sound.to_owned(),
                label: label.to_owned(),
                start_ms,
                end_ms,
                peak: score,
                model: String::new(),
            });
        }
    }

    /// The events in order of time, heard by `model`.
    pub(crate) fn finish(self, model: &str) -> Vec<SoundEvent> {
        let mut events = self.0;
        for event in &mut events {
            model.clone_into(&mut event.model);
        }
        events.sort_by(|a, b| (a.start_ms, &a.sound).cmp(&(b.start_ms, &b.sound)));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_windows_are_one_event_and_far_ones_two() {
        let mut events = SoundEvents::default();
        events.add("crying", "Whimper", 0.6, 0, 975);
        events.add("crying", "Whimper", 0.3, 480, 1455);
        events.add("crying", "Baby cry, infant cry", 0.8, 1920, 2895);
        events.add("fireworks", "Fireworks", 0.5, 2400, 3375);
        events.add("crying", "Whimper", 0.5, 10_000, 10_975);
        let all = events.finish("m@1");
        assert_eq!(all.len(), 3);
        assert_eq!(
            (all[0].start_ms, all[0].end_ms, all[0].peak),
            (0, 2895, 0.8)
        );
        assert_eq!(all[0].label, "Baby cry, infant cry");
        assert_eq!(all[2].start_ms, 10_000);
        assert!(all.iter().all(|e| e.model == "m@1"));
    }

    #[test]
    fn events_are_bounded() {
        let mut events = SoundEvents::default();
        for i in 0..1000 {
            events.add("crying", "Whimper", 0.9, i * 10_000, i * 10_000 + 975);
        }
        assert_eq!(events.finish("m@1").len(), MOST);
    }
}
