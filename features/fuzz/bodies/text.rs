//! What must hold for any text: shared by the fuzz target and by `tests/text_fuzz.rs`, which runs it
//! over a fixed corpus on a stable compiler.

use novastream_features::text::{
    EncoderText, LAST_NGRAM_SET, NgramHasher, Normalizer, WordPiece, language,
};

/// Panics where something does not hold.
pub fn check(raw: &str) {
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
    for set in 1..=LAST_NGRAM_SET {
        NgramHasher::with_set(18, set).features(raw, &normalized, &mut features);
        assert!(features.iter().all(|(_, value)| value.is_finite()));
        assert!(features.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
    let _ = language::detect_undisguised(raw, &normalized);
    if let Ok(tokenizer) = WordPiece::from_vocabulary("[UNK]\n[CLS]\n[SEP]\nfire\n##s\na\n") {
        let shape = EncoderText {
            own: 12,
            context: 6,
            emoji_names: true,
        };
        let (own, context) = shape.tokens(&tokenizer, raw, &normalized, &[raw]);
        assert!((2..=12).contains(&own.len()) && context.len() <= 6);
    }
}
