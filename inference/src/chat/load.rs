//! The encoder from its folder.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use novastream_features::text::WordPiece;
use novastream_models::encoder::pack::{self, Description};
use novastream_models::encoder::{ChatEncoder, Int8Classifier};
use novastream_models::golden::{Golden, GoldenError};
use novastream_models::manifest::{Kernels, Manifest};
use novastream_models::store::read_verified;

use super::full::FullChat;
use super::packed::PackedSession;
use crate::backend::{BackendError, NATIVE_ENGINE, Session};
use crate::engine::{
    Batched, Counted, DataType, ModelCard, PACKED_TEXTS, Padded, Plan, ServedModel, TEXTS,
    TensorSpec,
};
use crate::moderator::Engines;
use crate::registry::LoadFailure;

/// Shapes that a model is warmed up with when nothing is known of its callers: texts and tokens.
const USUAL: [(usize, usize); 4] = [(1, 8), (1, 16), (8, 16), (1, 32)];

/// A loaded encoder.
pub(crate) struct Encoder {
    /// What scores messages.
    pub full: Arc<FullChat>,
    /// What other programs may call.
    pub served: Arc<ServedModel>,
    /// What both stand before.
    pub batched: Arc<Batched>,
    /// How eight-bit products are computed; `None` where the engine computes in floats.
    pub kernels: Option<Kernels>,
}

/// A model's bytes, and what is needed to run them.
pub(crate) struct EncoderParts {
    /// The weights.
    pub model: ChatEncoder,
    /// The words.
    pub tokenizer: WordPiece,
}

impl EncoderParts {
    /// Reads and verifies the files in `dir`.
    pub(crate) fn read(manifest: &Manifest, dir: &Path) -> Result<Self, LoadFailure> {
        let name = &manifest.name;
        let read = |file| {
            read_verified(manifest, dir, file).map_err(|e| LoadFailure::new(e.code(), name, e))
        };
        let format = |e: &dyn std::fmt::Display| LoadFailure::new("model_format", name, e);
        let model = ChatEncoder::from_bytes(&read(pack::WEIGHTS_FILE)?).map_err(|e| format(&e))?;
        let words = String::from_utf8(read(pack::VOCABULARY_FILE)?).map_err(|e| format(&e))?;
        let tokenizer = WordPiece::from_vocabulary(&words).map_err(|e| format(&e))?;
        Ok(Self { model, tokenizer })
    }

    /// The encoder on `session`.
    pub(crate) fn on(
        &self,
        session: Arc<dyn Session>,
        id: String,
    ) -> Result<FullChat, BackendError> {
        FullChat::new(&self.model, self.tokenizer.clone(), session, id)
    }

    /// A session of Candle's.
    pub(crate) fn candle(&self) -> Result<Arc<dyn Session>, BackendError> {
        let model = self.model.to_classifier();
        let model = model.map_err(|e| BackendError::Load {
            backend: "candle",
            message: e.to_string(),
        })?;
        Ok(Arc::new(PackedSession(model)))
    }

    /// A session of our own kernels.
    pub(crate) fn native(&self) -> Result<Arc<dyn Session>, BackendError> {
        let model = Int8Classifier::new(&self.model);
        let model = model.map_err(|e| BackendError::Load {
            backend: NATIVE_ENGINE,
            message: e.to_string(),
        })?;
        Ok(Arc::new(PackedSession(model)))
    }

    /// The graph for ONNX Runtime.
    pub(crate) fn graph(&self) -> Result<Vec<u8>, BackendError> {
        self.model.to_onnx().map_err(|e| BackendError::Load {
            backend: "onnxruntime",
            message: e.to_string(),
        })
    }
}

