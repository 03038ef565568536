//! Segments of one stream: order, idempotency, deadlines, overload.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{refused, service, settings};
use serde_json::json;

#[tokio::test]
async fn the_same_key_is_answered_with_the_stored_verdict() {
    let s = service(settings()).await;
    let send = |query: &str, key: &str, bytes: &str| {
        s.post_segment(query, bytes.as_bytes())
            .header("idempotency-key", key.to_owned())
    };
    let first = send("stream_id=s&sequence=1", "k1", "bytes")
        .send()
        .await
        .unwrap();
    assert!(first.headers().get("idempotent-replayed").is_none());
    let first: serde_json::Value = first.json().await.unwrap();
    let again = send("stream_id=s&sequence=1", "k1", "bytes")
        .send()
        .await
        .unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<serde_json::Value>().await.unwrap(), first);
    assert_eq!(s.judge.calls.load(Ordering::SeqCst), 1);

    // Another sequence or stream is another segment; other bytes are a mistake.
    for query in ["stream_id=s&sequence=2", "stream_id=t&sequence=1"] {
        let other: serde_json::Value = send(query, "k1", "bytes")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_ne!(other["id"], first["id"]);
    }
    let r = refused(send("stream_id=s&sequence=1", "k1", "other bytes")).await;
    assert_eq!((r.status, r.code()), (422, "idempotency_mismatch"));
    assert_eq!(
        refused(send("sequence=1", "k1", "bytes")).await.code(),
        "invalid_header"
    );
    assert_eq!(
        refused(send("stream_id=s", "", "bytes")).await.code(),
        "invalid_header"
    );
}

#[tokio::test]
async fn two_requests_with_one_key_at_once_are_one_verdict() {
    let s = service(settings()).await;
    s.judge.shut();
    let send = || {
        let request = s.post_segment("stream_id=s&sequence=1", b"bytes".to_vec());
        tokio::spawn(request.header("idempotency-key", "k").send())
    };
    let (a, b) = (send(), send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    s.judge.open();
    let a: serde_json::Value = a.await.unwrap().unwrap().json().await.unwrap();
    let b: serde_json::Value = b.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(a, b);
    assert_eq!(s.judge.calls.load(Ordering::SeqCst), 1);
    assert_eq!(
        s.get("/v1/streams/s/verdicts").await["verdicts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_full_queue_answers_429_at_once_and_nothing_is_lost() {
    let mut settings = settings();
    settings.queue.workers = 1;
    settings.queue.text_workers = 1;
    settings.queue.waiting = 2;
    let s = service(settings).await;
    s.judge.shut();
    let body = json!({"items": [{"text": "hello", "channel_id": "c"}]});
    let mut accepted: Vec<_> = (0..3)
        .map(|_| tokio::spawn(s.post_text(&body).send()))
        .collect();
    // Text and media have queues of their own.
    while s.app.texts.check().is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(s.app.pool.check().is_ok());
    accepted.extend((0..3).map(|_| tokio::spawn(s.post_segment("", vec![0; 1000]).send())));
    while s.app.pool.check().is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let r = refused(s.post_text(&body)).await;
    assert_eq!(
        (r.status, r.code(), r.retry_after.as_deref()),
        (429, "overloaded", Some("1"))
    );
    let r = refused(s.post_segment("", vec![0; 1000])).await;
    assert_eq!(r.code(), "overloaded");
    assert!(begun.elapsed() < Duration::from_secs(2));
    s.judge.open();
    for request in accepted {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(
        s.get("/v1/streams/c/verdicts").await["verdicts"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    s.text("again", None).await;
}

#[tokio::test]
async fn deadlines_count_in_the_queue_and_in_the_models() {
    let mut settings = settings();
    settings.queue.workers = 1;
    settings.queue.text_workers = 1;
    let s = service(settings).await;
    s.judge.shut();
    let body = json!({"items": [{"text": "hello", "channel_id": "c"}]});
    let ask = || s.post_text(&body).header("x-deadline-ms", "150");
    let begun = Instant::now();
    let running = tokio::spawn(ask().send());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let queued = refused(ask()).await;
    assert_eq!((queued.status, queued.code()), (504, "deadline_exceeded"));
    assert!(queued.detail().contains("queue"), "{}", queued.detail());
    assert_eq!(running.await.unwrap().unwrap().status(), 504);
    assert!(begun.elapsed() < Duration::from_secs(2));
    // Segments of one stream wait for each other, within their deadlines.
    let slow = tokio::spawn(s.post_segment("stream_id=s", b"a".to_vec()).send());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let behind = s
        .post_segment("stream_id=s", b"b".to_vec())
        .header("x-deadline-ms", "100");
    assert!(
        refused(behind)
            .await
            .detail()
            .contains("behind other segments")
    );
    s.judge.open();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    // What was answered 504 was not stored.
    assert_eq!(s.get("/v1/streams/c/verdicts").await["verdicts"], json!([]));
}

#[tokio::test]
async fn bodies_together_are_bounded() {
    let mut settings = settings();
    settings.limits.segment_bytes = 100_000;
    settings.limits.image_bytes = 100_000;
    settings.limits.text_bytes = 100_000;
    settings.limits.in_flight_bytes = 150 << 10;
    let s = service(settings).await;
    s.judge.shut();
    let first = tokio::spawn(s.post_segment("", vec![1; 100_000]).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let r = refused(s.post_segment("", vec![1; 100_000])).await;
    assert_eq!((r.status, r.code()), (429, "overloaded"));
    assert!(r.detail().contains("in_flight_bytes"));
    s.judge.open();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    let again = s.post_segment("", vec![1; 100_000]).send().await.unwrap();
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_service_in_order() {
    let s = service(settings()).await;
    s.judge.shut();
    let request = s
        .post_segment("stream_id=s", b"a".to_vec())
        .timeout(Duration::from_millis(100));
    assert!(request.send().await.is_err());
    // The service sees a closed connection only when its task runs next.
    tokio::time::sleep(Duration::from_millis(500)).await;
    s.judge.open();
    let next = s
        .post_segment("stream_id=s", b"b".to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(next.status(), 200);
    let page = s.get("/v1/streams/s/verdicts").await;
    assert_eq!(
        page["verdicts"].as_array().unwrap().len(),
        1,
        "the first was cancelled"
    );
}
