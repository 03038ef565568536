//! What operators and load balancers ask: alive, ready, metrics, models.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use novastream_inference::ModelStatus;
use serde::Serialize;
use utoipa::ToSchema;

use super::examples;
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::lifecycle::Phase;

/// The models and their states.
#[derive(Debug, Serialize, ToSchema)]
pub struct Models {
    /// Every model that the service knows a use for.
    pub models: Vec<ModelStatus>,
}

/// A short answer for probes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `alive` or `ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
}

/// List models.
///
/// A model that is `not_loaded` leaves its categories `not_evaluated`; `reason` says what to do.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "operations",
    responses((status = 200, body = Models, description = "The models and their states",
        example = json!(examples::models()))),
)]
pub async fn list_models(State(app): State<App>) -> Json<Models> {
    Json(Models {
        models: app.judge.models(),
    })
}

/// Is the process alive?
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    responses((status = 200, body = Health, description = "It answers",
        example = json!({"status": "alive"}))),
)]
pub async fn livez() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Should this instance get traffic?
///
/// 503 while the service is stopping or the database does not answer.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses((status = 200, body = Health, description = "It takes work",
        example = json!({"status": "ready"}))),
)]
pub async fn readyz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    if app.lifecycle.phase() != Phase::Running {
        return Err(ApiError::new(
            ErrorCode::ShuttingDown,
            "the service is draining",
        ));
    }
    app.store.ping().await?;
    Ok(Json(Health { status: "ready" }))
}

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The text exposition format",
        example = "novastream_verdicts_total{kind=\"text\",action=\"allow\"} 12")),
)]
pub async fn metrics(State(app): State<App>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, app.metrics.render()).into_response()
}
