//! The models' interfaces for other programs.

use novastream_models::manifest::{Dim, Manifest, TensorSpec as ContractSpec};

use crate::engine::{DataType, ModelCard, TensorSpec};

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
