//! Both chat tiers behind tensors: texts in, scores out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use novastream_features::text::{Normalized, Normalizer};

use super::{ChatInput, ChatModel, ChatTier};
use crate::backend::{BackendError, NamedTensor, Session, Tensor, TensorData};
use crate::category::Category;
use crate::engine::{Counted, DataType, ModelCard, ServedModel, Snapshot, Stats, TensorSpec};

/// Texts of one call that are normalised together; bounds memory.
const CHUNK: usize = 256;

/// `text` (byte strings, `[texts]`) in; `scores` (floats, `[texts, labels]`) and `encoder` (one byte
/// a text, 1 where the encoder was asked) out.
struct ChatSession {
    model: Arc<ChatModel>,
    normalizer: Normalizer,
    labels: Vec<Category>,
    stats: Stats,
}

impl ChatSession {
    fn new(model: Arc<ChatModel>, name: &str, version: &str) -> Self {
        let labels = model.categories().into_iter().collect();
        Self {
            model,
            normalizer: Normalizer::new(),
            labels,
            stats: Stats::new(name, version),
        }
    }

    /// The categories of `scores`, in its order.
    fn labels(&self) -> &[Category] {
        &self.labels
    }

    fn scores(&self, texts: &[Vec<u8>]) -> Result<(Vec<f32>, Vec<u8>), BackendError> {
        let (mut scores, mut encoder) = (Vec::new(), Vec::new());
        for chunk in texts.chunks(CHUNK) {
            let texts: Vec<&str> = chunk
                .iter()
                .map(|bytes| {
                    std::str::from_utf8(bytes).map_err(|_| wrong("holds bytes that are no UTF-8"))
                })
                .collect::<Result<_, _>>()?;
            let normalized: Vec<Normalized> =
                texts.iter().map(|t| self.normalizer.normalize(t)).collect();
            let inputs: Vec<ChatInput<'_>> = texts
                .iter()
                .zip(&normalized)
                .map(|(raw, normalized)| ChatInput {
                    raw,
                    normalized,
                    previous: &[],
                })
                .collect();
            for scored in self.model.score(&inputs, ChatTier::Cascade)? {
                encoder.push(u8::from(scored.full));
                scores.extend(self.labels.iter().map(|label| {
                    let known = scored.scores.iter().find(|(c, _)| c == label);
                    known.map_or(0.0, |(_, score)| *score)
                }));
            }
        }
        Ok((scores, encoder))
    }
}

impl Session for ChatSession {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        let text = inputs.into_iter().find(|i| i.name == "text");
        let Some(TensorData::Bytes(texts)) = text.map(|t| t.tensor.data) else {
            return Err(wrong("must be byte strings"));
        };
        if let Some(long) = texts.iter().find(|t| t.len() > crate::MAX_TEXT_BYTES) {
            return Err(wrong(&format!(
                "holds a text of {} bytes; {} are judged at most",
                long.len(),
                crate::MAX_TEXT_BYTES
            )));
        }
        let begun = Instant::now();
        let scored = self.scores(&texts);
        let failed = if scored.is_err() {
            texts.len() as u64
        } else {
            0
        };
        let waited = vec![Duration::ZERO; texts.len()];
        self.stats.batch(&waited, begun.elapsed(), failed);
        let (scores, encoder) = scored?;
        let shape = vec![texts.len(), self.labels.len()];
        Ok(vec![
            NamedTensor::f32("scores", shape, scores)?,
            NamedTensor {
                name: "encoder".to_owned(),
                tensor: Tensor::new(vec![texts.len()], TensorData::U8(encoder))?,
            },
        ])
    }

    fn backend(&self) -> &'static str {
        "novastream"
    }
}

impl Counted for ChatSession {
    fn counts(&self) -> Snapshot {
        self.stats.snapshot()
    }
}

/// Both chat tiers as one model, `chat`: texts in, scores out.
pub(crate) fn serve_chat(model: &Arc<ChatModel>, version: &str) -> ServedModel {
    const NAME: &str = "chat";
    let session = ChatSession::new(Arc::clone(model), NAME, version);
    let labels: Vec<String> = session.labels().iter().map(ToString::to_string).collect();
    let spec = |name: &str, data, shape| TensorSpec {
        name: name.to_owned(),
        data,
        shape,
    };
    let card = ModelCard {
        name: NAME.to_owned(),
        version: version.to_owned(),
        platform: session.backend().to_owned(),
        inputs: vec![spec("text", DataType::Bytes, vec![-1])],
        outputs: vec![
            spec("scores", DataType::F32, vec![-1, labels.len() as i64]),
            spec("encoder", DataType::U8, vec![-1]),
        ],
        labels,
    };
    ServedModel::new(card, Arc::new(session))
}

fn wrong(message: &str) -> BackendError {
    BackendError::Tensor {
        name: "text".to_owned(),
        message: message.to_owned(),
    }
}
