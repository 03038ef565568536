//! Probes, metrics and models.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use common::{service, settings};
use serde_json::json;

#[tokio::test]
async fn probes_answer() {
    let s = service(settings()).await;
    assert_eq!(s.get("/livez").await, json!({"status": "alive"}));
    assert_eq!(s.get("/readyz").await, json!({"status": "ready"}));
    let models = s.get("/v1/models").await;
    assert_eq!(models["models"][0]["name"], "fake");
    s.app.store.close().await;
    let r = common::refused(s.client.get(s.at("/readyz"))).await;
    assert_eq!(r.status, 503);
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let s = service(settings()).await;
    for path in ["/livez", "/nothing", "/metrics", "/openapi.json", "/docs/"] {
        let response = s.client.get(s.at(path)).send().await.unwrap();
        assert!(response.headers().contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn metrics_have_buckets_and_labels_without_ids() {
    let s = service(settings()).await;
    let secret = "stream-1234567";
    s.text("you are an idiot", Some(secret)).await;
    s.get(&format!("/v1/streams/{secret}/verdicts")).await;
    let odd = reqwest::Method::from_bytes(b"BREW").unwrap();
    s.client
        .request(odd, s.at("/anything/at/all"))
        .send()
        .await
        .unwrap();
    let response = s.client.get(s.at("/metrics")).send().await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain"), "{kind}");
    let text = response.text().await.unwrap();
    for part in [
        "novastream_verdicts_total{kind=\"text\",action=\"hold\"} ",
        "novastream_http_requests_total{method=\"POST\",route=\"/v1/moderate/text\",status=\"200\"} ",
        "route=\"/v1/streams/{id}/verdicts\"",
        "novastream_http_request_duration_seconds_bucket{",
        "novastream_store_commit_duration_seconds_bucket{",
        "method=\"other\",route=\"unmatched\"",
        "# HELP novastream_verdicts_total ",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(
        !text.contains(secret) && !text.contains("anything"),
        "a label holds a caller's text"
    );
}
