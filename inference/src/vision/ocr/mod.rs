//! Text on screen: find lines, read those that are new, remember the rest.

mod crop;
mod detect;
mod geometry;
mod recognise;

use std::{cmp::Reverse, sync::Arc};

use novastream_features::picture::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::{
    detect::Detector,
    geometry::RotatedRect,
    recognise::{Recogniser, network_width},
};
use super::change::{Changes, Thumbnail};
use crate::backend::{BackendError, Session};

/// Lines read anew per frame, at most.
const MAX_LINES: usize = 24;
/// Columns of recogniser input per frame, at most; bounds the time as line lengths differ.
const MAX_COLUMNS: usize = 6400;
/// Readings below this confidence are not text.
const CONFIDENT: f32 = 0.5;
/// A line whose place did not change is read again after this many frames, so that nothing can
/// creep in below the change threshold.
const MAX_AGE: u8 = 15;
/// Overlap (intersection over union) from which two boxes are the same line.
const SAME: f32 = 0.6;

/// One line on screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScreenLine {
    /// As read; empty if what was found is no text.
    pub text: String,
    /// 0 to 1.
    pub confidence: f32,
    /// Left, top, right, bottom in pixels of the frame.
    pub area: [u32; 4],
    /// Frames since it was read.
    age: u8,
}

/// What was on the last frame that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScreenMemory {
    /// When that was, on the stream's clock ([`Turn::at_ms`]).
    #[serde(default)]
    read_at_ms: i64,
    /// What the stream's interval is multiplied with until the next reading, in percent.
    #[serde(default = "whole")]
    wait_percent: u8,
    thumbnail: Thumbnail,
    size: [u32; 2],
    lines: Vec<ScreenLine>,
    unread: usize,
}

/// A frame's place in its stream, and how often the stream is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn<'a> {
    /// On a clock that the stream's frames share, in ms.
    pub at_ms: i64,
    /// Time between two readings of changing pictures, in ms, on average: where the last one found
    /// text, and where it found none.
    pub every_ms: [i64; 2],
    /// Decides with the picture how far from the average it is, so that nobody can foresee readings
    /// and streams that began together do not go on together.
    pub secret: &'a [u8],
}

fn whole() -> u8 {
    100
}

impl Turn<'_> {
    /// Whether time has come to read again.
    fn is_due(&self, memory: &ScreenMemory) -> bool {
        let [written, empty] = self.every_ms;
        let every = if memory.lines.is_empty() {
            empty
        } else {
            written
        };
        let since = self.at_ms - memory.read_at_ms;
        // A clock that went back is another timeline.
        memory.unread > 0 || since < 0 || since * 100 >= every * i64::from(memory.wait_percent)
    }

    /// Half the average interval to one and a half, in percent.
    fn wait_percent(&self, picture: &Thumbnail) -> u8 {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(picture.luma());
        50 + hash.finalize()[0] % 101
    }
}

/// What is on a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Screen {
    /// Lines with text, in reading order.
    pub lines: Vec<ScreenLine>,
    /// Lines that were found and left for the next frame.
    pub unread: usize,
}

/// The detector and the recogniser.
pub(crate) struct OcrEngine {
    detector: Detector,
    recogniser: Recogniser,
    /// `name@version` of the recogniser, for evidence.
    pub id: String,
}

/// A graph with the names of its one input and one output.
pub(crate) struct Graph {
    pub session: Arc<dyn Session>,
    pub input: String,
    pub output: String,
}

impl OcrEngine {
    pub(crate) fn new(detect: Graph, recognise: Graph, dictionary: &str, id: String) -> Self {
        Self {
            detector: Detector::new(detect.session, detect.input, detect.output),
            recogniser: Recogniser::new(
                recognise.session,
                recognise.input,
                recognise.output,
                dictionary,
            ),
            id,
        }
    }

