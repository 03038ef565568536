//! Every error a caller can meet, with its stable code, HTTP status and advice.
//!
//! `docs/errors.md` explains each code; a test keeps the two in step.

use axum::http::StatusCode;

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $title:literal $hint:literal)*) => {
        /// A stable name for a kind of error. Codes are never reused for something else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $title] $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as it appears in answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            const fn status_number(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// What the code means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// What to do about it.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint),* }
            }
        }
    };
}

codes! {
    InvalidJson "invalid_json" 400 "The body is not the JSON that this route takes"
        "The detail gives line and column; /openapi.json has the schema and an example."
    InvalidQuery "invalid_query" 400 "A query parameter or path part is wrong"
        "The detail names it; /docs lists the parameters of each route."
    InvalidHeader "invalid_header" 400 "A header is wrong"
        "The detail names the header and what it may hold."
    InvalidEncoding "invalid_encoding" 400 "The body cannot be decompressed"
        "Send gzip or zstd and name it in Content-Encoding, or send the body as it is."
    EmptyBody "empty_body" 400 "The body is empty"
        "Send the bytes of the image or segment as the request body, not as a form."
    NotFound "not_found" 404 "There is nothing at this path"
        "/docs lists the routes."
    EvidenceNotFound "evidence_not_found" 404 "There is no such evidence clip"
        "Clips are kept where evidence.dir or evidence.bucket is set, appear a moment after the verdict, and go after evidence.max_age_h."
    EvidenceOriginalsOff "evidence_originals_off" 403 "Originals of evidence clips are not answered here"
        "Ask without `original` for the preview, or set evidence.original_tokens."
    EvidenceTokenRequired "evidence_token_required" 401 "The original of an evidence clip needs a token"
        "Send `Authorization: Bearer TOKEN` with a token of evidence.original_tokens, or ask without `original` for the preview."
    EvidenceUnavailable "evidence_unavailable" 503 "The place where evidence clips are kept did not answer"
        "Try again; if it persists, look at evidence.dir or evidence.bucket and the log."
    WatchNotFound "watch_not_found" 404 "There is no such watch"
        "GET /v1/watches lists them; finished ones are forgotten after a while."
    MethodNotAllowed "method_not_allowed" 405 "The route does not take this method"
        "The Allow header names those it takes."
    WatchConflict "watch_conflict" 409 "The stream is already watched from another URL"
        "Delete that watch first, or give another stream_id."
    BodyTooLarge "body_too_large" 413 "The body is larger than the limit"
        "Send less at once, or raise the limit that the detail names."
    UnsupportedContentType "unsupported_content_type" 415 "The body has the wrong type"
        "Send application/json."
    UnsupportedEncoding "unsupported_encoding" 415 "The body's compression is not known"
        "gzip and zstd are understood."
    InvalidItem "invalid_item" 422 "An item of the batch is not acceptable"
        "The detail names the item and what is wrong."
    TooManyItems "too_many_items" 422 "The batch has more items than one request may carry"
        "Split it; the detail names the limit."
    PolicyUnknown "policy_unknown" 422 "There is no such policy"
        "The detail lists the policies that are loaded; more are loaded with the setting `policies`."
    WatchUrlInvalid "watch_url_invalid" 422 "The URL cannot be watched"
        "Give a full URL such as https://host/live.m3u8, rtmp://host/app/key or srt://host:port."
    WatchUrlForbidden "watch_url_forbidden" 403 "The URL may not be watched here"
        "The settings watch.schemes, watch.allow_files and watch.allow_private_hosts decide."
    IdempotencyMismatch "idempotency_mismatch" 422 "The Idempotency-Key came with other bytes before"
        "Use a new key for a new segment."
    UploadTimeout "upload_timeout" 408 "The body did not arrive in time"
        "Send it faster, or raise limits.deadline_ms."
    Overloaded "overloaded" 429 "The work queue is full"
        "Wait for Retry-After seconds, then try again with back-off."
    TooManyWatches "too_many_watches" 429 "As many watches run as may"
        "Delete one, or raise watch.max."
    TooManyClients "too_many_clients" 429 "As many event streams are open as may"
        "Close one, read JSON pages, or raise sse.max_clients."
    MediaEmpty "media_empty" 400 "The recording is empty"
        "Send the segment's bytes as the request body."
    MediaNotRecognised "media_not_recognised" 415 "The bytes are no container that can be read"
        "Send MPEG-TS, MP4, WebM or anything else that libav opens."
    MediaNoStreams "media_no_streams" 422 "There is neither video nor sound that can be decoded"
        "Look whether the segmenter cut before the first packet, and which codecs it writes."
    MediaTooLarge "media_too_large" 413 "The recording is larger than the limits"
        "Send shorter segments or fewer pixels; the detail names the limit."
    MediaDeadline "media_deadline" 504 "Reading the recording took longer than the limit"
        "Send shorter segments; a healthy two-second segment takes a fraction of a second."
    MediaCancelled "media_cancelled" 503 "Reading the recording was cancelled"
        "Send it again."
    MediaInternal "media_internal" 500 "The media library failed"
        "Report it with the request_id and, if you can, the segment."
    SourceStalled "source_stalled" 504 "The live source gave nothing for too long"
        "Look whether the publisher still sends; watch.read_timeout_ms is the limit."
    SourceFailed "source_failed" 502 "The live source could not be opened, or broke"
        "Open the URL with ffprobe from this machine; the detail has libav's words."
    UrlUnsupported "url_unsupported" 422 "The URL cannot be opened"
        "Give a full URL such as https://host/live.m3u8, rtmp://host/app/key or srt://host:port."
    ImageEmpty "image_empty" 400 "The picture is empty"
        "Send the picture's bytes as the request body, not as a form."
    ImageUnsupportedFormat "image_unsupported_format" 415 "The bytes are no picture that can be read"
        "Send JPEG, PNG, WebP, GIF or BMP."
    ImageTooLarge "image_too_large" 413 "The picture is larger than the limits"
        "Scale it down; models look at far fewer pixels."
    ImageCorrupt "image_corrupt" 422 "The picture is damaged"
        "Send it again; if it persists, the source is broken."
    ImageUrlForbidden "image_url_forbidden" 403 "The picture's URL may not be fetched here"
        "Send the picture as a data: URL; image_urls.allow_private_hosts decides about private addresses."
    ImageUrlFailed "image_url_failed" 422 "The picture's URL gave no picture"
        "Look whether the URL answers 200 with the bytes of a picture, or send it as a data: URL."
    CommentEmpty "comment_empty" 400 "The comment is empty"
        "Send some text in comment.text."
    CommentTooLong "comment_too_long" 400 "The comment is too long"
        "Split it: a comment may have 20 KB."
    CommentInvalid "comment_invalid" 400 "The comment request is wrong"
        "The message names the field; docs/moving-from-perspective.md lists what is understood."
    AttributesMissing "attributes_missing" 400 "No attribute is asked for"
        "Name at least one attribute in requestedAttributes."
    AttributeUnknown "attribute_unknown" 400 "There is no such attribute"
        "docs/moving-from-perspective.md lists the attributes."
    AttributeUnsupported "attribute_unsupported" 400 "The attribute cannot be answered"
        "Leave it out, or set dropUnsupportedAttributes; docs/moving-from-perspective.md lists what is answered in which language."
    LanguageUndetected "language_undetected" 400 "The language of the comment cannot be told"
        "Name the language in `languages`."
    ModelUnknown "model_unknown" 404 "There is no such model or version"
        "POST /v2/repository/index lists the models."
    ModelControlDisabled "model_control_disabled" 403 "Callers may not load or unload models here"
        "Set oip.control where the callers are trusted."
    ModelLoadFailed "model_load_failed" 400 "A version of a model could not be loaded"
        "The version that ran before goes on; the detail has the code, docs/models-live.md explains it."
    TensorInvalid "tensor_invalid" 400 "A tensor of the request is wrong"
        "GET /v2/models/NAME says which names, types and shapes it takes."
    ModelNotLoaded "model_not_loaded" 503 "The model that would answer is not loaded"
        "GET /v1/models says which model is missing and why."
    NotImplemented "not_implemented" 501 "This service does not do that"
        "The detail says what to use instead."
    Internal "internal" 500 "Something broke on our side"
        "Report it with the request_id; trying again may help."
    ShuttingDown "shutting_down" 503 "The service is stopping"
        "Try again at another instance."
    StoreUnavailable "store_unavailable" 503 "The database did not answer"
        "Nothing was acknowledged: try again. If it persists, look at disk space and the log."
    DeadlineExceeded "deadline_exceeded" 504 "The answer took longer than the deadline"
        "Try again with back-off, or allow more with x-deadline-ms up to limits.deadline_ms."
}

