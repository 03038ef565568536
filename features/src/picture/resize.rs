//! Resizing: one method that must agree with TensorFlow to the last digits, one that looks good.

use super::RgbImage;

/// Where an output coordinate falls between two input coordinates.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    fraction: f32,
}

/// `align_corners = true`: the centres of the corner pixels of both pictures coincide.
fn corner_taps(input: u32, output: u32) -> Vec<Tap> {
    let step = if output > 1 {
        f64::from(input - 1) / f64::from(output - 1)
    } else {
        0.0
    };
    let last = input as usize - 1;
    (0..output)
        .map(|index| {
            let position = f64::from(index) * step;
            let low = (position as usize).min(last);
            Tap {
                low,
                high: (low + 1).min(last),
                fraction: (position - low as f64) as f32,
            }
        })
        .collect()
}

/// Resizes to `width` × `height` and appends `height * width * 3` values to `out`, in the order
/// row, column, channel, each `pixel * scale` (0..=255 × `scale`).
///
/// The same as `tf.image.resizeBilinear(x, [height, width], true)` of TensorFlow.js and TF 1's
/// `resize_bilinear(align_corners=True)`: no smoothing when shrinking. The NSFW screen was trained
/// on pictures resized so, with 224 × 224 and `scale` = 1/255. A side of 0 appends nothing.
pub fn resize_bilinear_align_corners(
    img: &RgbImage,
    width: u32,
    height: u32,
    out: &mut Vec<f32>,
    scale: f32,
) {
    if width == 0 || height == 0 {
        return;
    }
    let columns = corner_taps(img.width, width);
    let fractions: Vec<f32> = columns.iter().map(|tap| tap.fraction).collect();
    let stride = img.stride();
    let mut corners = Corners::new(columns.len());
    let mut planes: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; columns.len()]);
    let start = out.len();
    out.resize(start + width as usize * height as usize * 3, 0.0);
    let targets = out[start..].chunks_exact_mut(width as usize * 3);
    for (row, target) in corner_taps(img.height, height).into_iter().zip(targets) {
        let top = &img.data[row.low * stride..][..stride];
        let bottom = &img.data[row.high * stride..][..stride];
        corners.gather(&columns, top, bottom);
        for (channel, plane) in planes.iter_mut().enumerate() {
            corners.mix(8 * channel as u32, &fractions, row.fraction, scale, plane);
        }
        let [red, green, blue] = &planes;
        let pixels = target.as_chunks_mut::<3>().0.iter_mut();
        for (((pixel, r), g), b) in pixels.zip(red).zip(green).zip(blue) {
            *pixel = [*r, *g, *b];
        }
    }
}

/// The four pixels around each output pixel of one row, a word each: reading them is all that cannot
/// be done for several at once, so it is done first and apart.
struct Corners {
    top_left: Vec<u32>,
    top_right: Vec<u32>,
    bottom_left: Vec<u32>,
    bottom_right: Vec<u32>,
}

impl Corners {
    fn new(width: usize) -> Self {
        Self {
            top_left: vec![0; width],
            top_right: vec![0; width],
            bottom_left: vec![0; width],
            bottom_right: vec![0; width],
        }
    }

    fn gather(&mut self, columns: &[Tap], top: &[u8], bottom: &[u8]) {
        let lefts = self.top_left.iter_mut().zip(&mut self.bottom_left);
        let rights = self.top_right.iter_mut().zip(&mut self.bottom_right);
        for ((column, left), right) in columns.iter().zip(lefts).zip(rights) {
            let (low, high) = (column.low * 3, column.high * 3);
            (*left.0, *left.1) = (word(top, low), word(bottom, low));
            (*right.0, *right.1) = (word(top, high), word(bottom, high));
        }
    }

    /// One channel of a whole row. Plain enough for the compiler to do several columns at once, and
    /// the same operations in the same order as for one.
    fn mix(&self, shift: u32, columns: &[f32], row: f32, scale: f32, out: &mut [f32]) {
        // As a signed integer, because processors convert those at once.
        let value = |word: &u32| ((word >> shift) & 0xFF) as i32 as f32;
        let left = self.top_left.iter().zip(&self.bottom_left);
        let right = self.top_right.iter().zip(&self.bottom_right);
        for (((out, left), right), column) in out.iter_mut().zip(left).zip(right).zip(columns) {
            let (tl, bl) = (value(left.0), value(left.1));
            let (tr, br) = (value(right.0), value(right.1));
            let upper = tl + (tr - tl) * column;
            let lower = bl + (br - bl) * column;
            *out = (upper + (lower - upper) * row) * scale;
        }
    }
}

