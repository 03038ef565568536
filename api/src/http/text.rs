//! `POST /v1/moderate/text`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use novastream_inference::TextItem;
use novastream_inference::engine::{Call, Priority};
use serde::Deserialize;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::body::{self, Limit};
use super::commit;
use super::examples;
use super::record::{DeadlineHeader, Results};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::pool;
use crate::store::with_place;

/// Most earlier messages that may come with an item.
const MAX_PREVIOUS: usize = 32;

/// Messages to judge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    /// The messages, at least one.
    pub items: Vec<TextRequestItem>,
    /// A policy that is loaded, as `id` or `id@version`; the default policy when absent.
    #[serde(default)]
    #[schema(example = "default")]
    pub policy: Option<String>,
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequestItem {
    /// The caller's name for the message; its place in the list when absent.
    #[serde(default)]
    #[schema(example = "m-1")]
    pub id: Option<String>,
    /// The message as it was written.
    #[schema(example = "hello everyone")]
    pub text: String,
    /// Who wrote it.
    #[serde(default)]
    #[schema(example = "user-9")]
    pub user_id: Option<String>,
    /// Where: the verdict joins the stream of this id.
    #[serde(default)]
    #[schema(example = "channel-7")]
    pub channel_id: Option<String>,
    /// Earlier messages of the same conversation, oldest first.
    #[serde(default)]
    pub previous: Vec<String>,
}

/// Judge chat messages.
///
/// Every verdict is stored before it is answered; those with a `channel_id` appear among the
/// verdicts of that stream.
#[utoipa::path(
    post,
    path = "/v1/moderate/text",
    tag = "moderation",
    params(DeadlineHeader),
    request_body(content = TextRequest, description = "Up to limits.text_items messages",
        example = json!(examples::text_request())),
    responses((status = 200, body = Results, description = "One verdict an item, in order",
        example = json!(examples::results()))),
)]
pub async fn moderate_text(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let deadline = pool::wanted_deadline(&headers, limits.deadline_ms)?;
    let limit = Limit {
        bytes: limits.text_bytes,
        setting: "limits.text_bytes",
    };
    let read = body::admitted(&app.texts, &headers, body, limit, &app.budget, deadline);
    let (bytes, ticket) = read.await?;
    let request: TextRequest = body::json(&headers, &bytes.data)?;
    let policy = Arc::clone(app.policies.get(request.policy.as_deref())?);
    let items = items(request.items, limits.text_items)?;

    let judge = Arc::clone(&app.judge);
    // Not ended with the connection: half of a batch must not be stored.
    let task = async move {
        let _held = bytes.held;
        let judged = app.texts.run(ticket, deadline, move || {
            // Somebody's message is held until this answer is there.
            let call = Call {
                priority: Priority::Urgent,
                ..Call::current()
            };
            call.enter(|| judge.text(&items, &policy))
        });
        let verdicts = judged.await?;
        let json = verdicts
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<Vec<_>, _>>();
        let json = json.map_err(ApiError::internal)?;
        let written = commit::verdicts(&app, verdicts, deadline).await?;
        let placed: Vec<String> = written
            .verdicts
            .iter()
            .zip(&json)
            .map(|(at, text)| with_place(*at, text))
            .collect();
        Ok::<_, ApiError>(format!("{{\"results\":[{}]}}", placed.join(",")))
    };
    let task = tokio::spawn(task.in_current_span());
    let json = task.await.map_err(ApiError::internal)??;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

fn items(given: Vec<TextRequestItem>, most: usize) -> Result<Vec<TextItem>, ApiError> {
    if given.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidItem, "`items` is empty"));
    }
    if given.len() > most {
        let detail = format!(
            "{} items came; limits.text_items allows {most}",
            given.len()
        );
        return Err(ApiError::new(ErrorCode::TooManyItems, detail));
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, item)| check(index, item))
        .collect()
}

fn check(index: usize, item: TextRequestItem) -> Result<TextItem, ApiError> {
    let id = item.id.unwrap_or_else(|| index.to_string());
    let code = ErrorCode::InvalidItem;
    body::check_id(code, &format!("items[{index}].id"), &id)?;
    for (name, value) in [("user_id", &item.user_id), ("channel_id", &item.channel_id)] {
        if let Some(value) = value {
            body::check_id(code, &format!("items[{index}].{name}"), value)?;
        }
    }
    if item.previous.len() > MAX_PREVIOUS {
        let detail = format!("items[{index}].previous may hold {MAX_PREVIOUS} messages");
        return Err(ApiError::new(code, detail));
    }
    Ok(TextItem {
        id,
        text: item.text,
        user_id: item.user_id,
        channel_id: item.channel_id,
        previous: item.previous,
    })
}
