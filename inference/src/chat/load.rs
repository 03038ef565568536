//! The encoder from its folder.

use std::path::Path;

use novastream_features::text::WordPiece;
use novastream_models::encoder::{ChatEncoder, pack};
use novastream_models::manifest::Manifest;
use novastream_models::store::read_verified;

use super::full::{Engine, FullChat};
use crate::backend::OnnxRuntime;

/// Loads, verifies and tries the encoder in `dir`; answers it with the name of its engine. Without
/// a runtime (or where the reason for that is given) Candle runs it, if it may.
pub(crate) fn load_encoder(
    manifest: &Manifest,
    dir: &Path,
    runtime: Result<&OnnxRuntime, &String>,
    candle: bool,
    threads: usize,
) -> Result<(FullChat, &'static str), String> {
    let read = |name| read_verified(manifest, dir, name).map_err(|e| e.to_string());
    let model = ChatEncoder::from_bytes(&read(pack::WEIGHTS_FILE)?).map_err(|e| e.to_string())?;
    let vocabulary = String::from_utf8(read(pack::VOCABULARY_FILE)?).map_err(|e| e.to_string())?;
    let tokenizer = WordPiece::from_vocabulary(&vocabulary).map_err(|e| e.to_string())?;
    let (engine, backend) = match runtime {
        Ok(runtime) => {
            let graph = model.to_onnx().map_err(|e| e.to_string())?;
            let session = runtime.session(&graph, 1, threads);
            let session = session.map_err(|e| e.to_string())?;
            (Engine::Graph(Box::new(session)), "onnxruntime")
        }
        Err(reason) if !candle => return Err(reason.clone()),
        Err(_) => {
            let model = model.to_classifier().map_err(|e| e.to_string())?;
            (Engine::Candle(Box::new(model)), "candle")
        }
    };
    let full = FullChat::new(&model, tokenizer, engine, manifest.id());
    let full = full.map_err(|e| e.to_string())?;
    // A model that cannot judge a message is no model.
    full.check().map_err(|e| e.to_string())?;
    Ok((full, backend))
}
