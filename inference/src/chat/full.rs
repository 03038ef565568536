//! The full tier: the text encoder, joined with the fast tier's scores.

use std::sync::Arc;

use novastream_features::text::{EncoderText, Normalized, Normalizer, WordPiece};
use novastream_models::encoder::pack::Description;
use novastream_models::encoder::{ChatEncoder, ChatHead, Route, RouteInputs, fast_logit};
use novastream_models::golden::Question;

use super::{ChatInput, Scores};
use crate::backend::{BackendError, NamedTensor, Session, Tensor, TensorData, take_f32};
use crate::category::Category;

/// Texts that one call to the engine holds; it makes batches of its own, of many callers' texts.
const CHUNK: usize = 64;

/// A message for the encoder.
pub(crate) struct FullInput<'a> {
    pub raw: &'a str,
    pub normalized: &'a Normalized,
    /// Messages before it, oldest first.
    pub previous: &'a [&'a str],
    /// What the fast tier says.
    pub fast: &'a Scores,
}

struct Head {
    category: Category,
    /// Its place among the outputs.
    output: usize,
    made: ChatHead,
}

/// A loaded encoder.
pub(crate) struct FullChat {
    session: Arc<dyn Session>,
    tokenizer: WordPiece,
    text: EncoderText,
    heads: Vec<Head>,
    /// The categories of [`Route::HEADS`]; `None` for one that the taxonomy does not know.
    route: Vec<Option<Category>>,
    outputs: usize,
    description: Description,
    id: String,
}

impl FullChat {
    /// `id` is `name@version`; `session` runs `model`.
    pub(crate) fn new(
        model: &ChatEncoder,
        tokenizer: WordPiece,
        session: Arc<dyn Session>,
        id: String,
    ) -> Result<Self, BackendError> {
        let description = model.description.clone();
        if tokenizer.size() > description.config.vocabulary {
            return Err(BackendError::Load {
                backend: "encoder",
                message: "the vocabulary has more tokens than the model".to_owned(),
            });
        }
        let names = description.heads.iter().map(|head| head.name.as_str());
        let heads = super::categories(names, &id)
            .into_iter()
            .zip(&description.heads)
            .enumerate()
            .filter_map(|(output, (category, head))| {
                Some(Head {
                    category: category?,
                    output,
                    made: head.clone(),
                })
            })
            .collect();
        Ok(Self {
            session,
            tokenizer,
            text: EncoderText {
                own: description.own_tokens,
                context: description.context_tokens,
                emoji_names: description.emoji_names,
            },
            heads,
            route: super::categories(Route::HEADS.into_iter(), &id),
            outputs: description.heads.len(),
            description,
            id,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// What runs it.
    pub(crate) fn backend(&self) -> &'static str {
        self.session.backend()
    }

    /// What decides whether a message comes here.
    pub(crate) fn route_inputs(&self, input: &ChatInput<'_>, fast: &Scores) -> RouteInputs {
        let mut heads = [0.0; Route::HEADS.len()];
        for (to, category) in heads.iter_mut().zip(&self.route) {
            let known = fast.iter().find(|(c, _)| Some(*c) == *category);
            *to = known.map_or(0.0, |(_, score)| fast_logit(*score));
        }
        RouteInputs {
            heads,
            bytes: input.raw.len(),
            disguised: input.normalized.signals.disguises() > 0,
        }
    }

    /// The same on another session of the same weights.
    pub(crate) fn behind(self, session: Arc<dyn Session>) -> Self {
        Self { session, ..self }
    }

    /// Names of the logits.
    pub(crate) fn outputs(&self) -> Vec<String> {
        let heads = self.description.heads.iter();
        heads.map(|head| head.name.clone()).collect()
    }

    /// The logits of a message, the encoder's alone.
    pub(crate) fn golden(&self, question: &Question) -> Result<Vec<f32>, BackendError> {
        let Question::Text { text, previous } = question else {
            return Err(BackendError::Tensor {
                name: "text".to_owned(),
                message: "is asked for by no message".to_owned(),
            });
        };
        let previous: Vec<&str> = previous.iter().map(String::as_str).collect();
        let normalized = Normalizer::new().normalize(text);
        let tokens = self
            .text
            .tokens(&self.tokenizer, text, &normalized, &previous);
        self.logits(&[&tokens])
    }

    /// Runs `n` texts of `length` tokens.
    pub(crate) fn warm(&self, n: usize, length: usize) -> Result<(), BackendError> {
        let length = length.clamp(2, self.description.config.positions);
        let mut tokens = vec![self.tokenizer.class(); length - 1];
        tokens.push(self.tokenizer.separator());
        let text = (tokens, Vec::new());
        self.logits(&vec![&text; n.max(1)]).map(drop)
    }

    /// Runs the encoder once, on a batch of unequal lengths.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let short = (
            vec![self.tokenizer.class(), self.tokenizer.separator()],
            Vec::new(),
        );
        let long = (
            vec![self.tokenizer.class(); 9],
            vec![self.tokenizer.separator()],
        );
        self.logits(&[&short, &long]).map(drop)
    }

