//! Arithmetic on rows of floats in forms that compile to vector instructions, and the few
//! elementary functions of an encoder as polynomials (the library's are called one value at a
//! time). Callers run them inside [`pulp::Arch::dispatch`].
//!
//! `exp` is exact to about 2 units in the last place; `erf` is formula 7.1.26 of Abramowitz and
//! Stegun, within 1.5e-7.

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]

/// Partial sums kept side by side; a fixed number, so that sums do not depend on the machine.
const LANES: usize = 16;

/// Sum over `f(index)` for `0..n`.
#[inline(always)]
pub fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0_f32; LANES];
    let whole = n - n % LANES;
    let mut i = 0;
    while i < whole {
        for (k, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + k);
        }
        i += LANES;
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    while i < n {
        total += f(i);
        i += 1;
    }
    total
}

/// `to += by · from`.
#[inline(always)]
pub fn add_scaled(to: &mut [f32], by: f32, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += by * from;
    }
}

/// `to += from`.
#[inline(always)]
pub fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// e to the `x`; 0 below -87 and at most e^88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let n = x * std::f32::consts::LOG2_E + ROUND;
    let whole = n - ROUND;
    let r = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_66;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // The low bits of `n` hold the whole number itself.
    let power = (n.to_bits().wrapping_add(127)) << 23;
    p * f32::from_bits(power)
}

/// The standard normal distribution at `x`: its cumulative value and its density.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
    let bell = exp(-0.5 * x * x);
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * bell;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (below, bell * 0.398_942_3)
}

/// Turns scores into probabilities.
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let mut top = f32::NEG_INFINITY;
    for x in row.iter() {
        top = top.max(*x);
    }
    for x in row.iter_mut() {
        *x = exp(*x - top);
    }
    let scale = 1.0 / sum(row.len(), |i| row[i]);
    for x in row.iter_mut() {
        *x *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_the_library_s() {
        for i in -860..=870 {
            let x = i as f32 * 0.1;
            let (ours, theirs) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / theirs - 1.0).abs() < 4e-7, "{x}: {ours} {theirs}");
        }
    }

    #[test]
    fn normal_distribution_at_known_points() {
        for (x, below) in [
            (-3.0, 0.001_349_898),
            (-1.0, 0.158_655_25),
            (0.0, 0.5),
            (0.5, 0.691_462_46),
            (2.0, 0.977_249_87),
        ] {
            assert!((normal(x).0 - below).abs() < 2e-7, "{x}");
        }
        assert!((normal(1.0).1 - 0.241_970_72).abs() < 1e-7);
    }

    #[test]
    fn softmax_sums_to_one_whatever_the_scale() {
        let mut row = vec![1000.0, 999.0, -1000.0];
        softmax(&mut row);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(row[0] > 0.73 && row[2] == 0.0 || row[2] < 1e-30);
    }
}
