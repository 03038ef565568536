//! The models' interfaces for other programs.

use std::sync::Arc;

use novastream_models::manifest::{Dim, Manifest, TensorSpec as ContractSpec};

use crate::backend::Session as _;
use crate::chat::{ChatModel, ChatSession};
use crate::engine::{DataType, ModelCard, ServedModel, TensorSpec};

/// A graph's interface as its manifest has it.
pub(super) fn card(manifest: &Manifest, platform: &str) -> Result<ModelCard, String> {
    Ok(ModelCard {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        platform: platform.to_owned(),
        inputs: specs(&manifest.contract.inputs)?,
        outputs: specs(&manifest.contract.outputs)?,
        labels: manifest.labels.clone(),
    })
}

fn specs(contract: &[ContractSpec]) -> Result<Vec<TensorSpec>, String> {
    let axis = |dim: &Dim| match dim {
        Dim::Fixed(n) => i64::try_from(*n).unwrap_or(i64::MAX),
        Dim::Named(_) => -1,
    };
    let one = |spec: &ContractSpec| {
        let data = match spec.dtype.as_str() {
            "float32" => DataType::F32,
            "int64" => DataType::I64,
            "uint8" => DataType::U8,
            other => return Err(format!("`{}` has the type {other}", spec.name)),
        };
        Ok(TensorSpec {
            name: spec.name.clone(),
            data,
            shape: spec.shape.iter().map(axis).collect(),
        })
    };
    contract.iter().map(one).collect()
}

/// Both chat tiers as one model, `chat`: texts in, scores out.
pub(super) fn serve_chat(model: &Arc<ChatModel>, version: &str) -> ServedModel {
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
