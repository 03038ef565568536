//! A picture in a few bytes, to tell whether it is worth the networks' time.

use novastream_features::{
    pdq::{PdqHash, pdq},
    picture::RgbImage,
};
use serde::{Deserialize, Serialize};

/// Size of the reduced picture.
const WIDTH: usize = 128;
const HEIGHT: usize = 72;
/// Cells of the reduced picture in one block.
const BLOCK: usize = 4;
const COLUMNS: usize = WIDTH / BLOCK;
const ROWS: usize = HEIGHT / BLOCK;
/// Samples of the picture in one cell, along each side.
const SAMPLES: usize = 4;
/// Difference of a channel's mean over a block (of 255) from which the block counts as changed.
const CHANGED: u8 = 6;
/// Changed blocks (of 576) up to which a picture is near-identical: a clock or a pointer moves, a
/// face does not.
const MAX_CHANGED: usize = 6;
/// Hashes of lower quality mean nothing; the blocks decide alone.
const MIN_QUALITY: u8 = 50;

/// The perceptual hash of a reduced picture, and the mean colour of 32 × 18 blocks: the hash sees
/// what the picture shows as a whole, the blocks see a small inset that changes within it.
///
/// The hash is not the one that blocklists hold, which is taken from the whole picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sketch {
    #[serde(with = "hex::serde")]
    hash: [u8; 32],
    quality: u8,
    #[serde(with = "hex::serde")]
    blocks: Vec<u8>,
}

impl Sketch {
    /// Costs a fraction of a millisecond, whatever the picture's size.
    pub(crate) fn of(image: &RgbImage) -> Self {
        let small = reduced(image);
        let hashed = pdq(&small);
        let mut blocks = Vec::with_capacity(COLUMNS * ROWS * 3);
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let mut sum = [0u32; 3];
                for y in row * BLOCK..(row + 1) * BLOCK {
                    let line = &small.data[(y * WIDTH + column * BLOCK) * 3..][..BLOCK * 3];
                    for pixel in line.as_chunks::<3>().0 {
                        for (total, value) in sum.iter_mut().zip(pixel) {
                            *total += u32::from(*value);
                        }
                    }
                }
                blocks.extend(sum.map(|s| (s / (BLOCK * BLOCK) as u32) as u8));
            }
        }
        Self {
            hash: hashed.hash.0,
            quality: hashed.quality,
            blocks,
        }
    }

    /// A few bits of the hash and of the blocks.
    pub(crate) fn digest(&self) -> u64 {
        let bytes = self.hash.iter().chain(&self.blocks);
        bytes.fold(0xCBF2_9CE4_8422_2325, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        })
    }

    /// Whether the two show the same, up to `bits` of the hash.
    pub(crate) fn near(&self, other: &Self, bits: u32) -> bool {
        if self.blocks.len() != other.blocks.len() {
            return false;
        }
        let pairs = self.blocks.as_chunks::<3>().0.iter();
        let changed = pairs
            .zip(other.blocks.as_chunks::<3>().0)
            .filter(|(a, b)| a.iter().zip(*b).any(|(x, y)| x.abs_diff(*y) >= CHANGED))
            .count();
        let telling = self.quality.min(other.quality) >= MIN_QUALITY;
        let distance = PdqHash(self.hash).distance(&PdqHash(other.hash));
        changed <= MAX_CHANGED && (!telling || distance <= bits)
    }
}

/// The picture in 128 × 72, each cell the mean of sixteen samples.
fn reduced(image: &RgbImage) -> RgbImage {
    let (w, h) = (image.width as usize, image.height as usize);
    let places = |cells: usize, length: usize| -> Vec<usize> {
        let samples = cells * SAMPLES;
        (0..samples)
            .map(|i| ((2 * i + 1) * length / (2 * samples)).min(length - 1))
            .collect()
    };
    let columns: Vec<usize> = places(WIDTH, w).into_iter().map(|x| x * 3).collect();
    let rows = places(HEIGHT, h);
    let mut data = Vec::with_capacity(WIDTH * HEIGHT * 3);
    let mut sums = vec![[0u16; 3]; WIDTH];
    for lines in rows.as_chunks::<SAMPLES>().0 {
        sums.fill([0; 3]);
        for y in lines {
            let line = &image.data[y * w * 3..][..w * 3];
            for (sum, places) in sums.iter_mut().zip(columns.as_chunks::<SAMPLES>().0) {
                for x in places {
                    for (total, value) in sum.iter_mut().zip(&line[*x..*x + 3]) {
                        *total += u16::from(*value);
                    }
                }
            }
        }
        let cells = sums.iter().flatten();
        data.extend(cells.map(|s| (s / (SAMPLES * SAMPLES) as u16) as u8));
    }
    RgbImage {
        width: WIDTH as u32,
        height: HEIGHT as u32,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(shift: usize) -> RgbImage {
        let (w, h) = (640usize, 360usize);
        let data = (0..w * h)
            .flat_map(|i| {
                let (x, y) = ((i % w + shift) / 37, i / w / 29);
                let block = (x * 71 + y * 113 + x * y * 17) % 230;
                [block as u8, (block / 2) as u8, (255 - block) as u8]
            })
            .collect();
        RgbImage::new(640, 360, data).unwrap()
    }

    fn fill(image: &mut RgbImage, area: [usize; 4], value: [u8; 3]) {
        for y in area[1]..area[3] {
            for x in area[0]..area[2] {
                let at = (y * image.width as usize + x) * 3;
                image.data[at..at + 3].copy_from_slice(&value);
            }
        }
    }

    #[test]
    fn noise_and_a_pointer_are_near_and_another_scene_is_not() {
        let one = scene(0);
        let sketch = Sketch::of(&one);
        let mut noisy = one.clone();
        for (i, value) in noisy.data.iter_mut().enumerate() {
            *value = value.saturating_add_signed([2i8, -2, 1, -1, 0][i % 5]);
        }
        fill(&mut noisy, [300, 200, 312, 216], [255, 255, 255]);
        assert!(sketch.near(&Sketch::of(&noisy), 12));
        assert!(!sketch.near(&Sketch::of(&scene(120)), 12));
    }

    #[test]
    fn an_inset_that_changes_is_not_near() {
        let one = scene(0);
        let mut other = one.clone();
        // An eighth of each side: a camera picture in a corner.
        fill(&mut other, [550, 300, 630, 345], [200, 160, 140]);
        assert!(!Sketch::of(&one).near(&Sketch::of(&other), 64));
    }

    #[test]
    fn a_colour_of_equal_brightness_is_seen() {
        let flat = |rgb: [u8; 3]| RgbImage::new(64, 64, rgb.repeat(64 * 64)).unwrap();
        let (red, green) = (flat([150, 50, 50]), flat([50, 101, 50]));
        assert!(!Sketch::of(&red).near(&Sketch::of(&green), 256));
        assert!(Sketch::of(&red).near(&Sketch::of(&red), 0));
    }

    #[test]
    fn any_size_works_and_json_keeps_it() {
        for (w, h) in [(1, 1), (3, 500), (500, 3), (129, 73)] {
            let image = RgbImage::new(w, h, vec![90; (w * h * 3) as usize]).unwrap();
            let sketch = Sketch::of(&image);
            assert!(sketch.blocks.iter().all(|v| *v == 90));
            let json = serde_json::to_string(&sketch).unwrap();
            assert_eq!(serde_json::from_str::<Sketch>(&json).unwrap(), sketch);
        }
    }
}
