//! The visual half: every frame through the screen and the blocklists, and what is written on it.

use std::collections::BTreeMap;

use novastream_features::{media::Frame, pdq::pdq, picture::RgbImage};
use rayon::prelude::*;

use super::{Moderator, collect::Collected, report::Clock};
use crate::{
    backend::{BackendError, guarded},
    category::Category,
    engine::Call,
    policy::Policy,
    verdict::{Degraded, Evidence, EvidenceDetail, Modality, Timings},
    vision::{FrameScore, Match, ScreenMemory},
};

/// Letters that a screen line needs before it is worth judging on its own.
const MIN_LETTERS: usize = 3;

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphabetic()).count()
}

/// What the picture networks and every loaded head say of one picture, before any policy.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameScores {
    /// P(Hentai) + P(Porn) of the screen alone.
    pub screen: f32,
    /// The same as far as the confirming network agrees, where the screen was suspicious.
    pub sexual: f32,
    /// Whether the confirming network was asked about sexual content.
    pub asked: bool,
    /// Calibrated scores by head.
    pub heads: BTreeMap<String, f32>,
}

/// One frame's scores.
struct Looked {
    seen: Option<Result<FrameScore, BackendError>>,
    /// The nearest match of all lists and the frame's own quality.
    listed: Option<(Match, u8)>,
}

impl Moderator {
    /// Judges frames in order of time; `offset_ms` is added to their times. `memory` is what was
    /// read off the stream's last frame.
    pub(super) fn judge_frames(
        &self,
        frames: &[Frame],
        offset_ms: i64,
        policy: &Policy,
        memory: &mut Option<ScreenMemory>,
        collected: &mut Collected,
        timings: &mut Timings,
    ) {
        if frames.is_empty() {
            return;
        }
        let (call, span) = (Call::current(), tracing::Span::current());
        let (looked, read) = rayon::join(
            || {
                let clock = Clock::start();
                let look = |frame| span.in_scope(|| call.enter(|| self.look(frame, policy)));
                let looked: Vec<Looked> = frames.par_iter().map(look).collect();
                (looked, clock.ms())
            },
            || span.in_scope(|| call.enter(|| self.read_screens(frames, offset_ms, memory))),
        );
        timings.frames_ms = looked.1;
        let (screens, ocr_ms, text_ms) = read;
        (timings.ocr_ms, timings.text_ms) = (ocr_ms, text_ms);

        if let Err(reason) = &self.nsfw {
            collected
                .degraded
                .push(Degraded::new("frames", reason.clone()));
        }
        let (mut failed, mut unconfirmed) = (None, 0);
        for (frame, looked) in frames.iter().zip(looked.0) {
            let at_ms = offset_ms + frame.timestamp_ms;
            match looked.seen {
                Some(Ok(score)) => {
                    unconfirmed += usize::from(score.unconfirmed);
                    self.add_seen(&score, at_ms, policy, collected);
                }
                Some(Err(error)) => failed = Some(error.to_string()),
                None => {}
            }
            if !self.blocklists.is_empty() {
                Self::add_listed(looked.listed, at_ms, collected);
            }
        }
        if let Some(reason) = failed {
            collected.degraded.push(Degraded::new("frames", reason));
        }
        if let (1.., Ok(Err(reason))) = (unconfirmed, self.nsfw.as_ref().map(|m| &m.confirm)) {
            let reason = format!("{unconfirmed} suspicious frames were not confirmed: {reason}");
            collected.degraded.push(Degraded::new("frames", reason));
        }
        collected.merge(screens);
    }

    /// Scores of one picture by the networks and all heads; no policy has a say.
    ///
    /// # Errors
    /// [`BackendError::Load`] when the screen is not loaded, else what the networks answer.
    pub fn frame_scores(&self, image: &RgbImage) -> Result<FrameScores, BackendError> {
        let model = self.nsfw.as_ref().map_err(|reason| BackendError::Load {
            backend: "frames",
            message: reason.clone(),
        })?;
        let score = guarded(|| model.score(image, |_| true))?;
        if let (true, Err(reason)) = (score.unconfirmed, &model.confirm) {
            return Err(BackendError::Load {
                backend: "frames",
                message: reason.clone(),
            });
        }
        let name = |(i, s): &(usize, f32)| (model.heads[*i].head.name.clone(), *s);
        Ok(FrameScores {
            screen: score.suspicion(1.0),
            sexual: score.sexual(1.0),
            asked: score.confirmed.is_some(),
            heads: score.heads.iter().map(name).collect(),
        })
    }

