//! `/v1alpha1/comments:analyze`, as clients of the Perspective API call it.

pub mod discovery;
mod request;
mod sentences;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use novastream_features::text::language;
use novastream_inference::{Attribute, TextItem, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::body::{self, Limit};
use super::record::DeadlineHeader;
use super::{commit, examples};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::pool;

pub use request::{AnalyzeRequest, SuggestRequest};

/// Answer to an analysis.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalyzeResponse {
    /// By attribute; those below their `scoreThreshold` are left out.
    #[schema(value_type = std::collections::HashMap<String, AttributeScores>)]
    pub attribute_scores: BTreeMap<String, AttributeScores>,
    /// The languages the comment was judged in.
    #[schema(example = json!(["en"]))]
    pub languages: Vec<String>,
    /// The same, where the request named none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["en"]))]
    pub detected_languages: Vec<String>,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// Scores of one attribute.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttributeScores {
    /// The comment's parts: its sentences with `spanAnnotations`, all of it otherwise.
    pub span_scores: Vec<SpanScore>,
    /// The whole comment.
    pub summary_score: Score,
}

/// The score of one part.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SpanScore {
    /// First UTF-16 code unit.
    pub begin: usize,
    /// One past the last UTF-16 code unit.
    pub end: usize,
    /// Its score.
    pub score: Score,
}

/// A score and what it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Score {
    /// 0 to 1.
    #[schema(example = 0.91)]
    pub value: f32,
    /// Always `PROBABILITY`.
    #[schema(example = "PROBABILITY")]
    pub r#type: String,
}

impl Score {
    fn of(value: f32) -> Self {
        Self {
            value,
            r#type: "PROBABILITY".to_owned(),
        }
    }
}

/// Score a comment, as Perspective's clients call it.
///
/// Any query is accepted: keys, `alt=json` and the like mean nothing here. With `doNotStore` the
/// verdict is not kept; without it, it is stored like any other. docs/moving-from-perspective.md has
/// the attributes and what differs.
#[utoipa::path(
    post,
    path = "/v1alpha1/comments:analyze",
    tag = "compatible",
    params(DeadlineHeader),
    request_body(content = AnalyzeRequest, description = "The comment and what to tell about it",
        example = json!(examples::analyze_request())),
    responses((status = 200, body = AnalyzeResponse, description = "Scores by attribute",
        example = json!(examples::analyze()))),
)]
pub async fn analyze_comment(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AnalyzeResponse>, ApiError> {
    let limits = &app.settings.limits;
    let deadline = pool::wanted_deadline(&headers, limits.deadline_ms)?;
    let limit = Limit {
        bytes: limits.text_bytes,
        setting: "limits.text_bytes",
    };
    let read = body::admitted(&app.texts, &headers, body, limit, &app.budget, deadline);
    let (bytes, ticket) = read.await?;
    let request: AnalyzeRequest = body::json(&headers, &bytes.data)?;
    let wanted = request.check()?;
    let languages = languages(&request)?;

    let text = request.comment.text;
    let spans = if request.span_annotations {
        sentences::split(&text)
    } else {
        Vec::new()
    };
    let mut items = vec![item("comment", &text)];
    items.extend(
        spans
            .iter()
            .enumerate()
            .map(|(i, span)| item(&format!("sentence-{i}"), &text[span.bytes.clone()])),
    );
    let policy = Arc::clone(app.policies.default_policy());
    let judge = Arc::clone(&app.judge);
    let store = !request.do_not_store;
    let drop_unsupported = request.drop_unsupported_attributes;
    let token = request.client_token;
    let named = !request.languages.is_empty();
    let task = async move {
        let _held = bytes.held;
        let mut verdicts = app
            .texts
            .run(ticket, deadline, move || judge.text(&items, &policy))
            .await?;
        let sentences = verdicts.split_off(1.min(verdicts.len()));
        let Some(whole) = verdicts.pop() else {
            return Err(ApiError::internal("a comment has no verdict"));
        };
        let judged = Judged {
            length: sentences::utf16_len(&text),
            whole: &whole,
            parts: spans.iter().zip(&sentences).collect(),
        };
        let scores = judged.scores(&wanted, &languages, drop_unsupported)?;
        if store {
            keep(&app, whole, deadline).await?;
        }
        Ok(AnalyzeResponse {
            attribute_scores: scores,
            detected_languages: if named { Vec::new() } else { languages.clone() },
            languages,
            client_token: token,
        })
    };
    let task = tokio::spawn(task.in_current_span());
    task.await.map_err(ApiError::internal)?.map(Json)
}

async fn keep(app: &App, whole: Verdict, deadline: Instant) -> Result<(), ApiError> {
    commit::verdicts(app, vec![whole], deadline).await.map(drop)
}

fn item(id: &str, text: &str) -> TextItem {
    TextItem {
        id: id.to_owned(),
        text: text.to_owned(),
        ..TextItem::default()
    }
}

/// The languages that the request names, or the one that the text is in.
fn languages(request: &AnalyzeRequest) -> Result<Vec<String>, ApiError> {
    if !request.languages.is_empty() {
        return Ok(request.languages.clone());
    }
    match language::detect(&request.comment.text).code() {
        Some(code) => Ok(vec![code.to_owned()]),
        None => Err(ApiError::new(
            ErrorCode::LanguageUndetected,
            "Unable to detect language",
        )),
    }
}

/// A comment's verdict and those of its sentences.
struct Judged<'a> {
    /// UTF-16 code units.
    length: usize,
    whole: &'a Verdict,
    parts: Vec<(&'a sentences::Span, &'a Verdict)>,
}

