//! The answer: what was found, where, how sure, and what to do about it.

use std::collections::BTreeMap;

use novastream_features::media::{MediaInfo, Notice};
use serde::{Deserialize, Serialize};

use crate::category::Category;

/// What to do with the content, mildest first; the order is the order of severity.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing to do.
    #[default]
    Allow,
    /// Leave it visible, mark it.
    Flag,
    /// Keep it back until a human has decided.
    Hold,
    /// Take it down.
    Remove,
    /// End the stream or silence the sender.
    Suspend,
}

impl Action {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Hold => "hold",
            Self::Remove => "remove",
            Self::Suspend => "suspend",
        }
    }
}

/// Where in the content something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// A message or a title.
    Text,
    /// A picture.
    Frame,
    /// Text that was read off a picture.
    ScreenText,
    /// Sound.
    Audio,
    /// What was said, as text.
    Speech,
    /// The stream itself: gaps, for example.
    Stream,
}

impl Modality {
    /// Every modality.
    pub const ALL: [Self; 6] = [
        Self::Text,
        Self::Frame,
        Self::ScreenText,
        Self::Audio,
        Self::Speech,
        Self::Stream,
    ];

    /// The name used in JSON and in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Frame => "frame",
            Self::ScreenText => "screen_text",
            Self::Audio => "audio",
            Self::Speech => "speech",
            Self::Stream => "stream",
        }
    }
}

/// What was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One message.
    Text,
    /// One picture.
    Image,
    /// One uploaded segment.
    Segment,
    /// One window of a watched stream.
    Window,
    /// A stretch of a watched stream that never arrived.
    Gap,
}

impl Kind {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Segment => "segment",
            Self::Window => "window",
            Self::Gap => "gap",
        }
    }
}

/// Whether a category has a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A model, list or rule looked for it.
    Scored,
    /// Nothing that is loaded can tell; this is not a zero.
    NotEvaluated,
}

/// What a category's score means under the policy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Below both thresholds.
    #[default]
    None,
    /// Between the thresholds, or not confirmed yet: a human decides.
    Review,
    /// At or above the act threshold and, where the policy asks for it, confirmed.
    Act,
}

/// One category's score against its thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CategoryResult {
    /// Whether `score` is there.
    pub status: Status,
    /// 0 to 1; absent when not evaluated. For frames and sound this is the confirmed score: what
    /// k of the last n observations reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// The highest single observation of this segment, where it is above the confirmed score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<f32>,
    /// From this score on a human decides (after strictness).
    pub review: f32,
    /// From this score on the policy's action is taken (after strictness).
    pub act: f32,
    /// 0 nothing, 1 trace, 2 for review, 3 over the act threshold, 4 far over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// What follows from the score.
    pub outcome: Outcome,
}

/// The form of a text in which a term was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TextForm {
    /// As it was written, in lower case.
    Raw,
    /// After disguises were undone.
    Normalized,
}