impl ErrorCode {
    /// The code named `name`, as the library crates name their errors.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// An error on its way to a caller.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct ApiError {
    /// Which kind.
    pub code: ErrorCode,
    /// What happened this time.
    pub detail: String,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
    /// The member of the request that is wrong, as OpenAI's clients are told it.
    pub param: Option<String>,
    /// What Perspective's clients are told beside the kind of error.
    pub comment: Option<Box<serde_json::Map<String, serde_json::Value>>>,
}

impl ApiError {
    /// An error of the kind `code`.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let retry_after_s = match code {
            ErrorCode::Overloaded
            | ErrorCode::StoreUnavailable
            | ErrorCode::EvidenceUnavailable => Some(1),
            ErrorCode::ModelNotLoaded => Some(30),
            ErrorCode::TooManyClients | ErrorCode::TooManyWatches | ErrorCode::ShuttingDown => {
                Some(5)
            }
            _ => None,
        };
        Self {
            code,
            detail: detail.into(),
            retry_after_s,
            param: None,
            comment: None,
        }
    }

    /// The same error, about the member `param` of the request.
    #[must_use]
    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Something that should not happen. What it was goes to the log, not to the caller.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(error = %what, "internal error");
        Self::new(
            ErrorCode::Internal,
            "the log has the details under the request_id",
        )
    }

    /// An error of a library crate, by its stable name. A name that callers are not meant to meet
    /// becomes `internal`.
    pub fn of_library(name: &str, error: impl std::fmt::Display) -> Self {
        match ErrorCode::named(name) {
            Some(code) if code.status() != StatusCode::INTERNAL_SERVER_ERROR => {
                Self::new(code, error.to_string())
            }
            Some(code) => {
                tracing::error!(%error, code = name, "a library failed");
                Self::new(code, error.to_string())
            }
            None => Self::internal(format!("{name}: {error}")),
        }
    }
}

