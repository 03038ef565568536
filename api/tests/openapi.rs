//! The OpenAPI document: committed as generated, complete, and true.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::path::Path;

use serde_json::Value;

/// `NOVASTREAM_WRITE_OPENAPI=1` writes the file instead of comparing it (`make openapi`).
#[test]
fn the_committed_document_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = novastream_api::http::document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("NOVASTREAM_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == generated,
        "api/openapi.json is out of date: run `make openapi`"
    );
}

fn document() -> Value {
    serde_json::to_value(novastream_api::http::document()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("responses").is_some() {
                all.push((format!("{method} {path}"), operation));
            }
        }
    }
    all
}

#[test]
fn every_route_has_a_summary_parameters_and_examples() {
    let document = document();
    let all = operations(&document);
    assert_eq!(
        all.len(),
        21,
        "a route came or went: look at it, then change this number"
    );
    for (name, operation) in all {
        let text = |v: &Value| v.as_str().is_some_and(|s| !s.trim().is_empty());
        assert!(text(&operation["summary"]), "{name}: no summary");
        assert!(text(&operation["operationId"]), "{name}: no operationId");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let which = format!("{name}: parameter {}", parameter["name"]);
            assert!(text(&parameter["description"]), "{which}: no description");
            let example = parameter
                .get("example")
                .or_else(|| parameter["schema"].get("example"));
            assert!(example.is_some(), "{which}: no example");
        }
        if let Some(body) = operation.get("requestBody") {
            examples(&format!("{name}: body"), &body["content"]);
        }
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("default"), "{name}: no problem");
        for (status, response) in responses {
            assert!(
                text(&response["description"]),
                "{name} {status}: no description"
            );
            examples(&format!("{name} {status}"), &response["content"]);
        }
    }
}

fn examples(which: &str, content: &Value) {
    let content = content
        .as_object()
        .unwrap_or_else(|| panic!("{which}: no content"));
    for (kind, media) in content {
        assert!(
            media.get("example").is_some(),
            "{which} as {kind}: no example"
        );
    }
}

#[test]
fn path_parameters_are_declared() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let wanted: Vec<&str> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        for operation in item.as_object().unwrap().values() {
            let Some(parameters) = operation["parameters"].as_array() else {
                assert!(wanted.is_empty(), "{path}");
                continue;
            };
            for name in &wanted {
                assert!(
                    parameters
                        .iter()
                        .any(|p| p["name"] == *name && p["in"] == "path")
                );
            }
        }
    }
}

/// Every reference leads somewhere, and a real verdict has no field that the document lacks.
#[tokio::test]
async fn the_schemas_are_whole_and_true() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let name = reference
            .strip_prefix("#/components/schemas/")
            .unwrap()
            .to_owned();
        assert!(schemas.contains_key(&name), "{reference} leads nowhere");
    }

    let service = common::real_service(common::settings()).await;
    let verdict = service.text("you are an idiot", Some("c")).await;
    let mut known: Vec<&String> = Vec::new();
    for name in ["Verdict", "VerdictRecord"] {
        properties(&schemas[name], &mut known);
    }
    for field in verdict.as_object().unwrap().keys() {
        assert!(
            known.contains(&field),
            "the document does not know `{field}`"
        );
    }
}

fn collect<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner.as_str() {
                    Some(text) if key == "$ref" => out.push(text),
                    _ => collect(inner, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        _ => {}
    }
}

fn properties<'v>(schema: &'v Value, out: &mut Vec<&'v String>) {
    out.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|p| p.keys()),
    );
    for part in schema["allOf"].as_array().into_iter().flatten() {
        properties(part, out);
    }
}

#[tokio::test]
async fn the_document_and_its_reader_are_served() {
    let service = common::service(common::settings()).await;
    let served = service.get("/openapi.json").await;
    assert_eq!(served, document());
    let page = service
        .client
        .get(service.at("/docs/"))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    let html = page.text().await.unwrap();
    assert!(html.contains("swagger-ui"), "{html}");
    assert!(
        !html.contains("https://"),
        "the page loads something from elsewhere"
    );
}
