//! `POST /v1/moderate/image`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::body::{self, Bytes, Limit, Params};
use super::examples;
use super::record::{DeadlineHeader, VerdictRecord};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::judge::{Context, Tally};
use crate::pool;
use crate::store::{NewVerdict, Write, with_place};

/// What the picture is.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImageQuery {
    /// The stream that the verdict joins.
    #[param(example = "channel-7")]
    pub stream_id: Option<String>,
    /// The caller's name for the picture.
    #[param(example = "thumbnail-3")]
    pub item_id: Option<String>,
    /// A policy that is loaded, as `id` or `id@version`; the default policy when absent.
    #[param(example = "default")]
    pub policy: Option<String>,
}

/// Judge a picture.
///
/// JPEG, PNG, WebP, GIF (its first frame) or BMP. Models, media blocklists and text on the picture
/// are looked at. The answer is sent after the verdict was committed.
#[utoipa::path(
    post,
    path = "/v1/moderate/image",
    tag = "moderation",
    params(ImageQuery, DeadlineHeader),
    request_body(content = Vec<u8>, content_type = "application/octet-stream",
        description = "The picture's bytes, at most limits.image_bytes",
        example = "(bytes of a JPEG)"),
    responses((status = 200, body = VerdictRecord, description = "The stored verdict",
        example = json!(examples::image_verdict()))),
)]
pub async fn moderate_image(
    State(app): State<App>,
    Params(query): Params<ImageQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let deadline = pool::wanted_deadline(&headers, limits.deadline_ms)?;
    for (name, id) in [("stream_id", &query.stream_id), ("item_id", &query.item_id)] {
        if let Some(id) = id {
            body::check_id(ErrorCode::InvalidQuery, name, id)?;
        }
    }
    let policy = Arc::clone(app.policies.get(query.policy.as_deref())?);
    let limit = Limit {
        bytes: limits.image_bytes,
        setting: "limits.image_bytes",
    };
    let read = body::admitted(&app.pool, &headers, body, limit, &app.budget, deadline);
    let (Bytes { data, held }, ticket) = read.await?;
    let context = Context {
        stream_id: query.stream_id,
        sequence: None,
        start_ms: None,
        stretch_percent: 0,
        policy,
    };
    let judge = Arc::clone(&app.judge);
    let item_id = query.item_id;
    let judged = app.pool.run(ticket, deadline, move || {
        let _held = held;
        judge.image(&data, item_id.as_deref(), &context)
    });
    let verdict = judged.await??;
    let tally = Tally::of(&verdict);
    let json = serde_json::to_string(&verdict).map_err(ApiError::internal)?;
    let write = Write {
        verdicts: vec![NewVerdict::from(verdict)],
        ..Write::default()
    };
    let written = app.store.write(write).await?;
    let Some(place) = written.verdicts.first() else {
        return Err(ApiError::internal("the store gave no place for a verdict"));
    };
    tally.count();
    let json = with_place(*place, &json);
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}