/// Where exactly, and what was matched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EvidenceDetail {
    /// A listed term in a text.
    TextSpan {
        /// First byte in the original text.
        start: usize,
        /// One past the last byte in the original text.
        end: usize,
        /// The form that matched.
        form: TextForm,
        /// The term as the list has it.
        term: String,
    },
    /// A rule over a text; its name is in `rule`.
    Rule {
        /// The rule's name.
        rule: String,
        /// First byte of the first signal in the original text.
        start: usize,
        /// One past the last byte of the last signal in the original text.
        end: usize,
        /// The signals that made the rule fire, such as `multiplier` or `link`.
        signals: Vec<String>,
    },
    /// What messages of one channel say together.
    Crowd {
        /// Counts, such as `senders:7` (different senders of near-same messages), `repeats:4` and
        /// `in-ten-seconds:9` (of this sender), and `repeated-offender`.
        signals: Vec<String>,
    },
    /// Text that was read off a frame.
    ScreenText {
        /// The text as it was read.
        text: String,
        /// Left, top, right and bottom in pixels of the frame.
        area: [u32; 4],
        /// The recogniser's mean confidence, 0 to 1.
        confidence: f32,
        /// `name@version` of the recogniser.
        reader: String,
        /// The rule or list term that matched, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matched: Option<String>,
    },
    /// A picture near one on a blocklist.
    Pdq {
        /// The list's name.
        list: String,
        /// The entry's label.
        label: String,
        /// Differing bits of 256.
        distance: u32,
        /// The frame's own hash quality, 0 to 100.
        quality: u8,
    },
    /// What somebody said.
    Speech {
        /// The words as they were understood.
        text: String,
        /// ISO 639-1 code of the language, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// `name@version` of the transcriber.
        reader: String,
        /// The rule or list term that matched, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matched: Option<String>,
    },
    /// A sound.
    Sound {
        /// What it counts as: `gunshot`, `explosion`, `scream`, `glass` or `siren`.
        group: String,
        /// The model's own label behind it.
        label: String,
        /// That label's own score, before other sounds were held against it.
        score: f32,
    },
    /// The model's own label with the highest share.
    Label {
        /// The label.
        label: String,
        /// That label's own score.
        score: f32,
    },
}

/// One reason for a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// What it is evidence of.
    pub category: Category,
    /// Where it was found.
    pub modality: Modality,
    /// Milliseconds of stream time at which it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<i64>,
    /// Milliseconds of stream time at which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<i64>,
    /// Milliseconds of stream time at which it is strongest: the picture with `score`, or the middle
    /// of the stretch of sound with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_ms: Option<i64>,
    /// The strongest observation's score, 0 to 1.
    pub score: f32,
    /// `name@version` of the model, `list:NAME`, or `rules@VERSION`.
    pub model: String,
    /// The picture was near-identical to one that was judged so many milliseconds before it, and
    /// this is that one's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_ms: Option<u32>,
    /// The picture or sound at the peak, for `GET /v1/streams/{id}/evidence/{clip}`; absent where
    /// none is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<String>,
    /// Where exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<EvidenceDetail>,
}

/// A sound that was heard and is no category of its own, such as crying or fireworks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SoundEvent {
    /// What it is: a group such as `crying`, or a trained model's label.
    pub sound: String,
    /// The model's own label with the highest score.
    pub label: String,
    /// Milliseconds of stream time at which it begins.
    pub start_ms: i64,
    /// Milliseconds of stream time at which it ends.
    pub end_ms: i64,
    /// The highest score in that time, 0 to 1.
    pub peak: f32,
    /// `name@version` of the model.
    pub model: String,
}

/// Something that should have judged and could not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Degraded {
    /// `frames`, `ocr`, `audio`, `speech`, `text`, `decode`, `sampling` or `source`.
    pub component: String,
    /// Why, in words.
    pub reason: String,
}

impl Degraded {
    /// A note that `component` could not judge because of `reason`.
    pub fn new(component: &str, reason: impl Into<String>) -> Self {
        Self {
            component: component.to_owned(),
            reason: reason.into(),
        }
    }
}

/// What decides how closely a stream's pictures are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PaceMode {
    /// Nothing is known of the stream yet.
    New,
    /// Nothing suspicious of late.
    Calm,
    /// The picture hardly changes.
    Still,
    /// Suspicious scores of late.
    Risk,
}

/// Which pictures were looked at, and why so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sampled {
    /// What the stream's past asks for.
    pub mode: PaceMode,
    /// Time between two pictures in milliseconds; there may be extra ones.
    pub interval_ms: u32,
    /// Pictures that the networks judged.
    pub looked: usize,
    /// Near-identical pictures that kept the scores of one judged shortly before.
    pub carried: usize,
    /// What the server's load multiplied the interval with, the same for all streams; 100 is
    /// nothing.
    pub stretch_percent: u32,
}

