//! Memory that is read at random and far from any cache.

/// A vector with room for `len` values, in pages of two megabytes where the system gives them.
///
/// Random reads in small pages wait for the translation of their addresses as well.
pub(super) fn with_capacity<T>(len: usize) -> Vec<T> {
    let values = Vec::with_capacity(len);
    #[cfg(target_os = "linux")]
    advise(&values);
    values
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "advice about pages, whose content stays")]
fn advise<T>(values: &Vec<T>) {
    use rustix::mm::{Advice, madvise};

    const PAGE: usize = 1 << 21;
    let start = values.as_ptr().cast::<u8>();
    let bytes = values.capacity() * size_of::<T>();
    // Whole large pages only, so that no neighbour's memory is meant.
    let skipped = start.align_offset(PAGE);
    let length = bytes.saturating_sub(skipped) / PAGE * PAGE;
    if length == 0 {
        return;
    }
    let start = start.wrapping_add(skipped).cast_mut();
    // SAFETY: the pages belong to the vector, and this advice changes neither what they hold nor who
    // may use them. Where the system knows no large pages it refuses, and nothing is lost.
    let _ = unsafe { madvise(start.cast(), length, Advice::LinuxHugepage) };
}

/// Asks for the cache line of `values[at]`, which is read a little later.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "a hint about an address, which is not read")
)]
pub(super) fn prefetch<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let address = values.as_ptr().wrapping_add(at);
        // SAFETY: nothing is read, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advised_memory_holds_what_is_written() {
        for len in [0, 1, 1000, 3 << 20] {
            let mut values = with_capacity(len);
            assert!(values.capacity() >= len);
            values.extend(0..len);
            assert!(values.iter().copied().eq(0..len));
            prefetch(&values, len);
        }
    }
}
