//! Logistic regression on dense features by L-BFGS (Liu, Nocedal: "On the limited memory BFGS method
//! for large scale optimization", 1989), with hard-negative mining.
//!
//! linfa's logistic regression knows no weights of rows, which mining needs, and wants its features as
//! doubles: twice the memory for what networks give as floats.

use std::collections::VecDeque;

use novastream_models::frame_heads::Weights;
use rayon::prelude::*;

use super::FramesTrainError;

/// Added to a feature's spread before dividing by it: rare features are not blown up.
const SPREAD: f64 = 0.05;
/// Steps of the solver at most.
const ITERATIONS: usize = 200;
/// The solver ends where the gradient is this much smaller than at the start.
const TOLERANCE: f64 = 1e-4;
/// Steps that the solver remembers.
const MEMORY: usize = 8;
/// Share of the positives that lie below a negative which is hard.
const HARD: f64 = 0.1;
/// Rows that one worker takes at a time. Fixed, so that sums are rounded the same way everywhere.
const BLOCK: usize = 128;

/// Rows to learn from.
pub struct Rows<'a> {
    /// Features of each row, in parts.
    pub features: Vec<[&'a [f32]; 2]>,
    /// Whether each row is a positive.
    pub positive: Vec<bool>,
}

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions {
    /// Strength of the L2 penalty.
    pub alpha: f64,
    /// Rounds of mining after the first fit.
    pub rounds: u8,
    /// Negatives of the first fit, as a multiple of the positives.
    pub negatives_per_positive: usize,
}

/// Fits one head. The same rows give the same weights.
pub fn fit(rows: &Rows<'_>, options: &FitOptions) -> Result<Weights, FramesTrainError> {
    let all =
        |positive: bool| (0..rows.positive.len()).filter(move |i| rows.positive[*i] == positive);
    let positives: Vec<usize> = all(true).collect();
    let negatives: Vec<usize> = all(false).collect();
    if positives.is_empty() || negatives.is_empty() {
        return Err(FramesTrainError::OneSided);
    }
    // Evenly over the list, which is in order of labels.
    let first = (positives.len() * options.negatives_per_positive).min(negatives.len());
    let mut chosen: Vec<(usize, f64)> = (0..first)
        .map(|i| (negatives[i * negatives.len() / first], 1.0))
        .collect();
    let mut weights = fit_rows(rows, &positives, &chosen, options.alpha)?;
    for _ in 0..options.rounds {
        let logit = |i: usize| weights.logit(&rows.features[i]);
        let mut found: Vec<f32> = positives.iter().map(|i| logit(*i)).collect();
        found.sort_by(f32::total_cmp);
        let low = found[(found.len() as f64 * HARD) as usize];
        let hard: Vec<usize> = negatives
            .iter()
            .copied()
            .filter(|i| logit(*i) > low)
            .collect();
        if hard.is_empty() {
            break;
        }
        // Those that are in already count once more, the others come in.
        for i in hard {
            match chosen.iter_mut().find(|(known, _)| *known == i) {
                Some((_, weight)) => *weight += 1.0,
                None => chosen.push((i, 1.0)),
            }
        }
        weights = fit_rows(rows, &positives, &chosen, options.alpha)?;
    }
    Ok(weights)
}

/// Standardised rows with their labels and weights.
struct Problem {
    x: Vec<f32>,
    width: usize,
    /// 1 or 0.
    y: Vec<f64>,
    weight: Vec<f64>,
    alpha: f64,
}

