//! The visual half: every frame through the screen and the blocklists, and what is written on it.

use std::collections::BTreeMap;

use novastream_features::{media::Frame, pdq::pdq, picture::RgbImage};
use rayon::prelude::*;

use super::{Moderator, collect::Collected, report::Clock};
use crate::{
    backend::{BackendError, guarded},
    category::Category,
    engine::Call,
    pace::{Judged, Pace, Plan, Sketch},
    policy::Policy,
    verdict::{Degraded, Evidence, EvidenceDetail, Modality, Timings},
    vision::{FrameScore, Match, ScreenMemory, Turn},
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

/// What a stream's past has to do with its next frames.
pub(super) struct Eyes<'a> {
    /// What was read off the stream's last frame.
    pub memory: &'a mut Option<ScreenMemory>,
    /// `None` for a picture that stands alone.
    pub pacing: Option<Pacing<'a>>,
}

/// Which frames need the networks.
pub(super) struct Pacing<'a> {
    pub pace: &'a mut Pace,
    pub plan: &'a Plan,
    /// Frame time of the stretch's beginning.
    pub start_ms: i64,
}

/// How the times of a stretch's frames become those of its stream, and how often it is read.
#[derive(Clone, Copy)]
struct StreamClock<'a> {
    ahead_ms: i64,
    every_ms: [i64; 2],
    secret: &'a [u8],
}

impl<'a> StreamClock<'a> {
    fn turn(&self, frame: &Frame) -> Turn<'a> {
        Turn {
            secret: self.secret,
            at_ms: self.ahead_ms + frame.timestamp_ms,
            every_ms: self.every_ms,
        }
    }
}

/// How many frames went to the networks, and how many kept another's scores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub looked: usize,
    pub carried: usize,
}

/// Where a frame's scores come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    Networks,
    /// Another frame of the same stretch, and how many milliseconds before.
    Same(usize, u32),
    /// The last judged frame of an earlier stretch.
    Remembered(u32),
}

/// One frame's scores.
struct Looked {
    seen: Option<Result<FrameScore, BackendError>>,
    /// The nearest match of all lists and the frame's own quality.
    listed: Option<(Match, u8)>,
}

/// Where the frames' scores come from.
#[derive(Default)]
struct Routed {
    routes: Vec<Route>,
    /// Times on the pace's clock, and sketches; empty where nothing is ever carried over.
    places: Vec<(i64, Sketch)>,
    /// Scores of the last judged frame of an earlier stretch.
    remembered: Option<FrameScore>,
    /// The last frame that went to the networks.
    judged: Option<usize>,
    /// The networks and heads.
    names: String,
}

impl Routed {
    /// Keeps the last judged frame for those that follow.
    fn remember(mut self, looked: &[Looked], pace: &mut Pace) {
        let Some(judged) = self.judged else {
            return;
        };
        let seen = looked.get(judged).and_then(|one| one.seen.as_ref());
        let score = seen.and_then(|seen| seen.as_ref().ok().cloned());
        pace.remember(score.map(|score| {
            let (at_ms, sketch) = self.places.swap_remove(judged);
            Judged {
                at_ms,
                sketch,
                score,
                models: self.names,
            }
        }));
    }
}

