//! `/v1/watches`

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{self, Limit, Params};
use super::examples;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::pool;
use crate::watch::{Watch, WatchRecord, Wish};

/// A live URL to watch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// An HLS playlist, RTMP or SRT address, or anything else that libav opens.
    #[schema(example = "https://media.example/live.m3u8")]
    pub url: String,
    /// The stream that the verdicts belong to; a new id when absent.
    #[serde(default)]
    #[schema(example = "channel-7")]
    pub stream_id: Option<String>,
    /// A policy that is loaded, as `id` or `id@version`; the default policy when absent.
    #[serde(default)]
    #[schema(example = "default")]
    pub policy: Option<String>,
}

/// All watches.
#[derive(Debug, Serialize, ToSchema)]
pub struct Watches {
    /// Newest first.
    pub watches: Vec<Watch>,
}

/// Which watches.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WatchesQuery {
    /// `true` leaves out those that ended.
    #[param(example = true)]
    pub active: Option<bool>,
    /// At most this many, 1 to 1000; 100 when absent.
    #[param(example = 100, minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Watch a live URL.
///
/// The service pulls the stream until it ends or the watch is deleted, survives outages of the
/// source and its own restarts, and stores a verdict for every window. The same stream and URL
/// again answers 200 with the watch that runs.
#[utoipa::path(
    post,
    path = "/v1/watches",
    tag = "watches",
    request_body(content = WatchRequest, description = "What to watch",
        example = json!(examples::watch_request())),
    responses(
        (status = 201, body = Watch, description = "The watch began; Location names it",
            headers(("location" = String, description = "/v1/watches/{id}")),
            example = json!(examples::watch())),
        (status = 200, body = Watch, description = "The stream is being watched from this URL already",
            example = json!(examples::watch())),
    ),
)]
pub async fn create_watch(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let deadline = pool::deadline(None, app.settings.limits.deadline_ms)?;
    let limit = Limit {
        bytes: app.settings.limits.text_bytes,
        setting: "limits.text_bytes",
    };
    let bytes = body::read(&headers, body, limit, &app.budget, deadline).await?;
    let request: WatchRequest = body::json(&headers, &bytes.data)?;
    if let Some(id) = &request.stream_id {
        body::check_id(ErrorCode::InvalidItem, "stream_id", id)?;
    }
    let WatchRequest {
        url,
        stream_id,
        policy,
    } = request;
    let (record, new) = app
        .watches
        .begin(Wish {
            url,
            stream_id,
            policy,
        })
        .await?;
    let location = format!("/v1/watches/{}", record.id);
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = (status, Json(Watch::from(record))).into_response();
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    Ok(response)
}

/// List watches.
#[utoipa::path(
    get,
    path = "/v1/watches",
    tag = "watches",
    params(WatchesQuery),
    responses((status = 200, body = Watches, description = "Watches, newest first",
        example = json!(examples::watches()))),
)]
pub async fn list_watches(
    State(app): State<App>,
    Params(query): Params<WatchesQuery>,
) -> Result<Json<Watches>, ApiError> {
    let limit = body::check_limit(query.limit, 100)?;
    let rows = app
        .store
        .watches(query.active.unwrap_or(false), limit)
        .await?;
    let watches: Result<Vec<Watch>, _> = rows
        .iter()
        .map(|row| WatchRecord::from_row(row).map(Watch::from))
        .collect();
    Ok(Json(Watches { watches: watches? }))
}

/// Look at a watch.
#[utoipa::path(
    get,
    path = "/v1/watches/{id}",
    tag = "watches",
    params(("id" = String, Path, description = "The watch's id",
        example = "0199f3a2-7a4e-7000-8000-000000000000")),
    responses((status = 200, body = Watch, description = "The watch as it was stored last",
        example = json!(examples::watch()))),
)]
pub async fn get_watch(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Watch>, ApiError> {
    Ok(Json(app.watches.get(&id).await?.into()))
}

/// End a watch.
///
/// Answers once its last window is judged and stored. Ending a watch that ended is no error.
#[utoipa::path(
    delete,
    path = "/v1/watches/{id}",
    tag = "watches",
    params(("id" = String, Path, description = "The watch's id",
        example = "0199f3a2-7a4e-7000-8000-000000000000")),
    responses((status = 200, body = Watch, description = "The watch after its end",
        example = json!(examples::watch_stopped()))),
)]
pub async fn delete_watch(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Watch>, ApiError> {
    Ok(Json(app.watches.end(&id).await?.into()))
}