    /// Reads a frame. Lines whose place looks as it did on the remembered frame are not read
    /// again, and if nothing changed at all nothing is run. `None`: something changed, but the stream
    /// was read too shortly before.
    pub(crate) fn read(
        &self,
        image: &RgbImage,
        turn: Turn<'_>,
        memory: &mut Option<ScreenMemory>,
    ) -> Result<Option<Screen>, BackendError> {
        let size = [image.width, image.height];
        let thumbnail = Thumbnail::of(image);
        let earlier = memory.take().filter(|m| m.size == size);
        let changes = thumbnail.changes(earlier.as_ref().map(|m| &m.thumbnail));
        let mut known = earlier.as_ref().map_or_else(Vec::new, |m| m.lines.clone());
        for line in &mut known {
            line.age = line.age.saturating_add(1);
        }

        let fresh = known.iter().all(|l| l.age < MAX_AGE);
        if let Some(mut earlier) = earlier {
            let same = earlier.unread == 0 && fresh && !changes.any();
            if same || !turn.is_due(&earlier) {
                earlier.lines = known;
                let screen = same.then(|| earlier.screen());
                *memory = Some(earlier);
                return Ok(screen);
            }
        }
        let boxes = self.detector.detect(image)?;
        let mut lines: Vec<Option<ScreenLine>> = boxes
            .iter()
            .map(|b| reusable(&known, &area(b, size), &changes, size))
            .collect();
        let chosen = choose(&boxes, &lines);
        let unread = lines.iter().filter(|l| l.is_none()).count() - chosen.len();
        let wanted: Vec<RotatedRect> = chosen.iter().map(|i| boxes[*i]).collect();
        for (i, reading) in chosen
            .into_iter()
            .zip(self.recogniser.read(image, &wanted)?)
        {
            let sure = reading.confidence >= CONFIDENT;
            lines[i] = Some(ScreenLine {
                text: if sure { reading.text } else { String::new() },
                confidence: reading.confidence,
                area: area(&boxes[i], size),
                age: 0,
            });
        }
        let now = ScreenMemory {
            read_at_ms: turn.at_ms,
            wait_percent: turn.wait_percent(&thumbnail),
            thumbnail,
            size,
            lines: lines.into_iter().flatten().collect(),
            unread,
        };
        let screen = now.screen();
        *memory = Some(now);
        Ok(Some(screen))
    }
}

impl ScreenMemory {
    fn screen(&self) -> Screen {
        let lines = self
            .lines
            .iter()
            .filter(|l| !l.text.is_empty())
            .cloned()
            .collect();
        Screen {
            lines,
            unread: self.unread,
        }
    }
}

/// Which unread boxes to read now: the biggest, within both budgets, in reading order.
fn choose(boxes: &[RotatedRect], lines: &[Option<ScreenLine>]) -> Vec<usize> {
    let mut open: Vec<usize> = (0..boxes.len()).filter(|i| lines[*i].is_none()).collect();
    open.sort_by_key(|i| Reverse((boxes[*i].width * boxes[*i].height) as u64));
    let mut columns = 0;
    open.truncate(MAX_LINES);
    open.retain(|i| {
        columns += network_width(&boxes[*i]);
        columns <= MAX_COLUMNS
    });
    open.sort_unstable();
    open
}

/// The known line at `area`, if it is still there unchanged.
fn reusable(
    known: &[ScreenLine],
    area: &[u32; 4],
    changes: &Changes,
    size: [u32; 2],
) -> Option<ScreenLine> {
    if changes.touch(*area, size[0], size[1]) {
        return None;
    }
    known
        .iter()
        .find(|l| l.age < MAX_AGE && overlap(&l.area, area) > SAME)
        .cloned()
}

/// The upright box around a turned one, inside the frame.
fn area(rect: &RotatedRect, size: [u32; 2]) -> [u32; 4] {
    let [left, top, right, bottom] = rect.bounds();
    let within = |v: f32, limit: u32| v.round().clamp(0.0, limit as f32) as u32;
    [
        within(left, size[0]),
        within(top, size[1]),
        within(right, size[0]),
        within(bottom, size[1]),
    ]
}

/// Intersection over union.
fn overlap(a: &[u32; 4], b: &[u32; 4]) -> f32 {
    let extent =
        |r: &[u32; 4]| u64::from(r[2].saturating_sub(r[0])) * u64::from(r[3].saturating_sub(r[1]));
    let common = extent(&[
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let union = extent(a) + extent(b) - common;
    if union == 0 {
        0.0
    } else {
        common as f32 / union as f32
    }
}

#[cfg(test)]
mod tests;
