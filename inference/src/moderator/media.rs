//! Segments and windows: demux once, judge frames and sound side by side, decide.

use std::sync::Arc;

use novastream_features::media::{Audio, CancelToken, MediaInfo, Notice, Window, read_segment};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ModerationError, Moderator,
    collect::Collected,
    frames::{Counts, Eyes, Pacing},
    report::{Clock, Subject},
};
use crate::{
    backend::guarded,
    category::Category,
    engine::Call,
    evidence,
    history::StreamHistory,
    pace::Plan,
    policy::{NEUTRAL_STRICTNESS, Policy},
    sound::SoundMemory,
    verdict::{Degraded, Evidence, EvidenceDetail, Kind, Modality, Timings, Verdict},
};

/// Where a segment or window belongs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SegmentContext {
    /// The caller's name for the stream.
    pub stream_id: Option<String>,
    /// The segment's number in its stream.
    pub sequence: Option<u64>,
    /// Stream time of the first moment, in milliseconds; `None` keeps the media's own clock.
    pub start_ms: Option<i64>,
    /// 0 to 4; `None` is neutral.
    pub strictness: Option<u8>,
    /// What the server's load multiplies the time between pictures with, in percent; up to 100 it
    /// changes nothing.
    #[serde(default)]
    pub stretch_percent: u32,
    /// Instead of the moderator's own policy.
    #[serde(skip)]
    pub policy: Option<Arc<Policy>>,
}

/// A stretch of a stream as it was read.
struct Seen<'a> {
    window: &'a Window,
    info: &'a MediaInfo,
    /// How closely it was looked at.
    plan: Plan,
    decode_ms: f32,
}

impl Moderator {
    /// Judges one segment and advances the stream's history.
    ///
    /// # Errors
    /// [`ModerationError::Media`]: nothing in the bytes could be read. Bytes that could be read in
    /// part have a verdict with notices. The history is advanced only with a verdict.
    pub fn segment(
        &self,
        bytes: Arc<[u8]>,
        context: &SegmentContext,
        history: &mut StreamHistory,
        cancel: &CancelToken,
    ) -> Result<Verdict, ModerationError> {
        let mut clock = Clock::start();
        let digest = Sha256::digest(&bytes);
        let plan = self.plan(context, history);
        let sampling = plan
            .apply(self.limits.sampling)
            .with_secret(&self.limits.secret, &digest);
        let (info, window) = read_segment(bytes, &sampling, &self.limits.media, cancel)?;
        let decode_ms = clock.lap();
        if cancel.is_cancelled() {
            return Err(ModerationError::Cancelled);
        }
        let subject = Subject::new(Kind::Segment, hex::encode(digest));
        let seen = Seen {
            window: &window,
            info: &info,
            plan,
            decode_ms,
        };
        Ok(self.judge_window(subject, &seen, context, history, clock))
    }

    fn plan(&self, context: &SegmentContext, history: &StreamHistory) -> Plan {
        let limits = &self.limits;
        let stretch = context.stretch_percent;
        history.pace.plan(&limits.sampling, &limits.pace, stretch)
    }

    /// Judges one window of a live source and advances the stream's history.
    pub fn window(
        &self,
        window: Window,
        info: &MediaInfo,
        context: &SegmentContext,
        history: &mut StreamHistory,
    ) -> Verdict {
        let clock = Clock::start();
        let mut hasher = Sha256::new();
        for frame in &window.frames {
            hasher.update(frame.timestamp_ms.to_le_bytes());
            hasher.update(&frame.image.data);
        }
        for sample in window.audio.iter().flat_map(|a| &a.samples) {
            hasher.update(sample.to_le_bytes());
        }
        let subject = Subject::new(Kind::Window, hex::encode(hasher.finalize()));
        let seen = Seen {
            window: &window,
            info,
            plan: self.plan(context, history),
            decode_ms: 0.0,
        };
        self.judge_window(subject, &seen, context, history, clock)
    }

