//! What a moderator is made from.

use std::path::PathBuf;

use novastream_features::{
    media::{MediaLimits, Sampling},
    picture::ImageLimits,
};
use novastream_models::store::{ArtifactStore, zoo_dir};

use crate::{
    backend::{BackendChoice, BackendError},
    pace::PaceSettings,
    policy::{Policy, PolicyError},
    registry::RegistryConfig,
    text::TextListError,
    vision::BlocklistError,
};

/// Where everything is and how much of the machine to use.
#[derive(Clone, Debug)]
pub struct ModeratorConfig {
    /// Folder of the models that we trained, `NAME/VERSION/…`.
    pub zoo: PathBuf,
    /// Folder of pulled third-party models.
    pub store: ArtifactStore,
    /// The policy for calls that bring none.
    pub policy: Policy,
    /// Model folders of frame heads beside those of the zoo.
    pub frame_heads: Vec<PathBuf>,
    /// Picture blocklists: files of PDQ hashes, or folders of pictures.
    pub blocklists: Vec<PathBuf>,
    /// Term lists, TOML or tab-separated.
    pub text_lists: Vec<PathBuf>,
    /// ONNX Runtime's shared library; `None` means `$NOVASTREAM_ONNXRUNTIME`, then the pulled one.
    pub onnxruntime: Option<PathBuf>,
    /// A speech-to-text model: a folder with a Whisper checkpoint. `None`: speech is not
    /// transcribed.
    pub speech: Option<PathBuf>,
    /// Cores to use, at least 1.
    pub threads: usize,
    /// Which engine runs the graphs.
    pub backend: BackendChoice,
    /// How versions of models are swapped while they are in use.
    pub registry: RegistryConfig,
    /// Bounds on decoding.
    pub media_limits: MediaLimits,
    /// Bounds on single pictures.
    pub image_limits: ImageLimits,
    /// Which frames of a segment are looked at.
    pub sampling: Sampling,
    /// When to look more closely at a stream, and when less.
    pub pace: PaceSettings,
    /// Mixed with a segment's hash into the seed of its sampling, so that a sender cannot foresee
    /// which frames are looked at and a replay looks at the same ones.
    pub sampling_secret: Vec<u8>,
}

impl ModeratorConfig {
    /// The defaults: the zoo and the store of the environment, the built-in policy, no lists, all
    /// cores.
    ///
    /// # Errors
    /// None in a released build; see [`Policy::builtin`].
    pub fn from_env() -> Result<Self, PolicyError> {
        Ok(Self {
            zoo: zoo_dir(),
            store: ArtifactStore::from_env(),
            policy: Policy::builtin()?,
            frame_heads: Vec::new(),
            blocklists: Vec::new(),
            text_lists: Vec::new(),
            onnxruntime: None,
            speech: None,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            backend: BackendChoice::default(),
            registry: RegistryConfig::default(),
            media_limits: MediaLimits::default(),
            image_limits: ImageLimits::default(),
            sampling: Sampling::default(),
            pace: PaceSettings::default(),
            sampling_secret: Vec::new(),
        })
    }
}

/// Why a moderator could not be made. A missing model is no reason: it is reported by
/// [`crate::Moderator::models`] and verdicts are `degraded`. A list that cannot be read is one.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A picture blocklist.
    #[error(transparent)]
    Blocklist(#[from] BlocklistError),
    /// A term list.
    #[error(transparent)]
    TextList(#[from] TextListError),
    /// ONNX Runtime was demanded and is not there.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl LoadError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Blocklist(e) => e.code(),
            Self::TextList(e) => e.code(),
            Self::Backend(e) => e.code(),
        }
    }
}
