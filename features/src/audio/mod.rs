//! Sound in, model input out: windows over 16 kHz mono samples, loudness and log-mel spectra.

mod logmel;
mod net;
mod spans;
mod whisper;

use std::ops::Range;

pub use logmel::{LogMel, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_WINDOW};
pub use net::{NET_FRAMES, NET_HOP, NET_STEP, NET_WINDOW, net_window};
pub use spans::{SILENT_DBFS, YAMNET_HOP, loud_spans, spans};
pub use whisper::{WHISPER_FRAMES, WHISPER_WINDOW, WhisperMel};

/// Sampling rate of all sound inside the pipeline, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Loudness given for digital silence, in dBFS.
pub const SILENCE_DBFS: f32 = -120.0;

/// Cuts `len` samples into windows of `window` samples that start every `hop` samples.
///
/// Every sample is covered: where the last regular window ends before `len`, one more window
/// ends exactly there. Fewer samples than a window give one short range, none give nothing.
/// `window` and `hop` of 0 count as 1; a `hop` longer than `window` leaves its gaps.
pub fn windows(len: usize, window: usize, hop: usize) -> impl Iterator<Item = Range<usize>> {
    let (window, hop) = (window.max(1), hop.max(1));
    let regular = if len < window {
        0
    } else {
        (len - window) / hop + 1
    };
    let end = if regular == 0 {
        0
    } else {
        (regular - 1) * hop + window
    };
    let last = (end < len).then(|| len.saturating_sub(window)..len);
    (0..regular)
        .map(move |i| i * hop..i * hop + window)
        .chain(last)
}

/// Root mean square of samples in -1..=1, in dB below full scale: 0 for a square wave at full
/// scale, -3.01 for a sine, [`SILENCE_DBFS`] for silence, for nothing and for non-finite input.
pub fn rms_dbfs(samples: &[f32]) -> f32 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    let mean = sum / samples.len().max(1) as f64;
    let db = (10.0 * mean.log10()) as f32;
    if db.is_finite() {
        db.max(SILENCE_DBFS)
    } else {
        SILENCE_DBFS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_of_known_lengths() {
        let of = |len, window, hop| windows(len, window, hop).collect::<Vec<_>>();
        assert_eq!(of(10, 4, 2), [0..4, 2..6, 4..8, 6..10]);
        assert_eq!(of(11, 4, 4), [0..4, 4..8, 7..11]);
        assert_eq!(of(3, 4, 4), std::slice::from_ref(&(0..3)));
        assert_eq!(of(4, 4, 4), std::slice::from_ref(&(0..4)));
        assert_eq!(of(0, 4, 4), []);
    }

    #[test]
    fn loudness_of_known_signals() {
        assert_eq!(rms_dbfs(&[]), SILENCE_DBFS);
        assert_eq!(rms_dbfs(&[0.0; 9]), SILENCE_DBFS);
        assert_eq!(rms_dbfs(&[f32::NAN]), SILENCE_DBFS);
        assert!((rms_dbfs(&[1.0, -1.0]) - 0.0).abs() < 1e-6);
        assert!((rms_dbfs(&[0.1; 100]) + 20.0).abs() < 1e-4);
        let sine: Vec<f32> = (0..1600)
            .map(|i| (i as f32 * std::f32::consts::TAU / 16.0).sin())
            .collect();
        assert!((rms_dbfs(&sine) + 3.0103).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn windows_cover_everything(len in 0_usize..500, window in 1_usize..80, hop in 1_usize..80) {
            let hop = hop.min(window);
            let ranges: Vec<_> = windows(len, window, hop).collect();
            let mut covered = 0;
            for range in &ranges {
                prop_assert!(range.start <= covered && range.end > covered && range.end <= len);
                prop_assert_eq!(range.len(), window.min(len));
                covered = range.end;
            }
            prop_assert_eq!(covered, len);
        }
    }
}
