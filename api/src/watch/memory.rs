//! Telling a repetition from a restart.
//!
//! When a source comes back with timestamps that were judged already, either it repeats its last
//! seconds, which need no second look, or its encoder began to count anew, and then this is content
//! that nobody has seen. Timestamps alone cannot tell. So the last minute's pictures and sound are
//! remembered by short marks, and a window counts as repeated only when it carries the same ones.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;

use novastream_features::media::{Audio, SAMPLE_RATE, Window};
use serde::{Deserialize, Serialize};

/// How far back the memory reaches, milliseconds of the source's clock.
const SPAN_MS: i64 = 60_000;
/// Bounds for a source with absurdly many frames.
const MAX_FRAMES: usize = 256;
const MAX_SOUNDS: usize = 512;
/// Sound is marked in blocks on a fixed grid, so that a window cut elsewhere has the same blocks.
const BLOCK_MS: i64 = 250;
const BLOCK_SAMPLES: usize = (SAMPLE_RATE as i64 * BLOCK_MS / 1000) as usize;

/// A picture: when, and a hash of its pixels.
type FrameMark = (i64, u64);
/// A block of sound: its number on the grid, its level in half decibels, its zero crossings.
type SoundMark = (i64, i16, u16);

/// What can be recognised about a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    frames: Vec<FrameMark>,
    sounds: Vec<SoundMark>,
}

impl Marks {
    /// The marks of a window in the source's clock. Reads every pixel and sample once.
    pub fn of(window: &Window) -> Self {
        let frames = window.frames.iter().map(|frame| {
            // Equal only within one build of the program; after an update nothing is recognised
            // and some seconds are judged twice.
            let mut hasher = DefaultHasher::new();
            hasher.write_u32(frame.image.width);
            hasher.write(&frame.image.data);
            (frame.timestamp_ms, hasher.finish())
        });
        Self {
            frames: frames.collect(),
            sounds: window.audio.as_ref().map(sounds).unwrap_or_default(),
        }
    }

    /// The marks of what lies before `end_ms`.
    fn before(&self, end_ms: i64) -> Self {
        let frames = self.frames.iter().filter(|f| f.0 < end_ms);
        let sounds = self
            .sounds
            .iter()
            .filter(|s| (s.0 + 1) * BLOCK_MS <= end_ms);
        Self {
            frames: frames.copied().collect(),
            sounds: sounds.copied().collect(),
        }
    }
}

fn sounds(audio: &Audio) -> Vec<SoundMark> {
    let first = audio.start_ms.div_euclid(BLOCK_MS) + 1;
    let per_ms = i64::from(SAMPLE_RATE) / 1000;
    let mut marks = Vec::new();
    for block in first.. {
        let from = (block * BLOCK_MS - audio.start_ms) * per_ms;
        let Some(samples) = usize::try_from(from)
            .ok()
            .and_then(|from| audio.samples.get(from..from + BLOCK_SAMPLES))
        else {
            return marks;
        };
        let power = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let level = 10.0 * (power / BLOCK_SAMPLES as f64).max(1e-12).log10();
        let crossings = samples
            .windows(2)
            .filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0));
        marks.push((
            block,
            (level * 2.0).round() as i16,
            crossings.count() as u16,
        ));
    }
    marks
}

/// The marks of the last minute that was judged. Stored with the watch, so that a restart of the
/// service still recognises them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    frames: VecDeque<FrameMark>,
    sounds: VecDeque<SoundMark>,
}

impl Memory {
    /// Remembers a window that is judged.
    pub fn note(&mut self, marks: &Marks) {
        self.frames.extend(&marks.frames);
        self.sounds.extend(&marks.sounds);
        let newest = self.frames.iter().map(|f| f.0).max();
        let newest = newest.max(self.sounds.iter().map(|s| s.0 * BLOCK_MS).max());
        let oldest = newest.unwrap_or(0) - SPAN_MS;
        self.frames.retain(|f| f.0 >= oldest);
        self.sounds.retain(|s| s.0 * BLOCK_MS >= oldest);
        while self.frames.len() > MAX_FRAMES {
            self.frames.pop_front();
        }
        while self.sounds.len() > MAX_SOUNDS {
            self.sounds.pop_front();
        }
    }

