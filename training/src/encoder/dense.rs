//! Small dense fits, with Newton's method or in one step: a few dozen numbers a row at most.

/// Longest a fit goes on.
const STEPS: usize = 50;

/// A row: inputs, target, weight.
pub type DenseRow<const N: usize> = ([f32; N], f32, f32);

/// Logistic regression on targets between 0 and 1, pulled towards `start` by `ridge` (in units of
/// rows of weight 1).
pub fn logistic<const N: usize>(rows: &[DenseRow<N>], start: [f64; N], ridge: f64) -> [f32; N] {
    let mut w = start;
    for _ in 0..STEPS {
        let mut gradient = [0.0; N];
        let mut curve = [[0.0; N]; N];
        for i in 0..N {
            gradient[i] = ridge * (w[i] - start[i]);
            curve[i][i] = ridge;
        }
        for (inputs, target, weight) in rows {
            let x = inputs.map(f64::from);
            let z: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            let p = 1.0 / (1.0 + (-z).exp());
            let weight = f64::from(*weight);
            let gap = weight * (p - f64::from(*target));
            add(&mut gradient, &mut curve, &x, gap, weight * p * (1.0 - p));
        }
        let step = solve(curve, gradient);
        let size = step.iter().map(|s| s.abs()).fold(0.0, f64::max);
        for (w, step) in w.iter_mut().zip(step) {
            // Far steps overshoot where a head is nearly separable.
            *w -= step / size.max(1.0);
        }
        if size < 1e-7 {
            break;
        }
    }
    w.map(|w| w as f32)
}

/// Least squares, pulled towards zero by `ridge` (in units of rows of weight 1).
pub fn least_squares<const N: usize>(rows: &[DenseRow<N>], ridge: f64) -> [f32; N] {
    let mut right = [0.0; N];
    let mut curve = [[0.0; N]; N];
    for (i, row) in curve.iter_mut().enumerate() {
        row[i] = ridge;
    }
    for (inputs, target, weight) in rows {
        let x = inputs.map(f64::from);
        let weight = f64::from(*weight);
        add(
            &mut right,
            &mut curve,
            &x,
            weight * f64::from(*target),
            weight,
        );
    }
    solve(curve, right).map(|w| w as f32)
}

/// Adds a row's part: `by·x` to the first, `times·x·xᵀ` to the second.
fn add<const N: usize>(
    vector: &mut [f64; N],
    matrix: &mut [[f64; N]; N],
    x: &[f64; N],
    by: f64,
    times: f64,
) {
    for i in 0..N {
        vector[i] += by * x[i];
        if x[i] != 0.0 {
            for j in 0..N {
                matrix[i][j] += times * x[i] * x[j];
            }
        }
    }
}

/// Solves a positive definite system by elimination.
fn solve<const N: usize>(mut a: [[f64; N]; N], mut b: [f64; N]) -> [f64; N] {
    for i in 0..N {
        let pivot = a[i];
        for j in i + 1..N {
            let by = a[j][i] / pivot[i];
            for k in i..N {
                a[j][k] -= by * pivot[k];
            }
            b[j] -= by * b[i];
        }
    }
    for i in (0..N).rev() {
        for k in i + 1..N {
            b[i] -= a[i][k] * b[k];
        }
        b[i] /= a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_a_plane() {
        let rows: Vec<DenseRow<3>> = (0..100)
            .map(|i| {
                let (x, y) = ((i % 10) as f32, (i / 10) as f32);
                ([x, y, 1.0], 2.0 * x - 0.5 * y + 3.0, 1.0)
            })
            .collect();
        let [x, y, one] = least_squares(&rows, 1e-6);
        assert!((x - 2.0).abs() < 1e-3 && (y + 0.5).abs() < 1e-3 && (one - 3.0).abs() < 1e-3);
    }

    #[test]
    fn soft_targets_are_met() {
        let rows: Vec<DenseRow<2>> = (-20..=20)
            .map(|i| {
                let x = i as f32 / 10.0;
                ([x, 1.0], 1.0 / (1.0 + (-(1.5 * x - 0.4)).exp()), 1.0)
            })
            .collect();
        let [slope, shift] = logistic(&rows, [1.0, 0.0], 1e-6);
        assert!((slope - 1.5).abs() < 1e-3 && (shift + 0.4).abs() < 1e-3);
    }
}
