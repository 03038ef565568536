//! `GET /v1/streams/{id}/evidence/{clip}`

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::body::{self, Params};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::evidence::{Access, ClipError, Clips, View};

/// What of the clip.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvidenceQuery {
    /// The picture or sound as it was judged, not the preview. Needs a token.
    #[serde(default)]
    #[param(example = false)]
    pub original: bool,
}

/// The header with which originals are answered.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only describes the header")]
pub struct TokenHeader {
    /// `Bearer` and a token of `evidence.original_tokens`, for originals.
    #[param(required = false, example = "Bearer 3f0c9a71d2e84b56")]
    pub authorization: String,
}

/// Nothing on the way keeps a clip, and a page that shows one makes nothing else of it.
fn safe(content_type: &'static str) -> [(HeaderName, HeaderValue); 5] {
    [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// See or hear what a verdict is about.
///
/// The answer is a preview, a strongly blurred picture or the loudness of a sound, unless `original`
/// asks for what was judged and the caller has a token for it. Clips are kept only where
/// `evidence.dir` or `evidence.bucket` is set; they are stored a moment after the verdict and go
/// after a while. A clip is found under its own stream only.
#[utoipa::path(
    get,
    path = "/v1/streams/{id}/evidence/{clip}",
    tag = "verdicts",
    params(
        ("id" = String, Path, description = "The stream's id", example = "channel-7"),
        ("clip" = String, Path, description = "`clip` of a verdict's evidence",
            example = "8c1f0e9a7b6d5c4f3e2d1c0b9a897867"),
        EvidenceQuery,
        TokenHeader,
    ),
    responses((status = 200, description = "JPEG; WAV for the original of a sound", content(
        (Vec<u8> = "image/jpeg", example = "bytes"), (Vec<u8> = "audio/wav", example = "bytes"),
    ))),
)]
pub async fn stream_evidence(
    State(app): State<App>,
    Path((stream_id, clip)): Path<(String, String)>,
    Params(query): Params<EvidenceQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    body::check_id(ErrorCode::InvalidQuery, "the stream's id", &stream_id)?;
    let missing = |detail: &str| ApiError::new(ErrorCode::EvidenceNotFound, detail);
    let Some(clips) = &app.clips else {
        return Err(missing("this service keeps no clips"));
    };
    let view = if query.original {
        // Before the clip is looked for, so that a refusal does not tell whether it exists.
        check_access(clips, &headers)?;
        View::Original
    } else {
        View::Preview
    };
    let found = clips.get(&stream_id, &clip, view).await.map_err(failed)?;
    let found = found.ok_or_else(|| missing("the stream has no clip of this name"))?;
    Ok((safe(found.content_type), found.bytes).into_response())
}

fn check_access(clips: &Clips, headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match clips.access(given) {
        Access::Granted => Ok(()),
        Access::Denied => Err(ApiError::new(
            ErrorCode::EvidenceTokenRequired,
            if given.is_some() {
                "the token is not known"
            } else {
                "there is no bearer token"
            },
        )),
        Access::Off => Err(ApiError::new(
            ErrorCode::EvidenceOriginalsOff,
            "evidence.original_tokens is not set",
        )),
    }
}

fn failed(error: ClipError) -> ApiError {
    match error {
        ClipError::Index(error) => error.into(),
        error => {
            // The log has where clips lie; the caller need not know.
            tracing::error!(%error, "an evidence clip could not be read");
            ApiError::new(ErrorCode::EvidenceUnavailable, "the clip could not be read")
        }
    }
}
