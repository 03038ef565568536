//! The chat models alone, without lists, rules and policy: what evaluation looks at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use novastream_features::text::{Normalized, Normalizer};
use novastream_models::linear::LinearChatModel;
use novastream_models::manifest::{MANIFEST_FILE, Manifest};
use novastream_models::store::ArtifactStore;

use super::{ChatInput, ChatModel, ChatTier, FastChat, load_encoder};
use crate::backend::{BackendChoice, BackendError};
use crate::category::Category;
use crate::moderator::Engines;

/// Messages that are scored together.
const CHUNK: usize = 256;

/// Chat models that can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct ChatScorerError {
    /// The model's folder.
    pub path: PathBuf,
    /// Why.
    pub message: String,
}

impl ChatScorerError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        "model_unavailable"
    }
}

/// Scores messages as serving does, on the calling thread.
pub struct ChatScorer {
    model: ChatModel,
    normalizer: Normalizer,
    backend: &'static str,
}

impl ChatScorer {
    /// Loads the linear model in `fast`, and the encoder in `full` where one is given, for an engine
    /// of `choice`.
    ///
    /// # Errors
    /// [`ChatScorerError`]: a folder has no such model, or it cannot be run.
    pub fn load(
        fast: &Path,
        full: Option<&Path>,
        choice: BackendChoice,
    ) -> Result<Self, ChatScorerError> {
        let fail = |path: &Path, message: String| ChatScorerError {
            path: path.to_owned(),
            message,
        };
        let name = manifest(fast).map_err(|e| fail(fast, e))?;
        let linear = LinearChatModel::load(fast).map_err(|e| fail(fast, e.to_string()))?;
        let linear = FastChat::new(linear, name.id());
        let mut backend = "linear";
        let encoder = full
            .map(|dir| {
                let manifest = manifest(dir).map_err(|e| fail(dir, e))?;
                let engines = Engines::find(choice, None, &ArtifactStore::from_env(), 1);
                let encoder = load_encoder(&manifest, dir, &engines, &[])
                    .map_err(|e| fail(dir, e.message))?;
                backend = encoder.full.backend();
                Ok(encoder.full)
            })
            .transpose()?;
        Ok(Self {
            model: ChatModel::new(Arc::new(linear), encoder),
            normalizer: Normalizer::new(),
            backend,
        })
    }

    /// What runs the highest tier that is loaded.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The categories of every answer, in its order.
    pub fn categories(&self) -> Vec<Category> {
        let normalized = self.normalizer.normalize("");
        let input = ChatInput {
            raw: "",
            normalized: &normalized,
            previous: &[],
        };
        let scores = self.model.score(&[input], ChatTier::Fast);
        let first = scores.ok().and_then(|all| all.into_iter().next());
        first.map_or_else(Vec::new, |s| s.scores.into_iter().map(|(c, _)| c).collect())
    }

    /// Scores messages, in order; with each answer whether the encoder made it.
    ///
    /// # Errors
    /// [`BackendError`]: the encoder failed.
    pub fn score(
        &self,
        texts: &[&str],
        tier: ChatTier,
    ) -> Result<Vec<(Vec<f32>, bool)>, BackendError> {
        let mut out = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(CHUNK) {
            let normalized: Vec<Normalized> = chunk
                .iter()
                .map(|text| self.normalizer.normalize(text))
                .collect();
            let inputs: Vec<ChatInput<'_>> = chunk
                .iter()
                .zip(&normalized)
                .map(|(raw, normalized)| ChatInput {
                    raw,
                    normalized,
                    previous: &[],
                })
                .collect();
            let scored = self.model.score(&inputs, tier)?;
            out.extend(scored.into_iter().map(|s| {
                let values = s.scores.into_iter().map(|(_, score)| score).collect();
                (values, s.full)
            }));
        }
        Ok(out)
    }
}

/// The manifest of a folder of any name.
fn manifest(dir: &Path) -> Result<Manifest, String> {
    let path = dir.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
    Manifest::from_toml(&text, &path.display().to_string()).map_err(|e| e.to_string())
}
