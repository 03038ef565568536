//! Rotated boxes around clusters of pixels.

/// A rectangle turned by an angle; pixels of some picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RotatedRect {
    /// Centre.
    pub cx: f32,
    pub cy: f32,
    /// Extent along the direction of reading.
    pub width: f32,
    /// Extent across it.
    pub height: f32,
    /// Unit vector along `width`; within 45° of the picture's x axis.
    pub ux: f32,
    pub uy: f32,
}

impl RotatedRect {
    /// The rectangle grown by `by` on every side.
    pub(super) fn grown(self, by: f32) -> Self {
        Self {
            width: self.width + 2.0 * by,
            height: self.height + 2.0 * by,
            ..self
        }
    }

    /// The rectangle in a picture that is `x` times as wide and `y` times as high. With unequal
    /// factors the angle is kept, which is exact for the upright boxes that video text has and
    /// close for others, as the factors differ by rounding only.
    pub(super) fn scaled(self, x: f32, y: f32) -> Self {
        let along = (self.ux * x).hypot(self.uy * y);
        let across = (self.uy * x).hypot(self.ux * y);
        Self {
            cx: self.cx * x,
            cy: self.cy * y,
            width: self.width * along,
            height: self.height * across,
            ux: self.ux,
            uy: self.uy,
        }
    }

    /// Left, top, right and bottom of the upright box around it.
    pub(super) fn bounds(&self) -> [f32; 4] {
        let (x, y) = (self.ux.abs() / 2.0, self.uy.abs() / 2.0);
        let half_x = x * self.width + y * self.height;
        let half_y = y * self.width + x * self.height;
        [
            self.cx - half_x,
            self.cy - half_y,
            self.cx + half_x,
            self.cy + half_y,
        ]
    }

    /// Whether a point lies inside.
    pub(super) fn contains(&self, x: f32, y: f32) -> bool {
        let (dx, dy) = (x - self.cx, y - self.cy);
        (dx * self.ux + dy * self.uy).abs() <= self.width / 2.0
            && (dy * self.ux - dx * self.uy).abs() <= self.height / 2.0
    }
}

/// The convex hull of `points`, counter-clockwise, by Andrew's monotone chain. Sorts the points.
pub(super) fn convex_hull(points: &mut Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    points.sort_unstable();
    points.dedup();
    if points.len() < 3 {
        return points.clone();
    }
    let turn = |o: (i32, i32), a: (i32, i32), b: (i32, i32)| {
        i64::from(a.0 - o.0) * i64::from(b.1 - o.1) - i64::from(a.1 - o.1) * i64::from(b.0 - o.0)
    };
    let chain = |points: &mut dyn Iterator<Item = (i32, i32)>| {
        let mut hull: Vec<(i32, i32)> = Vec::new();
        for p in points {
            while hull.len() >= 2 && turn(hull[hull.len() - 2], hull[hull.len() - 1], p) <= 0 {
                hull.pop();
            }
            hull.push(p);
        }
        hull.pop();
        hull
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    hull
}

/// The rectangle of least area around a convex hull, by turning it onto each edge. Extents are
/// between pixel centres. `None` for an empty hull.
pub(super) fn min_area_rect(hull: &[(i32, i32)]) -> Option<RotatedRect> {
    let first = *hull.first()?;
    let mut best: Option<(f32, RotatedRect)> = None;
    for (i, a) in hull.iter().enumerate() {
        let b = hull.get(i + 1).copied().unwrap_or(first);
        let (dx, dy) = ((b.0 - a.0) as f32, (b.1 - a.1) as f32);
        let length = dx.hypot(dy);
        let (ux, uy) = if length > 0.0 {
            (dx / length, dy / length)
        } else {
            (1.0, 0.0)
        };
        let (mut u0, mut u1, mut v0, mut v1) = (f32::MAX, f32::MIN, f32::MAX, f32::MIN);
        for (x, y) in hull {
            let (x, y) = (*x as f32, *y as f32);
            let (u, v) = (x * ux + y * uy, y * ux - x * uy);
            (u0, u1, v0, v1) = (u0.min(u), u1.max(u), v0.min(v), v1.max(v));
        }
        let (mu, mv) = (f32::midpoint(u0, u1), f32::midpoint(v0, v1));
        let (cx, cy) = (mu * ux - mv * uy, mu * uy + mv * ux);
        let area = (u1 - u0) * (v1 - v0);
        if best.as_ref().is_none_or(|(least, _)| area < *least) {
            let rect = RotatedRect {
                cx,
                cy,
                width: u1 - u0,
                height: v1 - v0,
                ux,
                uy,
            };
            best = Some((area, upright(rect)));
        }
    }
    best.map(|(_, rect)| rect)
}

/// The same rectangle with its reading direction within 45° of the x axis, pointing right.
fn upright(mut rect: RotatedRect) -> RotatedRect {
    if rect.ux.abs() < rect.uy.abs() {
        (rect.width, rect.height) = (rect.height, rect.width);
        (rect.ux, rect.uy) = (rect.uy, -rect.ux);
    }
    if rect.ux < 0.0 {
        (rect.ux, rect.uy) = (-rect.ux, -rect.uy);
    }
    rect
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_turned_bar_is_found_with_its_angle() {
        let (ux, uy) = (0.9659f32, 0.2588f32); // 15 degrees
        let mut points = Vec::new();
        for u in -100..=100 {
            for v in -10..=10 {
                let (u, v) = (u as f32, v as f32);
                points.push((
                    (500.0 + u * ux - v * uy) as i32,
                    (300.0 + u * uy + v * ux) as i32,
                ));
            }
        }
        let rect = min_area_rect(&convex_hull(&mut points)).unwrap();
        assert!(
            (rect.width - 200.0).abs() < 3.0 && (rect.height - 20.0).abs() < 3.0,
            "{rect:?}"
        );
        assert!(
            (rect.ux - ux).abs() < 0.02 && (rect.uy - uy).abs() < 0.02,
            "{rect:?}"
        );
        assert!(rect.contains(500.0, 300.0) && !rect.contains(500.0, 330.0));
    }

    #[test]
    fn single_points_and_lines_have_a_rectangle() {
        assert!(min_area_rect(&[]).is_none());
        let dot = min_area_rect(&convex_hull(&mut vec![(4, 5)])).unwrap();
        assert_eq!(
            (dot.cx, dot.cy, dot.width, dot.height),
            (4.0, 5.0, 0.0, 0.0)
        );
        let line = min_area_rect(&convex_hull(&mut vec![(0, 0), (0, 9), (0, 4)])).unwrap();
        assert_eq!((line.width, line.height), (0.0, 9.0));
    }

    proptest! {
        #[test]
        fn every_point_is_inside(points in prop::collection::vec((0i32..200, 0i32..200), 1..60)) {
            let rect = min_area_rect(&convex_hull(&mut points.clone())).unwrap().grown(0.1);
            for (x, y) in points {
                prop_assert!(rect.contains(x as f32, y as f32), "{:?} {:?}", (x, y), rect);
            }
            prop_assert!(rect.ux >= 0.0 && rect.uy.abs() <= rect.ux + 1e-3);
        }
    }
}
