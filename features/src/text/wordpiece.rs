//! BERT's uncased WordPiece tokens, as the pretrained text encoders were trained with.
//!
//! Steps (Devlin et al. 2019; the same as `BertNormalizer`, `BertPreTokenizer` and `WordPiece` of
//! Hugging Face's `tokenizers`, which the tests compare with): control characters go, CJK
//! ideographs stand alone, accents go (NFD without marks), lower case, words split at white space
//! and around punctuation, and each word is cut greedily into the longest known pieces. Our own
//! code because it is a hundred lines on the hot path of every uncertain message, and because the
//! general library brings a C regular expression engine that WordPiece never calls.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// A word of more characters is one unknown token, as in the reference.
const MAX_WORD_CHARS: usize = 100;
/// Mark of a piece that continues a word in the vocabulary file.
const CONTINUES: &str = "##";

/// A vocabulary that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VocabularyError {
    /// A special token is missing.
    #[error("the vocabulary has no {0} token; is it a BERT vocab.txt, one token a line?")]
    NoSpecial(&'static str),
    /// More tokens than 32-bit ids.
    #[error("the vocabulary has too many tokens")]
    TooLarge,
}

impl VocabularyError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        "vocabulary_invalid"
    }
}

type Pieces = HashMap<Box<str>, u32, Xxh3DefaultBuilder>;

/// A tokenizer with its vocabulary. Read-only, so threads share it.
#[derive(Clone, Debug)]
pub struct WordPiece {
    starts: Pieces,
    continues: Pieces,
    longest: usize,
    size: usize,
    unknown: u32,
    class: u32,
    separator: u32,
}

impl WordPiece {
    /// Reads a `vocab.txt`: one token a line, its line number is its id.
    pub fn from_vocabulary(text: &str) -> Result<Self, VocabularyError> {
        let mut starts = Pieces::default();
        let mut continues = Pieces::default();
        let (mut longest, mut size) = (0, 0);
        for (id, line) in text.lines().enumerate() {
            let id = u32::try_from(id).map_err(|_| VocabularyError::TooLarge)?;
            size = id as usize + 1;
            let token = line.trim_end_matches('\r');
            longest = longest.max(token.len());
            match token.strip_prefix(CONTINUES) {
                Some(rest) if !rest.is_empty() => continues.insert(rest.into(), id),
                _ => starts.insert(token.into(), id),
            };
        }
        let special = |name| {
            let id = starts.get(name).copied();
            id.ok_or(VocabularyError::NoSpecial(name))
        };
        Ok(Self {
            unknown: special("[UNK]")?,
            class: special("[CLS]")?,
            separator: special("[SEP]")?,
            starts,
            continues,
            longest,
            size,
        })
    }

    /// Number of tokens; ids are below it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Id of the token that starts a text.
    pub fn class(&self) -> u32 {
        self.class
    }

    /// Id of the token that ends a text, or parts two.
    pub fn separator(&self) -> u32 {
        self.separator
    }

    /// Appends the tokens of `text`, at most `limit` of them, without the special tokens.
    pub fn encode(&self, text: &str, limit: usize, out: &mut Vec<u32>) {
        let end = out.len() + limit;
        let mut word = String::new();
        let flush = |word: &mut String, out: &mut Vec<u32>| {
            if !word.is_empty() && out.len() < end {
                self.pieces(word, out);
                out.truncate(end);
            }
            word.clear();
        };
        for c in text.chars().flat_map(Cleaned::of) {
            match c {
                Cleaned::Gone => {}
                Cleaned::Space => flush(&mut word, out),
                Cleaned::Alone(c) => {
                    flush(&mut word, out);
                    word.push(c);
                    flush(&mut word, out);
                }
                Cleaned::Letter(c) => word.push(c),
            }
            if out.len() >= end {
                return;
            }
        }
        flush(&mut word, out);
    }

