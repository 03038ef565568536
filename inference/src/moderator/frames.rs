//! The visual half: every frame through the screen and the blocklists, and what is written on it.

use novastream_features::{media::Frame, pdq::pdq};
use rayon::prelude::*;

use super::{Moderator, collect::Collected, report::Clock};
use crate::{
    backend::{BackendError, guarded},
    category::Category,
    engine::Call,
    verdict::{Degraded, Evidence, EvidenceDetail, Modality, Timings},
    vision::{Match, NsfwScore, ScreenMemory},
};

/// Letters that a screen line needs before it is worth judging on its own.
const MIN_LETTERS: usize = 3;

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphabetic()).count()
}

/// One frame's scores.
struct Looked {
    nsfw: Option<Result<NsfwScore, BackendError>>,
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
        memory: &mut Option<ScreenMemory>,
        collected: &mut Collected,
        timings: &mut Timings,
    ) {
        if frames.is_empty() {
            return;
        }
        let call = Call::current();
        let (looked, read) = rayon::join(
            || {
                let clock = Clock::start();
                let look = |frame| call.enter(|| self.look(frame));
                let looked: Vec<Looked> = frames.par_iter().map(look).collect();
                (looked, clock.ms())
            },
            || call.enter(|| self.read_screens(frames, offset_ms, memory)),
        );
        timings.frames_ms = looked.1;
        let (screens, ocr_ms, text_ms) = read;
        (timings.ocr_ms, timings.text_ms) = (ocr_ms, text_ms);

        if let Err(reason) = &self.nsfw {
            collected
                .degraded
                .push(Degraded::new("frames", reason.clone()));
        }
        let mut failed = None;
        for (frame, looked) in frames.iter().zip(looked.0) {
            let at_ms = offset_ms + frame.timestamp_ms;
            match looked.nsfw {
                Some(Ok(score)) => {
                    collected.observe(Category::Sexual, Modality::Frame, at_ms, score.sexual);
                    collected.evidence.push(Evidence {
                        category: Category::Sexual,
                        modality: Modality::Frame,
                        start_ms: Some(at_ms),
                        end_ms: Some(at_ms),
                        score: score.sexual,
                        model: self.nsfw.as_ref().map(|m| m.id.clone()).unwrap_or_default(),
                        detail: Some(EvidenceDetail::Label {
                            label: score.label,
                            score: score.label_score,
                        }),
                    });
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
        collected.merge(screens);
    }

    fn look(&self, frame: &Frame) -> Looked {
        let listed = if self.blocklists.is_empty() {
            None
        } else {
            let query = pdq(&frame.image);
            self.blocklists
                .iter()
                .filter_map(|list| list.find(&query))
                .min_by_key(|hit| hit.distance)
                .map(|hit| (hit, query.quality))
        };
        let nsfw = self
            .nsfw
            .as_ref()
            .ok()
            .map(|m| guarded(|| m.score(&frame.image)));
        Looked { nsfw, listed }
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
                            self.text.judge(&line.text)?
                        } else {
                            crate::text::TextScores::default()
                        };
                        Ok((line, scores))
                    })
                    .collect::<Result<Vec<_>, BackendError>>()?;
                let whole = self.text.judge(&text)?;
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
            self.note_chat(&mut collected);
        }
        (collected, ocr_ms, text_ms)
    }
}
