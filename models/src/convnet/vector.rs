//! Eight floats side by side: vector instructions where there are some, plain arithmetic elsewhere.
//! Both round the same way, so results do not depend on which it is.

use crate::int8::product::{COLUMNS, LANES};

/// Channels of one pixel that are computed together.
pub(super) type Cell = [[f32; LANES]; COLUMNS / LANES];

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{V, add, fma, load, max, min, mul, of_sums, splat, store};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::{V, add, fma, load, max, min, mul, of_sums, splat, store};

/// Values of channels in cells, the missing ones zero.
pub(super) fn cells(values: &[f32]) -> Vec<Cell> {
    let cell = |values: &[f32]| {
        let mut cell = Cell::default();
        cell.as_flattened_mut()[..values.len()].copy_from_slice(values);
        cell
    };
    values.chunks(COLUMNS).map(cell).collect()
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps,
        _mm256_mul_ps, _mm256_set1_ps,
    };

    use super::LANES;

    pub(in super::super) type V = __m256;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn load(from: &[f32; LANES]) -> V {
        pulp::cast(*from)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn store(value: V, to: &mut [f32; LANES]) {
        *to = pulp::cast(value);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn splat(value: f32) -> V {
        _mm256_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn of_sums(sums: &[i32; LANES]) -> V {
        _mm256_cvtepi32_ps(pulp::cast(*sums))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn add(a: V, b: V) -> V {
        _mm256_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn mul(a: V, b: V) -> V {
        _mm256_mul_ps(a, b)
    }

    /// `a · b + c`, rounded once.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn fma(a: V, b: V, c: V) -> V {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn min(a: V, b: V) -> V {
        _mm256_min_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn max(a: V, b: V) -> V {
        _mm256_max_ps(a, b)
    }
}

/// What the vector instructions are tested against.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::LANES;

    pub(in super::super) type V = [f32; LANES];

    pub(in super::super) fn load(from: &[f32; LANES]) -> V {
        *from
    }

    pub(in super::super) fn store(value: V, to: &mut [f32; LANES]) {
        *to = value;
    }

    pub(in super::super) fn splat(value: f32) -> V {
        [value; LANES]
    }

    pub(in super::super) fn of_sums(sums: &[i32; LANES]) -> V {
        sums.map(|sum| sum as f32)
    }

    pub(in super::super) fn add(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    pub(in super::super) fn mul(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    pub(in super::super) fn fma(a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    pub(in super::super) fn min(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i].min(b[i]))
    }

    pub(in super::super) fn max(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i].max(b[i]))
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "calls what is compiled for some processors")]
mod tests {
    use super::{avx2, portable};

    #[test]
    fn instructions_and_plain_arithmetic_round_the_same_way() {
        let a: [f32; 8] = std::array::from_fn(|i| (i as f32 - 3.3) * 1.7);
        let b: [f32; 8] = std::array::from_fn(|i| 0.1 + i as f32 * 0.37);
        let sums: [i32; 8] = std::array::from_fn(|i| i as i32 * 3_333_333 - 9_999_999);
        assert!(
            crate::int8::product::is_supported(),
            "tests need AVX2 and FMA"
        );
        macro_rules! all {
            ($of:ident) => {{
                let (x, y) = ($of::load(&a), $of::load(&b));
                let values = [
                    $of::add(x, y),
                    $of::mul(x, y),
                    $of::fma(x, y, $of::splat(0.3)),
                    $of::min(x, y),
                    $of::max(x, y),
                    $of::of_sums(&sums),
                ];
                values.map(|value| {
                    let mut to = [0.0; 8];
                    $of::store(value, &mut to);
                    to
                })
            }};
        }
        // SAFETY: the processor has the instructions.
        let found = unsafe { all!(avx2) };
        assert_eq!(found, all!(portable));
    }
}
