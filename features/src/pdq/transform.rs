//! From 64 × 64 samples to 256 bits.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Rows 1 to 16 of the 64-point cosine basis; the constant row 0 says nothing about the picture.
static BASIS: LazyLock<[[f32; 64]; 16]> = LazyLock::new(|| {
    // The factor is rounded to f32 before the product, as in the reference.
    let factor = f64::from((2.0f64 / 64.0).sqrt() as f32);
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let angle = (PI / 2.0 / 64.0) * (i + 1) as f64 * (2 * j + 1) as f64;
            (factor * angle.cos()) as f32
        })
    })
});

/// `D · samples · Dᵀ` for the 16 rows `D` of [`BASIS`].
pub(super) fn dct_corner(samples: &[[f32; 64]; 64]) -> [f32; 256] {
    let basis = &*BASIS;
    let mut half = [[0.0f32; 64]; 16];
    for (row, weights) in half.iter_mut().zip(basis) {
        for (weight, line) in weights.iter().zip(samples) {
            for (sum, sample) in row.iter_mut().zip(line) {
                *sum += weight * sample;
            }
        }
    }
    let mut corner = [0.0f32; 256];
    for (line, row) in corner.chunks_exact_mut(16).zip(&half) {
        for (value, weights) in line.iter_mut().zip(basis) {
            let mut sum = 0.0;
            for (sample, weight) in row.iter().zip(weights) {
                sum += sample * weight;
            }
            *value = sum;
        }
    }
    corner
}

/// Bit `k` is set where coefficient `k` is above the lower median; byte 0 holds the highest bits.
pub(super) fn bits(corner: &[f32; 256]) -> [u8; 32] {
    let mut sorted = *corner;
    let (_, median, _) = sorted.select_nth_unstable_by(127, f32::total_cmp);
    let median = *median;
    let mut bytes = [0u8; 32];
    for (k, value) in corner.iter().enumerate() {
        if *value > median {
            bytes[31 - k / 8] |= 1 << (k % 8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_distinct_coefficients_set_their_bit() {
        let corner: [f32; 256] = std::array::from_fn(|k| ((k * 97) % 256) as f32);
        let ones: u32 = bits(&corner).iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(ones, 128);
        assert_eq!(bits(&[1.5; 256]), [0; 32]);
    }

    #[test]
    fn a_pure_cosine_lights_one_coefficient() {
        let samples: [[f32; 64]; 64] =
            std::array::from_fn(|y| std::array::from_fn(|x| BASIS[2][y] * BASIS[4][x] * 100.0));
        let corner = dct_corner(&samples);
        for (k, value) in corner.iter().enumerate() {
            let expected = if k == 2 * 16 + 4 { 100.0 } else { 0.0 };
            assert!((value - expected).abs() < 1e-3, "{k}: {value}");
        }
    }
}
