//! A tile by vector instructions.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi16, _mm256_add_epi32, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
};

use super::{GROUP, Panel, Sums, Weights, caller};

/// Sums of `N` rows over the columns of a panel.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn tile<const N: usize, const CALLER: u8>(
    left: &[[u8; GROUP]],
    panel: Panel<'_>,
    to: &mut [Sums; N],
) {
    halves::<N, 2, CALLER>(left, panel, to);
}

/// As [`tile`], over the first half of the columns; the other sums are zero.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn half_tile<const N: usize, const CALLER: u8>(
    left: &[[u8; GROUP]],
    panel: Panel<'_>,
    to: &mut [Sums; N],
) {
    halves::<N, 1, CALLER>(left, panel, to);
}

/// Sums over the first halves of a panel.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn halves<const N: usize, const HALVES: usize, const CALLER: u8>(
    left: &[[u8; GROUP]],
    panel: Panel<'_>,
    to: &mut [Sums; N],
) {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; N];
    let (mut left, mut steps) = (left.as_chunks::<N>().0, panel.steps);
    for run in panel.runs {
        let (rows, rest) = left.split_at(4 * run.fours);
        let (weights, rest_of_steps) = steps.split_at(4 * run.fours);
        // Four groups of both halves of a panel are more than the registers hold.
        fours::<N, 0, CALLER>(rows, weights, &mut sums);
        if HALVES > 1 {
            fours::<N, 1, CALLER>(rows, weights, &mut sums);
        }
        let (rows, rest) = rest.split_at(2 * run.pairs);
        let (weights, rest_of_steps) = rest_of_steps.split_at(2 * run.pairs);
        let pairs = rows.as_chunks::<2>().0.iter();
        for ([first, second], weights) in pairs.zip(weights.as_chunks::<2>().0) {
            if CALLER == caller::PRODUCT {
                prefetch(&weights[0]);
                prefetch(&weights[1]);
            }
            let weights = [
                [vector(weights[0][0]), vector(weights[0][1])],
                [vector(weights[1][0]), vector(weights[1][1])],
            ];
            for (sums, (first, second)) in sums.iter_mut().zip(first.iter().zip(second)) {
                let first = _mm256_set1_epi32(pulp::cast(*first));
                let second = _mm256_set1_epi32(pulp::cast(*second));
                for (half, sum) in sums[..HALVES].iter_mut().enumerate() {
                    let pairs = _mm256_add_epi16(
                        _mm256_maddubs_epi16(first, weights[0][half]),
                        _mm256_maddubs_epi16(second, weights[1][half]),
                    );
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        let (rows, rest) = rest.split_at(run.single);
        let (weights, rest_of_steps) = rest_of_steps.split_at(run.single);
        for (groups, weights) in rows.iter().zip(weights) {
            if CALLER == caller::PRODUCT {
                prefetch(weights);
            }
            let weights = [vector(weights[0]), vector(weights[1])];
            for (sums, group) in sums.iter_mut().zip(groups) {
                let group = _mm256_set1_epi32(pulp::cast(*group));
                for (sum, weights) in sums[..HALVES].iter_mut().zip(weights) {
                    let pairs = _mm256_maddubs_epi16(group, weights);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        (left, steps) = (rest, rest_of_steps);
    }
    for (to, sums) in to.iter_mut().zip(sums) {
        *to = pulp::cast(sums);
    }
}

/// Adds what groups that fit four by four give for half of a panel.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fours<const N: usize, const HALF: usize, const CALLER: u8>(
    rows: &[[[u8; GROUP]; N]],
    weights: &[Weights],
    to: &mut [[__m256i; 2]; N],
) {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); N];
    for (sum, to) in sums.iter_mut().zip(to.iter()) {
        *sum = to[HALF];
    }
    let fours = rows.as_chunks::<4>().0.iter();
    for (groups, weights) in fours.zip(weights.as_chunks::<4>().0) {
        let mut own = [_mm256_setzero_si256(); 4];
        for (own, weights) in own.iter_mut().zip(weights) {
            if HALF == 0 && CALLER == caller::PRODUCT {
                prefetch(weights);
            }
            *own = vector(weights[HALF]);
        }
        for (i, sum) in sums.iter_mut().enumerate() {
            let mut pairs = _mm256_setzero_si256();
            for (groups, own) in groups.iter().zip(own) {
                let group = _mm256_set1_epi32(pulp::cast(groups[i]));
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(group, own));
            }
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    for (sum, to) in sums.iter().zip(to) {
        to[HALF] = *sum;
    }
}

#[inline]
fn vector(weights: [[i8; GROUP]; super::LANES]) -> __m256i {
    pulp::cast(weights)
}

/// Asks for the weights that are read a little later, as they come from far away.
#[inline]
#[allow(unsafe_code, reason = "a hint about an address, which is not read")]
fn prefetch(weights: &Weights) {
    const AHEAD: usize = 32;
    let address = std::ptr::from_ref(weights).wrapping_add(AHEAD);
    // SAFETY: nothing is read, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}
