//! Encoded picture to [`RgbImage`], within limits that are checked before any pixel is decoded.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{ImageError, RgbImage};

/// Bounds on what [`decode_image`] accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Largest encoded size in bytes (default 32 MiB).
    pub max_bytes: usize,
    /// Largest width × height (default 40 million).
    pub max_pixels: u64,
    /// Most memory in bytes that the decoder may ask for (default 512 MiB).
    pub max_alloc: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            max_bytes: 32 << 20,
            max_pixels: 40_000_000,
            max_alloc: 512 << 20,
        }
    }
}

/// Decodes a JPEG, PNG, WebP, GIF or BMP (of an animation the first picture), turns it upright by
/// its EXIF orientation and lays transparent pixels over white, as a viewer shows them.
///
/// # Errors
/// [`ImageError`]: empty, unknown format, over a limit (by its header, before decoding), damaged.
pub fn decode_image(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(ImageError::TooManyBytes {
            bytes: bytes.len(),
            limit: limits.max_bytes,
        });
    }
    let format = image::guess_format(bytes).map_err(|_| ImageError::UnsupportedFormat)?;
    if !matches!(
        format,
        ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Gif
            | ImageFormat::Bmp
    ) {
        return Err(ImageError::UnsupportedFormat);
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut bounds = Limits::no_limits();
    bounds.max_alloc = Some(limits.max_alloc);
    reader.limits(bounds);
    let mut decoder = reader.into_decoder().map_err(|error| corrupt(&error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(ImageError::TooLarge {
            width,
            height,
            limit: limits.max_pixels,
        });
    }
    // A damaged EXIF block is no reason to refuse the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| corrupt(&error))?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let data = if picture.color().has_alpha() {
        over_white(&picture)
    } else {
        picture.into_rgb8().into_raw()
    };
    RgbImage::new(width, height, data)
}

fn corrupt(error: &image::ImageError) -> ImageError {
    ImageError::Corrupt {
        message: error.to_string(),
    }
}

/// Dropping the alpha channel instead would let a sender hide a picture in it.
fn over_white(picture: &DynamicImage) -> Vec<u8> {
    let rgba = picture.to_rgba8();
    let mut data = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        let alpha = u32::from(pixel[3]);
        for &value in &pixel[..3] {
            data.push(((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    fn png(width: u32, height: u32, data: &[u8], color: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(data, width, height, color)
            .unwrap();
        bytes
    }

    #[test]
    fn png_pixels_come_back_unchanged() {
        let data: Vec<u8> = (0..7u8 * 5 * 3).collect();
        let bytes = png(7, 5, &data, ExtendedColorType::Rgb8);
        let image = decode_image(&bytes, &ImageLimits::default()).unwrap();
        assert_eq!((image.width, image.height, image.data), (7, 5, data));
    }

    #[test]
    fn what_hides_in_the_alpha_channel_becomes_visible() {
        // Black everywhere; only the alpha channel draws.
        let bytes = png(2, 1, &[0, 0, 0, 255, 0, 0, 0, 0], ExtendedColorType::Rgba8);
        let image = decode_image(&bytes, &ImageLimits::default()).unwrap();
        assert_eq!(image.data, [0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn limits_are_checked_on_the_header() {
        // A real 1x1 picture whose header claims 30000x30000: if it were decoded the error would
        // be another one, after 2.7 GB.
        let mut bytes = png(1, 1, &[1, 2, 3], ExtendedColorType::Rgb8);
        bytes[16..20].copy_from_slice(&30_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&30_000u32.to_be_bytes());
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = decode_image(&bytes, &ImageLimits::default()).unwrap_err();
        assert_eq!(
            error,
            ImageError::TooLarge {
                width: 30_000,
                height: 30_000,
                limit: 40_000_000
            }
        );
        let small = ImageLimits {
            max_bytes: 10,
            ..ImageLimits::default()
        };
        assert_eq!(
            decode_image(&bytes, &small).unwrap_err().code(),
            "image_too_large"
        );
    }

    #[test]
    fn damaged_input_is_an_error_and_never_a_panic() {
        let limits = ImageLimits::default();
        assert_eq!(decode_image(&[], &limits), Err(ImageError::Empty));
        assert_eq!(
            decode_image(b"hello, this is text", &limits),
            Err(ImageError::UnsupportedFormat)
        );
        let data: Vec<u8> = (0..32u32 * 32 * 3).map(|i| (i * 7) as u8).collect();
        let image = RgbImage::new(32, 32, data.clone()).unwrap();
        for whole in [
            png(32, 32, &data, ExtendedColorType::Rgb8),
            image.encode_jpeg(80).unwrap(),
        ] {
            for cut in (0..whole.len()).step_by(7) {
                // A JPEG cut late may still give a picture; it must then have its full size.
                if let Ok(part) = decode_image(&whole[..cut], &limits) {
                    assert_eq!((part.width, part.height), (32, 32));
                }
                let mut flipped = whole.clone();
                flipped[cut] ^= 0x55;
                let _ = decode_image(&flipped, &limits);
            }
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    }
}
