//! `GET /v1/streams/{id}/verdicts` and `GET /v1/reviews`: pages of stored verdicts.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use novastream_inference::Action;
use serde::Deserialize;

use super::body::{self, Params};
use super::record::Page;
use super::{examples, sse};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::store::{PageQuery, StoredVerdict};

/// Which verdicts of a stream, and how.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerdictsQuery {
    /// Only verdicts with a greater `seq`: a number, or `latest` for those that are yet to come.
    /// 0 when absent.
    #[param(example = "120")]
    pub after: Option<String>,
    /// Verdicts a page, 1 to 1000; 100 when absent.
    #[param(example = 100, minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Only verdicts with this action or a stronger one.
    #[param(inline, example = "flag")]
    pub action_at_least: Option<Action>,
    /// 1 or true: answer with events, as `Accept: text/event-stream` does.
    #[param(example = "1")]
    pub stream: Option<String>,
}

/// The header with which an event stream goes on.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only describes the header")]
pub struct ResumeHeader {
    /// The id of the last event that was received; wins over `after`.
    #[param(rename = "last-event-id", required = false, example = "121")]
    pub last_event_id: String,
}

/// Read a stream's verdicts.
///
/// As JSON: one page, oldest first. As events (`Accept: text/event-stream` or `stream=1`): stored
/// verdicts from `after` on, then new ones as they are committed. `id` is the verdict's `seq`,
/// `event` is `verdict`, `gap` (a stretch that never arrived) or `watch` (the state of the stream's
/// watch, without an id). When the watch has ended and everything was sent, a last `watch` event
/// says so and the answer ends.
#[utoipa::path(
    get,
    path = "/v1/streams/{id}/verdicts",
    tag = "verdicts",
    params(
        ("id" = String, Path, description = "The stream's id", example = "channel-7"),
        VerdictsQuery,
        ResumeHeader,
    ),
    responses((status = 200, description = "Stored verdicts", content(
        (Page = "application/json", example = json!(examples::page())),
        (String = "text/event-stream", example = json!(examples::events())),
    ))),
)]
pub async fn stream_verdicts(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(query): Params<VerdictsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    body::check_id(ErrorCode::InvalidQuery, "the stream's id", &id)?;
    let limit = body::check_limit(query.limit, 100)?;
    let resumed = headers.get("last-event-id").and_then(|v| v.to_str().ok());
    let after = match resumed.or(query.after.as_deref()) {
        None => 0,
        Some("latest") => app.store.last_seq().await?,
        Some(text) => parse_after(text)?,
    };
    let page = PageQuery {
        stream_id: id,
        after,
        limit,
        action_at_least: query.action_at_least.unwrap_or(Action::Allow),
    };
    if wants_events(&headers, query.stream.as_deref())? {
        return sse::respond(app, page);
    }
    let more = PageQuery {
        limit: limit + 1,
        ..page
    };
    Ok(page_response(app.store.page(more).await?, after, limit))
}

fn parse_after(text: &str) -> Result<i64, ApiError> {
    text.trim().parse().ok().filter(|n| *n >= 0).ok_or_else(|| {
        let detail = format!("`{text}` is neither a sequence number nor `latest`");
        ApiError::new(ErrorCode::InvalidQuery, detail)
    })
}

fn wants_events(headers: &HeaderMap, stream: Option<&str>) -> Result<bool, ApiError> {
    match stream {
        Some("1" | "true") => return Ok(true),
        Some("0" | "false") => return Ok(false),
        Some(_) => {
            return Err(ApiError::new(
                ErrorCode::InvalidQuery,
                "stream must be 1 or 0",
            ));
        }
        None => {}
    }
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let mut kinds = accept
        .split(',')
        .map(|k| k.split(';').next().unwrap_or_default().trim());
    Ok(kinds.any(|k| k.eq_ignore_ascii_case("text/event-stream")))
}

/// Which reviews.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReviewsQuery {
    /// Only `open` so far.
    #[param(inline, example = "open")]
    pub status: Option<ReviewStatus>,
    /// Only verdicts with a greater `seq`; 0 when absent.
    #[param(example = 120, minimum = 0)]
    pub after: Option<i64>,
    /// Verdicts a page, 1 to 1000; 100 when absent.
    #[param(example = 100, minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Whether a person has decided.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReviewStatus {
    /// Nobody has.
    Open,
}

/// List what waits for a person.
///
/// Verdicts with `review` set, of all streams, oldest first.
#[utoipa::path(
    get,
    path = "/v1/reviews",
    tag = "verdicts",
    params(ReviewsQuery),
    responses((status = 200, body = Page, description = "Verdicts for review",
        example = json!(examples::page()))),
)]
pub async fn list_reviews(
    State(app): State<App>,
    Params(query): Params<ReviewsQuery>,
) -> Result<Response, ApiError> {
    // The only status there is; a wrong one did not parse.
    let ReviewStatus::Open = query.status.unwrap_or(ReviewStatus::Open);
    let limit = body::check_limit(query.limit, 100)?;
    let after = query.after.unwrap_or(0);
    Ok(page_response(
        app.store.reviews(after, limit + 1).await?,
        after,
        limit,
    ))
}

/// `rows` may hold one more than `limit`, which only says that there is more.
fn page_response(mut rows: Vec<StoredVerdict>, after: i64, limit: u32) -> Response {
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().map_or(after, |row| row.seq);
    let verdicts: Vec<String> = rows.iter().map(StoredVerdict::to_json).collect();
    let json = format!(
        "{{\"verdicts\":[{}],\"next_after\":{next},\"has_more\":{has_more}}}",
        verdicts.join(",")
    );
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, text.parse().unwrap());
        headers
    }

    #[test]
    fn events_are_asked_for_by_header_or_parameter() {
        assert!(wants_events(&accept("text/event-stream"), None).unwrap());
        assert!(wants_events(&accept("application/json, text/event-stream;q=0.5"), None).unwrap());
        assert!(!wants_events(&accept("*/*"), None).unwrap());
        assert!(wants_events(&accept("*/*"), Some("1")).unwrap());
        assert!(!wants_events(&accept("text/event-stream"), Some("0")).unwrap());
        assert!(wants_events(&HeaderMap::new(), Some("yes")).is_err());
    }

    #[test]
    fn cursors_are_numbers_from_zero() {
        assert_eq!(parse_after(" 12 ").unwrap(), 12);
        for bad in ["-1", "x", "1.5", ""] {
            assert_eq!(parse_after(bad).unwrap_err().code, ErrorCode::InvalidQuery);
        }
    }
}