/// Loads, verifies, warms up and checks the encoder in `dir`, for our own kernels where the processor
/// has what they need, else for ONNX Runtime, else for Candle, as far as `engines` allow. Callers
/// share its batches, `engines.threads` of them at once. It is warmed up with `shapes`, those that its
/// predecessor was last asked with.
pub(crate) fn load_encoder(
    manifest: &Manifest,
    dir: &Path,
    engines: &Engines,
    shapes: &[(usize, usize)],
) -> Result<Encoder, LoadFailure> {
    let threads = engines.threads;
    let name = &manifest.name;
    let engine = |e: BackendError| LoadFailure::new(e.code(), name, e);
    let golden_failed = |e: GoldenError| LoadFailure::new(e.code(), name, e);
    let parts = EncoderParts::read(manifest, dir)?;
    let golden = Golden::of(manifest, dir).map_err(|e| LoadFailure::new(e.code(), name, e))?;
    let golden = golden.map_err(golden_failed)?;
    if golden.is_none() {
        tracing::info!(model = %manifest.id(), "there are no golden answers");
    }
    let check = |session: &Arc<dyn Session>, engine: &str| -> Result<(), GoldenError> {
        let Some(golden) = &golden else {
            return Ok(());
        };
        let full = parts.on(Arc::clone(session), manifest.id());
        let full = full.map_err(|e| GoldenError::Unreadable(e.to_string()))?;
        let answer = |question: &_| full.golden(question);
        let largest = golden.check(engine, &full.outputs(), answer)?;
        tracing::debug!(model = %manifest.id(), engine, largest, "golden answers");
        Ok(())
    };
    let (session, kernels): (Arc<dyn Session>, _) = match &engines.runtime {
        _ if engines.native => {
            let session = parts.native().map_err(engine)?;
            check(&session, session.backend()).map_err(golden_failed)?;
            (session, Some(Kernels::Exact))
        }
        Ok(runtime) => {
            let graph = parts.graph().map_err(engine)?;
            let open = |kernels| -> Result<Arc<dyn Session>, LoadFailure> {
                let session = match kernels {
                    Kernels::Exact => runtime.exact_session(&graph, 1, threads),
                    Kernels::Fast => runtime.session(&graph, 1, threads),
                };
                Ok(Arc::new(session.map_err(engine)?))
            };
            let wanted = manifest.int8.as_ref().and_then(|i| i.kernels);
            if !runtime.saturates() {
                // The fast kernels are exact here.
                let session = open(Kernels::Fast)?;
                check(&session, "onnxruntime").map_err(golden_failed)?;
                (session, Some(Kernels::Exact))
            } else if wanted == Some(Kernels::Fast) {
                let session = open(Kernels::Fast)?;
                check(&session, "onnxruntime, saturating").map_err(golden_failed)?;
                (session, Some(Kernels::Fast))
            } else {
                let fast = match wanted {
                    Some(_) => None,
                    None => Some(open(Kernels::Fast)?)
                        .filter(|s| golden.is_some() && check(s, "onnxruntime").is_ok()),
                };
                if let Some(session) = fast {
                    (session, Some(Kernels::Fast))
                } else {
                    let session = open(Kernels::Exact)?;
                    check(&session, "onnxruntime").map_err(golden_failed)?;
                    (session, Some(Kernels::Exact))
                }
            }
        }
        Err(reason) if !engines.candle => {
            return Err(LoadFailure::new("runtime_library", name, reason));
        }
        Err(_) => {
            let session = parts.candle().map_err(engine)?;
            check(&session, "candle").map_err(golden_failed)?;
            (session, None)
        }
    };
    // A model that cannot judge a message is no model.
    let full = parts.on(Arc::clone(&session), manifest.id());
    let full = full.map_err(engine)?;
    warm_up(&full, shapes, threads).map_err(engine)?;
    let description = &parts.model.description;
    let plan = Plan {
        model: &manifest.name,
        version: &manifest.version,
        workers: threads,
        limits: if engines.native { PACKED_TEXTS } else { TEXTS },
        padded: Some(Padded {
            longest: description.config.positions,
            vocabulary: description.config.vocabulary as i64,
        }),
    };
    let card = card(manifest, description, session.backend());
    let batched = Arc::new(Batched::start(plan, session).map_err(engine)?);
    let full = full.behind(Arc::clone(&batched) as Arc<dyn Session>);
    // A batch of unequal lengths, through the queue.
    full.check().map_err(engine)?;
    Ok(Encoder {
        full: Arc::new(full),
        served: Arc::new(ServedModel::new(
            card,
            Arc::clone(&batched) as Arc<dyn Counted>,
        )),
        batched,
        kernels,
    })
}

/// Runs every shape on every session: as many callers at once as there are sessions.
fn warm_up(full: &FullChat, shapes: &[(usize, usize)], threads: usize) -> Result<(), BackendError> {
    let shapes = if shapes.is_empty() { &USUAL } else { shapes };
    thread::scope(|scope| {
        let warm = || {
            shapes
                .iter()
                .try_for_each(|(n, length)| full.warm(*n, *length))
        };
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(warm)).collect();
        let own = warm();
        others.into_iter().fold(own, |so_far, other| {
            let other = other
                .join()
                .unwrap_or_else(|_| Err(BackendError::Panicked("while warming up".to_owned())));
            so_far.and(other)
        })
    })
}

/// The encoder alone, as other programs may call it: tokens in, one logit a head out.
fn card(manifest: &Manifest, description: &Description, platform: &str) -> ModelCard {
    let heads = description.heads.iter();
    let input = |name: &str| TensorSpec {
        name: name.to_owned(),
        data: DataType::I64,
        shape: vec![-1, -1],
    };
    ModelCard {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        platform: platform.to_owned(),
        inputs: ["ids", "mask", "own"].map(input).to_vec(),
        outputs: vec![TensorSpec {
            name: "logits".to_owned(),
            data: DataType::F32,
            shape: vec![-1, heads.len() as i64],
        }],
        labels: heads.map(|head| head.name.clone()).collect(),
    }
}
