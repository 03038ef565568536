//! Text: from raw chat to features.
//!
//! [`Normalizer`] undoes disguise (homoglyphs, zero-width characters, leet, spacing, stretching,
//! emoji inside words) and remembers where each character came from, so evidence can point into
//! the original bytes. [`NgramHasher`] turns the result into a sparse vector for linear models,
//! [`WordPiece`] into the tokens of a text encoder.
//! Training and serving run exactly this code.

mod cells;
mod emoji;
mod emoji_names;
mod encoder_text;
mod hasher;
mod ids;
mod join;
pub mod language;
mod leet;
mod lookalike;
mod normalized;
mod normalizer;
mod repeats;
mod scan;
mod tokens;
mod unicode;
mod wordpiece;

pub use encoder_text::EncoderText;
pub use hasher::{FIRST_NGRAM_SET, LAST_NGRAM_SET, MAX_HASH_BITS, MIN_HASH_BITS, NgramHasher};
pub use normalized::{Normalized, Signals};
pub use normalizer::Normalizer;
pub use wordpiece::{VocabularyError, WordPiece};

#[cfg(test)]
mod tests;
