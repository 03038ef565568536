//! Which stretches of a recording a sound model looks at.

use std::ops::Range;

use super::{rms_dbfs, windows};

/// Samples from one YAMNet window to the next: 0.48 s at 16 kHz.
pub const YAMNET_HOP: usize = 7_680;
/// Windows quieter than this hold nothing to hear; dB relative to full scale.
pub const SILENT_DBFS: f32 = -60.0;
/// A rest shorter than this many samples (0.1 s) is not worth a window of its own.
const SHORTEST_REST: usize = 1_600;

/// Windows of `window` samples over `len` samples: one every `hop`, and one more that ends with the
/// sound if the rest is long enough. Sound shorter than a window gives one short range.
pub fn spans(len: usize, window: usize, hop: usize) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = windows(len, window, hop).collect();
    if let [.., before, last] = spans.as_slice()
        && last.end - before.end < SHORTEST_REST
    {
        spans.pop();
    }
    spans
}

/// The [`spans`] that are not silent, in order. Where all are, the loudest one, so that a recording
/// of a very quiet sound still has something to judge; nothing only for no samples.
pub fn loud_spans(samples: &[f32], window: usize, hop: usize) -> Vec<Range<usize>> {
    let all = spans(samples.len(), window, hop);
    let level = |span: &Range<usize>| rms_dbfs(&samples[span.clone()]);
    let loud: Vec<_> = all
        .iter()
        .filter(|span| level(span) >= SILENT_DBFS)
        .cloned()
        .collect();
    if loud.is_empty() {
        let loudest = all.into_iter().max_by(|a, b| level(a).total_cmp(&level(b)));
        return loudest.into_iter().collect();
    }
    loud
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::YAMNET_WINDOW;
    use super::*;

    #[test]
    fn silence_is_left_out_unless_there_is_nothing_else() {
        let mut samples = vec![0.0_f32; 40];
        samples[12..20].fill(0.5);
        assert_eq!(
            loud_spans(&samples, 10, 10),
            std::slice::from_ref(&(10..20))
        );
        samples.fill(0.0);
        samples[25] = 1e-5;
        assert_eq!(
            loud_spans(&samples, 10, 10),
            std::slice::from_ref(&(20..30))
        );
        assert!(loud_spans(&[], 10, 10).is_empty());
    }

    proptest! {
        #[test]
        fn spans_cover_all_but_a_moment(len in 1_usize..200_000) {
            let spans = spans(len, YAMNET_WINDOW, YAMNET_HOP);
            prop_assert_eq!(spans[0].start, 0);
            prop_assert!(spans.iter().all(|s| s.len() == YAMNET_WINDOW.min(len)));
            prop_assert!(spans.windows(2).all(|p| p[1].start > p[0].start && p[1].start <= p[0].end));
            let end = spans[spans.len() - 1].end;
            prop_assert!(end <= len && end + SHORTEST_REST > len);
        }
    }
}
