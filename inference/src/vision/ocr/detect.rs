//! Where text is on a frame: PP-OCRv4's detector and the boxes around what it marks.
//!
//! The network (differentiable binarisation, Liao et al. 2020, "Real-time Scene Text Detection with
//! Differentiable Binarization") gives every pixel the probability of lying in the shrunken core of
//! a line. Pixels above [`PIXEL`] are grouped, a rotated box is put around each group, boxes whose
//! mean probability is below [`BOX`] are dropped, and the rest grow back by the amount by which
//! training shrank them (area × [`UNCLIP`] / perimeter).

use std::sync::Arc;

use novastream_features::picture::{RgbImage, resize_area};

use super::geometry::{RotatedRect, convex_hull, min_area_rect};
use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Long side of what the detector sees, in pixels.
const LONG_SIDE: u32 = 736;
/// Both sides must be multiples of the network's stride.
const STRIDE: u32 = 32;
const PIXEL: f32 = 0.3;
const BOX: f32 = 0.5;
const UNCLIP: f32 = 1.6;
/// A core thinner than this many pixels is noise.
const THINNEST: f32 = 2.0;
/// Groups looked at per frame, so that noise cannot take unbounded time.
const MAX_GROUPS: usize = 1000;

/// Finds lines of text.
pub(super) struct Detector {
    session: Arc<dyn Session>,
    input: String,
    output: String,
}

impl Detector {
    pub(super) fn new(session: Arc<dyn Session>, input: String, output: String) -> Self {
        Self {
            session,
            input,
            output,
        }
    }

    /// Boxes in pixels of `image`, in reading order.
    pub(super) fn detect(&self, image: &RgbImage) -> Result<Vec<RotatedRect>, BackendError> {
        let (w, h) = network_size(image.width, image.height);
        let values = network_input(image, w, h);
        let shape = vec![1, 3, h as usize, w as usize];
        let mut outputs = self
            .session
            .run(vec![NamedTensor::f32(&self.input, shape, values)?])?;
        let (shape, map) = take_f32(&mut outputs, &self.output)?;
        if shape != [1, 1, h as usize, w as usize] {
            return Err(BackendError::Tensor {
                name: self.output.clone(),
                message: format!("has the shape {shape:?} for a {w} x {h} input"),
            });
        }
        let (sx, sy) = (
            image.width as f32 / w as f32,
            image.height as f32 / h as f32,
        );
        let mut boxes: Vec<RotatedRect> = boxes_in(&map, w as usize, h as usize)
            .into_iter()
            .map(|b| b.scaled(sx, sy))
            .collect();
        reading_order(&mut boxes);
        Ok(boxes)
    }
}

/// The size at which a frame is shown to the network: the long side becomes [`LONG_SIDE`], both
/// sides the nearest multiple of [`STRIDE`].
fn network_size(width: u32, height: u32) -> (u32, u32) {
    let scale = LONG_SIDE as f32 / width.max(height).max(1) as f32;
    let side = |v: u32| {
        let steps = (v as f32 * scale / STRIDE as f32).round().max(1.0) as u32;
        steps * STRIDE
    };
    (side(width), side(height))
}

/// The frame as planes of blue, green and red in -1..1.
fn network_input(image: &RgbImage, w: u32, h: u32) -> Vec<f32> {
    let plane = (w * h) as usize;
    let mut out = vec![0.0f32; 3 * plane];
    // Averages where it shrinks: sampling would thin strokes away.
    let sized = resize_area(image, w, h);
    for (i, p) in sized.data.as_chunks::<3>().0.iter().enumerate() {
        for (channel, value) in p.iter().rev().enumerate() {
            out[channel * plane + i] = f32::from(*value) / 127.5 - 1.0;
        }
    }
    out
}

