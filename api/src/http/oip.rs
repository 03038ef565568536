//! `/v2`: the Open Inference Protocol over HTTP. Clients send no `Content-Type`, and take only 200
//! for success.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, Bytes, Limit};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::lifecycle::Phase;
use crate::oip::{self, describe};
use crate::pool;

/// Length of a body's JSON where tensors follow it as bytes.
pub const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The routes.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(|| async { StatusCode::OK }))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/stats", get(all_stats))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/versions/{version}", get(model))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(model_ready),
        )
        .route("/v2/models/{model}/config", get(config))
        .route("/v2/models/{model}/versions/{version}/config", get(config))
        .route("/v2/models/{model}/stats", get(stats))
        .route("/v2/models/{model}/versions/{version}/stats", get(stats))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
}

/// Which model a path names.
#[derive(Debug, Deserialize)]
struct Which {
    model: String,
    #[serde(default)]
    version: String,
}

async fn server() -> Json<Value> {
    Json(describe::server())
}

async fn ready(State(app): State<App>) -> Result<StatusCode, ApiError> {
    if app.lifecycle.phase() == Phase::Running {
        return Ok(StatusCode::OK);
    }
    Err(ApiError::new(
        ErrorCode::ShuttingDown,
        "the service is draining",
    ))
}

async fn model(State(app): State<App>, Path(which): Path<Which>) -> Result<Json<Value>, ApiError> {
    let entry = app.repository.ready(&which.model, &which.version)?;
    let versions = app.repository.versions(&which.model);
    Ok(Json(describe::model(entry.model.card(), &versions)))
}

async fn model_ready(
    State(app): State<App>,
    Path(which): Path<Which>,
) -> Result<StatusCode, ApiError> {
    let found = app.repository.ready(&which.model, &which.version);
    found.map(|_| StatusCode::OK)
}

async fn config(State(app): State<App>, Path(which): Path<Which>) -> Result<Json<Value>, ApiError> {
    let entry = app.repository.ready(&which.model, &which.version)?;
    Ok(Json(describe::config(entry.model.card())))
}

async fn all_stats(State(app): State<App>) -> Json<Value> {
    let stats: Vec<Value> = app.repository.all().iter().map(describe::stats).collect();
    Json(json!({"model_stats": stats}))
}

async fn stats(State(app): State<App>, Path(which): Path<Which>) -> Result<Json<Value>, ApiError> {
    let entry = app.repository.known(&which.model, &which.version)?;
    Ok(Json(json!({"model_stats": [describe::stats(&entry)]})))
}

#[derive(Debug, Default, Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

async fn index(State(app): State<App>, body: Body) -> Result<Json<Value>, ApiError> {
    let bytes = axum::body::to_bytes(body, 4096)
        .await
        .map_err(|e| ApiError::new(ErrorCode::BodyTooLarge, e.to_string()))?;
    let request: IndexRequest = if bytes.is_empty() {
        IndexRequest::default()
    } else {
        serde_json::from_slice(&bytes)
            .map_err(|e| ApiError::new(ErrorCode::InvalidJson, e.to_string()))?
    };
    let models = app.repository.all();
    let listed = models.iter().filter(|m| m.offered() || !request.ready);
    Ok(Json(listed.map(describe::index).collect()))
}

async fn load(State(app): State<App>, Path(which): Path<Which>) -> Result<StatusCode, ApiError> {
    app.repository.load(&which.model).await?;
    Ok(StatusCode::OK)
}

async fn unload(State(app): State<App>, Path(which): Path<Which>) -> Result<StatusCode, ApiError> {
    app.repository.unload(&which.model)?;
    Ok(StatusCode::OK)
}

async fn infer(
    State(app): State<App>,
    Path(which): Path<Which>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let deadline = pool::wanted_deadline(&headers, app.settings.limits.deadline_ms)?;
    let entry = app.repository.ready(&which.model, &which.version)?;
    let limit = Limit {
        bytes: app.settings.oip.body_bytes,
        setting: "oip.body_bytes",
    };
    let read = body::admitted(&app.texts, &headers, body, limit, &app.budget, deadline);
    let (Bytes { data, held }, ticket) = read.await?;
    let begun = Instant::now();
    let length = headers.get(JSON_LENGTH).map(|value| {
        let length = value.to_str().ok().and_then(|v| v.trim().parse().ok());
        let detail = "inference-header-content-length must be a whole number";
        length.ok_or_else(|| ApiError::new(ErrorCode::InvalidHeader, detail))
    });
    let mut asked = oip::json::read(&data, length.transpose()?)?;
    // The tensors are copies; `held` counts for them.
    drop(data);
    let reading = begun.elapsed();
    let inputs = std::mem::take(&mut asked.inputs);
    let outputs = oip::infer(&app, ticket, &entry.model, inputs, asked.wishes, deadline).await?;
    drop(held);
    let begun = Instant::now();
    let card = entry.model.card();
    let answer = oip::json::write(&asked, &card.name, &card.version, outputs)?;
    entry.count(reading, begun.elapsed());
    let Some(length) = answer.header else {
        return Ok(([(header::CONTENT_TYPE, "application/json")], answer.body).into_response());
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (JSON_LENGTH, length.to_string()),
    ];
    Ok((headers, answer.body).into_response())
}
