//! Pages and server-sent events of a stream's verdicts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::time::Duration;

use common::{Service, refused, service, settings};
use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};

/// One event as it came over the wire.
#[derive(Debug, PartialEq)]
struct Got {
    id: Option<i64>,
    name: String,
    data: Value,
}

/// Events off a response's body; comments count as events named `:`.
async fn events(request: reqwest::RequestBuilder) -> impl Stream<Item = Got> + Unpin {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(response.headers().get("content-encoding").is_none());
    let bytes = Box::pin(response.bytes_stream());
    Box::pin(futures_util::stream::unfold(
        (bytes, String::new()),
        |(mut bytes, mut text)| async {
            loop {
                if let Some(end) = text.find("\n\n") {
                    let block: String = text.drain(..end + 2).collect();
                    return Some((parse(&block), (bytes, text)));
                }
                match bytes.next().await {
                    Some(Ok(more)) => text.push_str(std::str::from_utf8(&more).unwrap()),
                    _ => return None,
                }
            }
        },
    ))
}

fn parse(block: &str) -> Got {
    let mut got = Got {
        id: None,
        name: "message".into(),
        data: Value::Null,
    };
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim_start();
        match field {
            "" if !line.is_empty() => got.name = ":".into(),
            "id" => got.id = value.parse().ok(),
            "event" => got.name = value.into(),
            "data" => got.data = serde_json::from_str(value).unwrap(),
            _ => {}
        }
    }
    got
}

async fn next(stream: &mut (impl Stream<Item = Got> + Unpin)) -> Got {
    tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .unwrap()
        .unwrap()
}

async fn say(s: &Service, texts: &[&str]) {
    for text in texts {
        s.text(text, Some("c")).await;
    }
}

#[tokio::test]
async fn pages_go_on_where_they_ended() {
    let s = service(settings()).await;
    say(&s, &["a", "you idiot", "b", "c", "you idiot"]).await;
    let one = s.get("/v1/streams/c/verdicts?limit=2").await;
    assert_eq!(
        (one["verdicts"].as_array().unwrap().len(), &one["has_more"]),
        (2, &json!(true))
    );
    let after = one["next_after"].as_i64().unwrap();
    let two = s
        .get(&format!("/v1/streams/c/verdicts?after={after}"))
        .await;
    assert_eq!(
        (two["verdicts"].as_array().unwrap().len(), &two["has_more"]),
        (3, &json!(false))
    );
    let end = two["next_after"].as_i64().unwrap();
    let none = s.get(&format!("/v1/streams/c/verdicts?after={end}")).await;
    assert_eq!(
        (
            none["verdicts"].as_array().unwrap().len(),
            none["next_after"].as_i64()
        ),
        (0, Some(end))
    );
    let acted = s.get("/v1/streams/c/verdicts?action_at_least=flag").await;
    assert_eq!(acted["verdicts"].as_array().unwrap().len(), 2);
    let strong = s.get("/v1/streams/c/verdicts?action_at_least=remove").await;
    assert_eq!(strong["verdicts"], json!([]));
    let page = s.get("/v1/reviews?limit=1").await;
    assert_eq!(
        (
            page["verdicts"].as_array().unwrap().len(),
            &page["has_more"]
        ),
        (1, &json!(true))
    );
}

#[tokio::test]
async fn events_begin_with_what_is_stored_and_go_on_live() {
    let s = service(settings()).await;
    say(&s, &["a", "b"]).await;
    let request = s.client.get(s.at("/v1/streams/c/verdicts"));
    let mut stream = events(request.header("accept", "text/event-stream")).await;
    let (a, b) = (next(&mut stream).await, next(&mut stream).await);
    assert_eq!((a.name.as_str(), a.id), ("verdict", a.data["seq"].as_i64()));
    assert!(b.id > a.id);
    s.text("other stream", Some("d")).await;
    say(&s, &["live"]).await;
    let live = next(&mut stream).await;
    assert!(live.id > b.id);
    // What an event holds is what a page holds.
    let page = s
        .get(&format!("/v1/streams/c/verdicts?after={}", b.id.unwrap()))
        .await;
    assert_eq!(page["verdicts"], json!([live.data]));
}

#[tokio::test]
async fn events_resume_after_the_last_id_without_loss_or_repetition() {
    let s = service(settings()).await;
    say(&s, &["0", "1", "2", "3", "4"]).await;
    let url = s.at("/v1/streams/c/verdicts?stream=1");
    let mut first = events(s.client.get(&url)).await;
    let mut seen = vec![
        next(&mut first).await.id.unwrap(),
        next(&mut first).await.id.unwrap(),
    ];
    drop(first);
    say(&s, &["5"]).await;
    let last = seen[1].to_string();
    let mut second = events(s.client.get(&url).header("last-event-id", &last)).await;
    for _ in 0..4 {
        seen.push(next(&mut second).await.id.unwrap());
    }
    let page = s.get("/v1/streams/c/verdicts").await;
    let all: Vec<i64> = page["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["seq"].as_i64().unwrap())
        .collect();
    assert_eq!(seen, all);
    let mut latest = events(s.client.get(format!("{url}&after=latest"))).await;
    say(&s, &["6"]).await;
    assert!(next(&mut latest).await.id.unwrap() > all[5]);
}

#[tokio::test]
async fn a_slow_client_misses_nothing() {
    let s = service(settings()).await;
    let url = s.at("/v1/streams/c/verdicts?stream=1");
    let mut slow = events(s.client.get(&url)).await;
    for n in 0..20 {
        let items: Vec<Value> = (0..50)
            .map(|i| json!({"id": format!("{n}-{i}"), "text": "x", "channel_id": "c"}))
            .collect();
        assert_eq!(
            s.post_text(&json!({"items": items}))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
    let mut last = 0;
    for _ in 0..1000 {
        let id = next(&mut slow).await.id.unwrap();
        assert!(id > last);
        last = id;
    }
}

#[tokio::test]
async fn silence_is_filled_with_comments_and_places_are_bounded() {
    let mut settings = settings();
    settings.sse.keep_alive_s = 1;
    settings.sse.max_clients = 1;
    let s = service(settings).await;
    let url = s.at("/v1/streams/c/verdicts?stream=1");
    let mut stream = events(s.client.get(&url)).await;
    let r = refused(s.client.get(&url)).await;
    assert_eq!((r.status, r.code()), (429, "too_many_clients"));
    assert_eq!(next(&mut stream).await.name, ":");
    drop(stream);
    // The place is free once the service has noticed.
    for _ in 0..100 {
        if s.client.get(&url).send().await.unwrap().status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the place was not given back");
}

#[tokio::test]
async fn event_streams_end_when_the_service_stops() {
    let s = service(settings()).await;
    let mut stream = events(s.client.get(s.at("/v1/streams/c/verdicts?stream=1"))).await;
    s.app
        .lifecycle
        .advance(novastream_api::lifecycle::Phase::Stopping);
    let end = tokio::time::timeout(Duration::from_secs(5), stream.next())
        .await
        .unwrap();
    assert!(end.is_none());
    let r = refused(s.client.get(s.at("/readyz"))).await;
    assert_eq!((r.status, r.code()), (503, "shutting_down"));
    assert_eq!(s.get("/livez").await["status"], "alive");
}
