//! `POST /v1/events` and `PUT /v1/live`: what people do, and what there is to watch.

use std::collections::HashSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::Timestamp;
use novastream_inference::recommend::LiveStream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{self, Limit};
use super::examples;
use crate::app::App;
use crate::clock::unix_ms;
use crate::error::{ApiError, ErrorCode};
use crate::pool;
use crate::recommend::{LIVE_STATE, starts};
use crate::store::{BehaviourEvent, StateRow, Write};
use crate::telemetry::names;

/// How far ahead of our clock an event may be, milliseconds.
const AHEAD_MS: i64 = 300_000;
/// Unix times below this are seconds: as milliseconds they would lie in 1973.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Things that users did.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsRequest {
    /// At least one, at most recommend.events.
    pub events: Vec<EventItem>,
}

/// Something that a user did.
#[derive(Debug, Deserialize, ToSchema)]
pub struct EventItem {
    /// The caller's name for it; an event that comes twice counts once.
    #[schema(example = "e-1")]
    pub id: String,
    /// Who.
    #[schema(example = "user-9")]
    pub user_id: String,
    /// With which stream.
    #[schema(example = "channel-7")]
    pub stream_id: String,
    /// What: `watch` is the start of watching and shapes recommendations (`view`, `play`, `join`
    /// and `start` mean the same); any other word is kept for training.
    #[serde(rename = "type")]
    #[schema(example = "watch")]
    pub kind: String,
    /// When: RFC 3339, or Unix seconds or milliseconds.
    pub at: At,
}

/// A moment.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum At {
    /// Unix seconds, or milliseconds where the number is that large.
    Unix(f64),
    /// RFC 3339.
    #[schema(example = "2026-11-22T16:00:00Z")]
    Rfc3339(String),
}

impl At {
    fn unix_ms(&self) -> Option<i64> {
        match self {
            Self::Unix(n) if !n.is_finite() || *n < 0.0 => None,
            Self::Unix(n) if *n < MILLISECONDS_FROM as f64 => Some((n * 1000.0) as i64),
            Self::Unix(n) => Some(*n as i64),
            Self::Rfc3339(text) => text
                .parse::<Timestamp>()
                .ok()
                .map(Timestamp::as_millisecond),
        }
    }
}

/// What became of the events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventsAccepted {
    /// Events that are stored now.
    #[schema(example = 1)]
    pub accepted: usize,
    /// Events whose id was known.
    #[schema(example = 0)]
    pub duplicates: usize,
}

/// Report what users did.
///
/// Events are stored before they are answered; sending them again does no harm. A `watch` event
/// counts for recommendations from the next second on.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "recommendations",
    request_body(content = EventsRequest, description = "Up to recommend.events events",
        example = json!(examples::behaviour())),
    responses((status = 200, body = EventsAccepted, description = "All are stored",
        example = json!({"accepted": 1, "duplicates": 0}))),
)]
pub async fn post_events(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EventsAccepted>, ApiError> {
    let request: EventsRequest = read(&app, &headers, body).await?;
    let events = checked(request.events, app.settings.recommend.events, unix_ms())?;
    // Not ended with the connection: what is stored must also be counted.
    let task = tokio::spawn(async move {
        let write = Write {
            events: events.clone(),
            ..Write::default()
        };
        let new = app.store.write(write).await?.events;
        let fresh = events.iter().zip(&new).filter(|(_, new)| **new);
        let left_out = app
            .recommender
            .observe(&starts(fresh.map(|(event, _)| event)));
        let accepted = new.iter().filter(|new| **new).count();
        let count = |outcome, n: usize| {
            metrics::counter!(names::EVENTS, "outcome" => outcome).increment(n as u64);
        };
        count("accepted", accepted);
        count("duplicate", new.len() - accepted);
        count("beyond_limit", left_out);
        Ok::<_, ApiError>(EventsAccepted {
            accepted,
            duplicates: new.len() - accepted,
        })
    });
    Ok(Json(task.await.map_err(ApiError::internal)??))
}

fn checked(
    items: Vec<EventItem>,
    most: usize,
    now_ms: i64,
) -> Result<Vec<BehaviourEvent>, ApiError> {
    let code = ErrorCode::InvalidItem;
    if items.is_empty() {
        return Err(ApiError::new(code, "`events` is empty"));
    }
    if items.len() > most {
        let detail = format!(
            "{} events came; recommend.events allows {most}",
            items.len()
        );
        return Err(ApiError::new(ErrorCode::TooManyItems, detail));
    }
    let check = |index: usize, item: EventItem| {
        for (name, value) in [
            ("id", &item.id),
            ("user_id", &item.user_id),
            ("stream_id", &item.stream_id),
            ("type", &item.kind),
        ] {
            body::check_id(code, &format!("events[{index}].{name}"), value)?;
        }
        let at_ms = item.at.unix_ms().ok_or_else(|| {
            let detail = format!("events[{index}].at is neither RFC 3339 nor Unix time");
            ApiError::new(code, detail)
        })?;
        if at_ms > now_ms + AHEAD_MS {
            let detail = format!("events[{index}].at is more than five minutes in the future");
            return Err(ApiError::new(code, detail));
        }
        Ok(BehaviourEvent {
            id: item.id,
            user_id: item.user_id,
            stream_id: item.stream_id,
            kind: item.kind,
            at_ms,
        })
    };
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| check(index, item))
        .collect()
}