impl Judged<'_> {
    fn scores(
        &self,
        wanted: &[(String, &'static Attribute, f32)],
        languages: &[String],
        drop_unsupported: bool,
    ) -> Result<BTreeMap<String, AttributeScores>, ApiError> {
        let mut out = BTreeMap::new();
        for (name, attribute, threshold) in wanted {
            let supported = languages.iter().all(|l| attribute.speaks(l));
            let value = supported.then(|| attribute.read(self.whole)).flatten();
            let Some(value) = value else {
                if supported && attribute.is_answered() && !self.whole.degraded.is_empty() {
                    let why: Vec<&str> = self
                        .whole
                        .degraded
                        .iter()
                        .map(|d| d.reason.as_str())
                        .collect();
                    return Err(ApiError::new(ErrorCode::ModelNotLoaded, why.join("; ")));
                }
                if drop_unsupported {
                    continue;
                }
                return Err(unsupported(name, languages));
            };
            if value < *threshold {
                continue;
            }
            out.insert(
                name.clone(),
                AttributeScores {
                    span_scores: self.spans(attribute, value, *threshold),
                    summary_score: Score::of(value),
                },
            );
        }
        Ok(out)
    }

    fn spans(&self, attribute: &Attribute, value: f32, threshold: f32) -> Vec<SpanScore> {
        if self.parts.is_empty() {
            return vec![SpanScore {
                begin: 0,
                end: self.length,
                score: Score::of(value),
            }];
        }
        self.parts
            .iter()
            .filter_map(|(span, verdict)| {
                let value = attribute.read(verdict)?;
                (value >= threshold).then(|| SpanScore {
                    begin: span.utf16.start,
                    end: span.utf16.end,
                    score: Score::of(value),
                })
            })
            .collect()
    }
}

fn unsupported(name: &str, languages: &[String]) -> ApiError {
    let listed = languages.join(", ");
    let mut error = ApiError::new(
        ErrorCode::AttributeUnsupported,
        format!("Attribute {name} does not support request languages: {listed}"),
    );
    let mut more = serde_json::Map::new();
    more.insert(
        "languageNotSupportedByAttributeError".to_owned(),
        json!({"detectedLanguages": languages, "attribute": name}),
    );
    error.comment = Some(Box::new(more));
    error
}

/// Not done here: decisions of people belong to the review queue.
///
/// Perspective took suggestions as training data. This service trains on labelled files only, so a
/// suggestion would be thrown away; it says so instead.
#[utoipa::path(
    post,
    path = "/v1alpha1/comments:suggestscore",
    tag = "compatible",
    request_body(content = SuggestRequest, description = "A better score for a comment",
        example = json!({"comment": {"text": "hello"}, "attributeScores": {}})),
    responses((status = 501, description = "Always", body = super::render::GoogleError,
        example = json!(examples::google_error()))),
)]
pub async fn suggest_score() -> Result<(), ApiError> {
    Err(ApiError::new(
        ErrorCode::NotImplemented,
        "Suggested scores are not taken. Put labelled comments into a file for `novastream-train chat`",
    ))
}
