//! Multinomial logistic regression with an L2 pull, by L-BFGS (Liu and Nocedal 1989).
//!
//! Our own because the problem is odd for a library: a few hundred rows of two thousand columns,
//! fitted dozens of times to choose the pull, each time from the last solution. linfa-logistic
//! starts from zero each time and brings an optimiser framework and a second ndarray.

use std::collections::VecDeque;

/// Pairs that the approximation of curvature remembers.
const MEMORY: usize = 8;
/// Most iterations.
const ITERATIONS: usize = 300;
/// Done when the gradient is this much shorter than at the start.
const SHORTER: f64 = 1e-5;

/// Rows of equally many features with their classes.
pub struct Problem<'a> {
    /// Rows.
    pub rows: Vec<&'a [f32]>,
    /// Class of each.
    pub classes: Vec<usize>,
    /// Number of classes.
    pub labels: usize,
}

impl Problem<'_> {
    fn features(&self) -> usize {
        self.rows.first().map_or(0, |r| r.len())
    }

    /// Loss and gradient at `w`: `[labels, features + 1]`, the bias last and not pulled.
    fn loss(&self, w: &[f64], l2: f64, gradient: &mut [f64]) -> f64 {
        let (n, width) = (self.features(), self.features() + 1);
        gradient.fill(0.0);
        let mut loss = 0.0;
        let mut z = vec![0.0; self.labels];
        for (row, class) in self.rows.iter().zip(&self.classes) {
            for (z, w) in z.iter_mut().zip(w.chunks_exact(width)) {
                *z = w[n] + dot(&w[..n], row);
            }
            let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = z.iter().map(|z| (z - top).exp()).sum();
            loss += top + sum.ln() - z[*class];
            for (label, g) in gradient.chunks_exact_mut(width).enumerate() {
                let share = (z[label] - top).exp() / sum;
                let pull = share - f64::from(u8::from(label == *class));
                for (g, x) in g.iter_mut().zip(*row) {
                    *g += pull * f64::from(*x);
                }
                g[n] += pull;
            }
        }
        for (g, w) in gradient.chunks_exact_mut(width).zip(w.chunks_exact(width)) {
            for i in 0..n {
                g[i] += l2 * w[i];
                loss += 0.5 * l2 * w[i] * w[i];
            }
        }
        loss
    }

    /// Weights `[labels, features + 1]` of the least loss, from `start`, or from zero.
    pub fn fit(&self, l2: f64, start: Option<Vec<f64>>) -> Vec<f64> {
        let size = self.labels * (self.features() + 1);
        let mut w = start.filter(|s| s.len() == size).unwrap_or(vec![0.0; size]);
        let mut gradient = vec![0.0; size];
        let mut loss = self.loss(&w, l2, &mut gradient);
        let first = norm(&gradient).max(1e-12);
        let mut pairs: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
        for _ in 0..ITERATIONS {
            if norm(&gradient) <= SHORTER * first {
                break;
            }
            let direction = direction(&gradient, &pairs);
            let slope = dot64(&direction, &gradient);
            let (mut step, mut tried) = (if pairs.is_empty() { 1.0 / first } else { 1.0 }, 0);
            let mut next_gradient = vec![0.0; size];
            let (next, next_loss) = loop {
                let next: Vec<f64> = w
                    .iter()
                    .zip(&direction)
                    .map(|(w, d)| w + step * d)
                    .collect();
                let next_loss = self.loss(&next, l2, &mut next_gradient);
                tried += 1;
                if next_loss <= loss + 1e-4 * step * slope || tried == 30 {
                    break (next, next_loss);
                }
                step *= 0.5;
            };
            if !next_loss.is_finite() || next_loss >= loss {
                break;
            }
            let s: Vec<f64> = next.iter().zip(&w).map(|(a, b)| a - b).collect();
            let y: Vec<f64> = next_gradient
                .iter()
                .zip(&gradient)
                .map(|(a, b)| a - b)
                .collect();
            let curvature = dot64(&s, &y);
            if curvature > 1e-12 {
                if pairs.len() == MEMORY {
                    pairs.pop_front();
                }
                pairs.push_back((s, y, 1.0 / curvature));
            }
            (w, gradient, loss) = (next, next_gradient, next_loss);
        }
        w
    }
}

/// Downhill by the two-loop recursion.
fn direction(gradient: &[f64], pairs: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for (s, y, rho) in pairs.iter().rev() {
        let alpha = rho * dot64(s, &q);
        for (q, y) in q.iter_mut().zip(y) {
            *q -= alpha * y;
        }
        alphas.push(alpha);
    }
    if let Some((_, y, rho)) = pairs.back() {
        let scale = 1.0 / (rho * dot64(y, y)).max(1e-300);
        for q in &mut q {
            *q *= scale;
        }
    }
    for ((s, y, rho), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot64(y, &q);
        for (q, s) in q.iter_mut().zip(s) {
            *q += (alpha - beta) * s;
        }
    }
    q
}

fn dot(w: &[f64], x: &[f32]) -> f64 {
    w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum()
}

fn dot64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(v: &[f64]) -> f64 {
    dot64(v, v).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_vanishes_at_the_solution() {
        let rows: Vec<Vec<f32>> = (0..30)
            .map(|i| {
                let t = i as f32;
                vec![
                    (t * 0.7).sin(),
                    (t * 1.3).cos(),
                    (i % 3) as f32 + (t * 2.1).sin(),
                ]
            })
            .collect();
        let problem = Problem {
            rows: rows.iter().map(Vec::as_slice).collect(),
            classes: (0..30).map(|i| i % 3).collect(),
            labels: 3,
        };
        let w = problem.fit(0.5, None);
        let mut gradient = vec![0.0; w.len()];
        let loss = problem.loss(&w, 0.5, &mut gradient);
        assert!(norm(&gradient) < 1e-3, "{}", norm(&gradient));
        // Worse everywhere around it.
        for i in 0..w.len() {
            for step in [-0.05, 0.05] {
                let mut near = w.clone();
                near[i] += step;
                let mut unused = vec![0.0; w.len()];
                assert!(problem.loss(&near, 0.5, &mut unused) >= loss - 1e-9);
            }
        }
        assert_eq!(problem.fit(0.5, Some(w.clone())).len(), w.len());
    }
}
