//! Eight floats side by side: vector instructions where there are some, plain arithmetic elsewhere.
//! Both round the same way, so results do not depend on which it is.

use crate::int8::product::{COLUMNS, GROUP, LANES, ROWS};

/// Channels of one pixel that are computed together.
pub(super) type Cell = [[f32; LANES]; COLUMNS / LANES];

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{
    V, add, div, fma, largest, load, max, min, mul, of_sums, smallest, splat, steps, store, sub,
};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::{
    V, add, div, fma, largest, load, max, min, mul, of_sums, smallest, splat, steps, store, sub,
};

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
        __m256, _mm256_add_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_cvtepi32_ps,
        _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps,
        _mm256_mul_ps, _mm256_packs_epi32, _mm256_packus_epi16, _mm256_permute2f128_ps,
        _mm256_set1_ps, _mm256_sub_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps, _mm256_unpacklo_pd,
        _mm256_unpacklo_ps,
    };

    use super::{GROUP, LANES, ROWS};

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

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn sub(a: V, b: V) -> V {
        _mm256_sub_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn div(a: V, b: V) -> V {
        _mm256_div_ps(a, b)
    }

    /// One lane of each row, twice over.
    macro_rules! across {
        ($name:ident, $of:ident) => {
            #[inline]
            #[target_feature(enable = "avx2,fma")]
            pub(in super::super) fn $name([a, b, c, d]: [V; ROWS]) -> V {
                let ab = $of(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let cd = $of(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let (ab, cd) = (_mm256_castps_pd(ab), _mm256_castps_pd(cd));
                let first = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
                let of_halves = $of(first, _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)));
                $of(of_halves, _mm256_permute2f128_ps::<1>(of_halves, of_halves))
            }
        };
    }
    across!(largest, max);
    across!(smallest, min);

    /// Rounds eight columns of some rows: the first group of every row,
    /// then the second. Packing keeps to halves of a vector, which is the very order.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn steps(rows: [V; ROWS]) -> [[u8; GROUP]; ROWS * LANES / GROUP] {
        let [a, b, c, d] = rows;
        let first = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
        let second = _mm256_packs_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
        pulp::cast(_mm256_packus_epi16(first, second))
    }
}

/// What the vector instructions are tested against.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{GROUP, LANES, ROWS};

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

    pub(in super::super) fn sub(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    pub(in super::super) fn div(a: V, b: V) -> V {
        std::array::from_fn(|i| a[i] / b[i])
    }

    pub(in super::super) fn largest(rows: [V; ROWS]) -> V {
        std::array::from_fn(|i| rows[i % ROWS].into_iter().fold(f32::NEG_INFINITY, f32::max))
    }

    pub(in super::super) fn smallest(rows: [V; ROWS]) -> V {
        std::array::from_fn(|i| rows[i % ROWS].into_iter().fold(f32::INFINITY, f32::min))
    }

    pub(in super::super) fn steps(rows: [V; ROWS]) -> [[u8; GROUP]; ROWS * LANES / GROUP] {
        let step = |row: usize, lane: usize| rows[row][lane].round_ties_even() as u8;
        std::array::from_fn(|at| {
            let (group, row) = (at / ROWS, at % ROWS);
            std::array::from_fn(|i| step(row, group * GROUP + i))
        })
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
                    $of::sub(x, y),
                    $of::div(x, y),
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
        macro_rules! steps {
            ($of:ident) => {{
                let rows = [0.7, 1.0, 3.0, 9.0].map(|by| $of::mul($of::load(&b), $of::splat(by)));
                let least = [0.1, 0.0, -0.5, 0.9].map(|least| $of::splat(least));
                let by = [80.0, 40.0, 10.0, 5.0].map(|by| $of::splat(by));
                let value = |i: usize| $of::mul($of::sub(rows[i], least[i]), by[i]);
                let across = [$of::largest(rows), $of::smallest(rows)].map(|value| {
                    let mut to = [0.0; 8];
                    $of::store(value, &mut to);
                    to
                });
                ($of::steps([value(0), value(1), value(2), value(3)]), across)
            }};
        }
        // SAFETY: as above.
        let found = unsafe { steps!(avx2) };
        assert_eq!(found, steps!(portable));
    }
}
