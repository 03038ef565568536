//! Eight-bit weights.

/// Largest magnitude in steps; symmetric, so −128 is not used.
const MAX_STEPS: f32 = 127.0;

/// The step with the least squared error over a head's weights. The few largest weights may be
/// clipped for a finer grid on all the others.
pub(super) fn best_step(weights: &[f32]) -> f32 {
    let largest = weights
        .iter()
        .fold(0.0_f32, |max, weight| max.max(weight.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let error = |step: f32| -> f64 {
        let term = |weight: &f32| {
            let gap = weight - f32::from(to_steps(*weight, step)) * step;
            f64::from(gap * gap)
        };
        weights
            .iter()
            .filter(|weight| **weight != 0.0)
            .map(term)
            .sum()
    };
    let mut best = (f64::INFINITY, 1.0);
    for percent in [100_u8, 85, 70, 60, 50, 40, 30, 20] {
        let step = largest * f32::from(percent) / 100.0 / MAX_STEPS;
        let error = error(step);
        if error < best.0 {
            best = (error, step);
        }
    }
    best.1
}

/// The nearest number of steps.
pub(super) fn to_steps(weight: f32, step: f32) -> i8 {
    (weight / step).round().clamp(-MAX_STEPS, MAX_STEPS) as i8
}
