//! `GET /v1/recommendations`

use axum::Json;
use axum::extract::State;
use novastream_inference::recommend::{Fallback, Recommendation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{self, Params};
use super::examples;
use crate::app::App;
use crate::clock::unix_ms;
use crate::error::{ApiError, ErrorCode};
use crate::pool;
use crate::telemetry::names;

/// Length of a list when none is asked for.
const DEFAULT_ITEMS: usize = 10;

/// For whom, and how many.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecommendationsQuery {
    /// The user.
    #[param(example = "user-9")]
    pub user_id: String,
    /// Length of the list, 1 to recommend.items; 10 when absent.
    #[param(example = 10, minimum = 1)]
    pub n: Option<usize>,
    /// Where the list is shown; counted in the metrics as named or not.
    #[param(example = "home")]
    pub surface: Option<String>,
}

/// What to watch next.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recommendations {
    /// Live streams, the best first.
    pub items: Vec<Recommendation>,
    /// Set where the list is not personal, because the user or the model is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// The model, `name@version`; null where none is loaded.
    #[schema(example = "recommender@0.1.0")]
    pub model: Option<String>,
}

/// Recommend live streams to a user.
///
/// Every live stream is scored, from what the user watched up to this second, and each entry says
/// why it is there.
#[utoipa::path(
    get,
    path = "/v1/recommendations",
    tag = "recommendations",
    params(RecommendationsQuery),
    responses((status = 200, body = Recommendations, description = "The list, the best first",
        example = json!(examples::recommendations()))),
)]
pub async fn recommendations(
    State(app): State<App>,
    Params(query): Params<RecommendationsQuery>,
) -> Result<Json<Recommendations>, ApiError> {
    let most = app.settings.recommend.items;
    let n = query.n.unwrap_or(DEFAULT_ITEMS.min(most));
    if !(1..=most).contains(&n) {
        let detail = format!("n must be 1 to {most} (recommend.items)");
        return Err(ApiError::new(ErrorCode::InvalidQuery, detail));
    }
    body::check_id(ErrorCode::InvalidQuery, "user_id", &query.user_id)?;
    if let Some(surface) = &query.surface {
        body::check_id(ErrorCode::InvalidQuery, "surface", surface)?;
    }
    let deadline = pool::deadline(None, app.settings.limits.deadline_ms)?;
    let ticket = app.lists.admit()?;
    let recommender = std::sync::Arc::clone(&app.recommender);
    let user = query.user_id;
    let list = app
        .lists
        .run(ticket, deadline, move || {
            recommender.recommend(&user, n, unix_ms() / 1000)
        })
        .await?;
    let kind = match list.fallback {
        Some(Fallback::Trending) => "trending",
        None => "personal",
    };
    metrics::counter!(names::RECOMMENDATIONS, "kind" => kind).increment(1);
    Ok(Json(Recommendations {
        items: list.items,
        fallback: list.fallback,
        model: app.recommender.model().map(str::to_owned),
    }))
}
