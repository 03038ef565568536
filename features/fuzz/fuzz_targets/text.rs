//! Any text: normalised with sound offsets, hashed, and its language looked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use novastream_features::text::{NgramHasher, Normalizer, language};

fuzz_target!(|raw: &str| {
    let normalized = Normalizer::new().normalize(raw);
    assert!(normalized.text.len() <= 6 * raw.len());
    let mut last = 0..0;
    for (at, ch) in normalized.text.char_indices() {
        let range = normalized.original_range(at..at + ch.len_utf8());
        assert!(raw.get(range.clone()).is_some_and(|part| !part.is_empty()));
        assert!(last.start <= range.start && last.end <= range.end);
        last = range;
    }
    let mut features = Vec::new();
    NgramHasher::new(18).features(raw, &normalized, &mut features);
    assert!(features.iter().all(|(_, value)| value.is_finite()));
    let _ = language::detect_undisguised(raw, &normalized);
});
