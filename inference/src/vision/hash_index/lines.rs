//! Lines of sixteen-bit values: which of them are close to a query's.

/// Values of a line.
pub(super) const LANES: usize = 32;

/// As many values as a cache line holds.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [u16; LANES]);

impl Line {
    /// A line of zeroes.
    pub(super) const EMPTY: Self = Self([0; LANES]);

    /// The lanes whose values differ from `value` in at most `MOST` bits, the first in the lowest bit.
    #[inline(always)]
    pub(super) fn close<const MOST: usize>(&self, value: u16) -> u32 {
        #[cfg(target_arch = "x86_64")]
        {
            sse2::close::<MOST>(self, value)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            portable::<MOST>(self, value)
        }
    }
}

/// [`Line::close`] without instructions of one processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable<const MOST: usize>(line: &Line, value: u16) -> u32 {
    let close = |v: &u16| (v ^ value).count_ones() as usize <= MOST;
    let lanes = line.0.iter().enumerate();
    lanes.fold(0, |mask, (i, v)| mask | (u32::from(close(v)) << i))
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi16, _mm_and_si128, _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16,
        _mm_set1_epi16, _mm_setzero_si128, _mm_xor_si128,
    };

    use super::Line;

    /// Inlined, so that a caller compiled for AVX gets the three-operand forms.
    #[inline(always)]
    #[allow(unsafe_code, reason = "instructions that every x86-64 processor has")]
    pub(super) fn close<const MOST: usize>(line: &Line, value: u16) -> u32 {
        let parts: [__m128i; 4] = pulp::cast(line.0);
        // SAFETY: x86-64 includes SSE2, and nothing here touches memory.
        unsafe {
            let value = _mm_set1_epi16(value as i16);
            let minus_one = _mm_set1_epi16(-1);
            // All bits of the lanes that are close: `v & (v - 1)` is `v` without its lowest bit, so few
            // bits differ where little of that leaves none. Counting would take more instructions.
            let close = parts.map(
                #[inline(always)]
                |part| {
                    let mut left = _mm_xor_si128(part, value);
                    for _ in 0..MOST {
                        left = _mm_and_si128(left, _mm_add_epi16(left, minus_one));
                    }
                    _mm_cmpeq_epi16(left, _mm_setzero_si128())
                },
            );
            let low = _mm_movemask_epi8(_mm_packs_epi16(close[0], close[1])) as u32;
            let high = _mm_movemask_epi8(_mm_packs_epi16(close[2], close[3])) as u32;
            low | (high << 16)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn close_lanes_are_those_that_counting_finds(
            value: u16, sets in prop::array::uniform32(prop::collection::vec(0_u32..16, 0..7)),
        ) {
            let near = sets.map(|bits| bits.iter().fold(value, |v, bit| v ^ (1 << bit)));
            let line = Line(near);
            prop_assert_eq!(line.close::<2>(value), portable::<2>(&line, value));
            prop_assert_eq!(line.close::<3>(value), portable::<3>(&line, value));
        }
    }
}
