//! What goes into the media path and what comes out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::picture::RgbImage;

/// Sample rate of all decoded sound, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Bounds on what one segment, or one window of a live source, may cost.
///
/// Exceeding a bound never loses what was read before: the result is partial and says so in its
/// [`Notice`]s; only when nothing usable is left it is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLimits {
    /// Largest width × height that is decoded (default 3840 × 2160).
    pub max_pixels: u64,
    /// Longest media time of a segment in ms (default 600,000); live sources have no end.
    pub max_duration_ms: i64,
    /// Streams of a container that are looked at (default 16); later ones are ignored.
    pub max_streams: u32,
    /// Largest segment in bytes (default 256 MiB).
    pub max_bytes: usize,
    /// Most pictures given back per segment or window (default 1,024).
    pub max_frames: usize,
    /// Most memory in bytes that those pictures take together (default 512 MiB).
    pub max_frame_bytes: usize,
    /// Pictures with a longer side are reduced to it (default 1,280 pixels, 0 = never). The limit
    /// keeps 4K sources from costing nine times as much as the models can see.
    pub max_picture_side: u32,
    /// Most wall-clock time for one segment (default 20 s).
    pub deadline: Duration,
}

impl Default for MediaLimits {
    fn default() -> Self {
        Self {
            max_pixels: 3840 * 2160,
            max_duration_ms: 600_000,
            max_streams: 16,
            max_bytes: 256 << 20,
            max_frames: 1024,
            max_frame_bytes: 512 << 20,
            max_picture_side: 1280,
            deadline: Duration::from_secs(20),
        }
    }
}

/// Which pictures are taken out of a video.
///
/// Time is cut into slots of `interval_ms`. A slot gives its first keyframe, unless the last one
/// was less than an interval before, and, if it is drawn, one extra picture at an offset drawn from
/// `seed` and the slot's place, so that a sender cannot know between which keyframes nobody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Length of a slot in ms (default 2,000; at least 40).
    pub interval_ms: u32,
    /// One slot in so many, drawn by `seed`, has an extra picture (default 1: all of them; 0: none,
    /// and only keyframes are decoded). An extra picture costs the decoding of all pictures since
    /// its keyframe.
    pub extra_every: u32,
    /// Time after the start in ms at which slot 0 begins (default 0). A segment that ends before it
    /// gives no picture.
    pub first_ms: u32,
    /// Decides the extra pictures' offsets. Equal seeds and input give equal pictures; whoever
    /// knows the seed knows the offsets, so it should come from a secret
    /// ([`Sampling::with_secret`]).
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            interval_ms: 2000,
            extra_every: 1,
            first_ms: 0,
            seed: 0,
        }
    }
}

/// How closely a live source is looked at, changed while it is read: shared between the one who
/// reads and the one who judges.
#[derive(Debug, Clone, Default)]
pub struct Tempo(Arc<AtomicU64>);

impl Tempo {
    /// From the next slot on, slots have this length in ms, and one in `extra_every` an extra
    /// picture, as in [`Sampling`].
    pub fn set(&self, interval_ms: u32, extra_every: u32) {
        let packed = u64::from(interval_ms.max(40)) << 32 | u64::from(extra_every);
        self.0.store(packed, Ordering::Relaxed);
    }

    /// What was set last, if anything was.
    pub fn get(&self) -> Option<(u32, u32)> {
        let packed = self.0.load(Ordering::Relaxed);
        (packed != 0).then_some(((packed >> 32) as u32, packed as u32))
    }
}

impl Sampling {
    /// The same sampling with a seed made of a server-side secret and something that names the
    /// input (its digest, or a stream's id): a sender cannot foresee it, a replay repeats it.
    pub fn with_secret(self, secret: &[u8], name: &[u8]) -> Self {
        let key = xxhash_rust::xxh3::xxh3_64(secret);
        let seed = xxhash_rust::xxh3::xxh3_64_with_seed(name, key);
        Self { seed, ..self }
    }
}

