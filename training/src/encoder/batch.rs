//! Rows to packed tokens, labels and weights.

use novastream_datasets::chat::{CHAT_HEADS, ChatRow};
use novastream_features::text::{EncoderText, Normalizer, WordPiece};
use novastream_models::encoder::{EncoderError, Packed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disguise::disguise;

/// Share of rows that are disguised while training.
const DISGUISED: f64 = 0.12;
/// Share of rows that get messages of strangers before them while training, so that the encoder
/// learns that what was said before is not what is said.
const WITH_CONTEXT: f64 = 0.08;
/// Part of a weak label in the loss.
const WEAK: f32 = 0.5;

/// Part of an unlabelled head in the loss where the row is harmless by its own source: keeps narrow
/// heads, which learn from prompts and forums, quiet on ordinary chat.
const BACKGROUND: f32 = 0.1;

/// Some rows, ready for a step.
pub struct Batch {
    /// The texts.
    pub texts: Packed,
    /// `texts × CHAT_HEADS`: 1 or 0.
    pub labels: Vec<f32>,
    /// `texts × CHAT_HEADS`: 0 where nobody labelled.
    pub weights: Vec<f32>,
}

/// Turns rows into tokens as serving does.
pub struct Batcher<'a> {
    /// All rows.
    pub rows: &'a [ChatRow],
    /// Cleans texts.
    pub normalizer: Normalizer,
    /// Splits texts.
    pub tokenizer: &'a WordPiece,
    /// Tokens of a text and of its context.
    pub shape: EncoderText,
}

impl Batcher<'_> {
    /// Tokens of a text as it is.
    pub fn tokens(&self, text: &str, previous: &[&str]) -> (Vec<u32>, Vec<u32>) {
        let normalized = self.normalizer.normalize(text);
        self.shape
            .tokens(self.tokenizer, text, &normalized, previous)
    }

    /// A batch for training; `seed` decides which rows are disguised or get a context.
    pub fn training(&self, picks: &[u32], seed: u64) -> Result<Batch, EncoderError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut batch = Batch {
            texts: Packed::default(),
            labels: Vec::with_capacity(picks.len() * CHAT_HEADS.len()),
            weights: Vec::with_capacity(picks.len() * CHAT_HEADS.len()),
        };
        for pick in picks {
            let row = &self.rows[*pick as usize];
            let hidden;
            let text = if rng.random_bool(DISGUISED) {
                hidden = disguise(&row.text, &mut rng);
                &hidden
            } else {
                &row.text
            };
            let mut previous = Vec::new();
            if rng.random_bool(WITH_CONTEXT) {
                for _ in 0..rng.random_range(1..=4) {
                    let other = &self.rows[picks[rng.random_range(0..picks.len())] as usize];
                    previous.push(other.text.as_str());
                }
            }
            let (own, context) = self.tokens(text, &previous);
            batch.texts.push(&own, &context)?;
            let weight = if row.weak { WEAK } else { 1.0 };
            let harmless = !row.weak && row.label("toxicity") == Some(false);
            for label in row.labels {
                batch.labels.push(f32::from(u8::from(label == Some(true))));
                batch.weights.push(match label {
                    Some(_) => weight,
                    None if harmless => BACKGROUND,
                    None => 0.0,
                });
            }
        }
        Ok(batch)
    }
}