    fn pieces(&self, word: &str, out: &mut Vec<u32>) {
        if word.len() > MAX_WORD_CHARS && word.chars().count() > MAX_WORD_CHARS {
            out.push(self.unknown);
            return;
        }
        let begin = out.len();
        let (mut rest, mut known) = (word, &self.starts);
        while !rest.is_empty() {
            let mut end = rest.len().min(self.longest);
            let found = loop {
                // A word start that spells a special token's name is split at its brackets
                // before it comes here.
                if rest.is_char_boundary(end)
                    && let Some(id) = known.get(&rest[..end])
                {
                    break Some(*id);
                }
                end -= 1;
                if end == 0 {
                    break None;
                }
            };
            let Some(id) = found else {
                out.truncate(begin);
                out.push(self.unknown);
                return;
            };
            out.push(id);
            rest = &rest[end..];
            known = &self.continues;
        }
    }
}

/// What becomes of one character.
#[derive(Clone, Copy, Debug)]
enum Cleaned {
    Gone,
    Space,
    /// Punctuation or an ideograph: a word of its own.
    Alone(char),
    Letter(char),
}

impl Cleaned {
    fn of(c: char) -> impl Iterator<Item = Self> {
        let whole = if c.is_ascii() {
            Some(Self::ascii(c))
        } else {
            Self::settled(c)
        };
        // Decomposition and lower case may give several characters, each looked at by itself.
        let parts = whole.is_none().then(|| {
            let kept = std::iter::once(c)
                .nfd()
                .filter(|c| c.general_category() != GeneralCategory::NonspacingMark);
            kept.flat_map(char::to_lowercase).map(|c| {
                if is_punctuation(c) {
                    Self::Alone(c)
                } else {
                    Self::Letter(c)
                }
            })
        });
        whole.into_iter().chain(parts.into_iter().flatten())
    }

    fn ascii(c: char) -> Self {
        match c {
            '\t' | '\n' | '\r' | ' ' => Self::Space,
            c if c.is_ascii_control() => Self::Gone,
            c if c.is_ascii_punctuation() => Self::Alone(c),
            c => Self::Letter(c.to_ascii_lowercase()),
        }
    }

    /// The answer where no decomposition is needed.
    fn settled(c: char) -> Option<Self> {
        if c.is_whitespace() {
            return Some(Self::Space);
        }
        if c == '\u{fffd}' || c.general_category_group() == GeneralCategoryGroup::Other {
            return Some(Self::Gone);
        }
        is_ideograph(c).then_some(Self::Alone(c))
    }
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// The blocks that the reference calls Chinese.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> WordPiece {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nplay\n##ing\n##er\nthe\n!\ncafe\n中\n##s\n";
        WordPiece::from_vocabulary(vocabulary).unwrap()
    }

    fn tokens(text: &str, limit: usize) -> Vec<u32> {
        let mut out = Vec::new();
        small().encode(text, limit, &mut out);
        out
    }

    #[test]
    fn words_are_cut_into_the_longest_pieces() {
        assert_eq!(tokens("Playing the PLAYERS!", 99), [4, 5, 7, 4, 6, 11, 8]);
    }

    #[test]
    fn accents_controls_and_ideographs() {
        assert_eq!(tokens("Café\u{200b} pl\u{0}ay中the", 99), [9, 4, 10, 7]);
    }

    #[test]
    fn what_is_not_known_is_one_token() {
        assert_eq!(tokens("xyz the", 99), [1, 7]);
        assert_eq!(tokens(&"play".repeat(26), 99), [1]);
    }

    #[test]
    fn the_limit_counts_only_new_tokens() {
        assert_eq!(tokens("playing playing", 3), [4, 5, 4]);
        let mut out = vec![2];
        small().encode("the the the", 2, &mut out);
        assert_eq!(out, [2, 7, 7]);
        assert!(tokens("the", 0).is_empty());
    }

    #[test]
    fn a_vocabulary_without_specials_is_refused() {
        let error = WordPiece::from_vocabulary("a\nb\n").unwrap_err();
        assert_eq!(error, VocabularyError::NoSpecial("[UNK]"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_known_ids_within_the_limit(text: String, limit in 0_usize..40) {
            let tokenizer = small();
            let mut out = Vec::new();
            tokenizer.encode(&text, limit, &mut out);
            assert!(out.len() <= limit);
            assert!(out.iter().all(|id| (*id as usize) < tokenizer.size()));
        }
    }
}
