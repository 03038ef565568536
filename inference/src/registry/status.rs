//! What is told of models and their versions.

use std::collections::BTreeMap;

use novastream_models::manifest::Manifest;
use serde::{Deserialize, Serialize};

/// Whether a model is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// Loaded, verified and warmed up.
    Ready,
    /// Not in use; the reason says why.
    NotLoaded,
}

/// One model of this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelStatus {
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// What it is for, such as `chat` or `audio-events`.
    pub task: String,
    /// Whether it is in use.
    pub state: ModelState,
    /// The engine that runs it: `native`, `onnxruntime`, `candle` or `linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Why it is not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How eight-bit products are computed: `exact` or `fast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// `production` or `candidate`, of models whose versions are swapped while the service runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Percent of channels or users that a candidate answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<f64>,
    /// Where a candidate in shadow differs from production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowReport>,
    /// The last version of this model that was refused or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// A version that was refused or taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trouble {
    /// The version; empty where the trouble is with the alias file.
    pub version: String,
    /// A stable name for what happened; docs/models-live.md lists them.
    pub code: String,
    /// What happened.
    pub message: String,
    /// When, RFC 3339.
    pub at: String,
}

/// Where a candidate differs from production, since it is on trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowReport {
    /// Requests that both scored.
    pub scored: u64,
    /// Requests that were left out because the machine had better to do.
    pub dropped: u64,
    /// Requests that the candidate failed on.
    pub failed: u64,
    /// Differences by head.
    pub heads: BTreeMap<String, HeadDifference>,
}

/// Differences in one head's calibrated score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadDifference {
    /// Mean absolute difference.
    pub mean: f32,
    /// Largest absolute difference.
    pub max: f32,
    /// Requests on different sides of the shipped threshold.
    pub flips: u64,
}

/// The status of a model that `backend` runs, or that is not in use.
pub(crate) fn status_of(manifest: &Manifest, backend: Result<&str, String>) -> ModelStatus {
    ModelStatus {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        task: manifest.task.to_string(),
        state: if backend.is_ok() {
            ModelState::Ready
        } else {
            ModelState::NotLoaded
        },
        backend: backend.as_ref().ok().map(|b| (*b).to_owned()),
        reason: backend.err(),
        kernels: None,
        alias: None,
        canary_percent: None,
        shadow: None,
        trouble: None,
    }
}