/// One picture of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Upright, reduced to [`MediaLimits::max_picture_side`].
    pub image: RgbImage,
    /// Stream time in ms: since the start of a segment, or the source's own clock when live.
    pub timestamp_ms: i64,
    /// Decoded from a keyframe.
    pub keyframe: bool,
}

/// The sound of a segment or window, without gaps: missing parts are zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Stream time of the first sample in ms.
    pub start_ms: i64,
    /// Mono at [`SAMPLE_RATE`], -1.0 to 1.0.
    pub samples: Vec<f32>,
}

/// What a container holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// libav's name of the container format, such as `mpegts` or `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// The video stream that is looked at.
    pub video: Option<VideoInfo>,
    /// The audio stream that is listened to.
    pub audio: Option<AudioInfo>,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// libav's codec name, such as `h264`.
    pub codec: String,
    /// Coded width in pixels; 0 when unknown.
    pub width: u32,
    /// Coded height in pixels; 0 when unknown.
    pub height: u32,
    /// Mean frames per second; 0 when unknown.
    pub fps: f64,
}

/// An audio stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioInfo {
    /// libav's codec name, such as `aac`.
    pub codec: String,
    /// Sample rate of the source in Hz; 0 when unknown.
    pub sample_rate: u32,
    /// Channels of the source; 0 when unknown.
    pub channels: u32,
}

/// A fact about the input that makes a result partial or explains what is missing from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Notice {
    /// There is no video stream, or it gave no picture in this window.
    NoVideo,
    /// There is no audio stream, or it gave no sound in this window.
    NoAudio,
    /// The data ends early.
    Truncated,
    /// Some packets were damaged; what could be decoded was.
    CorruptData {
        /// How many.
        packets: u32,
    },
    /// Pictures of this size exceed [`MediaLimits::max_pixels`] and were not decoded.
    FrameTooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// [`MediaLimits::max_duration_ms`] was reached; the rest was not read.
    DurationLimit,
    /// [`MediaLimits::max_frames`] or [`MediaLimits::max_frame_bytes`] was reached; later pictures
    /// were not taken.
    FrameLimit,
    /// [`MediaLimits::deadline`] passed; the rest was not read.
    Deadline,
    /// No decoder for the video, or nothing in it could be decoded.
    VideoUndecodable,
    /// No decoder for the audio, or nothing in it could be decoded.
    AudioUndecodable,
    /// Streams beyond [`MediaLimits::max_streams`] were ignored.
    TooManyStreams,
    /// The source's clock jumped.
    Discontinuity {
        /// Where it was, in ms.
        from_ms: i64,
        /// Where it went, in ms.
        to_ms: i64,
    },
}

/// A stretch of stream time: what is judged at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Stream time at which it starts, in ms. For a segment 0; for a live source the time of its
    /// own clock (from presentation timestamps, so a reconnect shows whether it continues).
    pub start_ms: i64,
    /// Stream time at which it ends, in ms.
    pub end_ms: i64,
    /// Sampled pictures in order of time.
    pub frames: Vec<Frame>,
    /// The sound, if there is any.
    pub audio: Option<Audio>,
    /// What is missing and why.
    pub notices: Vec<Notice>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_carry_their_code() {
        let notices = [
            Notice::NoVideo,
            Notice::CorruptData { packets: 3 },
            Notice::FrameTooLarge {
                width: 30_000,
                height: 20_000,
            },
        ];
        let json = serde_json::to_string(&notices).unwrap();
        assert_eq!(
            json,
            r#"[{"code":"no_video"},{"code":"corrupt_data","packets":3},{"code":"frame_too_large","width":30000,"height":20000}]"#
        );
        assert_eq!(serde_json::from_str::<Vec<Notice>>(&json).unwrap(), notices);
    }

    #[test]
    fn a_secret_makes_the_seed_repeatable_and_its_own() {
        let seed = |secret: &[u8], name: &[u8]| Sampling::default().with_secret(secret, name).seed;
        assert_eq!(seed(b"secret", b"clip"), seed(b"secret", b"clip"));
        assert_ne!(seed(b"secret", b"clip"), seed(b"secret", b"other"));
        assert_ne!(seed(b"secret", b"clip"), seed(b"guess", b"clip"));
    }
}
