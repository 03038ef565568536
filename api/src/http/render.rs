//! One error, four renderings: RFC 9457 for our own routes, and for the routes that other services'
//! clients call OpenAI's object, Google's object and the Open Inference Protocol's.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::envelope::PROBLEM_JSON;
use crate::error::{ApiError, ErrorCode};

/// Type of Perspective's error details.
const COMMENT_ERROR: &str = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error";
/// Type of the detail that carries our own code.
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// Which shape a route's errors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// RFC 9457.
    Problem,
    /// `{"error": {message, type, param, code}}`
    OpenAi,
    /// `{"error": {code, message, status, details}}`
    Google,
    /// `{"error": string}`
    Oip,
}

impl Rendering {
    /// The shape for a path.
    pub fn of(path: &str) -> Self {
        if path == "/v1/moderations" {
            Self::OpenAi
        } else if path.starts_with("/v1alpha1/") || path.starts_with("/$discovery/") {
            Self::Google
        } else if path == "/v2" || path.starts_with("/v2/") {
            Self::Oip
        } else {
            Self::Problem
        }
    }

    /// Media type of the body.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Problem => PROBLEM_JSON,
            Self::OpenAi | Self::Google | Self::Oip => "application/json",
        }
    }

    /// The schema's name in the OpenAPI document.
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Problem => "Problem",
            Self::OpenAi => "OpenAiError",
            Self::Google => "GoogleError",
            Self::Oip => "OipError",
        }
    }
}

/// An error as OpenAI's API sends it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError {
    /// The error.
    pub error: OpenAiErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// For people.
    #[schema(example = "`input` is empty")]
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[schema(example = "invalid_request_error")]
    pub r#type: &'static str,
    /// The member of the request that is wrong, where it is one.
    #[schema(example = "input")]
    pub param: Option<String>,
    /// Stable name of the kind of problem; docs/errors.md explains each.
    #[schema(example = "invalid_item")]
    pub code: &'static str,
}

/// An error as Google's APIs send it.
#[derive(Debug, Serialize, ToSchema)]
pub struct GoogleError {
    /// The error.
    pub error: GoogleErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct GoogleErrorBody {
    /// The HTTP status.
    #[schema(example = 400)]
    pub code: u16,
    /// For people, in Perspective's words where it has some.
    #[schema(example = "Comment must be non-empty.")]
    pub message: String,
    /// Google's name of the status.
    #[schema(example = "INVALID_ARGUMENT")]
    pub status: &'static str,
    /// Perspective's `errorType` where there is one, then our own stable code.
    #[schema(value_type = Vec<Object>)]
    pub details: Vec<Value>,
}

/// An error as the Open Inference Protocol has it.
#[derive(Debug, Serialize)]
pub struct OipError {
    /// For people; ends with our stable code in brackets.
    pub error: String,
}

/// Status and body for clients of the Open Inference Protocol.
pub fn oip(error: &ApiError) -> (StatusCode, Vec<u8>) {
    let body = OipError {
        error: format!("{} [{}]", error.detail, error.code.as_str()),
    };
    (
        status_of(error),
        serde_json::to_vec(&body).unwrap_or_default(),
    )
}

/// None of these protocols knows 422.
fn status_of(error: &ApiError) -> StatusCode {
    match error.code.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        other => other,
    }
}

/// Status and body for OpenAI's clients.
pub fn openai(error: &ApiError) -> (StatusCode, Vec<u8>) {
    let status = status_of(error);
    let body = OpenAiError {
        error: OpenAiErrorBody {
            message: error.detail.clone(),
            r#type: match status.as_u16() {
                429 => "rate_limit_error",
                500.. => "server_error",
                _ => "invalid_request_error",
            },
            param: error.param.clone(),
            code: error.code.as_str(),
        },
    };
    (status, serde_json::to_vec(&body).unwrap_or_default())
}

/// Adds `retry-after-ms`, which OpenAI's clients look at first.
pub fn openai_retry(headers: &mut HeaderMap) {
    let seconds: Option<u64> = headers
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(seconds) = seconds {
        headers.insert(
            HeaderName::from_static("retry-after-ms"),
            HeaderValue::from(seconds.saturating_mul(1000)),
        );
    }
}

/// Status and body for Google's clients.
pub fn google(error: &ApiError, request_id: &str) -> (StatusCode, Vec<u8>) {
    let status = status_of(error);
    let mut details = Vec::new();
    if let Some(kind) = error_type(error.code) {
        let mut detail = serde_json::Map::new();
        detail.insert("@type".to_owned(), json!(COMMENT_ERROR));
        detail.insert("errorType".to_owned(), json!(kind));
        if let Some(more) = &error.comment {
            detail.extend((**more).clone());
        }
        details.push(Value::Object(detail));
    }
    details.push(json!({
        "@type": ERROR_INFO,
        "reason": error.code.as_str().to_ascii_uppercase(),
        "domain": "novastream",
        "metadata": {"code": error.code.as_str(), "hint": error.code.hint(), "requestId": request_id},
    }));
    let body = GoogleError {
        error: GoogleErrorBody {
            code: status.as_u16(),
            message: error.detail.clone(),
            status: status_name(status),
            details,
        },
    };
    (status, serde_json::to_vec(&body).unwrap_or_default())
}

/// Perspective's name for a kind of error, where it has one.
fn error_type(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::CommentEmpty => Some("COMMENT_EMPTY"),
        ErrorCode::CommentTooLong => Some("COMMENT_TOO_LONG"),
        ErrorCode::AttributesMissing => Some("NO_REQUESTED_ATTRIBUTES"),
        ErrorCode::AttributeUnsupported => Some("LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"),
        ErrorCode::LanguageUndetected => Some("LANGUAGE_DETECTION_FAILED"),
        ErrorCode::CommentInvalid | ErrorCode::AttributeUnknown => Some("INVALID_REQUEST"),
        _ => None,
    }
}

fn status_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_all_shapes() {
        for code in ErrorCode::ALL {
            let error = ApiError::new(*code, "why").about("input");
            let (status, body) = openai(&error);
            assert!(status.as_u16() != 422 && status.as_u16() >= 400);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], code.as_str());
            assert_eq!(body["error"]["param"], "input");
            let (_, body) = oip(&error);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(body["error"].as_str().unwrap().contains(code.as_str()));
            let (status, body) = google(&error, "r-1");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], status.as_u16());
            let details = body["error"]["details"].as_array().unwrap();
            assert_eq!(details.last().unwrap()["metadata"]["code"], code.as_str());
        }
    }

    #[test]
    fn paths_choose_the_shape_and_retries_are_told_in_milliseconds() {
        assert_eq!(Rendering::of("/v1/moderations"), Rendering::OpenAi);
        assert_eq!(Rendering::of("/v1/moderate/text"), Rendering::Problem);
        assert_eq!(Rendering::of("/v2"), Rendering::Oip);
        assert_eq!(Rendering::of("/v2/models/x"), Rendering::Oip);
        assert_eq!(
            Rendering::of("/v1alpha1/comments:analyze"),
            Rendering::Google
        );
        let mut headers = HeaderMap::new();
        openai_retry(&mut headers);
        assert!(headers.is_empty());
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        openai_retry(&mut headers);
        assert_eq!(headers["retry-after-ms"], "2000");
    }
}