    /// Calibrated scores of each message, in order.
    ///
    /// # Errors
    /// [`BackendError`]: the engine failed.
    pub(crate) fn score(&self, inputs: &[FullInput<'_>]) -> Result<Vec<Scores>, BackendError> {
        let tokens: Vec<(Vec<u32>, Vec<u32>)> = inputs
            .iter()
            .map(|i| {
                self.text
                    .tokens(&self.tokenizer, i.raw, i.normalized, i.previous)
            })
            .collect();
        // Texts of like length share a batch, so that little padding is computed.
        let length = |at: usize| tokens[at].0.len() + tokens[at].1.len();
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by(|a, b| {
            let lengths = length(*a).cmp(&length(*b));
            lengths.then_with(|| tokens[*a].cmp(&tokens[*b]))
        });
        // Chat repeats itself: equal texts are run once.
        let groups: Vec<&[usize]> = order.chunk_by(|a, b| tokens[*a] == tokens[*b]).collect();
        let mut out: Vec<Scores> = vec![Vec::new(); inputs.len()];
        for batch in groups.chunks(CHUNK) {
            let texts: Vec<&(Vec<u32>, Vec<u32>)> =
                batch.iter().map(|group| &tokens[group[0]]).collect();
            let logits = self.logits(&texts)?;
            for (group, logits) in batch.iter().zip(logits.chunks_exact(self.outputs)) {
                for at in *group {
                    out[*at] = self.join(logits, tokens[*at].0.len(), inputs[*at].fast);
                }
            }
        }
        Ok(out)
    }

    fn join(&self, logits: &[f32], tokens: usize, fast: &Scores) -> Scores {
        self.heads
            .iter()
            .map(|head| {
                let known = fast.iter().find(|(category, _)| *category == head.category);
                let fast = known.map_or(0.0, |(_, score)| fast_logit(*score));
                let score = head.made.score(logits[head.output], fast, tokens);
                (head.category, super::sound(score))
            })
            .collect()
    }

    /// One row of outputs a text.
    fn logits(&self, texts: &[&(Vec<u32>, Vec<u32>)]) -> Result<Vec<f32>, BackendError> {
        let mut outputs = self.session.run(padded(texts)?)?;
        let (shape, values) = take_f32(&mut outputs, "logits")?;
        if shape == [texts.len(), self.outputs] {
            return Ok(values);
        }
        Err(BackendError::Tensor {
            name: "logits".to_owned(),
            message: format!("shape {shape:?} for {} texts", texts.len()),
        })
    }
}

/// `ids`, `mask` and `own`, each `[texts, length]`, padded at the end.
fn padded(texts: &[&(Vec<u32>, Vec<u32>)]) -> Result<Vec<NamedTensor>, BackendError> {
    let length = texts
        .iter()
        .map(|(own, context)| own.len() + context.len())
        .max()
        .unwrap_or(0);
    let n = texts.len() * length;
    let (mut ids, mut mask, mut mine) = (vec![0_i64; n], vec![0_i64; n], vec![0_i64; n]);
    for (row, (own, context)) in texts.iter().enumerate() {
        let at = row * length;
        for (to, id) in ids[at..].iter_mut().zip(own.iter().chain(context)) {
            *to = i64::from(*id);
        }
        mask[at..at + own.len() + context.len()].fill(1);
        mine[at..at + own.len()].fill(1);
    }
    [("ids", ids), ("mask", mask), ("own", mine)]
        .into_iter()
        .map(|(name, values)| {
            Ok(NamedTensor {
                name: name.to_owned(),
                tensor: Tensor::new(vec![texts.len(), length], TensorData::I64(values))?,
            })
        })
        .collect()
}
