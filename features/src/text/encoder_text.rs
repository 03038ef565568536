//! What a text encoder reads of a message.

use std::borrow::Cow;

use super::{Normalized, WordPiece, emoji_names::spell_emoji};

/// How long a message and the messages before it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EncoderText {
    /// Tokens of the message itself, with its two special tokens; at least 3.
    pub own: usize,
    /// Tokens of all messages before it, with their separators.
    pub context: usize,
    /// Whether emoji are read by their names. Encoders that were trained before it know every
    /// emoji as the unknown token only.
    #[serde(default)]
    pub emoji_names: bool,
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
        tokenizer.encode(&self.spelled(text), 4 * room, &mut own);
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
            tokenizer.encode(&self.spelled(message), room, &mut context);
            context.push(tokenizer.separator());
        }
        (own, context)
    }

    fn spelled<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.emoji_names {
            spell_emoji(text)
        } else {
            Cow::Borrowed(text)
        }
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
            emoji_names: true,
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
    fn emoji_have_a_meaning_where_the_encoder_learned_it() {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\nface\ngo\n";
        let tokenizer = WordPiece::from_vocabulary(vocabulary).unwrap();
        let own = |emoji_names| {
            let shape = EncoderText {
                own: 10,
                context: 6,
                emoji_names,
            };
            let normalized = Normalizer::new().normalize("go 🐱");
            shape.tokens(&tokenizer, "go 🐱", &normalized, &["🐱"])
        };
        assert_eq!(own(false), (vec![2, 6, 1, 3], vec![1, 3]));
        assert_eq!(own(true), (vec![2, 6, 4, 5, 3], vec![4, 5, 3]));
    }

    #[test]
    fn a_disguise_is_undone_first() {
        assert_eq!(tokens("1d10t", &[]).0, [2, 8, 3]);
    }
}
