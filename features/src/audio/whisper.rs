//! Whisper's log-mel spectrum (Radford et al. 2022): 30 s at 16 kHz, frames of 25 ms every 10 ms,
//! power spectrum, Slaney's mel bands up to 8 kHz with equal areas, decimal logarithm cut off 8
//! below the highest value and scaled.

use std::f64::consts::TAU;
use std::fmt;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

/// Samples that one spectrum covers: 30 s.
pub const WHISPER_WINDOW: usize = 480_000;
/// Frames of one spectrum.
pub const WHISPER_FRAMES: usize = 3_000;

const FFT: usize = 400;
const HOP: usize = 160;
const BINS: usize = FFT / 2 + 1;

/// Computes spectra of one number of bands. Holds only constants: share one between threads.
#[derive(Clone)]
pub struct WhisperMel {
    fft: Arc<dyn RealToComplex<f64>>,
    hann: Vec<f64>,
    /// One row of [`BINS`] weights a band.
    bands: Vec<Vec<f64>>,
}

impl fmt::Debug for WhisperMel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhisperMel")
            .field("bands", &self.bands.len())
            .finish_non_exhaustive()
    }
}

impl WhisperMel {
    /// A front end of `bands` bands, 80 or 128 for published models.
    pub fn new(bands: usize) -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(FFT);
        let hann = (0..FFT)
            .map(|n| 0.5 - 0.5 * (TAU * n as f64 / FFT as f64).cos())
            .collect();
        Self {
            fft,
            hann,
            bands: mel_bands(bands),
        }
    }

    /// The spectrum of the first [`WHISPER_WINDOW`] samples (16 kHz mono in -1..=1; fewer are
    /// followed by silence): one row of [`WHISPER_FRAMES`] values a band.
    pub fn spectrum(&self, samples: &[f32]) -> Vec<f32> {
        let samples = &samples[..samples.len().min(WHISPER_WINDOW)];
        let mut frame = self.fft.make_input_vec();
        let mut bins = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut out = vec![0.0_f32; self.bands.len() * WHISPER_FRAMES];
        for column in 0..WHISPER_FRAMES {
            for (k, (to, weight)) in frame.iter_mut().zip(&self.hann).enumerate() {
                // Frames are centred; before the first and behind the last sample the sound is
                // mirrored.
                let at = (column * HOP + k) as i64 - (FFT / 2) as i64;
                let last = WHISPER_WINDOW as i64 - 1;
                let at = if at < 0 { -at } else { at };
                let at = if at > last { 2 * last - at } else { at };
                let sample = samples.get(at as usize).copied().unwrap_or(0.0);
                *to = if sample.is_finite() {
                    f64::from(sample) * weight
                } else {
                    0.0
                };
            }
            // Fails only for buffers of other lengths than the plan's own.
            let _ = self
                .fft
                .process_with_scratch(&mut frame, &mut bins, &mut scratch);
            for (band, weights) in self.bands.iter().enumerate() {
                let power: f64 = bins
                    .iter()
                    .zip(weights)
                    .filter(|(_, w)| **w > 0.0)
                    .map(|(bin, w)| bin.norm_sqr() * w)
                    .sum();
                out[band * WHISPER_FRAMES + column] = power.max(1e-10).log10() as f32;
            }
        }
        let floor = out.iter().copied().fold(f32::MIN, f32::max) - 8.0;
        for value in &mut out {
            *value = (value.max(floor) + 4.0) / 4.0;
        }
        out
    }
}

/// Slaney's mel scale: linear up to 1 kHz, logarithmic above.
fn mel(hz: f64) -> f64 {
    if hz < 1000.0 {
        hz * 3.0 / 200.0
    } else {
        15.0 + (hz / 1000.0).ln() * 27.0 / 6.4_f64.ln()
    }
}

fn hz(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * ((mel - 15.0) * 6.4_f64.ln() / 27.0).exp()
    }
}

fn mel_bands(bands: usize) -> Vec<Vec<f64>> {
    let top = f64::from(super::SAMPLE_RATE) / 2.0;
    let edge = |i: usize| hz(mel(top) * i as f64 / (bands + 1) as f64);
    (0..bands)
        .map(|i| {
            let (lower, centre, upper) = (edge(i), edge(i + 1), edge(i + 2));
            // Every band has the same area.
            let height = 2.0 / (upper - lower);
            (0..BINS)
                .map(|bin| {
                    let at = bin as f64 * top / (BINS - 1) as f64;
                    let rising = (at - lower) / (centre - lower);
                    let falling = (upper - at) / (upper - centre);
                    rising.min(falling).max(0.0) * height
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_stands_in_its_band_and_silence_is_flat() {
        let mel = WhisperMel::new(80);
        let tone: Vec<f32> = (0..16_000)
            .map(|i| (i as f32 / 16_000.0 * std::f32::consts::TAU * 1000.0).sin() * 0.5)
            .collect();
        let spectrum = mel.spectrum(&tone);
        assert_eq!(spectrum.len(), 80 * WHISPER_FRAMES);
        let column = |at: usize| -> Vec<f32> {
            (0..80).map(|b| spectrum[b * WHISPER_FRAMES + at]).collect()
        };
        let heard = column(50);
        let top = (0..80)
            .max_by(|a, b| heard[*a].total_cmp(&heard[*b]))
            .unwrap();
        // 1 kHz is 15 mel of 45.245; bands are spaced by 45.245 / 81.
        assert!((25..=27).contains(&top), "{top}");
        let quiet = column(2000);
        assert!(quiet.iter().all(|v| (v - quiet[0]).abs() < 1e-6));
        assert!(heard[top] - quiet[0] > 1.9);
        let nothing = mel.spectrum(&[]);
        assert!(nothing.iter().all(|v| (v + 1.5).abs() < 1e-6));
    }

    #[test]
    fn the_scale_is_slaneys() {
        assert!((mel(1000.0) - 15.0).abs() < 1e-12);
        assert!((mel(6400.0) - 42.0).abs() < 1e-9);
        for f in [0.0, 440.0, 1000.0, 7999.0] {
            assert!((hz(mel(f)) - f).abs() < 1e-6);
        }
        // librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)[0, 1]
        let bands = mel_bands(80);
        assert!((bands[0][1] - 0.024_862_59).abs() < 1e-6, "{}", bands[0][1]);
    }
}
