//! PDQ, the perceptual hash of the media blocklist.
//!
//! The method is the one that Facebook published in 2019 ("The TMK+PDQF Video-Hashing Algorithm and
//! the PDQ Image-Hashing Algorithm", and the reference sources in `ThreatExchange`): luma, two
//! passes of a box filter along both axes, 64 × 64 samples, a 16 × 16 corner of its cosine
//! transform, each bit telling whether a coefficient is above their median. Pictures that look the
//! same have hashes at a small Hamming distance (31 of 256 bits is the usual threshold).
//!
//! The arithmetic follows the reference operation by operation, so that a list hashed with any
//! reference build matches here bit for bit; see `tests/media_pdq.rs`.

mod filter;
mod hash;
mod transform;

pub use hash::{ParsePdqHashError, PdqHash};

use crate::picture::RgbImage;

/// Pictures with a shorter side have no usable hash.
const MIN_SIDE: u32 = 5;

/// The hash of a picture and how much there was to hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PdqResult {
    /// The 256-bit hash.
    pub hash: PdqHash,
    /// 0 (a flat picture: its hash means nothing) to 100. Matches below 50 should be ignored.
    pub quality: u8,
}

/// Hashes a picture. A picture with a side below 5 pixels has hash 0 and quality 0.
///
/// The cost grows with the number of pixels: a large picture may be shrunk to about 512 pixels
/// first (with [`crate::picture::resize_area`]) at a cost of a few bits of distance.
pub fn pdq(img: &RgbImage) -> PdqResult {
    let (width, height) = (img.width as usize, img.height as usize);
    if img.width < MIN_SIDE || img.height < MIN_SIDE {
        return PdqResult {
            hash: PdqHash([0; 32]),
            quality: 0,
        };
    }
    let mut luma = luma(&img.data);
    let mut samples = [[0.0f32; 64]; 64];
    if (width, height) == (64, 64) {
        for (row, line) in samples.iter_mut().zip(luma.chunks_exact(64)) {
            row.copy_from_slice(line);
        }
    } else {
        filter::tent(&mut luma, width, height);
        for (i, row) in samples.iter_mut().enumerate() {
            let y = (2 * i + 1) * height / 128;
            for (j, sample) in row.iter_mut().enumerate() {
                *sample = luma[y * width + (2 * j + 1) * width / 128];
            }
        }
    }
    PdqResult {
        hash: PdqHash(transform::bits(&transform::dct_corner(&samples))),
        quality: quality(&samples),
    }
}

/// In double precision and rounded once, as the reference binding does it.
fn luma(rgb: &[u8]) -> Vec<f32> {
    rgb.chunks_exact(3)
        .map(|pixel| {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
            (r * 0.299 + g * 0.587 + b * 0.114) as f32
        })
        .collect()
}

/// The sum of significant gradients between neighbours, scaled by a constant of the reference.
fn quality(samples: &[[f32; 64]; 64]) -> u8 {
    let step = |u: f32, v: f32| (((u - v) * 100.0) / 255.0) as i32;
    let mut sum = 0;
    for i in 0..64 {
        for j in 0..64 {
            if i < 63 {
                sum += step(samples[i][j], samples[i + 1][j]).abs();
            }
            if j < 63 {
                sum += step(samples[i][j], samples[i][j + 1]).abs();
            }
        }
    }
    (sum / 90).clamp(0, 100) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{ImageLimits, resize_area};

    fn scene(width: u32, height: u32) -> RgbImage {
        let mut data = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
                // A field of blocks, each of its own brightness, with a wave over it.
                let block = (u * 13.0) as u32 * 71 + (v * 9.0) as u32 * 37;
                let wave = ((u * 9.0).sin() * (v * 7.0 + u * 3.0).cos() + 1.0) * 60.0;
                let grey = (block % 130) as f32 + wave;
                data.extend([grey as u8, (u * 255.0) as u8, ((1.0 - v) * grey) as u8]);
            }
        }
        RgbImage::new(width, height, data).unwrap()
    }

    #[test]
    fn a_resized_and_re_encoded_picture_stays_close() {
        let image = scene(400, 300);
        let original = pdq(&image);
        assert!(original.quality >= 50, "{}", original.quality);
        let small = resize_area(&image, 213, 160);
        let jpeg = small.encode_jpeg(60).unwrap();
        let again = crate::picture::decode_image(&jpeg, &ImageLimits::default()).unwrap();
        let distance = original.hash.distance(&pdq(&again).hash);
        assert!(distance <= 31, "distance {distance}");
    }

    #[test]
    fn a_flat_picture_has_no_quality() {
        let flat = RgbImage::new(90, 70, vec![120; 90 * 70 * 3]).unwrap();
        assert_eq!(pdq(&flat).quality, 0);
    }

    #[test]
    fn a_tiny_picture_has_no_hash() {
        let tiny = RgbImage::new(4, 200, vec![9; 4 * 200 * 3]).unwrap();
        assert_eq!(pdq(&tiny).hash, PdqHash([0; 32]));
        // Just large enough, and any shape: must not panic.
        for (width, height) in [(5, 5), (5, 700), (700, 5), (63, 65), (129, 127)] {
            let _ = pdq(&scene(width, height));
        }
    }
}
