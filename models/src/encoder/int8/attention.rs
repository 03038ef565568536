//! Self-attention of one text after the other, forward only, in blocks that stay in registers.

use super::super::lanes;

/// Scores that are computed side by side.
const BLOCK: usize = 16;
/// Numbers of an attended vector that are computed side by side.
const WIDE: usize = 32;

/// One head's keys `[d, n]` and values `[n, d]` of one text, widths rounded up to whole blocks with
/// zeros.
#[derive(Default)]
pub(super) struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// A row of scores.
    scores: Vec<f32>,
}

/// `qkv [n, 3 · width]` of one text, biases added, to `out [n, width]`.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn attend(
    qkv: &[f32],
    width: usize,
    heads: usize,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let d = width / heads;
    let n = out.len() / width;
    let (tokens, wide) = (n.next_multiple_of(BLOCK), d.next_multiple_of(WIDE));
    scratch.keys.clear();
    scratch.keys.resize(d * tokens, 0.0);
    scratch.values.clear();
    scratch.values.resize(n * wide, 0.0);
    scratch.scores.clear();
    scratch.scores.resize(tokens, 0.0);
    let scale = 1.0 / (d as f32).sqrt();
    for head in 0..heads {
        for (i, row) in qkv.chunks_exact(3 * width).enumerate() {
            let key = &row[width + head * d..][..d];
            for (c, key) in key.iter().enumerate() {
                scratch.keys[c * tokens + i] = *key;
            }
            scratch.values[i * wide..][..d].copy_from_slice(&row[2 * width + head * d..][..d]);
        }
        for i in 0..n {
            let query = &qkv[i * 3 * width + head * d..][..d];
            score(query, scale, &scratch.keys, &mut scratch.scores);
            let scores = &mut scratch.scores[..n];
            lanes::softmax(scores);
            let out = &mut out[i * width + head * d..][..d];
            gather(scores, &scratch.values, wide, out);
        }
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn score(query: &[f32], scale: f32, keys: &[f32], scores: &mut [f32]) {
    let tokens = scores.len();
    for (block, scores) in scores.chunks_exact_mut(BLOCK).enumerate() {
        let mut sums = [0.0_f32; BLOCK];
        for (query, keys) in query.iter().zip(keys.chunks_exact(tokens)) {
            let keys = &keys[block * BLOCK..][..BLOCK];
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = query.mul_add(*key, *sum);
            }
        }
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score = sum * scale;
        }
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn gather(shares: &[f32], values: &[f32], wide: usize, out: &mut [f32]) {
    for (block, out) in out.chunks_mut(WIDE).enumerate() {
        let mut sums = [0.0_f32; WIDE];
        for (share, values) in shares.iter().zip(values.chunks_exact(wide)) {
            let values = &values[block * WIDE..][..WIDE];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = share.mul_add(*value, *sum);
            }
        }
        out.copy_from_slice(&sums[..out.len()]);
    }
}
