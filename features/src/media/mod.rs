//! From bytes or a URL to sampled pictures and 16 kHz mono sound.
//!
//! One demuxer pass gives both. [`read_segment`] takes a finished segment from memory (MPEG-TS,
//! fragmented MP4, Matroska, FLV: any self-contained container that libav reads); [`LiveSource`]
//! pulls a URL (a file, HTTP with HLS, RTMP, SRT) window by window.
//!
//! The input is hostile by assumption: posted bytes can open no file and no URL; sizes are checked
//! before pictures are decoded; memory, time and the number of streams have bounds
//! ([`MediaLimits`]); what a bound or damage cost is reported as [`Notice`]s.

mod access;
mod av;
mod cancel;
mod demux;
mod error;
mod live;
mod mixdown;
mod rotation;
mod sampler;
mod segment;
mod session;
mod sound;
mod types;
mod video;

pub use cancel::CancelToken;
pub use error::MediaError;
pub use live::{LiveSource, SourceOptions};
pub use segment::read_segment;
pub use types::{
    Audio, AudioInfo, Frame, MediaInfo, MediaLimits, Notice, SAMPLE_RATE, Sampling, Tempo,
    VideoInfo, Window,
};
