//! Which chat models are meant.

use std::path::{Path, PathBuf};

use novastream_inference::ChatScorer;
use novastream_models::catalog::zoo;
use novastream_models::encoder::pack;
use novastream_models::linear;
use novastream_models::manifest::{MANIFEST_FILE, Manifest, Task};

use super::{ChatOptions, Tier};
use crate::error::EvalError;

/// Loaded models with their `name@version`.
pub struct Chosen {
    /// What scores.
    pub scorer: ChatScorer,
    /// The models in it, the encoder first.
    pub ids: Vec<String>,
}

/// Finds and loads what the options ask for. A linear model that is named for a higher tier stands
/// in for the fast one, with the zoo's encoder.
pub fn find(options: &ChatOptions) -> Result<Chosen, EvalError> {
    let named = options.model.as_deref();
    let encoder_named = match named {
        Some(name) if options.tier != Tier::Fast => resolve(name, pack::WEIGHTS_FILE).ok(),
        _ => None,
    };
    let fast_name = match (&options.fast_model, &encoder_named) {
        (Some(name), _) => Some(name.as_str()),
        (None, Some(_)) => None,
        (None, None) => named,
    };
    let (id, fast) = match fast_name {
        Some(name) => resolve(name, linear::WEIGHTS_FILE)?,
        None => newest(linear::WEIGHTS_FILE)?,
    };
    let mut ids = vec![id];
    let full = match (options.tier, encoder_named) {
        (Tier::Fast, _) if !options.all_tiers => None,
        (_, Some(found)) => Some(found),
        (_, None) => Some(newest(pack::WEIGHTS_FILE)?),
    };
    let full = full.map(|(id, dir)| {
        ids.insert(0, id);
        dir
    });
    let scorer = ChatScorer::load(&fast, full.as_deref(), options.engine.into());
    let scorer = scorer.map_err(|error| unavailable(&ids[0], error.to_string()))?;
    Ok(Chosen { scorer, ids })
}

/// A folder with a manifest, `NAME@VERSION`, or `NAME` (its latest version), that has `file`.
fn resolve(wanted: &str, file: &str) -> Result<(String, PathBuf), EvalError> {
    let folder = Path::new(wanted);
    let path = folder.join(MANIFEST_FILE);
    if path.is_file() {
        let text = std::fs::read_to_string(&path).map_err(EvalError::io("read", &path))?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string())
            .map_err(|error| unavailable(wanted, error.to_string()))?;
        if manifest.file(file).is_none() {
            return Err(unavailable(wanted, format!("its manifest has no {file}")));
        }
        return Ok((manifest.id(), folder.to_owned()));
    }
    let models = of_zoo(wanted, file)?;
    let matches = |m: &Manifest| m.name == wanted || m.id() == wanted;
    // The zoo lists a name's versions oldest first.
    if let Some((manifest, dir)) = models.iter().rfind(|(manifest, _)| matches(manifest)) {
        return Ok((manifest.id(), dir.clone()));
    }
    let known: Vec<String> = models.iter().map(|(manifest, _)| manifest.id()).collect();
    let hint = if known.is_empty() {
        "the zoo has no such chat model; give a model folder".to_owned()
    } else {
        format!(
            "it is neither a model folder nor in the zoo, which has {}",
            known.join(", ")
        )
    };
    Err(unavailable(wanted, hint))
}

fn newest(file: &str) -> Result<(String, PathBuf), EvalError> {
    let found = of_zoo(file, file)?.pop();
    let (manifest, dir) = found
        .ok_or_else(|| unavailable(file, "no chat model of the zoo has this file".to_owned()))?;
    Ok((manifest.id(), dir))
}

/// Chat models of the zoo that have `file`.
fn of_zoo(wanted: &str, file: &str) -> Result<Vec<(Manifest, PathBuf)>, EvalError> {
    let mut all = zoo().map_err(|error| unavailable(wanted, error.to_string()))?;
    all.retain(|(m, _)| m.task == Task::Chat && m.file(file).is_some());
    Ok(all)
}

fn unavailable(wanted: &str, hint: String) -> EvalError {
    EvalError::Model {
        wanted: wanted.to_owned(),
        hint,
    }
}