impl Problem {
    /// The penalised loss at `w` (the intercept last, which is not penalised) and its gradient.
    fn at(&self, w: &[f64]) -> (f64, Vec<f64>) {
        let (slope, intercept) = (&w[..self.width], w[self.width]);
        let slope32: Vec<f32> = slope.iter().map(|v| *v as f32).collect();
        let parts: Vec<(f64, Vec<f64>)> = self
            .x
            .par_chunks(self.width * BLOCK)
            .enumerate()
            .map(|(block, rows)| {
                let mut sums = vec![0.0_f32; self.width];
                let (mut loss, mut shift) = (0.0, 0.0);
                for (i, x) in rows.chunks_exact(self.width).enumerate() {
                    let row = block * BLOCK + i;
                    let z = f64::from(dot(x, &slope32)) + intercept;
                    let (y, weight) = (self.y[row], self.weight[row]);
                    // log(1 + e^z) - y z without overflow.
                    loss += weight * (z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z);
                    let gap = weight * (1.0 / (1.0 + (-z).exp()) - y);
                    shift += gap;
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum += gap as f32 * x;
                    }
                }
                let mut gradient: Vec<f64> = sums.into_iter().map(f64::from).collect();
                gradient.push(shift);
                (loss, gradient)
            })
            .collect();
        let mut loss = 0.5 * self.alpha * slope.iter().map(|v| v * v).sum::<f64>();
        let mut gradient: Vec<f64> = slope.iter().map(|v| self.alpha * v).chain([0.0]).collect();
        for (part, sums) in parts {
            loss += part;
            for (sum, value) in gradient.iter_mut().zip(sums) {
                *sum += value;
            }
        }
        (loss, gradient)
    }

    fn solve(&self) -> Result<Vec<f64>, FramesTrainError> {
        let mut w = vec![0.0; self.width + 1];
        let (mut loss, mut gradient) = self.at(&w);
        let enough = TOLERANCE * norm(&gradient);
        let mut past: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
        for _ in 0..ITERATIONS {
            if norm(&gradient) <= enough {
                break;
            }
            let direction = direction(&gradient, &past);
            let slope = inner(&gradient, &direction);
            let mut step = if past.is_empty() {
                1.0 / norm(&gradient)
            } else {
                1.0
            };
            let (next, next_loss, next_gradient) = loop {
                let next: Vec<f64> = w
                    .iter()
                    .zip(&direction)
                    .map(|(w, d)| w + step * d)
                    .collect();
                let (next_loss, next_gradient) = self.at(&next);
                // Armijo's rule.
                if next_loss <= loss + 1e-4 * step * slope {
                    break (next, next_loss, next_gradient);
                }
                step /= 2.0;
                if step < 1e-12 {
                    // As low as numbers of this precision go.
                    return Ok(w);
                }
            };
            let moved: Vec<f64> = next.iter().zip(&w).map(|(a, b)| a - b).collect();
            let turned: Vec<f64> = next_gradient
                .iter()
                .zip(&gradient)
                .map(|(a, b)| a - b)
                .collect();
            let curvature = inner(&moved, &turned);
            if curvature > 1e-12 {
                past.push_back((moved, turned, 1.0 / curvature));
                if past.len() > MEMORY {
                    past.pop_front();
                }
            }
            (w, loss, gradient) = (next, next_loss, next_gradient);
        }
        if loss.is_finite() {
            Ok(w)
        } else {
            Err(FramesTrainError::Fit("the loss is no number".to_owned()))
        }
    }
}

/// The direction of descent: minus the gradient through the inverse curvature of the past steps.
fn direction(gradient: &[f64], past: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(past.len());
    for (moved, turned, rho) in past.iter().rev() {
        let share = rho * inner(moved, &q);
        for (q, t) in q.iter_mut().zip(turned) {
            *q -= share * t;
        }
        shares.push(share);
    }
    if let Some((_, turned, rho)) = past.back() {
        let scale = 1.0 / (rho * inner(turned, turned));
        for q in &mut q {
            *q *= scale;
        }
    }
    for ((moved, turned, rho), share) in past.iter().zip(shares.into_iter().rev()) {
        let back = rho * inner(turned, &q);
        for (q, m) in q.iter_mut().zip(moved) {
            *q += (share - back) * m;
        }
    }
    q
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    inner(a, a).sqrt()
}