    /// Reports a stretch of a stream that never arrived. Nobody saw it, so it is degraded and for
    /// review; what was seen before it confirms nothing after it.
    pub fn gap(
        &self,
        start_ms: i64,
        end_ms: i64,
        reason: &str,
        context: &SegmentContext,
        history: &mut StreamHistory,
    ) -> Verdict {
        let clock = Clock::start();
        history.forget();
        let mut collected = Collected::new();
        collected.degraded.push(Degraded::new("source", reason));
        let named = format!("{:?} {start_ms} {end_ms} {reason}", context.stream_id);
        let subject = Subject {
            stream_id: context.stream_id.clone(),
            sequence: context.sequence,
            start_ms: Some(start_ms),
            end_ms: Some(end_ms),
            ..Subject::new(Kind::Gap, super::sha256_hex(named.as_bytes()))
        };
        let policy = context.policy.as_ref().unwrap_or(&self.policy);
        let strictness = context.strictness.unwrap_or(NEUTRAL_STRICTNESS);
        subject.verdict(
            collected,
            policy,
            strictness,
            None,
            Timings::default(),
            clock,
        )
    }

    fn judge_window(
        &self,
        subject: Subject,
        seen: &Seen<'_>,
        context: &SegmentContext,
        history: &mut StreamHistory,
        clock: Clock,
    ) -> Verdict {
        let Seen { window, info, .. } = *seen;
        let plan = &seen.plan;
        let offset_ms = context.start_ms.map_or(0, |start| start - window.start_ms);
        let policy = context.policy.as_ref().unwrap_or(&self.policy);
        let mut timings = Timings {
            decode_ms: seen.decode_ms,
            ..Timings::default()
        };
        let mut collected = Collected::new();
        let mut audio_ms = 0.0;
        let StreamHistory {
            screen,
            sound: memory,
            pace,
            ..
        } = &mut *history;
        let mut counts = Counts::default();
        // Streams share the models fairly, and each is judged by one version of them.
        let call = match context.stream_id.as_deref() {
            Some(stream) => Call::current().of_tenant(stream),
            None => Call::current(),
        };
        let span = tracing::Span::current();
        std::thread::scope(|scope| {
            let sound = scope.spawn(move || {
                let clock = Clock::start();
                let mut heard = Collected::new();
                let judge = || self.judge_sound(window, offset_ms, memory, &mut heard);
                span.in_scope(|| call.enter(judge));
                (heard, clock.ms())
            });
            let eyes = Eyes {
                memory: screen,
                pacing: Some(Pacing {
                    pace,
                    plan,
                    start_ms: window.start_ms,
                }),
            };
            counts = call.enter(|| {
                self.judge_frames(
                    &window.frames,
                    offset_ms,
                    policy,
                    eyes,
                    &mut collected,
                    &mut timings,
                )
            });
            match sound.join() {
                Ok((heard, ms)) => {
                    collected.merge(heard);
                    audio_ms = ms;
                }
                Err(_) => collected
                    .degraded
                    .push(Degraded::new("audio", "the thread panicked")),
            }
        });
        timings.audio_ms = audio_ms;
        let duration_ms = window.end_ms - window.start_ms;
        collected.degraded.extend(unjudged(seen, duration_ms));
        let strictness = context.strictness.unwrap_or(NEUTRAL_STRICTNESS);
        let risk = collected.risk(|category| policy.thresholds(category, strictness).0);
        history
            .pace
            .advance(plan, &self.limits.pace, duration_ms, risk);
        let sampling = info.video.is_some().then(|| {
            let reason = plan.shortfall();
            let short = reason.map(|reason| Degraded::new("sampling", reason));
            collected.degraded.extend(short);
            plan.report(counts.looked, counts.carried)
        });

        let subject = Subject {
            stream_id: context.stream_id.clone(),
            sequence: context.sequence,
            start_ms: Some(window.start_ms + offset_ms),
            end_ms: Some(window.end_ms + offset_ms),
            notices: window.notices.clone(),
            media: Some(info.clone()),
            sampling,
            ..subject
        };
        let mut verdict =
            subject.verdict(collected, policy, strictness, Some(history), timings, clock);
        if let Some(clips) = &self.clips {
            let seen = evidence::Material {
                frames: &window.frames,
                audio: window.audio.as_ref(),
                offset_ms,
            };
            evidence::keep(clips.as_ref(), &self.limits.secret, &mut verdict, &seen);
        }
        verdict
    }

