//! Why media could not be read at all; what is merely partial is a [`super::Notice`].

use std::time::Duration;

/// Nothing usable came out of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// No bytes were given.
    #[error("the media is empty")]
    Empty,
    /// No known container, or damaged before its first stream.
    #[error("not a media container that can be read")]
    NotMedia,
    /// A container without audio and video, or nothing in them could be decoded.
    #[error("no audio or video that can be decoded")]
    NoStreams,
    /// Over a limit, with nothing usable besides.
    #[error("{what} {value} is over the limit of {limit}")]
    TooLarge {
        /// What is too large: `bytes`, `pixels` or `allocation`.
        what: &'static str,
        /// How large it is; 0 when only known to be over the limit.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// The deadline passed before anything was decoded.
    #[error("the deadline passed before anything could be decoded")]
    Deadline,
    /// The [`super::CancelToken`] was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A source gave nothing for longer than its timeout.
    #[error("the source gave nothing for {} ms", after.as_millis())]
    Stalled {
        /// The timeout.
        after: Duration,
    },
    /// A source could not be opened, or broke.
    #[error("the source failed: {message}")]
    Source {
        /// What libav says about it.
        message: String,
    },
    /// The URL is malformed or its scheme is not allowed.
    #[error("the URL cannot be used: {reason}")]
    UnsupportedUrl {
        /// Why.
        reason: String,
    },
    /// libav failed in a way that the input does not explain.
    #[error("internal media error: {message}")]
    Internal {
        /// What libav says about it.
        message: String,
    },
}

impl MediaError {
    /// The stable, documented name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "media_empty",
            Self::NotMedia => "media_not_recognised",
            Self::NoStreams => "media_no_streams",
            Self::TooLarge { .. } => "media_too_large",
            Self::Deadline => "media_deadline",
            Self::Cancelled => "media_cancelled",
            Self::Stalled { .. } => "source_stalled",
            Self::Source { .. } => "source_failed",
            Self::UnsupportedUrl { .. } => "url_unsupported",
            Self::Internal { .. } => "media_internal",
        }
    }
}
