//! A run's state on disk, so that it can go on after it was stopped and end as if it had not been.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::optimizer::Optimizer;
use crate::chat::TrainError;

const STATE: &str = "checkpoint.safetensors";
/// The weights that were best on held-out rows so far.
const BEST: &str = "best.safetensors";
/// Key under which the progress stands in the file's metadata.
const PROGRESS: &str = "progress";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub steps: u64,
    /// Settings that must be the same to go on; see `Settings::fingerprint`.
    pub fingerprint: String,
    /// Mean loss since the last checkpoint.
    pub loss: f64,
    /// How good the best checkpoint's weights are, which lie beside; `None` before the first.
    #[serde(default)]
    pub best: Option<f64>,
    /// Checkpoints since then.
    #[serde(default)]
    pub worse: usize,
}

/// Writes weights that are better than all before. The state that says so is saved after them; a run
/// stopped in between does the steps again and comes to the same weights.
pub fn save_best(dir: &Path, weights: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
    let (path, part) = (dir.join(BEST), dir.join(format!("{BEST}.part")));
    let tensors: HashMap<&String, Tensor> = weights.iter().map(|(n, t)| (n, t.clone())).collect();
    candle_core::safetensors::save(&tensors, &part)?;
    std::fs::rename(&part, &path).map_err(|source| TrainError::Io { path, source })
}

/// The weights of [`save_best`].
pub fn load_best(dir: &Path) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let tensors = candle_core::safetensors::load(dir.join(BEST), &Device::Cpu)?;
    Ok(tensors.into_iter().collect())
}

/// The state's file.
fn path(dir: &Path) -> PathBuf {
    dir.join(STATE)
}

/// Writes the state; the old one stays until the new one is whole.
pub fn save(dir: &Path, optimizer: &Optimizer, progress: &Progress) -> Result<(), TrainError> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = optimizer
        .state()
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views: Vec<(&str, TensorView<'_>)> = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            Ok((name.as_str(), view.map_err(invalid)?))
        })
        .collect::<Result<_, TrainError>>()?;
    let metadata = [(PROGRESS.to_owned(), serde_json::to_string(progress)?)];
    let file = safetensors::serialize(views, Some(metadata.into_iter().collect()));
    let file = file.map_err(invalid)?;
    let (path, part) = (path(dir), dir.join(format!("{STATE}.part")));
    let io = |source| TrainError::Io {
        path: path.clone(),
        source,
    };
    std::fs::write(&part, file).map_err(io)?;
    std::fs::rename(&part, &path).map_err(io)
}

/// Puts a run's state back and answers where it stands; `None` where there is none.
pub fn load(
    dir: &Path,
    optimizer: &mut Optimizer,
    fingerprint: &str,
) -> Result<Option<Progress>, TrainError> {
    let path = path(dir);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TrainError::Io { path, source }),
    };
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(invalid)?;
    let progress = header.metadata().as_ref().and_then(|m| m.get(PROGRESS));
    let Some(progress) = progress else {
        return Err(TrainError::Checkpoint("it says no progress".to_owned()));
    };
    let progress: Progress = serde_json::from_str(progress)?;
    if progress.fingerprint != fingerprint {
        return Err(TrainError::Checkpoint(
            "other data or options made it; give the same ones, or another --out".to_owned(),
        ));
    }
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(invalid)?;
    let state: BTreeMap<String, Vec<f32>> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let (values, _) = view.data().as_chunks::<4>();
            (
                name,
                values.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            )
        })
        .collect();
    optimizer.restore(progress.steps, |name| state.get(name).cloned())?;
    Ok(Some(progress))
}

fn invalid(error: safetensors::SafeTensorError) -> TrainError {
    TrainError::Checkpoint(error.to_string())
}
