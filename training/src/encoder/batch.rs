//! Rows to packed tokens, labels and weights.

use novastream_datasets::chat::{CHAT_HEADS, ChatRow};
use novastream_features::text::{EncoderText, Normalizer, WordPiece};
use novastream_models::encoder::{EncoderError, Packed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::chat::teacher::{self, Taught};
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
/// Part in the loss of a head for which only a teacher has an answer.
const TAUGHT: f32 = 0.3;

/// Some rows, ready for a step.
pub struct Batch {
    /// The texts.
    pub texts: Packed,
    /// `texts × CHAT_HEADS`, 0 to 1: the label, or what it and a teacher say together.
    pub labels: Vec<f32>,
    /// `texts × CHAT_HEADS`: 0 where nobody says anything.
    pub weights: Vec<f32>,
}

/// Turns rows into tokens as serving does.
pub struct Batcher<'a> {
    /// All rows.
    pub rows: &'a [ChatRow],
    /// What a teacher says of the first rows.
    pub taught: &'a [Taught],
    /// How much of a label the teacher's score replaces.
    pub teacher_share: f32,
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
            let taught = self.taught.get(*pick as usize);
            for (head, label) in row.labels.into_iter().enumerate() {
                let says = teacher::says(taught, head);
                let (target, weight) = match (label, says) {
                    (Some(label), _) => (teacher::soften(label, says, self.teacher_share), weight),
                    (None, Some(score)) => (score, TAUGHT),
                    (None, None) if harmless => (0.0, BACKGROUND),
                    (None, None) => (0.0, 0.0),
                };
                batch.labels.push(target);
                batch.weights.push(weight);
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teacher_softens_labels_and_answers_for_heads_that_nobody_labelled() {
        let row = |toxic: Option<bool>| {
            let mut labels = [None; CHAT_HEADS.len()];
            labels[0] = toxic;
            ChatRow {
                text: "hello".to_owned(),
                source: "x".to_owned(),
                weak: false,
                labels,
            }
        };
        let rows = [
            row(Some(true)),
            row(Some(false)),
            row(None),
            row(Some(false)),
        ];
        let mut scores = [f32::NAN; CHAT_HEADS.len()];
        scores[..2].copy_from_slice(&[0.5, 0.75]);
        let taught: Vec<Taught> = vec![Box::new(scores); 3];
        let tokenizer = WordPiece::from_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello").unwrap();
        let batcher = Batcher {
            rows: &rows,
            taught: &taught,
            teacher_share: 0.5,
            normalizer: Normalizer::new(),
            tokenizer: &tokenizer,
            shape: EncoderText {
                own: 16,
                context: 16,
                emoji_names: false,
            },
        };
        let batch = batcher.training(&[0, 1, 2, 3], 1).unwrap();
        let of = |head: usize| -> Vec<(f32, f32)> {
            let each = batch.labels.iter().zip(&batch.weights).skip(head);
            each.step_by(CHAT_HEADS.len())
                .map(|(l, w)| (*l, *w))
                .collect()
        };
        assert_eq!(of(0), [(0.75, 1.0), (0.25, 1.0), (0.5, TAUGHT), (0.0, 1.0)]);
        let second = (0.75, TAUGHT);
        assert_eq!(of(1), [second, second, second, (0.0, BACKGROUND)]);
        // Where the teacher has no such head, everything is as it would be without one.
        assert_eq!(of(2)[..3], [(0.0, 0.0), (0.0, BACKGROUND), (0.0, 0.0)]);
    }
}
