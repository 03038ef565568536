//! Mono resampling by swresample, straight from and into slices.
#![allow(unsafe_code, reason = "ffmpeg-next resamples frames only")]

use std::ptr;

use ffmpeg_next::format::sample::{Sample, Type};
use ffmpeg_next::software::resampling::Context;
use ffmpeg_next::{ChannelLayout, Error, ffi};

/// Converts mono f32 from one rate to another.
pub(in crate::media) struct Resampler {
    context: Context,
    from: u32,
    to: u32,
}

impl Resampler {
    pub(in crate::media) fn new(from: u32, to: u32) -> Result<Self, Error> {
        let format = Sample::F32(Type::Packed);
        let mono = ChannelLayout::MONO;
        let context = Context::get(format, mono, from, format, mono, to)?;
        Ok(Self { context, from, to })
    }

    /// The source rate in Hz.
    pub(in crate::media) fn from(&self) -> u32 {
        self.from
    }

    /// Appends what `input` gives to `out`; some samples stay inside until more follow.
    pub(in crate::media) fn push(&mut self, input: &[f32], out: &mut Vec<f32>) {
        self.convert(input.as_ptr(), input.len(), out);
    }

    /// Appends the samples that are still inside.
    pub(in crate::media) fn flush(&mut self, out: &mut Vec<f32>) {
        self.convert(ptr::null(), 0, out);
    }

    fn convert(&mut self, input: *const f32, count: usize, out: &mut Vec<f32>) {
        let start = out.len();
        let Ok(in_count) = i32::try_from(count) else {
            return;
        };
        // SAFETY: `input` is null (flush) or points to `count` samples; `out` has `room` writable
        // samples after `start`; both formats are packed mono f32, one plane each.
        unsafe {
            let inside = ffi::swr_get_delay(self.context.as_mut_ptr(), i64::from(self.to)).max(0);
            let fresh = (count as u64 * u64::from(self.to)).div_ceil(u64::from(self.from));
            let room = inside as usize + fresh as usize + 256;
            out.resize(start + room, 0.0);
            let mut target = out.as_mut_ptr().add(start).cast::<u8>();
            let mut source = input.cast::<u8>();
            let source = if input.is_null() {
                ptr::null_mut()
            } else {
                &raw mut source
            };
            let written = ffi::swr_convert(
                self.context.as_mut_ptr(),
                &raw mut target,
                room as i32,
                source,
                in_count,
            );
            let written = usize::try_from(written).unwrap_or(0).min(room);
            out.truncate(start + written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_length_and_frequency() {
        for rate in [8_000u32, 11_025, 22_050, 44_100, 48_000, 96_000] {
            let mut resampler = Resampler::new(rate, 16_000).unwrap();
            let tone: Vec<f32> = (0..rate)
                .map(|i| (i as f32 / rate as f32 * 440.0 * std::f32::consts::TAU).sin() * 0.5)
                .collect();
            let mut out = Vec::new();
            for part in tone.chunks(1001) {
                resampler.push(part, &mut out);
            }
            resampler.flush(&mut out);
            assert!(out.len().abs_diff(16_000) < 40, "{rate}: {}", out.len());
            let crossings = out.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
            assert!(crossings.abs_diff(440) <= 2, "{rate}: {crossings}");
        }
    }
}
