//! Clips as files: a preview that shows little, and the original.

use novastream_features::media::SAMPLE_RATE;
use novastream_features::picture::{ImageError, RgbImage};

use super::blur::{blurred, loudness};

const PREVIEW_QUALITY: u8 = 75;
const PICTURE_QUALITY: u8 = 85;

/// What was taken over from a verdict.
#[derive(Debug)]
pub enum Content {
    /// A sampled frame, or a picture as it was sent.
    Picture(RgbImage),
    /// Mono at [`SAMPLE_RATE`].
    Sound(Vec<f32>),
}

/// The two files of a clip.
#[derive(Debug)]
pub struct Files {
    /// JPEG: the picture blurred, or how loud the sound is.
    pub preview: Vec<u8>,
    /// JPEG or WAV: what was judged.
    pub original: Vec<u8>,
    /// Whether the original is sound.
    pub sound: bool,
}

/// Encodes a clip.
///
/// # Errors
/// A picture that cannot be encoded.
pub fn files(content: &Content) -> Result<Files, ImageError> {
    let (small, original, sound) = match content {
        Content::Picture(image) => (blurred(image)?, image.encode_jpeg(PICTURE_QUALITY)?, false),
        Content::Sound(samples) => (loudness(samples)?, wave(samples), true),
    };
    Ok(Files {
        preview: small.encode_jpeg(PREVIEW_QUALITY)?,
        original,
        sound,
    })
}

/// 16-bit mono PCM in a RIFF container.
fn wave(samples: &[f32]) -> Vec<u8> {
    // Half a minute at most; saturation only keeps the arithmetic honest.
    let bytes = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(44 + samples.len() * 2);
    out.extend(b"RIFF");
    out.extend(bytes.saturating_add(36).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    out.extend([1, 0, 1, 0]);
    out.extend(SAMPLE_RATE.to_le_bytes());
    out.extend((SAMPLE_RATE * 2).to_le_bytes());
    // Two bytes a sample, sixteen bits.
    out.extend([2, 0, 16, 0]);
    out.extend(b"data");
    out.extend(bytes.to_le_bytes());
    for sample in samples {
        let value = (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16;
        out.extend(value.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use novastream_features::picture::{ImageLimits, decode_image};
    use proptest::prelude::*;

    use super::*;

    fn number(bytes: &[u8]) -> u32 {
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    proptest! {
        #[test]
        fn sound_comes_back_to_a_part_in_thirty_thousand(
            samples in proptest::collection::vec(-1.5_f32..1.5, 0..2000),
        ) {
            let out = wave(&samples);
            prop_assert_eq!((&out[..4], &out[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
            prop_assert_eq!(number(&out[4..8]) as usize, out.len() - 8);
            prop_assert_eq!(number(&out[24..28]), SAMPLE_RATE);
            prop_assert_eq!(number(&out[40..44]) as usize, samples.len() * 2);
            for (value, sample) in out[44..].chunks_exact(2).zip(&samples) {
                let value = f32::from(i16::from_le_bytes([value[0], value[1]])) / 32_767.0;
                prop_assert!((value - sample.clamp(-1.0, 1.0)).abs() < 1.0 / 30_000.0);
            }
        }
    }

    #[test]
    fn a_clip_has_a_preview_and_an_original() {
        let data = (0..200 * 100).flat_map(|i| if i % 4 < 2 { [250; 3] } else { [5; 3] });
        let picture = RgbImage::new(200, 100, data.collect()).unwrap();
        let pictured = files(&Content::Picture(picture)).unwrap();
        let heard = files(&Content::Sound(vec![0.5; 1600])).unwrap();
        assert!(!pictured.sound && heard.sound);
        let contrast = |bytes: &[u8]| {
            let image = decode_image(bytes, &ImageLimits::default()).unwrap();
            image.data.iter().max().unwrap() - image.data.iter().min().unwrap()
        };
        assert!(contrast(&pictured.original) > 150 && contrast(&pictured.preview) < 40);
        assert!(
            contrast(&heard.preview) > 100,
            "the preview of a sound is a picture too"
        );
        assert_eq!(
            (&heard.original[..4], heard.original.len()),
            (&b"RIFF"[..], 44 + 3200)
        );
    }
}
