//! The discovery document, from which Google's generic clients learn the routes.

use axum::Json;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::super::examples;

/// What the API looks like, for `google-api-python-client` and its like.
///
/// `build("commentanalyzer", "v1alpha1", discoveryServiceUrl="http://HOST/$discovery/rest?version=v1alpha1",
/// static_discovery=False)` is all that a client has to change. The document's addresses are those
/// the client asked at.
#[utoipa::path(
    get,
    path = "/$discovery/rest",
    tag = "compatible",
    responses((status = 200, body = Object, description = "A discovery document",
        example = json!(examples::discovery()))),
)]
pub async fn discovery(headers: HeaderMap) -> Json<Value> {
    let host = headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .filter(|host| is_host(host))
        .unwrap_or("localhost:8080");
    let secure = headers
        .get("x-forwarded-proto")
        .is_some_and(|v| v == "https");
    let scheme = if secure { "https" } else { "http" };
    Json(document(&format!("{scheme}://{host}/")))
}

fn is_host(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (1..=255).contains(&host.len()) && host.bytes().all(allowed)
}

fn document(root: &str) -> Value {
    json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "title": "Comments, as Perspective's clients ask about them",
        "protocol": "rest",
        "rootUrl": root,
        "servicePath": "",
        "baseUrl": root,
        "batchPath": "batch",
        "parameters": {
            "key": query("Accepted and not looked at."),
            "alt": query("Answers are JSON."),
            "prettyPrint": query("Accepted and not looked at."),
            "$.xgafv": query("Accepted and not looked at."),
        },
        "resources": {"comments": {"methods": {
            "analyze": method("analyze", "AnalyzeCommentRequest", "AnalyzeCommentResponse"),
            "suggestscore": method(
                "suggestscore", "SuggestCommentScoreRequest", "SuggestCommentScoreResponse",
            ),
        }}},
        "schemas": schemas(),
    })
}

fn query(description: &str) -> Value {
    json!({"type": "string", "location": "query", "description": description})
}

fn method(name: &str, request: &str, response: &str) -> Value {
    let path = format!("v1alpha1/comments:{name}");
    json!({
        "id": format!("commentanalyzer.comments.{name}"),
        "path": path,
        "flatPath": path,
        "httpMethod": "POST",
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": request},
        "response": {"$ref": response},
    })
}

fn schemas() -> Value {
    let (text, flag) = (json!({"type": "string"}), json!({"type": "boolean"}));
    let number = json!({"type": "number", "format": "float"});
    let count = json!({"type": "integer", "format": "int32"});
    let list = |of: &Value| json!({"type": "array", "items": of});
    let map = |of: &str| json!({"type": "object", "additionalProperties": {"$ref": of}});
    let named = |of: &str| json!({"$ref": of});
    let object =
        |id: &str, properties: Value| json!({"id": id, "type": "object", "properties": properties});
    json!({
        "TextEntry": object("TextEntry", json!({"text": text, "type": text})),
        "ArticleAndParentComment": object("ArticleAndParentComment", json!({
            "article": named("TextEntry"), "parentComment": named("TextEntry"),
        })),
        "Context": object("Context", json!({
            "entries": list(&named("TextEntry")),
            "articleAndParentComment": named("ArticleAndParentComment"),
        })),
        "AttributeParameters": object("AttributeParameters", json!({
            "scoreType": text, "scoreThreshold": number,
        })),
        "Score": object("Score", json!({"value": number, "type": text})),
        "SpanScore": object("SpanScore", json!({
            "begin": count, "end": count, "score": named("Score"),
        })),
        "AttributeScores": object("AttributeScores", json!({
            "summaryScore": named("Score"), "spanScores": list(&named("SpanScore")),
        })),
        "AnalyzeCommentRequest": object("AnalyzeCommentRequest", json!({
            "comment": named("TextEntry"), "context": named("Context"),
            "requestedAttributes": map("AttributeParameters"), "languages": list(&text),
            "spanAnnotations": flag, "doNotStore": flag, "dropUnsupportedAttributes": flag,
            "clientToken": text, "sessionId": text, "communityId": text,
        })),
        "AnalyzeCommentResponse": object("AnalyzeCommentResponse", json!({
            "attributeScores": map("AttributeScores"), "languages": list(&text),
            "detectedLanguages": list(&text), "clientToken": text,
        })),
        "SuggestCommentScoreRequest": object("SuggestCommentScoreRequest", json!({
            "comment": named("TextEntry"), "context": named("Context"),
            "attributeScores": map("AttributeScores"), "languages": list(&text),
            "clientToken": text, "sessionId": text, "communityId": text,
        })),
        "SuggestCommentScoreResponse": object("SuggestCommentScoreResponse", json!({
            "clientToken": text, "detectedLanguages": list(&text), "requestedLanguages": list(&text),
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_become_addresses() {
        for good in ["a.example", "127.0.0.1:8080", "[::1]:80"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a b", "a/b", "a\"b", "a@b"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("http://h/");
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["schemas"][name]["id"] == name, "{name}");
        }
    }
}
