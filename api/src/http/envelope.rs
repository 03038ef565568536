//! What surrounds every request: its id, its log line, its metrics, and the one rendering of errors.

use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Instrument as _;

use super::render::{self, Rendering};
use crate::error::{ApiError, ErrorCode};
use crate::telemetry::names;
use crate::traces;

/// The header that carries a request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Media type of an error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as RFC 9457 has it, with our own members.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// A name for the kind of problem; not an address to fetch.
    #[schema(example = "urn:novastream:error:overloaded")]
    pub r#type: String,
    /// The same for every problem of this kind.
    #[schema(example = "The work queue is full")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 429)]
    pub status: u16,
    /// What happened this time.
    #[schema(example = "every worker is busy and no more requests may wait")]
    pub detail: String,
    /// Path of the request.
    #[schema(example = "/v1/moderate/text")]
    pub instance: String,
    /// Stable name of the kind of problem; docs/errors.md explains each.
    #[schema(example = "overloaded")]
    pub code: &'static str,
    /// What to do about it.
    #[schema(example = "Wait for Retry-After seconds, then try again with back-off.")]
    pub hint: &'static str,
    /// The request's id, as in the log.
    #[schema(example = "0199f3a2-7a4e-7000-8000-000000000000")]
    pub request_id: String,
}

impl IntoResponse for ApiError {
    /// The status and the error itself; [`wrap`] turns it into the body, knowing the request.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The outermost layer.
pub async fn wrap(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |p| p.as_str().to_owned());
    let span = tracing::info_span!(
        "request", %method, route, request_id = %id, trace_id = trace_id(request.headers()),
        status = tracing::field::Empty,
        otel.kind = tracing::field::Empty, otel.name = tracing::field::Empty,
    );
    traces::join(&span, request.headers(), known_method(&method), &route);

    let answer = next.run(request).instrument(span.clone()).await;
    let mut response = problem_of(answer, &path, &id).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }

    let status = response.status();
    let elapsed = begun.elapsed();
    span.record("status", status.as_u16());
    span.in_scope(|| {
        tracing::debug!(ms = elapsed.as_secs_f64() * 1e3, "answered");
    });
    let method = known_method(&method);
    metrics::counter!(
        names::HTTP_REQUESTS,
        "method" => method, "route" => route.clone(), "status" => status.as_u16().to_string(),
    )
    .increment(1);
    metrics::histogram!(names::HTTP_SECONDS, "method" => method, "route" => route)
        .record(elapsed.as_secs_f64());
    response
}

/// The caller's id when it is one, a new one otherwise.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|v| v.to_str().ok())
        .filter(|v| (1..=128).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// The trace id of a W3C `traceparent`, for log lines that can be joined with the caller's.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let id = text.split('-').nth(1)?;
    let valid = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| id.to_owned())
}

/// Methods are the caller's free text; labels must not be.
fn known_method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

/// Gives every error the one body, also those that a library answered.
async fn problem_of(response: Response, path: &str, id: &str) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let error = match parts.extensions.remove::<ApiError>() {
        Some(error) => error,
        None => foreign(status, body).await,
    };
    let rendering = Rendering::of(path);
    let (status, json) = match rendering {
        Rendering::Problem => {
            let problem = Problem {
                r#type: format!("urn:novastream:error:{}", error.code.as_str()),
                title: error.code.title(),
                status: error.code.status().as_u16(),
                detail: error.detail,
                instance: path.to_owned(),
                code: error.code.as_str(),
                hint: error.code.hint(),
                request_id: id.to_owned(),
            };
            (
                error.code.status(),
                serde_json::to_vec(&problem).unwrap_or_default(),
            )
        }
        Rendering::OpenAi => render::openai(&error),
        Rendering::Google => render::google(&error, id),
        Rendering::Oip => render::oip(&error),
    };
    let mut response = (status, Body::from(json)).into_response();
    for name in [
        header::ALLOW,
        header::RETRY_AFTER,
        header::ACCEPT_ENCODING,
        header::WWW_AUTHENTICATE,
    ] {
        if let Some(value) = parts.headers.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    if rendering == Rendering::OpenAi {
        render::openai_retry(response.headers_mut());
    }
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(rendering.content_type()),
    );
    response
}

/// An error that was not ours: the router's, a layer's, an extractor's.
async fn foreign(status: StatusCode, body: Body) -> ApiError {
    let text = to_bytes(body, 1024).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let (code, or) = match status.as_u16() {
        404 => (ErrorCode::NotFound, "no route matches"),
        405 => (
            ErrorCode::MethodNotAllowed,
            "the route does not take this method",
        ),
        413 => (ErrorCode::BodyTooLarge, "the body is too large"),
        415 => (
            ErrorCode::UnsupportedEncoding,
            "the Content-Encoding is neither gzip, deflate nor zstd",
        ),
        400..=499 => (ErrorCode::InvalidQuery, "the request is wrong"),
        _ => return ApiError::internal(format!("status {status}: {text}")),
    };
    ApiError::new(code, if text.is_empty() { or.to_owned() } else { text })
}

/// The answer when a handler panicked.
pub fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let message = cause
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| cause.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    ApiError::internal(format!("a handler panicked: {message}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(name, HeaderValue::from_str(value).unwrap());
        map
    }

    #[test]
    fn request_ids_are_kept_when_they_are_sound() {
        assert_eq!(request_id(&headers("x-request-id", "abc-1")), "abc-1");
        for bad in ["", "has space", &"x".repeat(129)] {
            let id = request_id(&headers("x-request-id", bad));
            assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7);
        }
    }

    #[test]
    fn trace_ids_come_from_traceparent() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = trace_id(&headers("traceparent", good)).unwrap();
        assert_eq!(id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace_id(&headers("traceparent", "00-zz-11-01")), None);
        assert_eq!(trace_id(&HeaderMap::new()), None);
    }

    #[test]
    fn foreign_methods_share_one_label() {
        let odd = axum::http::Method::from_bytes(b"BREW").unwrap();
        assert_eq!(known_method(&odd), "other");
        assert_eq!(known_method(&axum::http::Method::GET), "GET");
    }
}