    /// Forgets everything: the source has another clock.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the part of the window before `end_ms` was judged: a picture of it is known, none
    /// is different, and nearly all of its sound is the same. A window without marks is unknown.
    pub fn recognises(&self, marks: &Marks, end_ms: i64) -> bool {
        let marks = marks.before(end_ms);
        let mut known = 0;
        for (at, hash) in &marks.frames {
            match self.frames.iter().find(|f| f.0 == *at) {
                Some((_, before)) if before == hash => known += 1,
                Some(_) => return false,
                // Another picture of the same seconds may have been looked at.
                None => {}
            }
        }
        let heard = marks.sounds.iter().filter(|s| self.heard(s)).count();
        let seen = marks.frames.is_empty() || known > 0;
        let same_sound = heard * 4 >= marks.sounds.len() * 3;
        let enough = known > 0 || marks.sounds.len() >= 2;
        seen && same_sound && enough
    }

    fn heard(&self, (block, level, crossings): &SoundMark) -> bool {
        self.sounds.iter().any(|(b, l, c)| {
            let slack = 8 + c / 32;
            b == block && l.abs_diff(*level) <= 2 && c.abs_diff(*crossings) <= slack
        })
    }
}

#[cfg(test)]
mod tests {
    use novastream_features::media::Frame;
    use novastream_features::picture::RgbImage;

    use super::*;

    fn frame(timestamp_ms: i64, shade: u8) -> Frame {
        Frame {
            image: RgbImage::new(8, 8, vec![shade; 192]).unwrap(),
            timestamp_ms,
            keyframe: true,
        }
    }

    /// A tone whose pitch depends on the time, so that no two seconds are alike.
    fn tone(start_ms: i64, length_ms: i64, base: f64) -> Audio {
        let samples = (0..length_ms * 16).map(|n| {
            let t = start_ms as f64 / 1000.0 + n as f64 / 16_000.0;
            (0.3 * (t * (base + 40.0 * t) * std::f64::consts::TAU).sin()) as f32
        });
        Audio {
            start_ms,
            samples: samples.collect(),
        }
    }

    fn window(start_ms: i64, end_ms: i64, shade: u8, base: f64) -> Window {
        Window {
            start_ms,
            end_ms,
            frames: vec![frame(start_ms, shade)],
            audio: Some(tone(start_ms, end_ms - start_ms, base)),
            notices: Vec::new(),
        }
    }

    fn judged() -> Memory {
        let mut memory = Memory::default();
        for n in 0..10 {
            let w = window(n * 2000, n * 2000 + 2000, n as u8, 200.0);
            memory.note(&Marks::of(&w));
        }
        memory
    }

    #[test]
    fn the_same_content_is_recognised_also_when_it_is_cut_elsewhere() {
        let memory = judged();
        let same = Marks::of(&window(6000, 8000, 3, 200.0));
        assert!(memory.recognises(&same, 20_000));
        let mut elsewhere = window(5300, 7300, 0, 200.0);
        elsewhere.frames = vec![frame(6000, 3)];
        assert!(memory.recognises(&Marks::of(&elsewhere), 20_000));
        // Half of it is new.
        let across = Marks::of(&Window {
            frames: Vec::new(),
            ..window(19_000, 21_000, 0, 200.0)
        });
        assert!(memory.recognises(&across, 20_000));
        assert!(!memory.recognises(&across, 21_000));
    }

    #[test]
    fn other_content_at_the_same_time_is_not() {
        let memory = judged();
        let picture = Marks::of(&window(6000, 8000, 99, 200.0));
        assert!(!memory.recognises(&picture, 20_000));
        // A still picture may be the same when the sound is not.
        let sound = Marks::of(&window(6000, 8000, 3, 900.0));
        assert!(!memory.recognises(&sound, 20_000));
        let later = Marks::of(&window(40_000, 42_000, 3, 200.0));
        assert!(!memory.recognises(&later, 50_000));
        assert!(!memory.recognises(&Marks::default(), 20_000));
        assert!(!Memory::default().recognises(&Marks::of(&window(0, 2000, 0, 200.0)), 20_000));
    }

    #[test]
    fn memory_reaches_a_minute_back_and_survives_json() {
        let mut memory = Memory::default();
        for n in 0..200 {
            let w = window(n * 2000, n * 2000 + 2000, n as u8, 200.0);
            memory.note(&Marks::of(&w));
        }
        assert!(memory.frames.len() <= 32 && memory.sounds.len() <= 244);
        let json = serde_json::to_string(&memory).unwrap();
        assert!(json.len() < 6000, "{}", json.len());
        assert_eq!(serde_json::from_str::<Memory>(&json).unwrap(), memory);
    }
}
