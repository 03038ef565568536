//! What a text encoder reads of a message.

use super::{Normalized, WordPiece};

/// How long a message and the messages before it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EncoderText {
    /// Tokens of the message itself, with its two special tokens; at least 3.
    pub own: usize,
    /// Tokens of all messages before it, with their separators.
    pub context: usize,
}

impl EncoderText {
    /// Tokens of a message, and of the messages before it (oldest first in `previous`, the newest
    /// first in the answer, so that old ones are cut).
    ///
    /// Where the normaliser undid a disguise, its text is read; otherwise the message as written.
    /// A message that is too long keeps its beginning and its end, where insults tend to stand.
    pub fn tokens(
        &self,
        tokenizer: &WordPiece,
        raw: &str,
        normalized: &Normalized,
        previous: &[&str],
    ) -> (Vec<u32>, Vec<u32>) {
        let text = if normalized.signals.disguises() > 0 {
            &normalized.text
        } else {
            raw
        };
        let room = self.own.max(3) - 2;
        let mut own = vec![tokenizer.class()];
        // Tokens beyond a few times the room are never looked at: a message has no bound here.
        tokenizer.encode(text, 4 * room, &mut own);
        if own.len() > room + 1 {
            let tail = room / 4;
            let head = room - tail;
            let end = own.len();
            own.drain(1 + head..end - tail);
        }
        own.push(tokenizer.separator());
        let mut context = Vec::new();
        for message in previous.iter().rev() {
            if context.len() + 2 > self.context {
                break;
            }
            let room = self.context - context.len() - 1;
            tokenizer.encode(message, room, &mut context);
            context.push(tokenizer.separator());
        }
        (own, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Normalizer;

    fn tokens(text: &str, previous: &[&str]) -> (Vec<u32>, Vec<u32>) {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nant\nbee\ncat\ndog\nidiot\n";
        let tokenizer = WordPiece::from_vocabulary(vocabulary).unwrap();
        let shape = EncoderText {
            own: 10,
            context: 6,
        };
        shape.tokens(
            &tokenizer,
            text,
            &Normalizer::new().normalize(text),
            previous,
        )
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        let long = "ant ".repeat(7) + "bee bee bee bee bee cat dog";
        let (own, _) = tokens(&long, &[]);
        assert_eq!(own, [2, 4, 4, 4, 4, 4, 4, 6, 7, 3]);
        assert_eq!(tokens("ant bee", &[]).0, [2, 4, 5, 3]);
        assert_eq!(tokens("", &[]).0, [2, 3]);
    }

    #[test]
    fn the_newest_context_stays() {
        assert_eq!(
            tokens("ant", &["cat cat cat cat cat", "bee bee"]).1,
            [5, 5, 3, 6, 6, 3]
        );
        assert_eq!(
            tokens("ant", &["bee bee bee bee bee bee bee bee bee"]).1,
            [5, 5, 5, 5, 5, 3]
        );
    }

    #[test]
    fn a_disguise_is_undone_first() {
        assert_eq!(tokens("1d10t", &[]).0, [2, 8, 3]);
    }
}
