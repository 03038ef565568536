//! `POST /v1/moderations`, as OpenAI's clients call it.

mod answer;
mod picture;
mod request;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use novastream_inference::{ModelState, Policy, TextItem, Verdict};

use super::body::{self, Limit};
use super::record::DeadlineHeader;
use super::{commit, examples};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::judge::{Context, Judge};
use crate::pool::{self, Pool};
use tracing::Instrument as _;

pub use answer::{Moderation, ModerationAnswer};
use request::Content;
pub use request::ModerationRequest;

/// Moderate text and pictures, as OpenAI's SDKs call it.
///
/// `input` is a string, a list of strings (one result each) or a list of `text` and `image_url`
/// parts (one result for all). All 13 categories are answered; `not_evaluated` names those that no
/// loaded model looks for: their score is 0 because clients need a number, and their list of input
/// types is empty. `flagged` also counts the platform's own categories, and content that could not
/// be judged. An `Authorization` header is accepted and not looked at; `model` is echoed by nothing:
/// the answer names the models that judged.
#[utoipa::path(
    post,
    path = "/v1/moderations",
    tag = "compatible",
    params(DeadlineHeader),
    request_body(content = ModerationRequest,
        description = "Up to limits.text_items strings, or up to 8 pictures among parts",
        example = json!(examples::moderation_request())),
    responses((status = 200, body = ModerationAnswer, description = "One result an input, in order",
        example = json!(examples::moderation()))),
)]
pub async fn create_moderation(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ModerationAnswer>, ApiError> {
    let limits = &app.settings.limits;
    let deadline = pool::wanted_deadline(&headers, limits.deadline_ms)?;
    // Which queue it is for is known once the body is read: until then it is in one that has room.
    let roomy = app.texts.check().map_or(&app.pool, |()| &app.texts);
    let limit = Limit {
        // Base64 makes four bytes of three.
        bytes: limits.text_bytes + limits.image_bytes / 3 * 4,
        setting: "limits.text_bytes and limits.image_bytes together",
    };
    let read = body::admitted(roomy, &headers, body, limit, &app.budget, deadline);
    let (bytes, place) = read.await?;
    let request: ModerationRequest = body::json(&headers, &bytes.data)?;
    let contents = request.contents(limits)?;
    let policy = Arc::clone(app.policies.default_policy());

    let pictures = contents.iter().flatten().any(Content::is_picture);
    let wanted = workers(&app, pictures);
    let ticket = if std::ptr::eq(roomy, wanted) {
        place
    } else {
        drop(place);
        wanted.admit()?
    };
    let contents = picture::fetch_all(contents, &app.settings, deadline).await?;
    let judge = Arc::clone(&app.judge);
    // Not ended with the connection: half of a batch must not be stored.
    let task = async move {
        let _held = bytes.held;
        let judged = workers(&app, pictures).run(ticket, deadline, move || {
            let model = models(&*judge, &contents);
            let verdicts = verdicts(&*judge, contents, &policy)?;
            Ok::<_, ApiError>((model, verdicts))
        });
        let (model, verdicts) = judged.await??;
        answer(&app, model, verdicts, deadline).await
    };
    let task = tokio::spawn(task.in_current_span());
    task.await.map_err(ApiError::internal)?.map(Json)
}

/// Text waits for text only; a picture takes as long as a segment's.
fn workers(app: &App, pictures: bool) -> &Pool {
    if pictures { &app.pool } else { &app.texts }
}

async fn answer(
    app: &App,
    model: String,
    verdicts: Vec<Vec<Verdict>>,
    deadline: Instant,
) -> Result<ModerationAnswer, ApiError> {
    let results: Vec<Moderation> = verdicts.iter().map(|v| Moderation::of(v)).collect();
    let flat: Vec<Verdict> = verdicts.into_iter().flatten().collect();
    let id = flat
        .first()
        .map_or_else(String::new, |v| format!("modr-{}", v.id));
    commit::verdicts(app, flat, deadline).await?;
    Ok(ModerationAnswer { id, model, results })
}

/// One list of verdicts a result; parts of one input are judged one by one.
fn verdicts(
    judge: &dyn Judge,
    contents: Vec<Vec<Content>>,
    policy: &Arc<Policy>,
) -> Result<Vec<Vec<Verdict>>, ApiError> {
    let mut items = Vec::new();
    let mut pictures = Vec::new();
    for (result, parts) in contents.iter().enumerate() {
        for (part, content) in parts.iter().enumerate() {
            let id = if parts.len() == 1 {
                result.to_string()
            } else {
                format!("{result}.{part}")
            };
            match content {
                Content::Text(text) => items.push((
                    result,
                    TextItem {
                        id,
                        text: text.clone(),
                        ..TextItem::default()
                    },
                )),
                Content::Picture(bytes) => pictures.push((result, id, bytes)),
                Content::Url(_) => {
                    return Err(ApiError::internal("a picture was not fetched"));
                }
            }
        }
    }
    let mut out: Vec<Vec<Verdict>> = contents.iter().map(|_| Vec::new()).collect();
    let (places, items): (Vec<usize>, Vec<TextItem>) = items.into_iter().unzip();
    if !items.is_empty() {
        for (place, verdict) in places.into_iter().zip(judge.text(&items, policy)) {
            out[place].push(verdict);
        }
    }
    let context = Context {
        stream_id: None,
        sequence: None,
        start_ms: None,
        stretch_percent: 0,
        policy: Arc::clone(policy),
    };
    for (place, id, bytes) in pictures {
        let verdict = judge
            .image(bytes, Some(&id), &context)
            .map_err(|e| e.about("input"))?;
        out[place].push(verdict);
    }
    Ok(out)
}

/// The models that judge such contents, as `name@version` joined by `+`.
fn models(judge: &dyn Judge, contents: &[Vec<Content>]) -> String {
    let text = contents
        .iter()
        .flatten()
        .any(|c| matches!(c, Content::Text(_)));
    let picture = contents
        .iter()
        .flatten()
        .any(|c| !matches!(c, Content::Text(_)));
    let mut names: Vec<String> = judge
        .models()
        .into_iter()
        .filter(|m| m.state == ModelState::Ready)
        // A candidate judges where it has a share of the traffic.
        .filter(|m| m.canary_percent.is_none_or(|share| share > 0.0))
        .filter(|m| {
            let of_text = m.task == "chat";
            let of_pictures = matches!(m.task.as_str(), "nsfw" | "ocr-detect" | "ocr-recognise");
            (text && of_text) || (picture && (of_pictures || of_text))
        })
        .map(|m| format!("{}@{}", m.name, m.version))
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join("+")
    }
}

/// `invalid_item` about the input.
fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidItem, detail).about("input")
}
