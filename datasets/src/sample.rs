//! Small data that we wrote ourselves: enough for every test to run with nothing else at hand.

use std::path::PathBuf;

/// Restrained chat, half of it innocent with look-alikes of abuse, half insults, spam and scams,
/// some disguised; the columns are those of [`load_chat`](crate::chat::load_chat).
pub const CHAT_SAMPLE: &str = include_str!("../samples/chat.jsonl");

/// The sample as a file of the source tree.
pub fn chat_sample_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples/chat.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::load_chat;

    #[test]
    fn sample_is_balanced_and_labelled() {
        let rows = load_chat(&chat_sample_path()).expect("sample");
        assert_eq!(rows.len(), CHAT_SAMPLE.lines().count());
        for head in ["toxicity", "spam"] {
            let count = |label| {
                rows.iter()
                    .filter(|row| row.label(head) == Some(label))
                    .count()
            };
            assert!(count(true) >= 15 && count(false) >= 30, "{head}");
        }
    }
}
