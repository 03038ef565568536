//! Events in, the live set in, lists out; and all of it again after a restart.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use common::{Service, service, settings};
use novastream_api::{loading, recommend};
use serde_json::{Value, json};

async fn post(s: &Service, path: &str, body: Value) -> (u16, Value) {
    let request = if path == "/v1/live" {
        s.client.put(format!("{}{path}", s.url))
    } else {
        s.client.post(format!("{}{path}", s.url))
    };
    let response = request.json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn list(s: &Service, query: &str) -> (u16, Value) {
    let url = format!("{}/v1/recommendations?{query}", s.url);
    let response = s.client.get(url).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn event(id: &str, user: &str, stream: &str) -> Value {
    json!({"id": id, "user_id": user, "stream_id": stream, "type": "watch", "at": "2026-11-22T16:00:00Z"})
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["stream_id"].as_str().unwrap())
        .collect()
}

fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

#[tokio::test]
async fn recommender_lists_are_what_is_live_and_trending() {
    let s = service(settings()).await;
    let (status, empty) = list(&s, "user_id=u").await;
    assert_eq!((status, ids(&empty).len()), (200, 0));
    let live = json!({"streams": [{"stream_id": "a"}, {"stream_id": "b", "tags": ["x"]}, {"stream_id": "a"}]});
    assert_eq!(post(&s, "/v1/live", live).await, (200, json!({"live": 2})));
    let mut events: Vec<Value> = (0..3)
        .map(|n| event(&format!("e{n}"), &format!("u{n}"), "b"))
        .collect();
    for e in &mut events {
        e["at"] = json!(now() - 60.0);
    }
    events.push(event("e9", "u9", "gone"));
    let sent = json!({"events": events});
    let answer = post(&s, "/v1/events", sent.clone()).await;
    assert_eq!(answer, (200, json!({"accepted": 4, "duplicates": 0})));
    let answer = post(&s, "/v1/events", sent).await;
    assert_eq!(answer, (200, json!({"accepted": 0, "duplicates": 4})));
    let (_, shown) = list(&s, "user_id=stranger&n=5&surface=home").await;
    assert_eq!(ids(&shown), ["b", "a"]);
    assert_eq!(shown["fallback"], "trending");
    assert_eq!(shown["model"], Value::Null);
    assert_eq!(shown["items"][0]["reason"], "trending");
    assert_eq!(shown["items"][1]["reason"], "live-now");
    let (_, one) = list(&s, "user_id=stranger&n=1").await;
    assert_eq!(ids(&one), ["b"]);
    post(&s, "/v1/live", json!({"streams": []})).await;
    assert!(ids(&list(&s, "user_id=u").await.1).is_empty());
}

#[tokio::test]
async fn recommender_memory_comes_back_from_the_store() {
    let s = service(settings()).await;
    post(
        &s,
        "/v1/live",
        json!({"streams": [{"stream_id": "x"}, {"stream_id": "y"}]}),
    )
    .await;
    let mut sent = event("1", "u", "y");
    sent["at"] = json!(now() - 5.0);
    let mut follow = event("2", "u", "x");
    follow["type"] = json!("follow");
    post(&s, "/v1/events", json!({"events": [sent, follow]})).await;
    let fresh = loading::recommender(&s.app.settings).unwrap();
    let count = recommend::refill(&s.app.store, &fresh).await.unwrap();
    assert_eq!(count, 2);
    assert_eq!(fresh.users(), 1);
    let list = fresh.recommend("u", 9, now() as i64 + 1);
    let names: Vec<&str> = list.items.iter().map(|i| i.stream_id.as_str()).collect();
    assert_eq!(names, ["y", "x"]);
}

#[tokio::test]
async fn recommender_bad_input_says_what_to_do() {
    let mut settings = settings();
    (settings.recommend.events, settings.recommend.live_streams) = (2, 2);
    let s = service(settings).await;
    let events = |list: Vec<Value>| json!({"events": list});
    let mut odd = event("1", "u", "s");
    odd["at"] = json!("soon");
    let mut future = event("1", "u", "s");
    future["at"] = json!(now() + 3600.0);
    for (body, code) in [
        (events(vec![]), "invalid_item"),
        (events(vec![event("", "u", "s")]), "invalid_item"),
        (events(vec![odd]), "invalid_item"),
        (events(vec![future]), "invalid_item"),
        (
            events((0..3).map(|n| event(&n.to_string(), "u", "s")).collect()),
            "too_many_items",
        ),
        (json!({"event": []}), "invalid_json"),
    ] {
        let (_, problem) = post(&s, "/v1/events", body).await;
        assert_eq!(problem["code"], code, "{problem}");
    }
    let streams: Vec<Value> = (0..3)
        .map(|n| json!({"stream_id": n.to_string()}))
        .collect();
    let (status, problem) = post(&s, "/v1/live", json!({"streams": streams})).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("too_many_items"))
    );
    for query in [
        "",
        "user_id=",
        "user_id=u&n=0",
        "user_id=u&n=1000",
        "user_id=u&x=1",
    ] {
        let (status, problem) = list(&s, query).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (400, Some("invalid_query")),
            "{query}"
        );
    }
}

#[test]
fn recommender_folder_that_is_none_is_refused_at_start() {
    let mut settings = settings();
    settings.recommend.model = Some("no/such/folder".into());
    let error = loading::recommender(&settings).unwrap_err();
    assert!(format!("{error:#}").contains("no/such/folder"));
}
