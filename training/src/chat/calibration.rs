//! From logits to probabilities whose 0.5 is the shipped threshold.

/// Bounds of the slope: beyond them a head would be constant or a step.
const SLOPES: std::ops::RangeInclusive<f64> = 0.1..=20.0;
const MAX_STEPS: usize = 100;

/// Largest share of the background that a threshold may flag.
pub const MAX_BACKGROUND_FLAGGED: f64 = 0.01;

/// One validation row: logit, label, weight.
pub type Point = (f32, bool, f32);

/// How logits become probabilities: sigmoid(slope · (logit − threshold)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Positive.
    pub slope: f32,
    /// The logit that gives 0.5.
    pub threshold: f32,
}

/// Slope from Platt's method (1999); threshold from the best weighted F1 among those that flag at
/// most [`MAX_BACKGROUND_FLAGGED`] of the background (logits and weights), which is also among the
/// points. All on held-out rows.
pub fn calibrate(points: &[Point], background: &[(f32, f32)]) -> Calibration {
    Calibration {
        slope: platt_slope(points) as f32,
        threshold: best_f1_threshold(points, lowest_threshold(background)),
    }
}

/// The lowest logit that is above all but the allowed share of the background.
fn lowest_threshold(background: &[(f32, f32)]) -> f32 {
    let mut sorted = background.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let weight = |rows: &[(f32, f32)]| rows.iter().map(|row| f64::from(row.1)).sum::<f64>();
    let allowed = weight(&sorted) * MAX_BACKGROUND_FLAGGED;
    let mut flagged = 0.0;
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        flagged += weight(tied);
        if flagged > allowed {
            return tied[0].0.next_up();
        }
    }
    f32::NEG_INFINITY
}

/// The slope of a logistic regression on the logit alone, by damped Newton steps.
fn platt_slope(points: &[Point]) -> f64 {
    let (mut slope, mut shift) = (1.0_f64, 0.0_f64);
    for _ in 0..MAX_STEPS {
        let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 1e-9, 0.0, 1e-9);
        for &(logit, positive, weight) in points {
            let (x, weight) = (f64::from(logit), f64::from(weight));
            let p = 1.0 / (1.0 + (-(slope * x + shift)).exp());
            let gap = weight * (p - f64::from(u8::from(positive)));
            let curve = weight * p * (1.0 - p);
            g0 += gap * x;
            g1 += gap;
            h00 += curve * x * x;
            h01 += curve * x;
            h11 += curve;
        }
        let determinant = h00 * h11 - h01 * h01;
        if determinant.abs() < 1e-12 {
            break;
        }
        let step_slope = ((h11 * g0 - h01 * g1) / determinant).clamp(-1.0, 1.0);
        let step_shift = ((h00 * g1 - h01 * g0) / determinant).clamp(-2.0, 2.0);
        slope = (slope - step_slope).clamp(*SLOPES.start(), *SLOPES.end());
        shift -= step_shift;
        if step_slope.abs() < 1e-6 && step_shift.abs() < 1e-6 {
            break;
        }
    }
    slope
}

/// The logit from which on calling rows positive gives the highest weighted F1; halfway to the
/// next lower logit, so that rounding does not move rows across, but never below `lowest`.
fn best_f1_threshold(points: &[Point], lowest: f32) -> f32 {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives: f64 = sorted.iter().filter(|p| p.1).map(|p| f64::from(p.2)).sum();
    let (mut found, mut called) = (0.0, 0.0);
    let mut best = (0.0, if lowest.is_finite() { lowest } else { 0.0 });
    let groups: Vec<&[Point]> = sorted.chunk_by(|a, b| a.0 == b.0).collect();
    for (i, group) in groups.iter().enumerate() {
        found += group
            .iter()
            .filter(|p| p.1)
            .map(|p| f64::from(p.2))
            .sum::<f64>();
        called += group.iter().map(|p| f64::from(p.2)).sum::<f64>();
        let f1 = 2.0 * found / (called + positives);
        let here = group[0].0;
        if f1 > best.0 && here >= lowest {
            let next = groups.get(i + 1).map_or(here - 1.0, |group| group[0].0);
            best = (f1, f32::midpoint(here, next).max(lowest));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_separates_and_slope_is_positive() {
        let points: Vec<Point> = (-50..50)
            .map(|i| (i as f32 / 10.0, i % 7 == 0 || i > 10, 1.0))
            .collect();
        let calibration = calibrate(&points, &[]);
        assert!(
            (0.9..1.2).contains(&calibration.threshold),
            "{calibration:?}"
        );
        assert!(calibration.slope > 0.3, "{calibration:?}");
    }

    #[test]
    fn weights_count() {
        // The low positive is heavy: missing it costs more than the negatives above it.
        let points = [
            (3.0, true, 1.0),
            (2.0, false, 0.1),
            (1.0, true, 5.0),
            (0.0, false, 1.0),
        ];
        assert!(calibrate(&points, &[]).threshold < 1.0);
        let points = [
            (3.0, true, 5.0),
            (2.0, false, 1.0),
            (1.0, true, 0.1),
            (0.0, false, 1.0),
        ];
        assert!(calibrate(&points, &[]).threshold > 2.0);
    }

    #[test]
    fn background_bounds_the_threshold() {
        let points: Vec<Point> = (0..100).map(|i| (i as f32, i >= 20, 1.0)).collect();
        let background: Vec<(f32, f32)> = (0..200).map(|i| (i as f32 * 0.25, 1.0)).collect();
        let free = calibrate(&points, &[]).threshold;
        let bound = calibrate(&points, &background).threshold;
        assert!((19.0..=20.0).contains(&free), "{free}");
        let flagged = background.iter().filter(|row| row.0 >= bound).count();
        assert!(flagged <= 2 && bound < 50.0, "{bound} flags {flagged}");
    }

    #[test]
    fn degenerate_input_stays_finite() {
        for points in [vec![], vec![(1.0, true, 1.0)], vec![(0.0, false, 1.0); 5]] {
            let calibration = calibrate(&points, &[]);
            assert!(calibration.slope.is_finite() && calibration.threshold.is_finite());
            assert!(calibration.slope > 0.0);
        }
    }
}