/// The three bytes of a pixel in the low bytes of a word.
fn word(line: &[u8], at: usize) -> u32 {
    match line[at..].first_chunk::<4>() {
        Some(bytes) => u32::from_le_bytes(*bytes),
        // The last pixel of a row.
        None => u32::from_le_bytes([line[at], line[at + 1], line[at + 2], 0]),
    }
}

/// The input samples that make one output sample, as a first index and weights that sum to 1.
struct Span {
    first: usize,
    weights: Vec<f32>,
}

/// Shrinking: each output pixel is the mean of the area it covers. Growing: linear between centres.
fn area_spans(input: u32, output: u32) -> Vec<Span> {
    let ratio = f64::from(input) / f64::from(output);
    let last = input as usize - 1;
    (0..output)
        .map(|index| {
            if ratio > 1.0 {
                let start = f64::from(index) * ratio;
                let end = (start + ratio).min(f64::from(input));
                let first = (start as usize).min(last);
                let until = (end.ceil() as usize).clamp(first + 1, input as usize);
                let weights = (first..until)
                    .map(|at| {
                        let covered = end.min(at as f64 + 1.0) - start.max(at as f64);
                        (covered.max(0.0) / (end - start)) as f32
                    })
                    .collect();
                Span { first, weights }
            } else {
                let centre = ((f64::from(index) + 0.5) * ratio - 0.5).max(0.0);
                let first = (centre as usize).min(last);
                let fraction = (centre - first as f64) as f32;
                let weights = if first == last {
                    vec![1.0]
                } else {
                    vec![1.0 - fraction, fraction]
                };
                Span { first, weights }
            }
        })
        .collect()
}