/// Wall-clock milliseconds per stage. Stages overlap, so they may add up to more than `total_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timings {
    /// Demuxing, decoding and sampling.
    pub decode_ms: f32,
    /// Frame models and picture hashes.
    pub frames_ms: f32,
    /// Finding and reading text on frames.
    pub ocr_ms: f32,
    /// Sound features and models.
    pub audio_ms: f32,
    /// Text normalisation, lists, rules and models.
    pub text_ms: f32,
    /// Smoothing and policy.
    pub policy_ms: f32,
    /// From the call to the verdict.
    pub total_ms: f32,
}

/// The answer to one item.
///
/// The same bytes, models, policy, history and `sampling.stretch_percent` give the same verdict except for `id`, `timings`,
/// `created_at`, and whether its evidence names clips: those are left out where there is no room for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    /// UUID version 7.
    pub id: String,
    /// What was judged.
    pub kind: Kind,
    /// The stream, as the caller names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// The message or picture, as the caller names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// The segment's number in its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Milliseconds of stream time at which the content begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<i64>,
    /// Milliseconds of stream time at which the content ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<i64>,
    /// The strongest action that any category asks for.
    pub action: Action,
    /// A human should look: a category is in its review band, or something could not be judged.
    pub review: bool,
    /// Every category of the taxonomy.
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = std::collections::HashMap<String, CategoryResult>)
    )]
    pub categories: BTreeMap<Category, CategoryResult>,
    /// Reasons, strongest first.
    pub evidence: Vec<Evidence>,
    /// Sounds worth telling that no category stands for, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sounds: Vec<SoundEvent>,
    /// `id@version` of the policy.
    pub policy: String,
    /// How closely the pictures were looked at; absent where there is no video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampled>,
    /// What was missing, late or left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degraded>,
    /// What the media reader had to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub notices: Vec<Notice>,
    /// Container and codecs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub media: Option<MediaInfo>,
    /// The language that a text was taken to be in, ISO 639-1; models that were not trained on it
    /// are `not_evaluated`. Absent for anything but a message, and for unknown languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// How long each stage took.
    pub timings: Timings,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Lower-case hex SHA-256 of what was judged: the bytes of an upload, the UTF-8 of a text, the
    /// decoded pixels and samples of a window.
    pub content_sha256: String,
}

impl Verdict {
    /// The scored category that weighs most: highest outcome, then highest score.
    pub fn leading(&self) -> Option<(Category, &CategoryResult)> {
        self.categories
            .iter()
            .filter(|(_, r)| r.status == Status::Scored)
            .max_by(|(_, a), (_, b)| {
                (a.outcome, a.score)
                    .partial_cmp(&(b.outcome, b.score))
                    .unwrap_or(std::cmp::Ordering::Equal)
            })
            .map(|(c, r)| (*c, r))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_ordered_and_named() {
        let all = [
            Action::Allow,
            Action::Flag,
            Action::Hold,
            Action::Remove,
            Action::Suspend,
        ];
        assert!(all.is_sorted());
        for action in all {
            assert_eq!(
                serde_json::to_string(&action).unwrap(),
                format!("\"{}\"", action.as_str())
            );
        }
        for modality in Modality::ALL {
            assert_eq!(
                serde_json::to_string(&modality).unwrap(),
                format!("\"{}\"", modality.as_str())
            );
        }
    }

    #[test]
    fn details_are_tagged_by_type() {
        let detail = EvidenceDetail::TextSpan {
            start: 3,
            end: 8,
            form: TextForm::Normalized,
            term: "idiot".into(),
        };
        let json = serde_json::to_value(&detail).unwrap();
        assert_eq!(json["type"], "text_span");
        assert_eq!(json["form"], "normalized");
        assert_eq!(
            serde_json::from_value::<EvidenceDetail>(json).unwrap(),
            detail
        );
    }
}
