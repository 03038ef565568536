//! Running models: backends, moderation pipelines, policy and verdicts.
//!
//! [`Moderator`] is the way in: it loads whatever models are present, judges text, pictures,
//! segments and windows of live streams, and answers with a [`Verdict`]. Everything here is
//! synchronous and `Send + Sync`; callers bring their own threads.

mod attributes;
pub mod backend;
mod category;
mod chat;
mod crowd;
pub mod engine;
pub mod evidence;
mod history;
mod moderator;
pub mod pace;
mod policy;
pub mod recommend;
pub mod registry;
mod sound;
mod speech;
mod text;
mod verdict;
mod vision;

pub use self::{
    attributes::Attribute,
    backend::{BackendChoice, BackendError},
    category::{Category, UnknownCategory},
    chat::{ChatScorer, ChatScorerError, ChatTier},
    crowd::{Crowd, Signs},
    history::StreamHistory,
    moderator::{
        FrameScores, ImageOptions, LoadError, MAX_TEXT_BYTES, ModerationError, Moderator,
        ModeratorConfig, ONNXRUNTIME_VARIABLE, SegmentContext, TextItem,
    },
    policy::{
        Confirm, Decision, NEUTRAL_STRICTNESS, Observation, Policy, PolicyError, Problem, Rule,
        decide,
    },
    registry::{ModelState, ModelStatus},
    sound::{SoundClassifier, SoundClassifierError},
    speech::{MAX_SPOKEN, SpeechToText, Spoken, WhisperSpeech},
    text::TextListError,
    verdict::{
        Action, CategoryResult, Degraded, Evidence, EvidenceDetail, Kind, Modality, Outcome,
        SoundEvent, Status, TextForm, Timings, Verdict,
    },
    vision::{
        BlocklistError, Blocklists, FrameHash, HashList, ListState, Match, VideoMatch, VideoMatcher,
    },
};