/// Resizes to `width` × `height` (each at least 1): area mean per axis where it shrinks, linear
/// where it grows. Smooth enough to read small text or to hash perceptually after a strong
/// reduction.
pub fn resize_area(img: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (width, height) = (width.max(1), height.max(1));
    if (width, height) == (img.width, img.height) {
        return img.clone();
    }
    let columns = area_spans(img.width, width);
    let rows = area_spans(img.height, height);
    let stride = img.stride();
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    let mut mixed = vec![0.0f32; stride];
    // Vertical first: whole rows add up as vectors, and only one row is kept at a time.
    for row in rows {
        mixed.fill(0.0);
        for (offset, weight) in row.weights.iter().enumerate() {
            let line = &img.data[(row.first + offset) * stride..][..stride];
            for (sum, value) in mixed.iter_mut().zip(line) {
                *sum += f32::from(*value) * weight;
            }
        }
        for column in &columns {
            let mut pixel = [0.0f32; 3];
            let samples = mixed[column.first * 3..].chunks_exact(3);
            for (sample, weight) in samples.zip(&column.weights) {
                for channel in 0..3 {
                    pixel[channel] += sample[channel] * weight;
                }
            }
            data.extend(pixel.map(|value| (value + 0.5) as u8));
        }
    }
    RgbImage {
        width,
        height,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(width: u32, height: u32, seed: u32) -> RgbImage {
        let mut state = seed | 1;
        let data = (0..width * height * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        RgbImage::new(width, height, data).unwrap()
    }

    #[test]
    fn corners_and_middles_by_hand() {
        // 2x2 to 3x3 with aligned corners: corners stay, edges are means of two, the centre of four.
        let values = [0u8, 100, 200, 60];
        let data = values.iter().flat_map(|v| [*v, *v, *v]).collect();
        let image = RgbImage::new(2, 2, data).unwrap();
        let mut out = Vec::new();
        resize_bilinear_align_corners(&image, 3, 3, &mut out, 1.0);
        let red: Vec<f32> = out.chunks(3).map(|p| p[0]).collect();
        assert_eq!(
            red,
            [0.0, 50.0, 100.0, 100.0, 90.0, 80.0, 200.0, 130.0, 60.0]
        );
        assert!(out.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
    }

    #[test]
    fn one_pixel_out_is_the_top_left_one() {
        let image = picture(9, 4, 3);
        let mut out = vec![7.0];
        resize_bilinear_align_corners(&image, 1, 1, &mut out, 0.5);
        assert_eq!(out[0], 7.0, "appends");
        assert_eq!(out[1], f32::from(image.data[0]) * 0.5);
    }

    /// The definition, evaluated for one output value in double precision.
    fn reference(img: &RgbImage, w: u32, h: u32, x: u32, y: u32, channel: usize) -> f64 {
        let ratio = |input: u32, output: u32| {
            if output > 1 {
                f64::from(input - 1) / f64::from(output - 1)
            } else {
                0.0
            }
        };
        let (fx, fy) = (
            f64::from(x) * ratio(img.width, w),
            f64::from(y) * ratio(img.height, h),
        );
        let at = |x: f64, y: f64| {
            let x = (x as usize).min(img.width as usize - 1);
            let y = (y as usize).min(img.height as usize - 1);
            f64::from(img.data[(y * img.width as usize + x) * 3 + channel])
        };
        let (dx, dy) = (fx - fx.floor(), fy - fy.floor());
        let top = at(fx, fy) * (1.0 - dx) + at(fx.ceil(), fy) * dx;
        let bottom = at(fx, fy.ceil()) * (1.0 - dx) + at(fx.ceil(), fy.ceil()) * dx;
        top * (1.0 - dy) + bottom * dy
    }

    /// The same operations, one value after the other.
    fn one_by_one(img: &RgbImage, width: u32, height: u32, scale: f32) -> Vec<f32> {
        let stride = img.stride();
        let mut out = Vec::new();
        for row in corner_taps(img.height, height) {
            for column in corner_taps(img.width, width) {
                for channel in 0..3 {
                    let at = |y: usize, x: usize| f32::from(img.data[y * stride + x * 3 + channel]);
                    let mix = |y| {
                        let left = at(y, column.low);
                        left + (at(y, column.high) - left) * column.fraction
                    };
                    let (upper, lower) = (mix(row.low), mix(row.high));
                    out.push((upper + (lower - upper) * row.fraction) * scale);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn several_columns_at_once_give_the_very_same_bits(
            w in 1u32..90, h in 1u32..20, ow in 1u32..70, oh in 1u32..12, seed: u32,
        ) {
            let image = picture(w, h, seed);
            let mut out = Vec::new();
            resize_bilinear_align_corners(&image, ow, oh, &mut out, 1.0 / 255.0);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&out), bits(&one_by_one(&image, ow, oh, 1.0 / 255.0)));
        }

        #[test]
        fn align_corners_follows_the_definition(
            w in 1u32..40, h in 1u32..40, ow in 1u32..50, oh in 1u32..50, seed: u32,
        ) {
            let image = picture(w, h, seed);
            let mut out = Vec::new();
            resize_bilinear_align_corners(&image, ow, oh, &mut out, 1.0);
            prop_assert_eq!(out.len(), (ow * oh * 3) as usize);
            for y in 0..oh {
                for x in 0..ow {
                    for channel in 0..3 {
                        let got = f64::from(out[((y * ow + x) * 3) as usize + channel]);
                        let want = reference(&image, ow, oh, x, y, channel);
                        prop_assert!((got - want).abs() < 1e-2, "{} {}", got, want);
                    }
                }
            }
        }

        #[test]
        fn area_keeps_size_range_and_mean(
            w in 1u32..60, h in 1u32..60, ow in 1u32..60, oh in 1u32..60, seed: u32,
        ) {
            let image = picture(w, h, seed);
            let small = resize_area(&image, ow, oh);
            prop_assert_eq!((small.width, small.height), (ow, oh));
            prop_assert_eq!(small.data.len(), (ow * oh * 3) as usize);
            let (low, high) = (image.data.iter().min(), image.data.iter().max());
            prop_assert!(small.data.iter().min() >= low && small.data.iter().max() <= high);
            if ow <= w && oh <= h {
                let mean = |data: &[u8]| {
                    data.iter().map(|v| f64::from(*v)).sum::<f64>() / data.len() as f64
                };
                prop_assert!((mean(&image.data) - mean(&small.data)).abs() < 1.0);
            }
        }
    }

    #[test]
    fn area_of_whole_blocks_is_their_mean() {
        let values = [10u8, 20, 30, 40, 50, 60, 70, 80];
        let data = values.iter().flat_map(|v| [*v, *v, *v]).collect();
        let image = RgbImage::new(4, 2, data).unwrap();
        let small = resize_area(&image, 2, 1);
        assert_eq!(small.data, [35, 35, 35, 55, 55, 55]);
    }
}