/// Eight sums side by side, so that they become vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn fit_rows(
    rows: &Rows<'_>,
    positives: &[usize],
    negatives: &[(usize, f64)],
    alpha: f64,
) -> Result<Weights, FramesTrainError> {
    let picked: Vec<(usize, f64)> = positives
        .iter()
        .map(|i| (*i, 1.0))
        .chain(negatives.iter().copied())
        .collect();
    let width = rows.features[picked[0].0]
        .iter()
        .map(|p| p.len())
        .sum::<usize>();
    let mut x: Vec<f32> = Vec::with_capacity(picked.len() * width);
    for (i, _) in &picked {
        for part in &rows.features[*i] {
            x.extend_from_slice(part);
        }
    }
    let n = picked.len() as f64;
    let (mut sums, mut squares) = (vec![0.0_f64; width], vec![0.0_f64; width]);
    for row in x.chunks_exact(width) {
        for (j, value) in row.iter().enumerate() {
            let value = f64::from(*value);
            sums[j] += value;
            squares[j] += value * value;
        }
    }
    let scale: Vec<(f64, f64)> = sums
        .iter()
        .zip(&squares)
        .map(|(sum, square)| {
            let mean = sum / n;
            (mean, (square / n - mean * mean).max(0.0).sqrt() + SPREAD)
        })
        .collect();
    for row in x.chunks_exact_mut(width) {
        for (value, (mean, spread)) in row.iter_mut().zip(&scale) {
            *value = ((f64::from(*value) - mean) / spread) as f32;
        }
    }
    let problem = Problem {
        x,
        width,
        y: picked
            .iter()
            .map(|(i, _)| f64::from(u8::from(rows.positive[*i])))
            .collect(),
        weight: picked.iter().map(|(_, weight)| *weight).collect(),
        alpha,
    };
    let solved = problem.solve()?;
    let mut bias = solved[width];
    let mut weights = Vec::with_capacity(width);
    for (w, (mean, spread)) in solved.iter().zip(scale) {
        let w = w / spread;
        bias -= w * mean;
        weights.push(w as f32);
    }
    Ok(Weights {
        weights,
        bias: bias as f32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points around two centres, the positives further up the first feature.
    fn points(n: usize) -> (Vec<Vec<f32>>, Vec<bool>) {
        let mut state = 5_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let positive: Vec<bool> = (0..n).map(|i| i % 4 == 0).collect();
        let rows = positive
            .iter()
            .map(|p| {
                vec![
                    random() + if *p { 0.8 } else { 0.0 },
                    random(),
                    random() * 3.0,
                ]
            })
            .collect();
        (rows, positive)
    }

    #[test]
    fn the_informative_feature_gets_the_weight_and_it_repeats() {
        let (points, positive) = points(400);
        let rows = Rows {
            features: points.iter().map(|p| [&p[..1], &p[1..]]).collect(),
            positive,
        };
        let options = FitOptions {
            alpha: 1.0,
            rounds: 2,
            negatives_per_positive: 2,
        };
        let weights = fit(&rows, &options).expect("fits");
        assert!(
            weights.weights[0] > 3.0 * weights.weights[1].abs(),
            "{weights:?}"
        );
        let score = |x: f32| weights.logit(&[&[x], &[0.5, 1.5]]);
        assert!(score(1.6) > 0.0 && score(0.1) < 0.0);
        assert_eq!(fit(&rows, &options).expect("fits"), weights);
    }

    #[test]
    fn the_solver_ends_where_the_gradient_does() {
        let (points, positive) = points(200);
        let problem = Problem {
            x: points.concat(),
            width: 3,
            y: positive.iter().map(|p| f64::from(u8::from(*p))).collect(),
            weight: (0..200).map(|i| 1.0 + f64::from(i % 3)).collect(),
            alpha: 0.5,
        };
        let w = problem.solve().expect("solves");
        let (loss, gradient) = problem.at(&w);
        assert!(norm(&gradient) <= 2.0 * TOLERANCE * norm(&problem.at(&[0.0; 4]).1));
        // The gradient is the loss's own.
        for i in 0..4 {
            let mut near = [0.3, -0.2, 0.1, 0.05];
            let (_, g) = problem.at(&near);
            near[i] += 1e-3;
            let above = problem.at(&near).0;
            near[i] -= 2e-3;
            let slope = (above - problem.at(&near).0) / 2e-3;
            assert!(
                (slope - g[i]).abs() < 0.02 * g[i].abs().max(1.0),
                "{i}: {slope}, not {}",
                g[i]
            );
        }
        assert!(loss < problem.at(&[0.0; 4]).0);
    }

    #[test]
    fn one_side_alone_is_refused() {
        let (points, _) = points(8);
        let rows = Rows {
            features: points.iter().map(|p| [&p[..1], &p[1..]]).collect(),
            positive: vec![true; 8],
        };
        let options = FitOptions {
            alpha: 1.0,
            rounds: 0,
            negatives_per_positive: 2,
        };
        assert!(fit(&rows, &options).is_err());
    }
}
