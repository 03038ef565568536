//! Any bytes as a segment. Start with the committed clips:
//! `cargo +nightly fuzz run segment corpus/segment ../tests/data`.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use novastream_features::media::{CancelToken, MediaLimits, Sampling, read_segment};

fuzz_target!(|bytes: &[u8]| {
    let limits = MediaLimits {
        deadline: Duration::from_secs(2),
        ..MediaLimits::default()
    };
    let start = Instant::now();
    let sampling = Sampling::default();
    if let Ok((_, window)) = read_segment(Arc::from(bytes), &sampling, &limits, &CancelToken::new())
    {
        assert!(!window.frames.is_empty() || window.audio.is_some());
        assert!(window.frames.len() <= limits.max_frames);
        for frame in &window.frames {
            let pixels = frame.image.width as usize * frame.image.height as usize;
            assert_eq!(frame.image.data.len(), pixels * 3);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10));
});
