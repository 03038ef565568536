//! The moderator: content in, verdict out.

mod collect;
mod config;
mod engines;
mod frames;
mod load;
mod media;
mod offered;
mod report;

use std::sync::{Arc, Mutex, PoisonError};

use novastream_features::{
    media::MediaError,
    picture::{ImageError, ImageLimits, decode_image},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) use self::engines::{Engines, runtime};
use self::{
    collect::Collected,
    frames::Eyes,
    load::{Part, load_parts},
    report::{Subject, sha256_hex},
};
pub use self::{
    config::{LoadError, ModeratorConfig},
    engines::ONNXRUNTIME_VARIABLE,
    frames::FrameScores,
    media::SegmentContext,
};
use crate::{
    backend::BackendError,
    category::Category,
    crowd::{Crowd, Signs},
    engine::{Call, ServedModel},
    evidence::{self, ClipSink},
    history::StreamHistory,
    pace::PaceSettings,
    policy::{NEUTRAL_STRICTNESS, Policy},
    registry::{Keeper, ModelStatus, Trouble},
    sound::Ears,
    speech::{Speech, SpeechToText},
    text::{Judging, TermList, TextJudge, shipped_lists},
    verdict::{Degraded, Kind, Modality, Outcome, Timings, Verdict},
    vision::{Blocklists, FrameModel, OcrEngine},
};

/// Longest text that is judged in full, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Earlier messages of the same sender that a short message is read together with.
const MAX_PREVIOUS: usize = 8;
/// Messages of at most this many words are read together with the ones before.
const SHORT_WORDS: usize = 2;
/// The strictest step of a policy.
const STRICTEST: u8 = 4;
/// Messages of one request that one thread judges, one after the other.
const TOGETHER: usize = 4;
/// What reading together must add before it counts.
const TOGETHER_GAIN: f32 = 0.2;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TextItem {
    /// The caller's name for it.
    pub id: String,
    /// The message, UTF-8. Bytes over [`MAX_TEXT_BYTES`] are not judged and the verdict says so.
    pub text: String,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The channel, which becomes the verdict's `stream_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// The sender's messages before this one, oldest first; a word spelled out over several short
    /// messages is read as one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<String>,
}

/// How to judge one picture.
#[derive(Clone, Debug, Default)]
pub struct ImageOptions {
    /// The caller's name for it.
    pub item_id: Option<String>,
    /// The stream it belongs to.
    pub stream_id: Option<String>,
    /// 0 to 4; `None` is neutral.
    pub strictness: Option<u8>,
    /// Instead of the moderator's own policy.
    pub policy: Option<Arc<Policy>>,
}

/// Why an item has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// The media could not be read.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The picture could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The caller gave up.
    #[error("the call was cancelled")]
    Cancelled,
}

impl ModerationError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Media(e) => e.code(),
            Self::Image(e) => e.code(),
            Self::Cancelled => "cancelled",
        }
    }
}

/// Runs every model that is present. Shared between threads; calls are synchronous, use the global
/// rayon pool, and hold memory in proportion to their input only.
pub struct Moderator {
    policy: Arc<Policy>,
    text: TextJudge,
    nsfw: Part<FrameModel>,
    sound: Part<Ears>,
    /// `None`: nobody asked for it.
    speech: Option<Part<Speech>>,
    ocr: Part<OcrEngine>,
    /// Why there is no chat model.
    chat_missing: Option<String>,
    blocklists: Blocklists,
    statuses: Vec<ModelStatus>,
    served: Vec<Arc<ServedModel>>,
    keeper: Keeper,
    limits: Limits,
    /// What messages of one channel say together.
    crowd: Mutex<Crowd>,
    /// Threads for the messages of large requests. More than there are cores: they mostly wait for
    /// the encoder, which must not keep the threads that compute.
    waiters: rayon::ThreadPool,
    /// Keeps what a verdict was about.
    clips: Option<Arc<dyn ClipSink>>,
}

/// The parts of the configuration that are used after loading.
struct Limits {
    media: novastream_features::media::MediaLimits,
    image: ImageLimits,
    sampling: novastream_features::media::Sampling,
    pace: PaceSettings,
    secret: Vec<u8>,
}