impl From<crate::store::StoreError> for ApiError {
    fn from(error: crate::store::StoreError) -> Self {
        use crate::store::StoreError;
        match error {
            StoreError::Closed => Self::new(ErrorCode::ShuttingDown, error.to_string()),
            StoreError::Damaged { .. } => Self::internal(error),
            _ => {
                tracing::error!(%error, "the store failed");
                Self::new(ErrorCode::StoreUnavailable, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use novastream_features::media::MediaError;

    use super::*;

    #[test]
    fn codes_are_unique_and_have_error_statuses() {
        let codes: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(codes.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(code.status().as_u16() >= 400, "{}", code.as_str());
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert!(!code.title().is_empty() && !code.hint().is_empty());
        }
    }

    #[test]
    fn media_errors_keep_their_names() {
        let text = String::new;
        let errors = [
            MediaError::Empty,
            MediaError::NotMedia,
            MediaError::NoStreams,
            MediaError::TooLarge {
                what: "bytes",
                value: 2,
                limit: 1,
            },
            MediaError::Deadline,
            MediaError::Cancelled,
            MediaError::Stalled {
                after: Duration::ZERO,
            },
            MediaError::Source { message: text() },
            MediaError::UnsupportedUrl { reason: text() },
            MediaError::Internal { message: text() },
        ];
        for error in errors {
            let api = ApiError::of_library(error.code(), &error);
            assert_eq!(api.code.as_str(), error.code());
        }
        assert_eq!(
            ApiError::of_library("unheard_of", "x").code,
            ErrorCode::Internal
        );
    }
}
