//! Traces from a request to the run of a model, as a collector gets them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use common::{real_service, settings};
use novastream_api::config::{LogSettings, TelemetrySettings};
use novastream_api::telemetry;
use novastream_api::traces::Traces;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector of few words.
async fn collector() -> (String, Spans) {
    async fn take(State(spans): State<Spans>, headers: HeaderMap, body: Bytes) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = request.resource_spans.into_iter();
        let scopes = resources.flat_map(|r| r.scope_spans);
        spans.lock().unwrap().extend(scopes.flat_map(|s| s.spans));
    }
    let spans = Spans::default();
    let router = Router::new()
        .route("/v1/traces", post(take))
        .with_state(Arc::clone(&spans));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_followed_from_its_caller_to_the_run_of_the_model() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CALLER: &str = "00f067aa0ba902b7";
    let (url, spans) = collector().await;
    let wanted = TelemetrySettings {
        otlp_endpoint: Some(url),
        ..TelemetrySettings::default()
    };
    let traces = Traces::new(&wanted).unwrap().unwrap();
    telemetry::logging(&LogSettings::default(), Some(&traces)).unwrap();
    let s = real_service(settings()).await;
    let body = json!({"inputs": [
        {"name": "ids", "shape": [2, 3], "datatype": "INT64", "data": [101, 7592, 102, 101, 2204, 102]},
        {"name": "mask", "shape": [2, 3], "datatype": "INT64", "data": [1, 1, 1, 1, 1, 1]},
        {"name": "own", "shape": [2, 3], "datatype": "INT64", "data": [1, 1, 1, 1, 1, 1]}]});
    let answer = s
        .client
        .post(s.at("/v2/models/chat-minilm/infer"))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    // Its caller did not want this one to be traced.
    let quiet = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";
    let unsampled = s.client.get(s.at("/livez")).header("traceparent", quiet);
    assert_eq!(unsampled.send().await.unwrap().status(), 200);
    tokio::task::spawn_blocking(move || {
        traces.flush();
        drop(traces);
    })
    .await
    .unwrap();

    let all = spans.lock().unwrap().clone();
    let trace: Vec<&Span> = all
        .iter()
        .filter(|s| hex::encode(&s.trace_id) == TRACE)
        .collect();
    let names: Vec<&str> = trace.iter().map(|s| s.name.as_str()).collect();
    let count = |name: &str| names.iter().filter(|n| **n == name).count();
    assert_eq!(count("POST /v2/models/{model}/infer"), 1, "{names:?}");
    assert_eq!(count("worker wait"), 1, "{names:?}");
    assert_eq!(count("judge"), 1, "{names:?}");
    assert_eq!(count("model"), 1, "{names:?}");
    assert_eq!(count("queue wait"), 2, "{names:?}");
    assert_eq!(count("model run"), 2, "{names:?}");
    // Each below the one before it, and the first below the caller's.
    let by_id: HashMap<&[u8], &Span> = trace.iter().map(|s| (s.span_id.as_slice(), *s)).collect();
    let run = trace.iter().find(|s| s.name == "model run").unwrap();
    let mut path = vec![run.name.clone()];
    let mut at = *run;
    while let Some(parent) = by_id.get(at.parent_span_id.as_slice()) {
        path.push(parent.name.clone());
        at = parent;
    }
    assert_eq!(
        path,
        [
            "model run",
            "model",
            "judge",
            "POST /v2/models/{model}/infer"
        ]
    );
    assert_eq!(hex::encode(&at.parent_span_id), CALLER);
    for span in &trace {
        assert!(
            span.end_time_unix_nano >= span.start_time_unix_nano,
            "{span:?}"
        );
    }
    assert!(
        all.iter().all(|s| s.name != "GET /livez"),
        "an unwanted trace was sent"
    );
}

#[test]
fn without_an_address_there_are_no_traces() {
    assert!(
        Traces::new(&TelemetrySettings::default())
            .unwrap()
            .is_none()
    );
}