impl std::fmt::Debug for Moderator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moderator")
            .field("policy", &self.policy.label())
            .field("models", &self.models())
            .finish_non_exhaustive()
    }
}

impl Moderator {
    /// Loads whatever is present; see [`Moderator::models`] for what was not.
    ///
    /// # Errors
    /// [`LoadError`]: a list cannot be read, or ONNX Runtime was demanded and does not load.
    pub fn load(config: ModeratorConfig) -> Result<Self, LoadError> {
        let blocklists = Blocklists::load(&config.blocklists)?;
        let normalizer = novastream_features::text::Normalizer::new();
        let mut lists = shipped_lists(normalizer)?;
        for path in &config.text_lists {
            lists.push(TermList::load(path, normalizer)?);
        }
        let parts = load_parts(&config)?;
        let (chat, chat_missing) = match parts.chat {
            Ok(chat) => (Some(chat), None),
            Err(reason) => (None, Some(reason)),
        };
        Ok(Self {
            policy: Arc::new(config.policy),
            text: TextJudge::new(lists, chat),
            nsfw: parts.nsfw,
            sound: parts.sound,
            speech: parts.speech,
            ocr: parts.ocr,
            chat_missing,
            blocklists,
            statuses: parts.statuses,
            served: parts.served,
            keeper: parts.keeper,
            limits: Limits {
                media: config.media_limits,
                image: config.image_limits,
                sampling: config.sampling,
                pace: config.pace,
                secret: config.sampling_secret,
            },
            crowd: Mutex::default(),
            waiters: waiters(config.threads)?,
            clips: None,
        })
    }

    /// The same moderator with another transcriber, which hears whatever is loud enough to be
    /// speech.
    #[must_use]
    pub fn with_speech(mut self, engine: Arc<dyn SpeechToText>) -> Self {
        self.speech = Some(Ok(Speech::new(engine, None)));
        self
    }

    /// The same moderator, which hands the picture and the sound behind each flagged verdict of a
    /// stream to `sink`.
    #[must_use]
    pub fn with_clips(mut self, sink: Arc<dyn ClipSink>) -> Self {
        self.clips = Some(sink);
        self
    }

    /// How closely a stream with this history is to be looked at from now on: the interval in ms and
    /// in how many slots there is one extra picture, as in
    /// [`novastream_features::media::Sampling`]. `stretch_percent` is what the server's load asks
    /// for; 100 or less is nothing.
    pub fn tempo(&self, history: &StreamHistory, stretch_percent: u32) -> (u32, u32) {
        let limits = &self.limits;
        let plan = history
            .pace
            .plan(&limits.sampling, &limits.pace, stretch_percent);
        (plan.interval_ms, plan.extra_every)
    }

    /// Every model that this build knows and what became of it, and every version that is loaded of
    /// those that are swapped.
    pub fn models(&self) -> Vec<ModelStatus> {
        let mut all = self.statuses.clone();
        if let Some(chat) = self.text.chat() {
            // After the engine, before the models of pictures and sound.
            let at = all.len().min(1);
            all.splice(at..at, chat.statuses());
        }
        all
    }

    /// The models that other programs may call by themselves, as they are now. Of a name with several
    /// versions production comes first. Who holds one keeps it loaded.
    pub fn served(&self) -> Vec<Arc<ServedModel>> {
        let chat = self.text.chat().map_or_else(Vec::new, |c| c.served());
        chat.into_iter()
            .chain(self.served.iter().cloned())
            .collect()
    }

    /// Makes the loaded versions what the alias file says, now. Answers the versions that could not
    /// be used; what ran before them goes on.
    pub fn reload_models(&self) -> Vec<Trouble> {
        self.keeper.reload()
    }

    /// The policy for calls that bring none.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Judges messages at neutral strictness, in order.
    pub fn text(&self, items: &[TextItem], policy: Option<&Policy>) -> Vec<Verdict> {
        self.text_with(items, policy, NEUTRAL_STRICTNESS)
    }