impl Moderator {
    /// Judges frames in order of time; `offset_ms` is added to their times.
    pub(super) fn judge_frames(
        &self,
        frames: &[Frame],
        offset_ms: i64,
        policy: &Policy,
        eyes: Eyes<'_>,
        collected: &mut Collected,
        timings: &mut Timings,
    ) -> Counts {
        let mut counts = Counts::default();
        if frames.is_empty() {
            return counts;
        }
        let (call, span) = (Call::current(), tracing::Span::current());
        let Eyes { memory, mut pacing } = eyes;
        let clock = pacing.as_ref().map(|p| StreamClock {
            ahead_ms: p.pace.now() - p.start_ms,
            every_ms: p.plan.read_ms,
            secret: &self.limits.secret,
        });
        let (looked, read) = rayon::join(
            || {
                let clock = Clock::start();
                let routed = self.route(frames, policy, pacing.as_mut());
                let look = |(frame, route): (&Frame, &Route)| {
                    span.in_scope(|| {
                        call.enter(|| self.look(frame, policy, *route == Route::Networks))
                    })
                };
                let looked: Vec<Looked> = frames.par_iter().zip(&routed.routes).map(look).collect();
                (looked, routed, clock.ms())
            },
            || span.in_scope(|| call.enter(|| self.read_screens(frames, offset_ms, clock, memory))),
        );
        let (looked, routed, frames_ms) = looked;
        timings.frames_ms = frames_ms;
        let (screens, ocr_ms, text_ms) = read;
        (timings.ocr_ms, timings.text_ms) = (ocr_ms, text_ms);

        if let Err(reason) = &self.nsfw {
            collected
                .degraded
                .push(Degraded::new("frames", reason.clone()));
        }
        let (mut failed, mut unconfirmed) = (None, 0);
        for ((frame, one), route) in frames.iter().zip(&looked).zip(&routed.routes) {
            let at_ms = offset_ms + frame.timestamp_ms;
            let (score, carried_ms) = match (*route, &one.seen) {
                (Route::Networks, Some(Ok(score))) => (Some(score), None),
                (Route::Networks, Some(Err(error))) => {
                    failed = Some(error.to_string());
                    (None, None)
                }
                (Route::Networks, None) => (None, None),
                // A failure is reported by the frame that it happened to.
                (Route::Same(of, age), _) => {
                    let other = looked[of].seen.as_ref();
                    (other.and_then(|seen| seen.as_ref().ok()), Some(age))
                }
                (Route::Remembered(age), _) => (routed.remembered.as_ref(), Some(age)),
            };
            if let Some(score) = score {
                unconfirmed += usize::from(score.unconfirmed);
                counts.looked += usize::from(carried_ms.is_none());
                counts.carried += usize::from(carried_ms.is_some());
                self.add_seen(score, (at_ms, carried_ms), policy, collected);
            }
            if !self.blocklists.is_empty() {
                Self::add_listed(one.listed.as_ref(), at_ms, collected);
            }
        }
        if let Some(pacing) = pacing {
            routed.remember(&looked, pacing.pace);
        }
        if let Some(reason) = failed {
            collected.degraded.push(Degraded::new("frames", reason));
        }
        if let (1.., Ok(Err(reason))) = (unconfirmed, self.nsfw.as_ref().map(|m| &m.confirm)) {
            let reason = format!("{unconfirmed} suspicious frames were not confirmed: {reason}");
            collected.degraded.push(Degraded::new("frames", reason));
        }
        collected.merge(screens);
        counts
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
    fn add_seen(
        &self,
        score: &FrameScore,
        (at_ms, carried_ms): (i64, Option<u32>),
        policy: &Policy,
        collected: &mut Collected,
    ) {
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
                peak_ms: Some(at_ms),
                score,
                model: model.to_owned(),
                carried_ms,
                clip: None,
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

    fn look(&self, frame: &Frame, policy: &Policy, networks: bool) -> Looked {
        let listed = if self.blocklists.is_empty() {
            None
        } else {
            let query = pdq(&frame.image);
            self.blocklists.find(&query).map(|hit| (hit, query.quality))
        };
        let wanted = |head: &str| policy.head(head).is_some();
        let model = self.nsfw.as_ref().ok().filter(|_| networks);
        let seen = model.map(|model| guarded(|| model.score(&frame.image, wanted)));
        Looked { seen, listed }
    }

    /// Which frames need the networks. Only pictures that were judged are compared with, so that a
    /// slow change cannot creep from one skipped picture to the next.
    fn route(&self, frames: &[Frame], policy: &Policy, pacing: Option<&mut Pacing<'_>>) -> Routed {
        let mut routed = Routed::default();
        let (Some(pacing), Ok(model)) = (pacing, &self.nsfw) else {
            routed.routes = vec![Route::Networks; frames.len()];
            return routed;
        };
        let bits = self.limits.pace.near_bits;
        let names = model.names(|head| policy.head(head).is_some());
        let known = pacing.pace.last(&names).cloned();
        let sketches: Vec<Sketch> = frames.par_iter().map(|f| Sketch::of(&f.image)).collect();
        let mut judged: Option<usize> = None;
        for (i, (frame, sketch)) in frames.iter().zip(sketches).enumerate() {
            let at_ms = pacing.pace.now() + frame.timestamp_ms - pacing.start_ms;
            let (reference, since) = match (judged, &known) {
                (Some(j), _) => (Some(&routed.places[j].1), routed.places[j].0),
                (None, Some(known)) => (Some(&known.sketch), known.at_ms),
                (None, None) => (None, 0),
            };
            let age = at_ms - since;
            let near = reference.is_some_and(|other| sketch.near(other, bits));
            pacing.pace.saw(near);
            let carried = (near && (0..pacing.plan.carry_ms).contains(&age))
                .then(|| u32::try_from(age).unwrap_or(u32::MAX));
            routed.routes.push(match (carried, judged) {
                (Some(age), Some(j)) => Route::Same(j, age),
                (Some(age), None) => Route::Remembered(age),
                (None, _) => {
                    judged = Some(i);
                    Route::Networks
                }
            });
            routed.places.push((at_ms, sketch));
        }
        routed.remembered = known.map(|known| known.score);
        routed.judged = judged;
        routed.names = names;
        routed
    }

    fn add_listed(listed: Option<&(Match, u8)>, at_ms: i64, collected: &mut Collected) {
        let score = listed.map_or(0.0, |(hit, _)| hit.score());
        collected.observe(Category::BlocklistedMedia, Modality::Frame, at_ms, score);
        if let Some((hit, quality)) = listed {
            collected.evidence.push(Evidence {
                category: Category::BlocklistedMedia,
                modality: Modality::Frame,
                start_ms: Some(at_ms),
                end_ms: Some(at_ms),
                peak_ms: Some(at_ms),
                score,
                model: format!("list:{}", hit.list),
                carried_ms: None,
                clip: None,
                detail: Some(EvidenceDetail::Pdq {
                    list: hit.list.clone(),
                    label: hit.label.clone(),
                    distance: hit.distance,
                    quality: *quality,
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
        stream: Option<StreamClock<'_>>,
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
            let turn = stream.map_or_else(Turn::default, |s| s.turn(frame));
            let screen = guarded(|| ocr.read(&frame.image, turn, memory));
            ocr_ms += clock.ms();
            let clock = Clock::start();
            let judged = screen.and_then(|screen| {
                let Some(screen) = screen else {
                    return Ok(());
                };
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
