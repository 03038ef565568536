//! What our own sound network looks at: YAMNet's bands, longer and coarser in time.

use super::LogMel;

/// Frames of one window.
pub const NET_FRAMES: usize = 128;
/// Samples from one frame to the next: 20 ms at 16 kHz.
pub const NET_HOP: usize = 320;
/// Samples of one window, 2.565 s at 16 kHz.
pub const NET_WINDOW: usize = (NET_FRAMES - 1) * NET_HOP + 400;
/// Samples from one window to the next: 1.28 s at 16 kHz.
pub const NET_STEP: usize = 20_480;

/// Appends the log-mel spectrum of one window to `out`: [`NET_FRAMES`] frames of 64 bands.
/// Samples that are missing at the end count as silence.
pub fn net_window(mel: &LogMel, samples: &[f32], out: &mut Vec<f32>) {
    let samples = &samples[..samples.len().min(NET_WINDOW)];
    mel.frames(samples, NET_HOP, NET_FRAMES, out);
}

#[cfg(test)]
mod tests {
    use super::super::YAMNET_BANDS;
    use super::*;

    #[test]
    fn every_other_frame_is_one_of_yamnets() {
        let mel = LogMel::yamnet();
        let samples: Vec<f32> = (0..60_000)
            .map(|i| (i as f32 * 0.01 * (1.0 + i as f32 * 1e-5)).sin() * 0.4)
            .collect();
        let (mut ours, mut fine) = (Vec::new(), Vec::new());
        net_window(&mel, &samples, &mut ours);
        mel.frames(&samples, NET_HOP / 2, 2 * NET_FRAMES, &mut fine);
        assert_eq!(ours.len(), NET_FRAMES * YAMNET_BANDS);
        for (i, frame) in ours.chunks_exact(YAMNET_BANDS).enumerate() {
            assert_eq!(frame, &fine[2 * i * YAMNET_BANDS..][..YAMNET_BANDS]);
        }
    }
}