    /// What both networks and the heads that the policy names say about one frame.
    fn add_seen(&self, score: &FrameScore, at_ms: i64, policy: &Policy, collected: &mut Collected) {
        let Ok(model) = &self.nsfw else {
            return;
        };
        let mut add = |category, score, model: &str, (label, label_score): (&str, f32)| {
            collected.observe(category, Modality::Frame, at_ms, score);
            collected.evidence.push(Evidence {
                category,
                modality: Modality::Frame,
                start_ms: Some(at_ms),
                end_ms: Some(at_ms),
                score,
                model: model.to_owned(),
                detail: Some(EvidenceDetail::Label {
                    label: label.to_owned(),
                    score: label_score,
                }),
            });
        };
        let looked_last = match (&model.confirm, score.confirmed) {
            (Ok(confirm), Some(_)) => &confirm.id,
            _ => &model.screen.id,
        };
        let sexual = score.sexual(policy.drawn());
        add(Category::Sexual, sexual, looked_last, score.label());
        for (i, head_score) in &score.heads {
            let loaded = &model.heads[*i];
            if let Some(category) = policy.head(&loaded.head.name) {
                let label = (loaded.head.name.as_str(), *head_score);
                add(category, *head_score, &loaded.model, label);
            }
        }
    }

    fn look(&self, frame: &Frame, policy: &Policy) -> Looked {
        let listed = if self.blocklists.is_empty() {
            None
        } else {
            let query = pdq(&frame.image);
            self.blocklists.find(&query).map(|hit| (hit, query.quality))
        };
        let seen =
            self.nsfw.as_ref().ok().map(|model| {
                guarded(|| model.score(&frame.image, |head| policy.head(head).is_some()))
            });
        Looked { seen, listed }
    }

    fn add_listed(listed: Option<(Match, u8)>, at_ms: i64, collected: &mut Collected) {
        let score = listed.as_ref().map_or(0.0, |(hit, _)| hit.score());
        collected.observe(Category::BlocklistedMedia, Modality::Frame, at_ms, score);
        if let Some((hit, quality)) = listed {
            collected.evidence.push(Evidence {
                category: Category::BlocklistedMedia,
                modality: Modality::Frame,
                start_ms: Some(at_ms),
                end_ms: Some(at_ms),
                score,
                model: format!("list:{}", hit.list),
                detail: Some(EvidenceDetail::Pdq {
                    list: hit.list,
                    label: hit.label,
                    distance: hit.distance,
                    quality,
                }),
            });
        }
    }

    /// Reads and judges what is written on each frame, in order, because each builds on the last.
    /// Answers milliseconds of reading and of judging as well.
    fn read_screens(
        &self,
        frames: &[Frame],
        offset_ms: i64,
        memory: &mut Option<ScreenMemory>,
    ) -> (Collected, f32, f32) {
        let mut collected = Collected::new();
        let (mut ocr_ms, mut text_ms) = (0.0, 0.0);
        let ocr = match &self.ocr {
            Ok(ocr) => ocr,
            Err(reason) => {
                collected
                    .degraded
                    .push(Degraded::new("ocr", reason.clone()));
                return (collected, ocr_ms, text_ms);
            }
        };
        let judging = self.text.open(Call::current().tenant);
        let mut unread = 0;
        let mut written = false;
        for frame in frames {
            let clock = Clock::start();
            let screen = guarded(|| ocr.read(&frame.image, memory));
            ocr_ms += clock.ms();
            let clock = Clock::start();
            let judged = screen.and_then(|screen| {
                // Only the last frame's rest stays unread: earlier frames' lines come round again.
                unread = screen.unread;
                written |= !screen.lines.is_empty();
                let text = screen
                    .lines
                    .iter()
                    .map(|l| l.text.as_str())
                    .filter(|text| letters(text) >= MIN_LETTERS)
                    .collect::<Vec<_>>()
                    .join(" ");
                let lines = screen
                    .lines
                    .into_iter()
                    .map(|line| {
                        let scores = if letters(&line.text) >= MIN_LETTERS {
                            judging.judge(&line.text)?
                        } else {
                            crate::text::TextScores::default()
                        };
                        Ok((line, scores))
                    })
                    .collect::<Result<Vec<_>, BackendError>>()?;
                let whole = judging.judge(&text)?;
                let at_ms = offset_ms + frame.timestamp_ms;
                collected.add_screen(at_ms, &lines, whole, &ocr.id);
                Ok(())
            });
            text_ms += clock.ms();
            if let Err(error) = judged {
                collected
                    .degraded
                    .push(Degraded::new("ocr", error.to_string()));
            }
        }
        if unread > 0 {
            let reason = format!("{unread} lines of text were left for later frames");
            collected.degraded.push(Degraded::new("ocr", reason));
        }
        if written {
            self.note_chat(&judging, &mut collected);
        }
        (collected, ocr_ms, text_ms)
    }
}
