//! The encoder from its folder.

use std::path::Path;
use std::sync::Arc;

use novastream_features::text::WordPiece;
use novastream_models::encoder::ChatEncoder;
use novastream_models::encoder::pack::{self, Description};
use novastream_models::manifest::Manifest;
use novastream_models::store::read_verified;

use super::candle::CandleEncoder;
use super::full::FullChat;
use crate::backend::{OnnxRuntime, Session};
use crate::engine::{
    Batched, Counted, DataType, ModelCard, Padded, Plan, ServedModel, TEXTS, TensorSpec,
};

/// Loads, verifies and tries the encoder in `dir`; answers it and what other programs may call. Without
/// a runtime (or where the reason for that is given) Candle runs it, if it may. Callers share its
/// batches, `threads` of them at once.
pub(crate) fn load_encoder(
    manifest: &Manifest,
    dir: &Path,
    runtime: Result<&OnnxRuntime, &String>,
    candle: bool,
    threads: usize,
) -> Result<(FullChat, ServedModel), String> {
    let read = |name| read_verified(manifest, dir, name).map_err(|e| e.to_string());
    let model = ChatEncoder::from_bytes(&read(pack::WEIGHTS_FILE)?).map_err(|e| e.to_string())?;
    let vocabulary = String::from_utf8(read(pack::VOCABULARY_FILE)?).map_err(|e| e.to_string())?;
    let tokenizer = WordPiece::from_vocabulary(&vocabulary).map_err(|e| e.to_string())?;
    let session: Arc<dyn Session> = match runtime {
        Ok(runtime) => {
            let graph = model.to_onnx().map_err(|e| e.to_string())?;
            let session = runtime.session(&graph, 1, threads);
            Arc::new(session.map_err(|e| e.to_string())?)
        }
        Err(reason) if !candle => return Err(reason.clone()),
        Err(_) => {
            let model = model.to_classifier().map_err(|e| e.to_string())?;
            Arc::new(CandleEncoder(model))
        }
    };
    let card = card(manifest, &model.description, session.backend());
    let plan = Plan {
        model: &manifest.name,
        version: &manifest.version,
        workers: threads,
        limits: TEXTS,
        padded: Some(Padded {
            longest: model.description.config.positions,
            vocabulary: model.description.config.vocabulary as i64,
        }),
    };
    let session = Arc::new(Batched::start(plan, session).map_err(|e| e.to_string())?);
    let served = ServedModel::new(card, Arc::clone(&session) as Arc<dyn Counted>);
    let full = FullChat::new(&model, tokenizer, session, manifest.id());
    let full = full.map_err(|e| e.to_string())?;
    // A model that cannot judge a message is no model.
    full.check().map_err(|e| e.to_string())?;
    Ok((full, served))
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
