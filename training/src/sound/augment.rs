//! What a clip could also have sounded like, computed on its spectrum.
//!
//! A step sees a stretch of a clip at another time, slower or faster, higher or lower, through
//! another room and microphone, with noise and other sounds over it (between-class examples of
//! Tokozume et al. 2018, whose label is the mixture), and with bands and moments missing
//! (SpecAugment, Park et al. 2019). All but the last happen on magnitudes, before the logarithm,
//! where sounds add up.

use std::ops::Range;

use novastream_features::audio::{
    LogMel, NET_FRAMES, NET_HOP, SILENT_DBFS, YAMNET_BANDS, rms_dbfs,
};
use rand::Rng;
use rand::rngs::StdRng;

/// What the front end adds to a magnitude before the logarithm.
const OFFSET: f32 = 0.001;
/// Samples between the frames that are kept: half of what the network steps.
const FINE: usize = NET_HOP / 2;
/// Samples of a frame.
const FRAME: usize = 400;
/// Values of one window.
pub const VALUES: usize = NET_FRAMES * YAMNET_BANDS;

/// A clip's magnitudes, frame by frame, and the frames that are not silent.
pub struct Spectrum {
    frames: usize,
    magnitudes: Vec<f32>,
    loud: Vec<usize>,
}

impl Spectrum {
    /// Of 16 kHz samples.
    pub fn new(mel: &LogMel, samples: &[f32]) -> Self {
        let frames = (samples.len() / FINE).max(1);
        let mut values = Vec::new();
        mel.frames(samples, FINE, frames, &mut values);
        for value in &mut values {
            *value = (value.exp() - OFFSET).max(0.0);
        }
        let level = |frame: &usize| {
            let from = frame * FINE;
            rms_dbfs(&samples[from..(from + FRAME).min(samples.len())])
        };
        let mut loud: Vec<usize> = (0..frames).filter(|f| level(f) >= SILENT_DBFS).collect();
        if loud.is_empty() {
            loud = (0..frames).collect();
        }
        Self {
            frames,
            magnitudes: values,
            loud,
        }
    }

    /// Sum and sum of squares of the logarithms of all frames that are not silent, and how many
    /// values there were.
    pub fn moments(&self) -> (f64, f64, usize) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for frame in &self.loud {
            for magnitude in self.frame(*frame) {
                let value = f64::from((magnitude + OFFSET).ln());
                sum += value;
                squares += value * value;
            }
        }
        (sum, squares, self.loud.len() * YAMNET_BANDS)
    }

    fn frame(&self, index: usize) -> &[f32] {
        &self.magnitudes[index * YAMNET_BANDS..(index + 1) * YAMNET_BANDS]
    }
}

/// Magnitudes of a random stretch, in random conditions, and where it lies in samples.
fn view(clip: &Spectrum, rng: &mut StdRng) -> (Vec<f32>, Range<f32>) {
    let pace = rng.random_range(-0.25_f32..0.25).exp();
    let step = 2.0 * pace;
    let span = step * (NET_FRAMES - 1) as f32;
    // Around a moment at which something is heard, and mostly inside the clip.
    let moment = clip.loud[rng.random_range(0..clip.loud.len())] as f32;
    let start = moment - rng.random_range(0.0..span);
    let latest = (clip.frames as f32 - 0.75 * span).max(-0.25 * span + 1.0);
    let start = start.clamp(-0.25 * span, latest);
    // Half of the clips keep their pitch.
    let shift = if rng.random_bool(0.5) {
        rng.random_range(-4_i32..=4)
    } else {
        0
    };
    let gain: f32 = rng.random_range(-1.5..1.0);
    let tilt: f32 = rng.random_range(-0.8..0.8);
    let (wave, phase) = (
        rng.random_range(0.0_f32..0.5),
        rng.random_range(0.0_f32..std::f32::consts::TAU),
    );
    let turns: f32 = rng.random_range(0.5..3.0);
    let by: Vec<f32> = (0..YAMNET_BANDS)
        .map(|band| {
            let at = band as f32 / (YAMNET_BANDS - 1) as f32;
            let room = wave * (phase + turns * std::f32::consts::TAU * at).sin();
            (gain + tilt * (2.0 * at - 1.0) + room).exp()
        })
        .collect();
    let mut out = vec![0.0; VALUES];
    for (k, row) in out.chunks_exact_mut(YAMNET_BANDS).enumerate() {
        let at = start + step * k as f32;
        if at < 0.0 {
            continue;
        }
        let (index, part) = (at as usize, at.fract());
        if index + 1 >= clip.frames {
            continue;
        }
        let (a, b) = (clip.frame(index), clip.frame(index + 1));
        for (band, (to, by)) in row.iter_mut().zip(&by).enumerate() {
            let from = (band as i32 + shift).clamp(0, YAMNET_BANDS as i32 - 1) as usize;
            *to = (a[from] + part * (b[from] - a[from])) * by;
        }
    }
    let fine = FINE as f32;
    (out, start * fine..(start + span) * fine + FRAME as f32)
}

/// What a step learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// A log-mel window.
    pub window: Vec<f32>,
    /// How much of it is the first clip; the rest is the other.
    pub share: f32,
    /// Where the first clip was heard, in its samples; may begin before it and end behind it.
    pub stretch: Range<f32>,
    /// The same for the other clip, where the example is a mixture.
    pub other: Option<Range<f32>>,
}