    fn judge_sound(
        &self,
        window: &Window,
        offset_ms: i64,
        memory: &mut SoundMemory,
        collected: &mut Collected,
    ) {
        let Some(audio) = window.audio.as_ref().filter(|a| !a.samples.is_empty()) else {
            return;
        };
        self.judge_speech(audio, offset_ms, collected);
        let mut missing = |reason: String| collected.degraded.push(Degraded::new("audio", reason));
        let ears = match &self.sound {
            Ok(ears) => ears,
            Err(reason) => return missing(reason.clone()),
        };
        if let Some(reason) = ears.unjudged() {
            missing(reason);
        }
        let heard = match guarded(|| ears.hear(audio, offset_ms, memory)) {
            Ok(heard) => heard,
            Err(error) => return missing(error.to_string()),
        };
        for score in heard.windows {
            let category = Category::DangerousSound;
            collected.observe(category, Modality::Audio, score.start_ms, score.dangerous);
            if let Some(heard) = score.heard {
                collected.evidence.push(Evidence {
                    category,
                    modality: Modality::Audio,
                    start_ms: Some(score.start_ms),
                    end_ms: Some(score.end_ms),
                    peak_ms: Some(score.start_ms.midpoint(score.end_ms)),
                    score: score.dangerous,
                    model: ears.id().to_owned(),
                    carried_ms: None,
                    clip: None,
                    detail: Some(EvidenceDetail::Sound {
                        group: heard.group.to_owned(),
                        label: heard.label,
                        score: heard.score,
                    }),
                });
            }
        }
        collected.sounds.extend(heard.events.finish(ears.id()));
    }
}

impl Moderator {
    /// Transcribes what is said, where that is asked for, and judges it like a message.
    fn judge_speech(&self, audio: &Audio, offset_ms: i64, collected: &mut Collected) {
        let missing = |reason: String| Degraded::new("speech", reason);
        let speech = match &self.speech {
            None => return,
            Some(Ok(speech)) => speech,
            Some(Err(reason)) => return collected.degraded.push(missing(reason.clone())),
        };
        let transcript = match guarded(|| speech.transcript(&audio.samples)) {
            Ok(transcript) => transcript,
            Err(error) => return collected.degraded.push(missing(error.to_string())),
        };
        collected.degraded.extend(transcript.missing.map(missing));
        if transcript.spoken.is_empty() {
            return;
        }
        let judging = self.text.open(Call::current().tenant);
        self.note_chat(&judging, collected);
        let from = audio.start_ms + offset_ms;
        for spoken in transcript.spoken {
            let times = (from + spoken.start_ms, from + spoken.end_ms);
            let said = (spoken.text.as_str(), spoken.language.as_deref());
            match judging.judge(&spoken.text) {
                Ok(scores) => collected.add_speech(times, said, scores, speech.id()),
                Err(error) => collected.degraded.push(missing(error.to_string())),
            }
        }
    }
}

/// What the reader could not give us although it was there. A damaged or cut stretch of which
/// something was decoded is what viewers saw as well, so it is a notice and no more.
fn unjudged(seen: &Seen<'_>, duration_ms: i64) -> Vec<Degraded> {
    let Seen { window, info, .. } = *seen;
    let asked = i64::from(seen.plan.first_ms) < duration_ms;
    let lost = (info.video.is_some() && asked && window.frames.is_empty())
        || (info.audio.is_some() && window.audio.is_none());
    window
        .notices
        .iter()
        .filter_map(|notice| {
            let reason = match notice {
                Notice::FrameTooLarge { width, height } => {
                    format!("frames of {width}x{height} were not decoded")
                }
                Notice::DurationLimit => "the rest is over the duration limit".to_owned(),
                Notice::FrameLimit => "frames over the limit were not looked at".to_owned(),
                Notice::Deadline => "reading took too long; the rest was left".to_owned(),
                Notice::VideoUndecodable => "the video could not be decoded".to_owned(),
                Notice::AudioUndecodable => "the sound could not be decoded".to_owned(),
                Notice::TooManyStreams => "some streams were not looked at".to_owned(),
                Notice::Truncated if lost => "the data ends early".to_owned(),
                Notice::CorruptData { packets } if lost => format!("{packets} damaged packets"),
                Notice::Truncated
                | Notice::CorruptData { .. }
                | Notice::Discontinuity { .. }
                | Notice::NoVideo
                | Notice::NoAudio => return None,
            };
            Some(Degraded::new("decode", reason))
        })
        .collect()
}
