//! Whether a picture changed enough to be read again, and where.
//!
//! A perceptual hash of the whole picture does not move when a line of text appears in a corner,
//! so the comparison is local: luma is averaged into 160 × 90 cells, and blocks of 4 × 3 cells are
//! compared by their mean absolute difference. A cell of a 720p frame is 8 × 8 pixels; a line of
//! 18-pixel text fills at least half of every block that it crosses.

use novastream_features::picture::RgbImage;
use serde::{Deserialize, Serialize};

const WIDTH: usize = 160;
const HEIGHT: usize = 90;
const BLOCK_WIDTH: usize = 4;
const BLOCK_HEIGHT: usize = 3;
const COLUMNS: usize = WIDTH / BLOCK_WIDTH;
const ROWS: usize = HEIGHT / BLOCK_HEIGHT;

/// Mean absolute luma difference (of 255) from which a block counts as changed. Re-encoding noise
/// stays below 2 after averaging 64 pixels to a cell; grey text on a grey ground is above 5.
const CHANGED: u32 = 5;

/// Luma of a frame in 160 × 90 cells, 0 to 255, row-major.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Thumbnail {
    #[serde(with = "hex::serde")]
    luma: Vec<u8>,
}

impl Thumbnail {
    /// Averages the frame's luma (BT.601) into cells.
    pub(crate) fn of(image: &RgbImage) -> Self {
        let (w, h) = (image.width as usize, image.height as usize);
        let mut luma = vec![0u8; WIDTH * HEIGHT];
        for (y, row) in luma.chunks_exact_mut(WIDTH).enumerate() {
            let rows = span(y, HEIGHT, h);
            for (x, cell) in row.iter_mut().enumerate() {
                let columns = span(x, WIDTH, w);
                let (mut sums, mut count) = ([0u64; 3], 0u64);
                for source_y in rows.clone() {
                    let line =
                        &image.data[(source_y * w + columns.start) * 3..][..columns.len() * 3];
                    let mut of_line = [0u32; 3];
                    for p in line.as_chunks::<3>().0 {
                        for (sum, value) in of_line.iter_mut().zip(p) {
                            *sum += u32::from(*value);
                        }
                    }
                    for (sum, value) in sums.iter_mut().zip(of_line) {
                        *sum += u64::from(value);
                    }
                    count += columns.len() as u64;
                }
                let sum = 299 * sums[0] + 587 * sums[1] + 114 * sums[2];
                *cell = (sum / (1000 * count.max(1))) as u8;
            }
        }
        Self { luma }
    }

    /// The cells.
    pub(crate) fn luma(&self) -> &[u8] {
        &self.luma
    }

    /// Which blocks differ from `earlier`. A thumbnail of the wrong size (from a damaged history)
    /// differs everywhere.
    pub(crate) fn changes(&self, earlier: Option<&Self>) -> Changes {
        let Some(earlier) = earlier.filter(|e| e.luma.len() == self.luma.len()) else {
            return Changes {
                blocks: vec![true; COLUMNS * ROWS],
            };
        };
        let blocks = (0..COLUMNS * ROWS)
            .map(|block| {
                let (left, top) = (
                    block % COLUMNS * BLOCK_WIDTH,
                    block / COLUMNS * BLOCK_HEIGHT,
                );
                let total: u32 = (top..top + BLOCK_HEIGHT)
                    .flat_map(|y| y * WIDTH + left..y * WIDTH + left + BLOCK_WIDTH)
                    .map(|i| u32::from(self.luma[i].abs_diff(earlier.luma[i])))
                    .sum();
                total > CHANGED * (BLOCK_WIDTH * BLOCK_HEIGHT) as u32
            })
            .collect();
        Changes { blocks }
    }
}

/// Source indices of cell `i` of `cells` over `length` pixels; never empty for `length` > 0.
fn span(i: usize, cells: usize, length: usize) -> std::ops::Range<usize> {
    let start = (i * length / cells).min(length.saturating_sub(1));
    let end = ((i + 1) * length / cells).max(start + 1).min(length);
    start..end
}

/// The blocks that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    blocks: Vec<bool>,
}

impl Changes {
    /// Whether anything changed.
    pub(crate) fn any(&self) -> bool {
        self.blocks.contains(&true)
    }

    /// Whether anything changed inside an area (left, top, right, bottom in pixels of a frame of
    /// `width` × `height`).
    pub(crate) fn touch(&self, area: [u32; 4], width: u32, height: u32) -> bool {
        let cell = |v: u32, size: u32, cells: usize| {
            (v as usize * cells / (size as usize).max(1)).min(cells - 1)
        };
        let (left, right) = (cell(area[0], width, COLUMNS), cell(area[2], width, COLUMNS));
        let (top, bottom) = (cell(area[1], height, ROWS), cell(area[3], height, ROWS));
        (top..=bottom).any(|y| (left..=right).any(|x| self.blocks[y * COLUMNS + x]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32, value: u8) -> RgbImage {
        RgbImage {
            width,
            height,
            data: vec![value; (width * height * 3) as usize],
        }
    }

    fn fill(image: &mut RgbImage, area: [u32; 4], value: u8) {
        for y in area[1]..area[3] {
            for x in area[0]..area[2] {
                let at = ((y * image.width + x) * 3) as usize;
                image.data[at..at + 3].fill(value);
            }
        }
    }

    #[test]
    fn a_small_overlay_is_seen_where_it_is() {
        let before = grey(1280, 720, 60);
        let mut after = before.clone();
        fill(&mut after, [1000, 600, 1100, 620], 120);
        let changes = Thumbnail::of(&after).changes(Some(&Thumbnail::of(&before)));
        assert!(changes.any());
        assert!(changes.touch([990, 590, 1110, 630], 1280, 720));
        assert!(!changes.touch([0, 0, 400, 400], 1280, 720));
    }

    #[test]
    fn coding_noise_is_no_change() {
        let before = grey(640, 360, 100);
        let mut after = before.clone();
        for (i, v) in after.data.iter_mut().enumerate() {
            *v = v.wrapping_add_signed([3i8, -3, 2, -2, 0][i % 5]);
        }
        assert!(
            !Thumbnail::of(&after)
                .changes(Some(&Thumbnail::of(&before)))
                .any()
        );
        assert!(Thumbnail::of(&after).changes(None).any());
    }

    #[test]
    fn tiny_and_thin_frames_work() {
        for (w, h) in [(1, 1), (3, 500), (500, 3)] {
            let thumbnail = Thumbnail::of(&grey(w, h, 77));
            assert!(
                thumbnail.luma.iter().all(|v| *v == 77 || *v == 76),
                "{w}x{h}"
            );
            assert!(
                !thumbnail
                    .changes(Some(&thumbnail))
                    .touch([0, 0, w, h], w, h)
            );
        }
    }

    #[test]
    fn it_survives_json() {
        let thumbnail = Thumbnail::of(&grey(64, 64, 9));
        let json = serde_json::to_string(&thumbnail).unwrap();
        assert_eq!(serde_json::from_str::<Thumbnail>(&json).unwrap(), thumbnail);
    }
}