/// What is live now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveRequest {
    /// All live streams, at most recommend.live_streams; may be empty.
    pub streams: Vec<LiveItem>,
}

/// A live stream.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveItem {
    /// The stream, as events and recommendations name it.
    #[schema(example = "channel-7")]
    pub stream_id: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "speedruns")]
    pub category: Option<String>,
    /// Words that describe it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its language, such as `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en")]
    pub language: Option<String>,
    /// When it went live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-22T16:00:00Z")]
    pub started_at: Option<String>,
}

impl LiveItem {
    /// As the recommender takes it.
    pub fn stream(&self) -> LiveStream<'_> {
        LiveStream {
            stream_id: &self.stream_id,
            title: self.title.as_deref().unwrap_or_default(),
            tags: &self.tags,
            category: self.category.as_deref().unwrap_or_default(),
        }
    }
}

/// How many are live.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveAccepted {
    /// Distinct streams.
    #[schema(example = 2)]
    pub live: usize,
}

/// Say what is live now.
///
/// Replaces the whole set at once. Recommendations come from this set alone, and it survives a
/// restart.
#[utoipa::path(
    put,
    path = "/v1/live",
    tag = "recommendations",
    request_body(content = LiveRequest, description = "Every live stream",
        example = json!(examples::live())),
    responses((status = 200, body = LiveAccepted, description = "This is live now",
        example = json!({"live": 2}))),
)]
pub async fn put_live(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LiveAccepted>, ApiError> {
    let request: LiveRequest = read(&app, &headers, body).await?;
    let most = app.settings.recommend.live_streams;
    if request.streams.len() > most {
        let detail = format!(
            "{} streams came; recommend.live_streams allows {most}",
            request.streams.len()
        );
        return Err(ApiError::new(ErrorCode::TooManyItems, detail));
    }
    for (index, stream) in request.streams.iter().enumerate() {
        let what = format!("streams[{index}].stream_id");
        body::check_id(ErrorCode::InvalidItem, &what, &stream.stream_id)?;
    }
    let json = serde_json::to_string(&request).map_err(ApiError::internal)?;
    let task = tokio::spawn(async move {
        // One at a time, so that memory and store end with the same set.
        let _turn = app.live_turn.lock().await;
        let write = Write {
            state: Some(StateRow {
                name: LIVE_STATE,
                json,
            }),
            ..Write::default()
        };
        app.store.write(write).await?;
        let ids = request.streams.iter().map(|s| s.stream_id.as_str());
        let distinct = ids.collect::<HashSet<_>>().len();
        let left_out = app
            .recommender
            .set_live(request.streams.iter().map(LiveItem::stream));
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "recommend.streams is reached; some live streams are not shown"
            );
        }
        metrics::gauge!(names::LIVE_STREAMS).set(distinct as f64);
        Ok::<_, ApiError>(LiveAccepted { live: distinct })
    });
    Ok(Json(task.await.map_err(ApiError::internal)??))
}

/// Reads and parses a JSON body.
async fn read<T: serde::de::DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let limits = &app.settings.limits;
    let deadline = pool::wanted_deadline(headers, limits.deadline_ms)?;
    let limit = Limit {
        bytes: app.settings.recommend.body_bytes,
        setting: "recommend.body_bytes",
    };
    let bytes = body::read(headers, body, limit, &app.budget, deadline).await?;
    body::json(headers, &bytes.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(json: &str) -> Option<i64> {
        serde_json::from_str::<At>(json).unwrap().unix_ms()
    }

    #[test]
    fn recommender_event_times_are_read_as_they_are_sent() {
        assert_eq!(at("\"2026-11-22T16:00:00Z\""), Some(1_795_363_200_000));
        assert_eq!(at("\"2026-11-22T17:00:00+01:00\""), Some(1_795_363_200_000));
        assert_eq!(at("1795363200"), Some(1_795_363_200_000));
        assert_eq!(at("1795363200.5"), Some(1_795_363_200_500));
        assert_eq!(at("1795363200000"), Some(1_795_363_200_000));
        assert_eq!(at("-5"), None);
        assert_eq!(at("\"yesterday\""), None);
    }
}
