//! The seam between the service and the models, so that tests can put a slow or scripted judge in
//! the models' place.

use std::sync::Arc;

use novastream_features::media::{CancelToken, MediaInfo, Window};
use novastream_inference::engine::ServedModel;
use novastream_inference::registry::Trouble;
use novastream_inference::{
    ImageOptions, ModelStatus, ModerationError, Moderator, Policy, SegmentContext, StreamHistory,
    TextItem, Verdict,
};

use crate::error::{ApiError, ErrorCode};
use crate::telemetry::names;

/// What a segment, window or picture belongs to, and which policy decides about it.
#[derive(Debug, Clone)]
pub struct Context {
    /// The stream.
    pub stream_id: Option<String>,
    /// The segment's number in the stream.
    pub sequence: Option<u64>,
    /// Stream time of the segment's beginning, milliseconds.
    pub start_ms: Option<i64>,
    /// What load multiplies the time between pictures with, in percent; up to 100 nothing.
    pub stretch_percent: u32,
    /// The policy in force.
    pub policy: Arc<Policy>,
}

/// Judges. Every call blocks for as long as the models need.
pub trait Judge: Send + Sync + 'static {
    /// The models and their states.
    fn models(&self) -> Vec<ModelStatus>;

    /// The models that may be called by themselves.
    fn served(&self) -> Vec<Arc<ServedModel>> {
        Vec::new()
    }

    /// Makes the loaded versions what the alias file says, now; answers what could not be used.
    fn reload_models(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// One verdict an item, in order.
    fn text(&self, items: &[TextItem], policy: &Policy) -> Vec<Verdict>;

    /// One encoded picture.
    ///
    /// # Errors
    /// The bytes are no picture within the limits.
    fn image(
        &self,
        bytes: &[u8],
        item_id: Option<&str>,
        context: &Context,
    ) -> Result<Verdict, ApiError>;

    /// One encoded segment; advances the stream's history.
    ///
    /// # Errors
    /// Nothing in the bytes could be judged, or `cancel` was cancelled.
    fn segment(
        &self,
        bytes: Arc<[u8]>,
        context: &Context,
        history: &mut StreamHistory,
        cancel: &CancelToken,
    ) -> Result<Verdict, ApiError>;

    /// One window of a live source; advances the stream's history.
    fn window(
        &self,
        window: Window,
        media: &MediaInfo,
        context: &Context,
        history: &mut StreamHistory,
    ) -> Verdict;

    /// How closely to look at a stream with this history: the interval in ms and in how many slots
    /// there is an extra picture; `None` leaves it as it is.
    fn tempo(&self, history: &StreamHistory, stretch_percent: u32) -> Option<(u32, u32)> {
        let _ = (history, stretch_percent);
        None
    }
}

impl Judge for Moderator {
    fn models(&self) -> Vec<ModelStatus> {
        self.models()
    }

    fn served(&self) -> Vec<Arc<ServedModel>> {
        self.served()
    }

    fn reload_models(&self) -> Vec<Trouble> {
        self.reload_models()
    }

    fn text(&self, items: &[TextItem], policy: &Policy) -> Vec<Verdict> {
        self.text(items, Some(policy))
    }

    fn image(
        &self,
        bytes: &[u8],
        item_id: Option<&str>,
        context: &Context,
    ) -> Result<Verdict, ApiError> {
        let options = ImageOptions {
            item_id: item_id.map(str::to_owned),
            stream_id: context.stream_id.clone(),
            strictness: None,
            policy: Some(Arc::clone(&context.policy)),
        };
        self.image(bytes, &options).map_err(refused)
    }

    fn segment(
        &self,
        bytes: Arc<[u8]>,
        context: &Context,
        history: &mut StreamHistory,
        cancel: &CancelToken,
    ) -> Result<Verdict, ApiError> {
        self.segment(bytes, &segment_context(context), history, cancel)
            .map_err(refused)
    }

    fn window(
        &self,
        window: Window,
        media: &MediaInfo,
        context: &Context,
        history: &mut StreamHistory,
    ) -> Verdict {
        self.window(window, media, &segment_context(context), history)
    }

    fn tempo(&self, history: &StreamHistory, stretch_percent: u32) -> Option<(u32, u32)> {
        Some(self.tempo(history, stretch_percent))
    }
}

fn segment_context(context: &Context) -> SegmentContext {
    SegmentContext {
        stream_id: context.stream_id.clone(),
        sequence: context.sequence,
        start_ms: context.start_ms,
        strictness: None,
        stretch_percent: context.stretch_percent,
        policy: Some(Arc::clone(&context.policy)),
    }
}

fn refused(error: ModerationError) -> ApiError {
    match error {
        ModerationError::Cancelled => ApiError::new(
            ErrorCode::MediaCancelled,
            "nobody waits for the answer any more",
        ),
        ModerationError::Media(_) | ModerationError::Image(_) => {
            ApiError::of_library(error.code(), &error)
        }
    }
}

/// What the metrics say about a verdict once it is acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    kind: &'static str,
    action: &'static str,
    degraded: bool,
    stretched: bool,
    carried: usize,
    looked: usize,
    stages: [(&'static str, f32); 6],
}

impl Tally {
    /// The countable facts of a verdict.
    pub fn of(verdict: &Verdict) -> Self {
        let t = &verdict.timings;
        Self {
            kind: verdict.kind.as_str(),
            action: verdict.action.as_str(),
            degraded: !verdict.degraded.is_empty(),
            stretched: verdict.degraded.iter().any(|d| d.component == "sampling"),
            carried: verdict.sampling.map_or(0, |s| s.carried),
            looked: verdict.sampling.map_or(0, |s| s.looked),
            stages: [
                ("decode", t.decode_ms),
                ("frames", t.frames_ms),
                ("ocr", t.ocr_ms),
                ("audio", t.audio_ms),
                ("text", t.text_ms),
                ("policy", t.policy_ms),
            ],
        }
    }

    /// Counts it.
    pub fn count(self) {
        metrics::counter!(names::VERDICTS, "kind" => self.kind, "action" => self.action)
            .increment(1);
        if self.degraded {
            metrics::counter!(names::DEGRADED, "kind" => self.kind).increment(1);
        }
        if self.stretched {
            metrics::counter!(names::STRETCHED, "kind" => self.kind).increment(1);
        }
        for (outcome, pictures) in [("judged", self.looked), ("carried", self.carried)] {
            if pictures > 0 {
                metrics::counter!(names::PICTURES, "outcome" => outcome).increment(pictures as u64);
            }
        }
        for (stage, ms) in self.stages {
            if ms > 0.0 {
                metrics::histogram!(names::STAGE_SECONDS, "stage" => stage)
                    .record(f64::from(ms) / 1000.0);
            }
        }
    }
}
