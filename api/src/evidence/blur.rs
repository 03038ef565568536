//! Previews: enough to know what kind of thing it is, too little to have seen it.

use novastream_features::picture::{ImageError, RgbImage, resize_area};

/// Cells along the longer side of a preview: enough to tell a scene, too few to tell a body.
const CELLS: u32 = 24;
/// Pixels along the longer side of a preview, at most.
const SIDE: u32 = 320;
/// Width and height of the picture of a sound.
const CHART: (u32, u32) = (320, 96);
/// Background and ink of that picture.
const PAPER: [u8; 3] = [244; 3];
const INK: [u8; 3] = [70, 96, 140];

/// The picture reduced to a few cells and grown back smoothly, at most [`SIDE`] pixels long.
///
/// What is left of it are the cells' means, so nothing finer can be brought back.
pub fn blurred(image: &RgbImage) -> Result<RgbImage, ImageError> {
    let longer = image.width.max(image.height).max(1);
    let fit = |side: u32, most: u32| {
        let most = u64::from(most.min(longer));
        // Not larger than `most`, as no side is longer than `longer`.
        (u64::from(side) * most / u64::from(longer)).max(1) as u32
    };
    let cells = resize_area(image, fit(image.width, CELLS), fit(image.height, CELLS));
    grow(&cells, fit(image.width, SIDE), fit(image.height, SIDE))
}

/// One place of a grown axis: four cells around it and their weights.
type Taps = [(usize, f32); 4];

/// Where each of `to` pixels lies among `from` cells, weighted by the cubic B-spline: it has no
/// corners, no overshoot, and shows no cell borders, as linear growth does.
fn taps(from: u32, to: u32) -> Vec<Taps> {
    let last = i64::from(from) - 1;
    let one = |at: u32| {
        let centre = (f64::from(at) + 0.5) * f64::from(from) / f64::from(to) - 0.5;
        let first = centre.floor();
        let t = (centre - first) as f32;
        let u = 1.0 - t;
        let weights = [
            u * u * u,
            (3.0 * t - 6.0) * t * t + 4.0,
            (3.0 * u - 6.0) * u * u + 4.0,
            t * t * t,
        ];
        std::array::from_fn(|k| {
            let cell = (first as i64 - 1 + k as i64).clamp(0, last);
            (cell as usize, weights[k] / 6.0)
        })
    };
    (0..to).map(one).collect()
}

fn grow(cells: &RgbImage, width: u32, height: u32) -> Result<RgbImage, ImageError> {
    let stride = cells.width as usize * 3;
    let columns = taps(cells.width, width);
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    let mut row = vec![0.0_f32; stride];
    for lines in taps(cells.height, height) {
        row.fill(0.0);
        for (line, weight) in lines {
            let values = &cells.data[line * stride..][..stride];
            for (sum, value) in row.iter_mut().zip(values) {
                *sum += f32::from(*value) * weight;
            }
        }
        for column in &columns {
            for channel in 0..3 {
                let value: f32 = column.iter().map(|(c, w)| row[c * 3 + channel] * w).sum();
                // Weights are positive and add up to one; `as` saturates what rounding leaves.
                data.push((value + 0.5) as u8);
            }
        }
    }
    RgbImage::new(width, height, data)
}