    /// Judges messages at a strictness of 0 to 4, in order.
    pub fn text_with(
        &self,
        items: &[TextItem],
        policy: Option<&Policy>,
        strictness: u8,
    ) -> Vec<Verdict> {
        let policy = policy.unwrap_or(&self.policy);
        let now_ms = jiff::Timestamp::now().as_millisecond();
        // In the order of the items, before they are judged side by side.
        let signs = self.signs(items, now_ms);
        let (call, span) = (Call::current(), tracing::Span::current());
        let one = |(item, signs): (&TextItem, &Signs)| {
            let call = match item.channel_id.as_deref() {
                Some(channel) => call.of_tenant(channel),
                None => call,
            };
            span.in_scope(|| call.enter(|| self.one_text(item, policy, strictness, signs)))
        };
        // Most messages take microseconds and are not worth another thread; the rest wait for the
        // encoder, and should wait together.
        let verdicts: Vec<Verdict> = if items.len() <= TOGETHER {
            items.iter().zip(&signs).map(one).collect()
        } else {
            let items = items.par_iter().zip(&signs).with_min_len(TOGETHER);
            self.waiters.install(|| items.map(one).collect())
        };
        self.remember(items, &verdicts, now_ms);
        verdicts
    }

    /// What each message says together with those before it; nothing without a channel and a
    /// sender.
    fn signs(&self, items: &[TextItem], now_ms: i64) -> Vec<Signs> {
        if items.iter().all(|item| placed(item).is_none()) {
            return vec![Signs::default(); items.len()];
        }
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        items
            .iter()
            .map(|item| {
                placed(item).map_or_else(Signs::default, |(channel, sender)| {
                    crowd.observe(channel, sender, &item.text, now_ms)
                })
            })
            .collect()
    }

    /// Remembers who was acted on. What a crowd did together is not one sender's offence.
    fn remember(&self, items: &[TextItem], verdicts: &[Verdict], now_ms: i64) {
        let acted = |verdict: &Verdict| {
            verdict
                .categories
                .iter()
                .any(|(c, r)| *c != Category::Raid && r.outcome == Outcome::Act)
        };
        for (item, verdict) in items.iter().zip(verdicts) {
            if let Some((channel, sender)) = placed(item)
                && acted(verdict)
            {
                let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
                crowd.offence(channel, sender, now_ms);
            }
        }
    }

    fn one_text(&self, item: &TextItem, policy: &Policy, strictness: u8, signs: &Signs) -> Verdict {
        let clock = report::Clock::start();
        let mut collected = Collected::new();
        let text = head(&item.text, MAX_TEXT_BYTES);
        if text.len() < item.text.len() {
            let reason = format!("only the first {} bytes were judged", text.len());
            collected.degraded.push(Degraded::new("text", reason));
        }
        // The version that judges this message, from here to its end.
        let judging = self.text.open(key_of(item));
        self.note_chat(&judging, &mut collected);
        let previous: Vec<&str> = item.previous.iter().map(String::as_str).collect();
        let mut language = None;
        match judging.judge_after(text, &previous) {
            Ok(mut scores) => {
                language = scores.language.map(str::to_owned);
                if let Some(together) = Self::together(&judging, item, text, &scores) {
                    scores = together;
                }
                collected.add_text(Modality::Text, 0, scores);
            }
            Err(error) => collected
                .degraded
                .push(Degraded::new("text", error.to_string())),
        }
        collected.add_signs(signs);
        // Who was acted on again and again is judged one step more strictly.
        let strictness = (strictness + u8::from(signs.offender)).min(STRICTEST);
        let text_ms = clock.ms();
        Subject {
            item_id: Some(item.id.clone()),
            stream_id: item.channel_id.clone(),
            language,
            ..Subject::new(Kind::Text, sha256_hex(item.text.as_bytes()))
        }
        .verdict(
            collected,
            policy,
            strictness,
            None,
            Timings {
                text_ms,
                ..Timings::default()
            },
            clock,
        )
    }