/// One training example of `clip`. `mixed` is the share of examples that are mixtures with `other`;
/// `fill` stands for what is left out.
pub fn example(
    clip: &Spectrum,
    other: &Spectrum,
    mixed: f32,
    fill: f32,
    rng: &mut StdRng,
) -> Example {
    let (mut sound, stretch) = view(clip, rng);
    let (mut share, mut beside) = (1.0, None);
    if rng.random_bool(f64::from(mixed)) {
        let (more, there) = view(other, rng);
        beside = Some(there);
        let level = |sound: &[f32]| (sound.iter().sum::<f32>() / VALUES as f32).max(1e-4);
        // As loud as each other, so that the share is what is heard.
        let equal = (level(&sound) / level(&more)).clamp(0.05, 20.0);
        share = rng.random_range(0.0_f32..1.0);
        for (a, b) in sound.iter_mut().zip(&more) {
            *a = *a * share + *b * (1.0 - share) * equal;
        }
    }
    if rng.random_bool(0.5) {
        let level = (sound.iter().sum::<f32>() / VALUES as f32).max(1e-4);
        let noise = level * rng.random_range(-4.0_f32..-0.7).exp();
        let tilt: f32 = rng.random_range(-1.0..1.0);
        for row in sound.chunks_exact_mut(YAMNET_BANDS) {
            for (band, to) in row.iter_mut().enumerate() {
                let at = 2.0 * band as f32 / (YAMNET_BANDS - 1) as f32 - 1.0;
                *to += noise * (1.0 + tilt * at) * rng.random_range(0.5_f32..1.5);
            }
        }
    }
    for value in &mut sound {
        *value = (*value + OFFSET).ln();
    }
    mask(&mut sound, fill, rng);
    Example {
        window: sound,
        share,
        stretch,
        other: beside,
    }
}

/// Leaves out up to two stretches of time and up to two of bands.
fn mask(window: &mut [f32], fill: f32, rng: &mut StdRng) {
    for _ in 0..rng.random_range(0..=2) {
        let width = rng.random_range(1..=20);
        let from = rng.random_range(0..NET_FRAMES - width);
        window[from * YAMNET_BANDS..(from + width) * YAMNET_BANDS].fill(fill);
    }
    for _ in 0..rng.random_range(0..=2) {
        let width = rng.random_range(1..=10);
        let from = rng.random_range(0..YAMNET_BANDS - width);
        for row in window.chunks_exact_mut(YAMNET_BANDS) {
            row[from..from + width].fill(fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn tone(hz: f32, seconds: f32) -> Spectrum {
        let samples: Vec<f32> = (0..(16_000.0 * seconds) as usize)
            .map(|i| (i as f32 / 16_000.0 * std::f32::consts::TAU * hz).sin() * 0.3)
            .collect();
        Spectrum::new(&LogMel::yamnet(), &samples)
    }

    #[test]
    fn the_same_seed_gives_the_same_example_and_every_value_is_a_number() {
        let (a, b) = (tone(440.0, 5.0), tone(3000.0, 0.3));
        for seed in 0..40 {
            let make = || example(&a, &b, 0.7, -4.0, &mut StdRng::seed_from_u64(seed));
            let made = make();
            assert_eq!(make(), made);
            assert_eq!(made.window.len(), VALUES);
            assert!(made.window.iter().all(|v| v.is_finite()));
            assert!((0.0..=1.0).contains(&made.share));
            assert_eq!(made.other.is_some(), made.share < 1.0);
        }
    }

    #[test]
    fn a_clip_is_still_heard_in_its_view() {
        let clip = tone(440.0, 5.0);
        // A mask may cover the tone, so not in every one.
        let heard = (0..20).filter(|seed| {
            let mut rng = StdRng::seed_from_u64(*seed);
            let made = example(&clip, &clip, 0.0, -6.9, &mut rng);
            assert_eq!(made.share, 1.0);
            made.window.iter().any(|v| *v > -1.0)
        });
        assert!(heard.count() >= 14);
    }

    #[test]
    fn a_stretch_says_where_its_sound_lies_in_the_clip() {
        // Half a second of sound two seconds in, and a murmur everywhere, so that any moment may
        // be looked at.
        let loud = 32_000..40_000;
        let samples: Vec<f32> = (0..80_000)
            .map(|i| {
                let level = if loud.contains(&i) { 0.5 } else { 0.002 };
                (i as f32 / 16_000.0 * std::f32::consts::TAU * 900.0).sin() * level
            })
            .collect();
        let clip = Spectrum::new(&LogMel::yamnet(), &samples);
        let (mut inside, mut outside) = (0, 0);
        for seed in 0..60 {
            let (window, stretch) = view(&clip, &mut StdRng::seed_from_u64(seed));
            let heard = window.iter().any(|v| *v > 1.0);
            if stretch.start < 32_000.0 && stretch.end > 40_000.0 {
                assert!(heard, "{stretch:?}");
                inside += 1;
            } else if stretch.end < 31_000.0 || stretch.start > 41_000.0 {
                assert!(!heard, "{stretch:?}");
                outside += 1;
            }
        }
        assert!(inside > 5 && outside > 5, "{inside} {outside}");
    }

    #[test]
    fn moments_are_those_of_the_logarithms() {
        let clip = tone(1000.0, 1.0);
        let (sum, squares, n) = clip.moments();
        let mean = sum / n as f64;
        assert!(n > 1000 && mean < 0.0 && mean > -7.0);
        assert!(squares / n as f64 - mean * mean > 0.0);
    }
}