/// How loud a sound is over its time, as a picture: words and cries stay unheard.
pub fn loudness(samples: &[f32]) -> Result<RgbImage, ImageError> {
    let (width, height) = CHART;
    let mut heights = Vec::with_capacity(width as usize);
    for x in 0..width as usize {
        let edge = |x: usize| samples.len() * x / width as usize;
        let stretch = &samples[edge(x)..edge(x + 1)];
        let loudest = stretch.iter().fold(0.0_f32, |most, s| most.max(s.abs()));
        // A square root, so that quiet speech is more than a line; two rows are always there.
        let rows = loudest.min(1.0).sqrt() * height as f32;
        heights.push((rows as u32).max(2));
    }
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        let from_middle = (2 * y + 1).abs_diff(height);
        for rows in &heights {
            data.extend(if from_middle <= *rows { INK } else { PAPER });
        }
    }
    RgbImage::new(width, height, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(width: u32, height: u32, of: impl Fn(u32, u32) -> [u8; 3]) -> RgbImage {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = places.flat_map(|(x, y)| of(x, y)).collect();
        RgbImage::new(width, height, data).unwrap()
    }

    /// The largest step between neighbours, and the largest change of step.
    fn roughness(image: &RgbImage) -> (i32, i32) {
        let stride = image.width as usize * 3;
        let (mut step, mut bend) = (0, 0);
        for row in image.data.chunks_exact(stride) {
            let reds: Vec<i32> = row.chunks_exact(3).map(|p| i32::from(p[0])).collect();
            for w in reds.windows(3) {
                step = step.max((w[1] - w[0]).abs());
                bend = bend.max((w[2] - 2 * w[1] + w[0]).abs());
            }
        }
        (step, bend)
    }

    #[test]
    fn edges_become_slopes_without_blocks() {
        let half = picture(1280, 720, |x, _| [if x < 650 { 0 } else { 255 }; 3]);
        let preview = blurred(&half).unwrap();
        assert_eq!((preview.width, preview.height), (320, 180));
        // From black to white over three cells of 13 pixels; a block's border would be one step of
        // 255, and linear growth bends by the whole slope of a cell, about 19, at its corners.
        let (step, bend) = roughness(&preview);
        assert!(step <= 16 && bend <= 4, "{step} {bend}");
        assert!(preview.data[0] < 3 && preview.data[320 * 3 - 1] > 252);
    }

    #[test]
    fn fine_detail_is_gone() {
        // Stripes and writing are far finer than a cell.
        let fine = picture(640, 360, |x, y| {
            [if (x / 4 + y / 6) % 2 == 0 { 250 } else { 5 }; 3]
        });
        let preview = blurred(&fine).unwrap();
        let (low, high) = (preview.data.iter().min(), preview.data.iter().max());
        assert!(high.unwrap() - low.unwrap() < 25);
    }

    #[test]
    fn a_sound_is_shown_by_its_loudness_only() {
        let wave = |frequency: f32| -> Vec<f32> {
            let loud = |i: usize| if i < 8000 { 0.0 } else { 0.8 };
            (0..16_000)
                .map(|i| loud(i) * (i as f32 * frequency).sin())
                .collect()
        };
        let shown = loudness(&wave(0.5)).unwrap();
        let inked = |column: usize| {
            let column = shown.data.chunks_exact(3).skip(column).step_by(320);
            column.filter(|p| *p == INK).count()
        };
        assert!(
            inked(10) <= 2 && inked(300) > 70,
            "{} {}",
            inked(10),
            inked(300)
        );
        assert!(loudness(&[]).is_ok() && loudness(&[f32::NAN; 5]).is_ok());
    }

    proptest! {
        #[test]
        fn any_picture_has_a_small_preview_within_its_own_range(
            width in 1u32..400, height in 1u32..400, seed in any::<u32>(),
        ) {
            let noise = |x: u32, y: u32| {
                let mixed = (x * 31 + y * 17).wrapping_mul(seed | 1);
                [(mixed >> 24) as u8, (mixed >> 16) as u8 / 2, 40]
            };
            let image = picture(width, height, noise);
            let preview = blurred(&image).unwrap();
            prop_assert!(preview.width <= SIDE && preview.height <= SIDE);
            prop_assert!(preview.width <= width && preview.height <= height);
            for channel in 0..3 {
                let range = |i: &RgbImage| {
                    let of = || i.data.iter().skip(channel).step_by(3).copied();
                    (of().min().unwrap(), of().max().unwrap())
                };
                let ((low, high), (least, most)) = (range(&preview), range(&image));
                prop_assert!(low.saturating_add(1) >= least && high <= most.saturating_add(1));
            }
        }

        #[test]
        fn cells_weigh_one_together(from in 1u32..100, to in 1u32..500) {
            for place in taps(from, to) {
                let sum: f32 = place.iter().map(|(_, weight)| weight).sum();
                prop_assert!((sum - 1.0).abs() < 1e-4);
                prop_assert!(place.iter().all(|(cell, w)| *cell < from as usize && *w >= 0.0));
            }
        }
    }
}
