//! The request, with Perspective's own complaints about it.

use std::collections::BTreeMap;

use novastream_inference::Attribute;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorCode};

/// Longest comment, in bytes of UTF-8.
const MAX_COMMENT: usize = 20 * 1024;
/// Most attributes in one request; Perspective has fewer.
const MAX_ATTRIBUTES: usize = 64;

/// A comment to analyse. Field names are taken in camelCase and in snake_case, as Google's APIs do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalyzeRequest {
    /// The comment.
    pub comment: TextEntry,
    /// The attributes to score, by name.
    #[serde(default, alias = "requested_attributes")]
    #[schema(value_type = std::collections::HashMap<String, AttributeParameters>)]
    pub requested_attributes: BTreeMap<String, AttributeParameters>,
    /// The comment's languages; detected when absent.
    #[serde(default)]
    #[schema(example = json!(["en"]))]
    pub languages: Vec<String>,
    /// Whether to score every sentence as well.
    #[serde(default, alias = "span_annotations")]
    pub span_annotations: bool,
    /// Whether to forget the verdict.
    #[serde(default, alias = "do_not_store")]
    pub do_not_store: bool,
    /// Leaves attributes that cannot be answered out of the answer, instead of refusing.
    #[serde(default, alias = "drop_unsupported_attributes")]
    pub drop_unsupported_attributes: bool,
    /// Sent back as it is.
    #[serde(default, alias = "client_token")]
    pub client_token: Option<String>,
    /// What the comment refers to. Checked, and not used, as with Perspective.
    #[serde(default)]
    pub context: Option<Context>,
    /// Accepted and not used.
    #[serde(default, alias = "session_id")]
    #[allow(dead_code, reason = "accepted for its clients")]
    pub session_id: Option<String>,
    /// Accepted and not used.
    #[serde(default, alias = "community_id")]
    #[allow(dead_code, reason = "accepted for its clients")]
    pub community_id: Option<String>,
}

/// A text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEntry {
    /// The text, UTF-8.
    #[serde(default)]
    #[schema(example = "what a lovely day")]
    pub text: String,
    /// `PLAIN_TEXT`, also when absent.
    #[serde(default)]
    #[schema(example = "PLAIN_TEXT")]
    pub r#type: Option<String>,
}

/// What a comment refers to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// Earlier comments.
    #[serde(default)]
    pub entries: Vec<TextEntry>,
    /// An article and a comment on it.
    #[serde(default, alias = "article_and_parent_comment")]
    #[schema(value_type = Option<Object>)]
    pub article_and_parent_comment: Option<Value>,
}

/// How to score one attribute.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributeParameters {
    /// `PROBABILITY`, also when absent.
    #[serde(default, alias = "score_type")]
    #[schema(example = "PROBABILITY")]
    pub score_type: Option<String>,
    /// Scores below it are left out of the answer.
    #[serde(default, alias = "score_threshold")]
    #[schema(example = 0.0)]
    pub score_threshold: Option<f32>,
}

/// A better score for a comment. Not taken; see the route.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only describes the request")]
pub struct SuggestRequest {
    /// The comment.
    pub comment: TextEntry,
    /// Its scores.
    #[schema(value_type = Object)]
    pub attribute_scores: Value,
}

impl AnalyzeRequest {
    /// The attributes that are asked for, each with its threshold.
    ///
    /// # Errors
    /// `comment_empty`, `comment_too_long`, `comment_invalid`, `attributes_missing`,
    /// `attribute_unknown`.
    pub fn check(&self) -> Result<Vec<(String, &'static Attribute, f32)>, ApiError> {
        let text = &self.comment.text;
        if text.trim().is_empty() {
            return Err(ApiError::new(
                ErrorCode::CommentEmpty,
                "Comment must be non-empty.",
            ));
        }
        if text.len() > MAX_COMMENT {
            return Err(ApiError::new(
                ErrorCode::CommentTooLong,
                "Comment text too long.",
            ));
        }
        check_type(&self.comment)?;
        if let Some(context) = &self.context {
            if !context.entries.is_empty() && context.article_and_parent_comment.is_some() {
                return Err(invalid(
                    "Context can have either entries or article_and_parent_comment, but both fields \
                     were populated.",
                ));
            }
            context.entries.iter().try_for_each(check_type)?;
        }
        if self.requested_attributes.is_empty() {
            return Err(ApiError::new(
                ErrorCode::AttributesMissing,
                "Missing requested_attributes",
            ));
        }
        if self.requested_attributes.len() > MAX_ATTRIBUTES {
            return Err(invalid("Too many requested attributes"));
        }
        self.requested_attributes
            .iter()
            .map(|(name, parameters)| {
                let attribute = Attribute::named(name).ok_or_else(|| {
                    ApiError::new(
                        ErrorCode::AttributeUnknown,
                        format!("Unknown requested attribute: {name}"),
                    )
                })?;
                parameters.check(name)?;
                let threshold = parameters.score_threshold.unwrap_or(0.0);
                Ok((name.clone(), attribute, threshold))
            })
            .collect()
    }
}

impl AttributeParameters {
    fn check(&self, name: &str) -> Result<(), ApiError> {
        match self.score_type.as_deref() {
            None | Some("PROBABILITY" | "SCORE_TYPE_UNSPECIFIED") => Ok(()),
            Some(kind) => Err(invalid(format!(
                "Requested score type {kind} is not supported by attribute {name}"
            ))),
        }
    }
}

fn check_type(entry: &TextEntry) -> Result<(), ApiError> {
    match entry.r#type.as_deref() {
        None | Some("PLAIN_TEXT" | "TEXT_TYPE_UNSPECIFIED") => Ok(()),
        Some("HTML") => Err(invalid(
            "Currently, only 'PLAIN_TEXT' comments are supported",
        )),
        Some(_) => Err(invalid("Unknown text type")),
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::CommentInvalid, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(request: Value) -> &'static str {
        let request: AnalyzeRequest = serde_json::from_value(request).unwrap();
        request.check().err().map_or("fine", |e| e.code.as_str())
    }

    #[test]
    fn complaints_are_perspectives() {
        let attributes = json!({"TOXICITY": {}});
        let with =
            |text: &str| json!({"comment": {"text": text}, "requestedAttributes": attributes});
        assert_eq!(code(with("hello")), "fine");
        assert_eq!(code(with(" \n")), "comment_empty");
        assert_eq!(code(with(&"a".repeat(MAX_COMMENT + 1))), "comment_too_long");
        assert_eq!(
            code(json!({"comment": {"text": "a"}})),
            "attributes_missing"
        );
        let asked = |name: &str, how: Value| {
            code(json!({"comment": {"text": "a"}, "requested_attributes": {name: how}}))
        };
        assert_eq!(
            asked("TOXICITY", json!({"scoreType": "PROBABILITY"})),
            "fine"
        );
        assert_eq!(
            asked("TOXICITY", json!({"score_type": "PERCENTILE"})),
            "comment_invalid"
        );
        assert_eq!(asked("NICENESS", json!({})), "attribute_unknown");
        let html =
            json!({"comment": {"text": "a", "type": "HTML"}, "requestedAttributes": attributes});
        assert_eq!(code(html), "comment_invalid");
        let both = json!({
            "comment": {"text": "a"}, "requestedAttributes": attributes,
            "context": {"entries": [{"text": "b"}], "articleAndParentComment": {}},
        });
        assert_eq!(code(both), "comment_invalid");
    }
}
