//! The three routes that judge, and what they refuse.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::io::Write as _;

use common::{refused, service, settings};
use serde_json::json;

#[tokio::test]
async fn texts_are_answered_in_order_with_ids_and_places() {
    let s = service(settings()).await;
    let body = json!({"items": [
        {"text": "hello"}, {"id": "x", "text": "you are an idiot", "channel_id": "c"},
    ]});
    let response = s
        .post_text(&body)
        .header("x-request-id", "mine-1")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let answer: serde_json::Value = response.json().await.unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(
        (&results[0]["item_id"], &results[0]["action"]),
        (&json!("0"), &json!("allow"))
    );
    assert_eq!(
        (&results[1]["item_id"], &results[1]["action"]),
        (&json!("x"), &json!("hold"))
    );
    assert_eq!(
        results[1]["seq"].as_i64().unwrap(),
        results[0]["seq"].as_i64().unwrap() + 1
    );
    // Only the one with a channel is a verdict of that stream; the answer and the store agree.
    let page = s.get("/v1/streams/c/verdicts").await;
    assert_eq!(page["verdicts"], json!([results[1]]));
    let reviews = s.get("/v1/reviews?status=open").await;
    assert_eq!(reviews["verdicts"], json!([results[1]]));
}

#[tokio::test]
async fn the_real_models_judge_text() {
    let s = common::real_service(settings()).await;
    let good = s.text("good luck everyone, have fun", None).await;
    assert_eq!(good["kind"], "text");
    assert!(good["categories"].as_object().unwrap().len() >= 20);
    assert_eq!(good["policy"], s.app.policies.default_policy().label());
    let models = s.get("/v1/models").await;
    let chat = models["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["task"] == "chat");
    let ready = chat.is_some_and(|m| m["state"] == "ready");
    // Without a model the verdict says so and goes to a person.
    assert_eq!(good["review"].as_bool().unwrap(), !ready, "{good}");
    assert_eq!(good.get("degraded").is_none(), ready);
    if ready {
        assert_eq!(good["action"], "allow");
        let bad = s.text("you are a worthless idiot, shut up", None).await;
        assert!(bad["action"] != "allow" || bad["review"] == true, "{bad}");
    } else {
        println!("skipped: chat model not present");
    }
}

#[tokio::test]
async fn wrong_texts_are_refused_with_a_reason() {
    let s = service(settings()).await;
    let url = s.at("/v1/moderate/text");
    let raw = |body: &str| {
        let request = s
            .client
            .post(&url)
            .header("content-type", "application/json");
        request.body(body.to_owned())
    };
    let r = refused(raw("{\"items\": [\n{\"text\": 5}]}")).await;
    assert_eq!((r.status, r.code()), (400, "invalid_json"));
    assert!(r.detail().contains("line 2 column"), "{}", r.detail());
    let r = refused(raw("{\"items\":[{\"text\":\"a\",\"txet\":1}]}")).await;
    assert!(
        r.detail().contains("unknown field `txet`"),
        "{}",
        r.detail()
    );
    assert_eq!(refused(raw("{\"items\":[]}")).await.code(), "invalid_item");
    assert_eq!(refused(raw("")).await.code(), "empty_body");
    let control = json!({"items": [{"id": "a\nb", "text": "x"}]});
    assert_eq!(refused(s.post_text(&control)).await.code(), "invalid_item");
    let many: Vec<_> = (0..257).map(|_| json!({"text": "a"})).collect();
    let r = refused(s.post_text(&json!({"items": many}))).await;
    assert_eq!((r.status, r.code()), (422, "too_many_items"));
    let named = json!({"items": [{"text": "a"}], "policy": "nope"});
    let r = refused(s.post_text(&named)).await;
    assert_eq!((r.status, r.code()), (422, "policy_unknown"));
    let form = s
        .client
        .post(&url)
        .header("content-type", "text/plain")
        .body("{}");
    assert_eq!(refused(form).await.status, 415);
    let large = json!({"items": [{"text": "a".repeat(2 << 20)}]});
    let r = refused(s.post_text(&large)).await;
    assert_eq!((r.status, r.code()), (413, "body_too_large"));
    let late = s
        .post_text(&json!({"items": [{"text": "a"}]}))
        .header("x-deadline-ms", "soon");
    assert_eq!(refused(late).await.code(), "invalid_header");
}

#[tokio::test]
async fn the_default_policy_can_be_named() {
    let s = service(settings()).await;
    let label = s.app.policies.default_policy().label();
    let body = json!({"items": [{"text": "a"}], "policy": label});
    let response = s.post_text(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_are_compressed_both_ways_and_bounded_after_decompression() {
    let s = service(settings()).await;
    let post = |body: Vec<u8>, encoding: &str| {
        s.client
            .post(s.at("/v1/moderate/text"))
            .header("content-type", "application/json")
            .header("content-encoding", encoding)
            .header("accept-encoding", "gzip")
            .body(body)
    };
    let body = json!({"items": (0..50).map(|_| json!({"text": "hello"})).collect::<Vec<_>>()});
    let response = post(gzip(body.to_string().as_bytes()), "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = response.bytes().await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*bytes), &mut text).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["results"].as_array().unwrap().len(), 50);

    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let r = refused(post(bomb, "gzip")).await;
    assert_eq!((r.status, r.code()), (413, "body_too_large"));
    assert_eq!(
        refused(post(b"not gzip".to_vec(), "gzip")).await.code(),
        "invalid_encoding"
    );
    assert_eq!(
        refused(post(b"x".to_vec(), "br")).await.code(),
        "unsupported_encoding"
    );
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_service_lives() {
    let s = service(settings()).await;
    let r = refused(s.post_text(&json!({"items": [{"text": "[panic]"}]}))).await;
    assert_eq!((r.status, r.code()), (500, "internal"));
    assert!(
        !r.detail().contains("on purpose"),
        "what broke is for the log"
    );
    s.text("hello", None).await;
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist() {
    let s = service(settings()).await;
    assert_eq!(
        refused(s.client.get(s.at("/v1/nothing"))).await.code(),
        "not_found"
    );
    let r = refused(s.client.get(s.at("/v1/moderate/text"))).await;
    assert_eq!((r.status, r.code()), (405, "method_not_allowed"));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=-1",
        "nonsense=1",
        "stream=maybe",
    ] {
        let r = refused(
            s.client
                .get(s.at(&format!("/v1/streams/c/verdicts?{query}"))),
        )
        .await;
        assert_eq!((r.status, r.code()), (400, "invalid_query"), "{query}");
    }
    let r = refused(s.client.get(s.at("/v1/reviews?status=closed"))).await;
    assert_eq!(r.code(), "invalid_query");
}

#[tokio::test]
async fn pictures_are_judged_or_refused() {
    let s = common::real_service(settings()).await;
    let post = |query: &str, body: Vec<u8>| {
        s.client
            .post(s.at(&format!("/v1/moderate/image?{query}")))
            .body(body)
    };
    let pixels = (0..64 * 48 * 3).map(|n| (n % 251) as u8).collect();
    let picture = novastream_features::picture::RgbImage::new(64, 48, pixels).unwrap();
    let jpeg = picture.encode_jpeg(90).unwrap();
    let response = post("stream_id=c&item_id=t-1", jpeg.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let verdict: serde_json::Value = response.json().await.unwrap();
    assert_eq!(
        (&verdict["kind"], &verdict["item_id"]),
        (&json!("image"), &json!("t-1"))
    );
    assert_eq!(
        s.get("/v1/streams/c/verdicts").await["verdicts"][0]["id"],
        verdict["id"]
    );

    let r = refused(post("", b"no picture at all".to_vec())).await;
    assert_eq!((r.status, r.code()), (415, "image_unsupported_format"));
    let r = refused(post("", jpeg[..30].to_vec())).await;
    assert_eq!((r.status, r.code()), (422, "image_corrupt"));
    assert_eq!(refused(post("", Vec::new())).await.code(), "empty_body");
    let r = refused(post("", vec![0; (16 << 20) + 1])).await;
    assert_eq!((r.status, r.code()), (413, "body_too_large"));
    assert!(r.detail().contains("limits.image_bytes"));
}

#[tokio::test]
async fn segments_are_judged_or_refused() {
    let s = common::real_service(settings()).await;
    let r = refused(s.post_segment("", b"this is no recording".to_vec())).await;
    assert_eq!((r.status, r.code()), (415, "media_not_recognised"));
    assert_eq!(
        refused(s.post_segment("", Vec::new())).await.code(),
        "empty_body"
    );
    assert_eq!(
        refused(s.post_segment("sequence=-1", b"x".to_vec()))
            .await
            .code(),
        "invalid_query"
    );
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.ts");
    common::clip(&file, 2, &["-f", "mpegts"]);
    let bytes = std::fs::read(&file).unwrap();
    let query = "stream_id=s&sequence=4&start_ms=8000";
    let response = s.post_segment(query, bytes).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let v: serde_json::Value = response.json().await.unwrap();
    assert_eq!((&v["kind"], &v["sequence"]), (&json!("segment"), &json!(4)));
    assert_eq!(v["start_ms"], 8000);
    let end = v["end_ms"].as_i64().unwrap();
    assert!((9500..=10_500).contains(&end), "{end}");
    assert_eq!(v["media"]["video"]["width"], 320);
    // The stream's temporal state is stored with the verdict.
    assert!(s.app.store.history("s".into()).await.unwrap().is_some());
}
