//! Phones store a picture as the sensor sees it and a matrix that turns it upright; players apply
//! it, so must we.

use crate::picture::RgbImage;

/// How a stored picture becomes the one that is shown: flipped left to right first, then turned
/// clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rotation {
    mirrored: bool,
    quarter_turns: u8,
}

impl Rotation {
    /// Reads libav's display matrix: nine native-endian 32-bit fixed-point numbers. Anything but
    /// quarter turns and mirrors counts as upright.
    pub(super) fn from_display_matrix(bytes: &[u8]) -> Self {
        let mut numbers = bytes.chunks_exact(4).map(|chunk| {
            let mut raw = [0; 4];
            raw.copy_from_slice(chunk);
            i32::from_ne_bytes(raw).signum()
        });
        let mut next = || numbers.next().unwrap_or_default();
        // (x, y) of the stored picture goes to (a x + c y, b x + d y); y points down.
        let (a, b, _, c, d) = (next(), next(), next(), next(), next());
        if a.abs() + b.abs() != 1 || c.abs() != b.abs() || d.abs() != a.abs() {
            return Self::default();
        }
        let mirrored = a * d - b * c < 0;
        // Flipping first negates the images of the x axis.
        let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
        let quarter_turns = match (a, b) {
            (0, 1) => 1,
            (-1, 0) => 2,
            (0, -1) => 3,
            _ => 0,
        };
        Self {
            mirrored,
            quarter_turns,
        }
    }

    pub(super) fn apply(self, image: RgbImage) -> RgbImage {
        if self == Self::default() {
            return image;
        }
        let (w, h) = (image.width, image.height);
        let (width, height) = if self.quarter_turns % 2 == 1 {
            (h, w)
        } else {
            (w, h)
        };
        let mut data = Vec::with_capacity(image.data.len());
        for y in 0..height {
            for x in 0..width {
                // Where the shown pixel lies in the flipped, not yet turned picture.
                let (sx, sy) = match self.quarter_turns {
                    1 => (y, h - 1 - x),
                    2 => (w - 1 - x, h - 1 - y),
                    3 => (w - 1 - y, x),
                    _ => (x, y),
                };
                let sx = if self.mirrored { w - 1 - sx } else { sx };
                let at = (sy as usize * w as usize + sx as usize) * 3;
                data.extend_from_slice(&image.data[at..at + 3]);
            }
        }
        RgbImage {
            width,
            height,
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;

    fn matrix(a: i32, b: i32, c: i32, d: i32) -> Vec<u8> {
        let numbers = [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30];
        numbers.iter().flat_map(|n| n.to_ne_bytes()).collect()
    }

    /// Two rows: 1 2 3 / 4 5 6.
    fn shown(matrix: &[u8]) -> (u32, Vec<u8>) {
        let data = (1..=6u8).flat_map(|v| [v, v, v]).collect();
        let image = RgbImage::new(3, 2, data).unwrap();
        let image = Rotation::from_display_matrix(matrix).apply(image);
        (image.width, image.data.iter().step_by(3).copied().collect())
    }

    #[test]
    fn all_eight_orientations() {
        assert_eq!(shown(&matrix(1, 0, 0, 1)), (3, vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(shown(&matrix(0, 1, -1, 0)), (2, vec![4, 1, 5, 2, 6, 3]));
        assert_eq!(shown(&matrix(-1, 0, 0, -1)), (3, vec![6, 5, 4, 3, 2, 1]));
        assert_eq!(shown(&matrix(0, -1, 1, 0)), (2, vec![3, 6, 2, 5, 1, 4]));
        assert_eq!(shown(&matrix(-1, 0, 0, 1)), (3, vec![3, 2, 1, 6, 5, 4]));
        assert_eq!(shown(&matrix(1, 0, 0, -1)), (3, vec![4, 5, 6, 1, 2, 3]));
        assert_eq!(shown(&matrix(0, 1, 1, 0)), (2, vec![1, 4, 2, 5, 3, 6]));
        assert_eq!(shown(&matrix(0, -1, -1, 0)), (2, vec![6, 3, 5, 2, 4, 1]));
    }

    #[test]
    fn a_broken_matrix_means_upright() {
        assert_eq!(Rotation::from_display_matrix(&[]), Rotation::default());
        assert_eq!(Rotation::from_display_matrix(&[0; 36]), Rotation::default());
        assert_eq!(
            Rotation::from_display_matrix(&[255; 7]),
            Rotation::default()
        );
    }
}
