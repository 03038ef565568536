//! Sentences with their places, in bytes and in UTF-16 code units.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

/// Most sentences that are scored one by one; the last one holds whatever follows.
pub const MAX_SENTENCES: usize = 256;

/// One sentence without the white space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Bytes of the text.
    pub bytes: Range<usize>,
    /// UTF-16 code units of the text, as Perspective counts.
    pub utf16: Range<usize>,
}

/// UTF-16 code units in a text.
pub fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The sentences of a text after Unicode Standard Annex 29, in order, without empty ones.
pub fn split(text: &str) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    let (mut at, mut units) = (0, 0);
    for (start, sentence) in text.split_sentence_bound_indices() {
        let inner = sentence.trim();
        if inner.is_empty() {
            continue;
        }
        let begin = start + (sentence.len() - sentence.trim_start().len());
        let end = begin + inner.len();
        units += utf16_len(&text[at..begin]);
        let length = utf16_len(inner);
        at = end;
        let span = Span {
            bytes: begin..end,
            utf16: units..units + length,
        };
        units += length;
        out.push(span);
    }
    merge_tail(&mut out);
    out
}

fn merge_tail(spans: &mut Vec<Span>) {
    if spans.len() <= MAX_SENTENCES {
        return;
    }
    if let Some(end) = spans.last().map(|s| (s.bytes.end, s.utf16.end)) {
        spans.truncate(MAX_SENTENCES);
        if let Some(last) = spans.last_mut() {
            (last.bytes.end, last.utf16.end) = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_counted_as_javascript_counts() {
        let text = " Hi there 😀! You are late.\nGo  away… ";
        let spans = split(text);
        let parts: Vec<&str> = spans.iter().map(|s| &text[s.bytes.clone()]).collect();
        assert_eq!(parts, ["Hi there 😀!", "You are late.", "Go  away…"]);
        // The face is two code units: " Hi there " is ten, the face two, the mark one.
        assert_eq!(spans[0].utf16, 1..13);
        assert_eq!(spans[1].utf16, 14..27);
        let units: Vec<u16> = text.encode_utf16().collect();
        assert_eq!(
            String::from_utf16(&units[spans[2].utf16.clone()]).unwrap(),
            "Go  away…"
        );
        assert!(split("  \n ").is_empty());
    }

    #[test]
    fn many_sentences_are_bounded_and_nothing_is_lost() {
        let text = "No. ".repeat(1000);
        let spans = split(&text);
        assert_eq!(spans.len(), MAX_SENTENCES);
        assert_eq!(spans[MAX_SENTENCES - 1].bytes.end, text.trim_end().len());
    }

    proptest! {
        #[test]
        fn both_counts_mean_the_same(text in "\\PC{0,120}") {
            let units: Vec<u16> = text.encode_utf16().collect();
            let mut last = 0;
            for span in split(&text) {
                let bytes = &text[span.bytes.clone()];
                let utf16 = String::from_utf16(&units[span.utf16.clone()]);
                prop_assert_eq!(Some(bytes.to_owned()), utf16.ok());
                prop_assert!(span.bytes.start >= last);
                last = span.bytes.end;
            }
        }
    }
}
