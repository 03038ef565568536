//! What follows the last convolution, on floats.

use crate::candle_graph::ops::Range;

/// Mean of every channel over rows of pixels.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn pool(x: &[f32], to: &mut [f32]) {
    to.fill(0.0);
    let pixels = x.chunks_exact(to.len());
    let share = 1.0 / pixels.len() as f32;
    for pixel in pixels {
        for (to, value) in to.iter_mut().zip(pixel) {
            *to += value;
        }
    }
    for to in to {
        *to *= share;
    }
}

/// A matrix `[inputs, outputs]` and what is added to its product; results are held to the range.
pub(super) struct Linear {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) range: Range,
}

impl Linear {
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn run(&self, x: &[f32], to: &mut [f32]) {
        to.copy_from_slice(&self.bias);
        for (x, weights) in x.iter().zip(self.weights.chunks_exact(to.len())) {
            for (to, weight) in to.iter_mut().zip(weights) {
                *to += x * weight;
            }
        }
        for to in to {
            *to = self.range.clamp(*to);
        }
    }
}

/// Shares that sum to one.
pub(super) fn softmax(x: &[f32], to: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (to, x) in to.iter_mut().zip(x) {
        *to = (x - most).exp();
        sum += *to;
    }
    for to in to {
        *to /= sum;
    }
}