/// Boxes in a probability map.
fn boxes_in(map: &[f32], w: usize, h: usize) -> Vec<RotatedRect> {
    let mut seen = vec![false; map.len()];
    let (mut stack, mut edge) = (Vec::new(), Vec::new());
    let mut boxes = Vec::new();
    let mut groups = 0;
    for start in 0..map.len() {
        if seen[start] || map[start] <= PIXEL {
            continue;
        }
        groups += 1;
        if groups > MAX_GROUPS {
            break;
        }
        edge.clear();
        seen[start] = true;
        stack.push(start);
        while let Some(at) = stack.pop() {
            let (x, y) = (at % w, at / w);
            let mut inner = true;
            for ny in y.saturating_sub(1)..(y + 2).min(h) {
                for nx in x.saturating_sub(1)..(x + 2).min(w) {
                    let next = ny * w + nx;
                    if map[next] <= PIXEL {
                        inner = false;
                    } else if !seen[next] {
                        seen[next] = true;
                        stack.push(next);
                    }
                }
            }
            let border = x == 0 || y == 0 || x + 1 == w || y + 1 == h;
            if !inner || border {
                edge.push((x as i32, y as i32));
            }
        }
        let Some(core) = min_area_rect(&convex_hull(&mut edge)) else {
            continue;
        };
        // Pixels have an extent: the outline runs half a pixel outside their centres.
        let core = core.grown(0.5);
        if core.width.min(core.height) < THINNEST || mean_inside(map, w, h, &core) < BOX {
            continue;
        }
        let by = core.width * core.height * UNCLIP / (2.0 * (core.width + core.height));
        boxes.push(core.grown(by));
    }
    boxes
}

fn mean_inside(map: &[f32], w: usize, h: usize, rect: &RotatedRect) -> f32 {
    let [left, top, right, bottom] = rect.bounds();
    let (mut sum, mut count) = (0.0f32, 0u32);
    for y in top.max(0.0) as usize..=(bottom.max(0.0) as usize).min(h - 1) {
        for x in left.max(0.0) as usize..=(right.max(0.0) as usize).min(w - 1) {
            if rect.contains(x as f32, y as f32) {
                sum += map[y * w + x];
                count += 1;
            }
        }
    }
    sum / count.max(1) as f32
}

/// Orders boxes as they are read: by line, then from left to right. Boxes share a line when the
/// centre of one lies within half a height of the first box of the line.
fn reading_order(boxes: &mut Vec<RotatedRect>) {
    boxes.sort_by(|a, b| a.cy.total_cmp(&b.cy).then(a.cx.total_cmp(&b.cx)));
    let mut ordered: Vec<RotatedRect> = Vec::with_capacity(boxes.len());
    let mut rest = boxes.as_slice();
    while let Some(first) = rest.first() {
        let reach = first.cy + first.height / 2.0;
        let line = rest.iter().take_while(|b| b.cy <= reach).count();
        let begin = ordered.len();
        ordered.extend_from_slice(&rest[..line]);
        ordered[begin..].sort_by(|a, b| a.cx.total_cmp(&b.cx));
        rest = &rest[line..];
    }
    *boxes = ordered;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_multiples_of_the_stride() {
        assert_eq!(network_size(1280, 720), (736, 416));
        assert_eq!(network_size(720, 1280), (416, 736));
        assert_eq!(network_size(320, 180), (736, 416));
        assert_eq!(network_size(4000, 10), (736, 32));
    }

    #[test]
    fn marked_bars_become_grown_boxes() {
        let (w, h) = (200, 100);
        let mut map = vec![0.01f32; w * h];
        for y in 20..30 {
            map[y * w + 40..y * w + 140].fill(0.9);
        }
        for y in 60..70 {
            map[y * w + 10..y * w + 60].fill(0.35); // marked, but not sure enough
        }
        map[95 * w + 190] = 0.99; // a speck
        let boxes = boxes_in(&map, w, h);
        assert_eq!(boxes.len(), 1);
        let [left, top, right, bottom] = boxes[0].bounds();
        let by = 100.0 * 10.0 * UNCLIP / 220.0;
        assert!((left - (39.5 - by)).abs() < 1.0 && (right - (139.5 + by)).abs() < 1.0);
        assert!((top - (19.5 - by)).abs() < 1.0 && (bottom - (29.5 + by)).abs() < 1.0);
    }

    #[test]
    fn lines_are_read_from_the_left() {
        let at = |cx: f32, cy: f32| RotatedRect {
            cx,
            cy,
            width: 50.0,
            height: 20.0,
            ux: 1.0,
            uy: 0.0,
        };
        let mut boxes = vec![
            at(300.0, 12.0),
            at(10.0, 60.0),
            at(100.0, 15.0),
            at(200.0, 55.0),
        ];
        reading_order(&mut boxes);
        let order: Vec<f32> = boxes.iter().map(|b| b.cx).collect();
        assert_eq!(order, [100.0, 300.0, 10.0, 200.0]);
    }

    proptest! {
        #[test]
        fn any_map_is_survived(values in prop::collection::vec(0.0f32..1.0, 64 * 32)) {
            for b in boxes_in(&values, 64, 32) {
                prop_assert!(b.width > 0.0 && b.height > 0.0 && b.cx.is_finite());
            }
        }
    }
}
