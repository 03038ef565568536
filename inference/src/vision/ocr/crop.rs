//! Cutting a turned rectangle out of a picture, straightened and resized, as network input.

use novastream_features::picture::RgbImage;

use super::geometry::RotatedRect;

/// A picture to sample from.
pub(super) struct Source<'a> {
    image: &'a RgbImage,
}

impl<'a> Source<'a> {
    pub(super) fn new(image: &'a RgbImage) -> Self {
        Self { image }
    }

    /// Bilinear blue, green and red at a point in pixels, edges repeated; 0 to 255.
    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let (w, h) = (self.image.width as usize, self.image.height as usize);
        let x = (x - 0.5).clamp(0.0, (w - 1) as f32);
        let y = (y - 0.5).clamp(0.0, (h - 1) as f32);
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(w - 1), (y0 + 1).min(h - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let pixel = |x: usize, y: usize| {
            let p = &self.image.data[(y * w + x) * 3..][..3];
            [f32::from(p[2]), f32::from(p[1]), f32::from(p[0])]
        };
        let (a, b, c, d) = (pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1));
        std::array::from_fn(|i| {
            let top = a[i] + (b[i] - a[i]) * fx;
            let bottom = c[i] + (d[i] - c[i]) * fx;
            top + (bottom - top) * fy
        })
    }
}

/// Fills `out` with three planes (blue, green, red, -1..1) of `h` rows and `stride` columns; the
/// rectangle covers the first `w` columns, the rest is left as it is.
pub(super) fn sample(
    source: &Source<'_>,
    rect: &RotatedRect,
    w: usize,
    h: usize,
    stride: usize,
    out: &mut [f32],
) {
    let plane = stride * h;
    // Averages over as many points as a pixel of the output covers, up to 4 × 4.
    let points = |extent: f32, pixels: usize| {
        (extent / pixels.max(1) as f32).round().clamp(1.0, 4.0) as usize
    };
    let (nx, ny) = (points(rect.width, w), points(rect.height, h));
    let weight = 1.0 / (nx * ny) as f32;
    for row in 0..h {
        for column in 0..w {
            let mut sum = [0.0f32; 3];
            for sy in 0..ny {
                let v = (row as f32 + (sy as f32 + 0.5) / ny as f32) / h as f32 - 0.5;
                for sx in 0..nx {
                    let u = (column as f32 + (sx as f32 + 0.5) / nx as f32) / w as f32 - 0.5;
                    let (along, across) = (u * rect.width, v * rect.height);
                    let pixel = source.at(
                        rect.cx + along * rect.ux - across * rect.uy,
                        rect.cy + along * rect.uy + across * rect.ux,
                    );
                    for (s, p) in sum.iter_mut().zip(pixel) {
                        *s += p;
                    }
                }
            }
            for (channel, s) in sum.iter().enumerate() {
                out[channel * plane + row * stride + column] = s * weight / 127.5 - 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_picture_is_copied_as_it_is() {
        let data: Vec<u8> = (0..6 * 4 * 3).map(|i| (i * 3) as u8).collect();
        let image = RgbImage {
            width: 6,
            height: 4,
            data,
        };
        let whole = RotatedRect {
            cx: 3.0,
            cy: 2.0,
            width: 6.0,
            height: 4.0,
            ux: 1.0,
            uy: 0.0,
        };
        let mut out = vec![9.0f32; 3 * 8 * 4];
        sample(&Source::new(&image), &whole, 6, 4, 8, &mut out);
        for y in 0..4 {
            for x in 0..6 {
                for channel in 0..3 {
                    let wanted = f32::from(image.data[(y * 6 + x) * 3 + 2 - channel]) / 127.5 - 1.0;
                    assert!((out[channel * 32 + y * 8 + x] - wanted).abs() < 1e-5);
                }
            }
            assert_eq!(out[y * 8 + 6], 9.0, "the padding is left alone");
        }
    }

    #[test]
    fn a_box_over_the_edge_repeats_it() {
        let image = RgbImage {
            width: 2,
            height: 2,
            data: vec![255; 12],
        };
        let rect = RotatedRect {
            cx: 0.0,
            cy: 0.0,
            width: 40.0,
            height: 40.0,
            ux: 0.8,
            uy: 0.6,
        };
        let mut out = vec![0.0f32; 3 * 48 * 48];
        sample(&Source::new(&image), &rect, 48, 48, 48, &mut out);
        assert!(out.iter().all(|v| (v - 1.0).abs() < 1e-5));
    }
}
