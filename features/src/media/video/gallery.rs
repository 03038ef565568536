//! The pictures that were taken, within the limits on their size, number and memory.

use ffmpeg_next::frame;

use crate::media::av::Scaler;
use crate::media::rotation::Rotation;
use crate::media::{Frame, MediaLimits, Notice};

/// Different notices worth keeping per window.
const MAX_NOTICES: usize = 16;

pub(super) struct Gallery {
    limits: MediaLimits,
    rotation: Rotation,
    scaler: Scaler,
    frames: Vec<Frame>,
    bytes: usize,
    notices: Vec<Notice>,
}

impl Gallery {
    pub(super) fn new(limits: &MediaLimits, rotation: Rotation) -> Self {
        Self {
            limits: limits.clone(),
            rotation,
            scaler: Scaler::default(),
            frames: Vec::new(),
            bytes: 0,
            notices: Vec::new(),
        }
    }

    pub(super) fn max_pixels(&self) -> u64 {
        self.limits.max_pixels
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// No more pictures fit.
    pub(super) fn full(&self) -> bool {
        self.frames.len() >= self.limits.max_frames || self.bytes >= self.limits.max_frame_bytes
    }

    /// Converts a decoded picture and keeps it, unless it is too large or the gallery is full.
    /// False when it could not be converted.
    pub(super) fn keep(&mut self, picture: &frame::Video, time: i64) -> bool {
        if self.full() || !self.check_size(Some((picture.width(), picture.height()))) {
            return true;
        }
        let Ok(image) = self.scaler.rgb(picture, self.limits.max_picture_side) else {
            return false;
        };
        let image = self.rotation.apply(image);
        self.bytes += image.data.len();
        self.frames.push(Frame {
            image,
            timestamp_ms: time,
            keyframe: picture.is_key(),
        });
        if self.full() {
            self.note(Notice::FrameLimit);
        }
        true
    }

    /// False, with a notice, when pictures of this size are over the limit.
    pub(super) fn check_size(&mut self, size: Option<(u32, u32)>) -> bool {
        let Some((width, height)) = size else {
            return true;
        };
        if u64::from(width) * u64::from(height) <= self.limits.max_pixels {
            return true;
        }
        self.note(Notice::FrameTooLarge { width, height });
        false
    }

    pub(super) fn note(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) && self.notices.len() < MAX_NOTICES {
            self.notices.push(notice);
        }
    }

    /// Whether there is a picture before `until`.
    pub(super) fn any_before(&self, until: i64) -> bool {
        self.frames.iter().any(|frame| frame.timestamp_ms < until)
    }

    /// Removes the pictures before `until`, in order of time, and the notices so far.
    pub(super) fn take(&mut self, until: i64) -> (Vec<Frame>, Vec<Notice>) {
        let all = self.frames.drain(..);
        let (mut taken, later): (Vec<Frame>, Vec<Frame>) =
            all.partition(|frame| frame.timestamp_ms < until);
        taken.sort_by_key(|frame| frame.timestamp_ms);
        self.bytes = later.iter().map(|frame| frame.image.data.len()).sum();
        self.frames = later;
        (taken, std::mem::take(&mut self.notices))
    }
}
