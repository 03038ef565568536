//! Which chat model is meant.

use std::path::Path;

use novastream_models::catalog::zoo;
use novastream_models::linear::LinearChatModel;
use novastream_models::manifest::{MANIFEST_FILE, Manifest, Task};

use crate::error::EvalError;

/// Finds a chat model by folder, by `NAME@VERSION`, or by `NAME` (its latest version), and loads
/// it. Answers `name@version` with it.
pub fn find(wanted: &str) -> Result<(String, LinearChatModel), EvalError> {
    let folder = Path::new(wanted);
    if folder.join(MANIFEST_FILE).is_file() {
        let path = folder.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(EvalError::io("read", &path))?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string())
            .map_err(|error| unavailable(wanted, error.to_string()))?;
        return load(wanted, &manifest.id(), folder);
    }
    let zoo = zoo().map_err(|error| unavailable(wanted, error.to_string()))?;
    let matches = |manifest: &Manifest| {
        manifest.task == Task::Chat && (manifest.name == wanted || manifest.id() == wanted)
    };
    // The zoo lists a name's versions oldest first.
    if let Some((manifest, dir)) = zoo.iter().rfind(|(manifest, _)| matches(manifest)) {
        return load(wanted, &manifest.id(), dir);
    }
    let known: Vec<String> = zoo
        .iter()
        .filter(|(manifest, _)| manifest.task == Task::Chat)
        .map(|(manifest, _)| manifest.id())
        .collect();
    let hint = if known.is_empty() {
        "the zoo has no chat model; give a model folder".to_owned()
    } else {
        format!(
            "it is neither a model folder nor in the zoo, which has {}",
            known.join(", ")
        )
    };
    Err(unavailable(wanted, hint))
}

fn load(wanted: &str, id: &str, dir: &Path) -> Result<(String, LinearChatModel), EvalError> {
    match LinearChatModel::load(dir) {
        Ok(model) => Ok((id.to_owned(), model)),
        Err(error) => Err(unavailable(wanted, error.to_string())),
    }
}

fn unavailable(wanted: &str, hint: String) -> EvalError {
    EvalError::Model {
        wanted: wanted.to_owned(),
        hint,
    }
}
