//! Still pictures: the packed RGB buffer every visual model starts from, and its resizing.

mod decode;
mod resize;

pub use decode::{ImageLimits, decode_image};
pub use resize::{resize_area, resize_bilinear_align_corners};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Why a picture could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No bytes were given.
    #[error("the picture is empty")]
    Empty,
    /// Neither JPEG, PNG, WebP, GIF nor BMP.
    #[error("not a JPEG, PNG, WebP, GIF or BMP picture")]
    UnsupportedFormat,
    /// The encoded file is larger than [`ImageLimits::max_bytes`].
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooManyBytes {
        /// Size of the encoded picture.
        bytes: usize,
        /// The limit that it exceeds.
        limit: usize,
    },
    /// The header claims more pixels than [`ImageLimits::max_pixels`].
    #[error("{width}x{height} pixels are more than the limit of {limit}")]
    TooLarge {
        /// Claimed width in pixels.
        width: u32,
        /// Claimed height in pixels.
        height: u32,
        /// The limit that their product exceeds.
        limit: u64,
    },
    /// The format is known but the data is damaged or needs too much memory.
    #[error("the picture cannot be decoded: {message}")]
    Corrupt {
        /// The decoder's own words.
        message: String,
    },
    /// Width, height and buffer length do not belong together.
    #[error("a {width}x{height} RGB picture does not have {bytes} bytes")]
    Shape {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Length of the buffer that was given.
        bytes: usize,
    },
    /// The encoder failed.
    #[error("the picture cannot be encoded: {message}")]
    Encode {
        /// The encoder's own words.
        message: String,
    },
}

impl ImageError {
    /// The stable, documented name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "image_empty",
            Self::UnsupportedFormat => "image_unsupported_format",
            Self::TooManyBytes { .. } | Self::TooLarge { .. } => "image_too_large",
            Self::Corrupt { .. } => "image_corrupt",
            Self::Shape { .. } => "image_shape",
            Self::Encode { .. } => "image_encode",
        }
    }
}

/// A picture as packed 8-bit RGB, row by row from the top, no padding.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RgbImage({}x{})", self.width, self.height)
    }
}

impl RgbImage {
    /// Wraps a packed RGB buffer.
    ///
    /// # Errors
    /// [`ImageError::Shape`] when a side is 0 or `data` is not `3 * width * height` bytes long.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self, ImageError> {
        let expected = u64::from(width) * u64::from(height) * 3;
        if expected == 0 || expected != data.len() as u64 {
            return Err(ImageError::Shape {
                width,
                height,
                bytes: data.len(),
            });
        }
        Ok(Self {
            width,
            height,
            data,
        })
    }

    /// Number of bytes in one row.
    pub(crate) fn stride(&self) -> usize {
        self.width as usize * 3
    }

    /// The rectangle with its top left corner at `(x, y)`, cut to the picture's borders. The result
    /// is always at least one pixel in size, also when the rectangle lies outside.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Self {
        let left = x.min(self.width - 1);
        let top = y.min(self.height - 1);
        let width = width.clamp(1, self.width - left);
        let height = height.clamp(1, self.height - top);
        let mut data = Vec::with_capacity(width as usize * height as usize * 3);
        let start = left as usize * 3;
        let rows = self.data.chunks_exact(self.stride());
        for row in rows.skip(top as usize).take(height as usize) {
            data.extend_from_slice(&row[start..start + width as usize * 3]);
        }
        Self {
            width,
            height,
            data,
        }
    }

    /// Encodes as baseline JPEG; `quality` is 1 (small) to 100 (close to the original).
    ///
    /// # Errors
    /// [`ImageError::Encode`] when a side exceeds JPEG's 65,535 pixels.
    pub fn encode_jpeg(&self, quality: u8) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100))
            .write_image(&self.data, self.width, self.height, ExtendedColorType::Rgb8)
            .map_err(|error| ImageError::Encode {
                message: error.to_string(),
            })?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: u32, height: u32) -> RgbImage {
        let data = (0..width * height * 3).map(|i| (i % 251) as u8).collect();
        RgbImage::new(width, height, data).unwrap()
    }

    #[test]
    fn a_buffer_of_the_wrong_length_is_refused() {
        assert_eq!(
            RgbImage::new(2, 2, vec![0; 11]).unwrap_err().code(),
            "image_shape"
        );
        assert_eq!(
            RgbImage::new(0, 2, vec![]).unwrap_err().code(),
            "image_shape"
        );
        // The product would wrap a 32-bit integer to zero.
        assert!(RgbImage::new(1 << 16, 1 << 16, vec![]).is_err());
    }

    #[test]
    fn crop_takes_the_named_pixels_and_never_leaves_the_picture() {
        let image = ramp(5, 4);
        let part = image.crop(1, 2, 2, 1);
        assert_eq!((part.width, part.height), (2, 1));
        assert_eq!(part.data, &image.data[2 * 15 + 3..2 * 15 + 9]);
        let outside = image.crop(99, 99, 10, 10);
        assert_eq!((outside.width, outside.height), (1, 1));
        assert_eq!(outside.data, &image.data[image.data.len() - 3..]);
        assert_eq!(image.crop(0, 0, 5, 4), image);
    }

    #[test]
    fn jpeg_round_trip_keeps_a_smooth_picture() {
        let data = (0..64u32 * 48)
            .flat_map(|i| {
                [
                    (i % 64 * 4) as u8,
                    (i / 64 * 5) as u8,
                    (i % 64 + i / 64) as u8,
                ]
            })
            .collect();
        let image = RgbImage::new(64, 48, data).unwrap();
        let again = decode_image(&image.encode_jpeg(95).unwrap(), &ImageLimits::default()).unwrap();
        assert_eq!((again.width, again.height), (64, 48));
        let total: i64 = image
            .data
            .iter()
            .zip(&again.data)
            .map(|(a, b)| i64::from(a.abs_diff(*b)))
            .sum();
        assert!(total / (image.data.len() as i64) < 3, "mean error {total}");
    }
}
