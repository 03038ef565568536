//! Any sample format and channel layout to mono f32.

use ffmpeg_next::format::sample::Sample;
use ffmpeg_next::frame;

/// A mix this much quieter (in power) than its loudest channel was cancelled out on purpose.
const CANCELLED: f32 = 0.02;

/// Writes one mono sample (-1.0 to 1.0) per sample of `source` into `mono`. `None` when the frame
/// does not hold what it claims.
///
/// Channels are averaged, surround channels as a stereo player mixes them. Channels in opposite
/// phase would vanish in the average while listeners hear them well: then the loudest channel
/// stands for all.
pub(super) fn mixdown(source: &frame::Audio, mono: &mut Vec<f32>) -> Option<()> {
    mono.clear();
    let channels = usize::from(source.channels());
    let samples = source.samples();
    if channels == 0 || samples == 0 {
        return (samples == 0).then_some(());
    }
    let weights = weights(channels);
    mono.resize(samples, 0.0);
    let mut loudest = (0.0, 0);
    for (channel, weight) in weights.iter().enumerate() {
        let mut power = 0.0;
        each(source, channel, channels, |index, value| {
            mono[index] += value * weight;
            power += value * value;
        })?;
        if power > loudest.0 {
            loudest = (power, channel);
        }
    }
    let mixed: f32 = mono.iter().map(|value| value * value).sum();
    if channels > 1 && mixed < loudest.0 * CANCELLED / channels as f32 {
        each(source, loudest.1, channels, |index, value| {
            mono[index] = value;
        })?;
    }
    for value in mono.iter_mut() {
        *value = value.clamp(-1.0, 1.0);
    }
    Some(())
}

/// What each channel contributes, in libav's channel order.
fn weights(channels: usize) -> Vec<f32> {
    match channels {
        // FL FR FC LFE, then the surround channels. Speech is in the centre and must stay loud;
        // that all channels are loud and in phase is rare, and then clipped.
        6..=8 => [0.354, 0.354, 0.5, 0.0, 0.25, 0.25, 0.25, 0.25][..channels].to_vec(),
        _ => vec![1.0 / channels as f32; channels],
    }
}

/// Calls `take(index, value)` for every sample of one channel, -1.0 to 1.0.
fn each(
    source: &frame::Audio,
    channel: usize,
    channels: usize,
    mut take: impl FnMut(usize, f32),
) -> Option<()> {
    let (plane, offset, step) = if source.is_planar() {
        (channel, 0, 1)
    } else {
        (0, channel, channels)
    };
    if plane >= source.planes() {
        return None;
    }
    let bytes = source.data(plane);
    let samples = source.samples();
    macro_rules! read {
        ($type:ty, $convert:expr) => {{
            const SIZE: usize = size_of::<$type>();
            let convert: fn($type) -> f32 = $convert;
            let bytes = bytes.get(..samples * step * SIZE)?;
            let mut values = bytes.chunks_exact(SIZE).skip(offset).step_by(step);
            for index in 0..samples {
                let raw = values.next()?.try_into().ok()?;
                let value = convert(<$type>::from_ne_bytes(raw));
                take(index, if value.is_finite() { value } else { 0.0 });
            }
        }};
    }
    match source.format() {
        Sample::U8(_) => read!(u8, |v| (f32::from(v) - 128.0) / 128.0),
        Sample::I16(_) => read!(i16, |v| f32::from(v) / 32_768.0),
        Sample::I32(_) => read!(i32, |v| v as f32 / 2_147_483_648.0),
        Sample::I64(_) => read!(i64, |v| (v as f64 / 9.223_372_036_854_776e18) as f32),
        Sample::F32(_) => read!(f32, |v| v),
        Sample::F64(_) => read!(f64, |v| v as f32),
        Sample::None => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ffmpeg_next::ChannelLayout;
    use ffmpeg_next::format::sample::Type;

    fn stereo(kind: Type, pairs: &[(f32, f32)]) -> frame::Audio {
        let mut audio = frame::Audio::new(Sample::F32(kind), pairs.len(), ChannelLayout::STEREO);
        for (index, (left, right)) in pairs.iter().enumerate() {
            let mut put = |plane: usize, at: usize, value: f32| {
                audio.data_mut(plane)[at * 4..at * 4 + 4].copy_from_slice(&value.to_ne_bytes());
            };
            if kind == Type::Planar {
                put(0, index, *left);
                put(1, index, *right);
            } else {
                put(0, index * 2, *left);
                put(0, index * 2 + 1, *right);
            }
        }
        audio
    }

    #[test]
    fn planar_and_packed_mean_the_same() {
        let pairs = [(0.5, 0.1), (-0.5, -0.3), (1.0, 1.0), (3.0, 3.0)];
        let mut mono = Vec::new();
        for kind in [Type::Planar, Type::Packed] {
            mixdown(&stereo(kind, &pairs), &mut mono).unwrap();
            assert_eq!(mono.len(), 4);
            for (got, want) in mono.iter().zip([0.3, -0.4, 1.0, 1.0]) {
                assert!((got - want).abs() < 1e-6, "{mono:?}");
            }
        }
    }

    #[test]
    fn opposite_phase_does_not_silence_the_mix() {
        let pairs: Vec<(f32, f32)> = (0..480)
            .map(|i| (i as f32 * 0.1).sin() * 0.6)
            .map(|v| (v, -v))
            .collect();
        let mut mono = Vec::new();
        mixdown(&stereo(Type::Planar, &pairs), &mut mono).unwrap();
        assert!(mono.iter().any(|v| v.abs() > 0.5));
    }

    #[test]
    fn broken_samples_become_silence() {
        let mut mono = Vec::new();
        let pairs = [(f32::NAN, f32::INFINITY), (0.2, 0.2)];
        mixdown(&stereo(Type::Packed, &pairs), &mut mono).unwrap();
        assert_eq!(mono[0], 0.0);
        assert!((mono[1] - 0.2).abs() < 1e-6);
    }

    #[test]
    fn every_channel_but_the_bass_is_heard() {
        for channels in 1..20 {
            let weights = weights(channels);
            assert_eq!(weights.len(), channels);
            let silent = weights.iter().filter(|weight| **weight == 0.0).count();
            assert_eq!(silent, usize::from((6..=8).contains(&channels)));
        }
    }
}