    /// The scores of a short message read together with the sender's short messages before it,
    /// where that says clearly more than the message and those before it say apart.
    fn together(
        judging: &Judging<'_>,
        item: &TextItem,
        text: &str,
        alone: &crate::text::TextScores,
    ) -> Option<crate::text::TextScores> {
        let short = |t: &str| t.len() <= 64 && t.split_whitespace().count() <= SHORT_WORDS;
        if !short(text) {
            return None;
        }
        let run: Vec<&str> = item
            .previous
            .iter()
            .rev()
            .take(MAX_PREVIOUS)
            .map(String::as_str)
            .take_while(|t| short(t))
            .collect();
        if run.is_empty() {
            return None;
        }
        let before = run.iter().rev().copied().collect::<Vec<_>>().join(" ");
        let earlier = judging.judge(&before).ok()?;
        let mut joined = judging.judge(&format!("{before} {text}")).ok()?;
        let mut gained = false;
        for (category, score) in &mut joined.scores {
            let apart =
                |s: &crate::text::TextScores| s.scores.get(category).copied().unwrap_or(0.0);
            if *score >= apart(alone).max(apart(&earlier)) + TOGETHER_GAIN {
                gained = true;
            } else {
                *score = apart(alone);
            }
        }
        // Places in the joined text mean nothing in this one.
        for finding in &mut joined.findings {
            finding.detail = None;
        }
        joined.findings.retain(|f| {
            joined
                .scores
                .get(&f.category)
                .is_some_and(|s| *s >= f.score)
        });
        gained.then_some(joined)
    }

    /// Judges one picture.
    ///
    /// # Errors
    /// [`ModerationError::Image`].
    pub fn image(&self, bytes: &[u8], options: &ImageOptions) -> Result<Verdict, ModerationError> {
        let mut clock = report::Clock::start();
        let image = decode_image(bytes, &self.limits.image)?;
        let decode_ms = clock.lap();
        let policy = options.policy.as_ref().unwrap_or(&self.policy);
        let mut collected = Collected::new();
        let mut timings = Timings {
            decode_ms,
            ..Timings::default()
        };
        let frame = novastream_features::media::Frame {
            image,
            timestamp_ms: 0,
            keyframe: true,
        };
        self.judge_frames(
            std::slice::from_ref(&frame),
            0,
            policy,
            Eyes {
                memory: &mut None,
                pacing: None,
            },
            &mut collected,
            &mut timings,
        );
        collected.forget_times();
        let subject = Subject {
            item_id: options.item_id.clone(),
            stream_id: options.stream_id.clone(),
            ..Subject::new(Kind::Image, sha256_hex(bytes))
        };
        let strictness = options.strictness.unwrap_or(NEUTRAL_STRICTNESS);
        let mut verdict = subject.verdict(collected, policy, strictness, None, timings, clock);
        if let Some(clips) = &self.clips {
            let seen = evidence::Material {
                frames: std::slice::from_ref(&frame),
                audio: None,
                offset_ms: 0,
            };
            evidence::keep(clips.as_ref(), &self.limits.secret, &mut verdict, &seen);
        }
        Ok(verdict)
    }

    /// Says in `collected` that text was not judged in full.
    fn note_chat(&self, judging: &Judging<'_>, collected: &mut Collected) {
        if !judging.has_model() {
            let slot = self.text.chat().and_then(|c| c.missing());
            let reason = slot
                .or_else(|| self.chat_missing.clone())
                .unwrap_or_else(|| "no chat model".to_owned());
            collected.degraded.push(Degraded::new("text", reason));
        }
    }
}

fn waiters(cores: usize) -> Result<rayon::ThreadPool, LoadError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads((8 * cores).clamp(8, 32))
        .thread_name(|at| format!("messages-{at}"))
        .build()
        .map_err(|error| {
            LoadError::Backend(BackendError::Load {
                backend: "engine",
                message: error.to_string(),
            })
        })
}

/// The channel and the sender of a message, where both are known.
fn placed(item: &TextItem) -> Option<(&str, &str)> {
    Some((item.channel_id.as_deref()?, item.user_id.as_deref()?))
}

/// What decides which version of a model judges a message: its channel, else its sender, else its
/// words, so that the same one is always judged by the same version.
fn key_of(item: &TextItem) -> u64 {
    let known = item.channel_id.as_deref().or(item.user_id.as_deref());
    Call::default()
        .of_tenant(known.unwrap_or(&item.text))
        .tenant
}

/// The longest prefix of at most `bytes` bytes that ends between characters.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests;
