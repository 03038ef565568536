//! The endpoints for other services' clients, without those clients.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use base64::Engine as _;
use common::{Service, real_service, service, settings};
use serde_json::{Value, json};

async fn post(s: &Service, path: &str, body: &Value) -> (u16, Value) {
    let request = s.client.post(s.at(path)).json(body);
    let response = request
        .header("authorization", "Bearer sk-anything")
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.headers()["content-type"], "application/json");
    (status, response.json().await.unwrap())
}

fn jpeg() -> Vec<u8> {
    let pixels = (0..64 * 48 * 3).map(|n| (n % 251) as u8).collect();
    let picture = novastream_features::picture::RgbImage::new(64, 48, pixels).unwrap();
    picture.encode_jpeg(90).unwrap()
}

fn picture(url: &str) -> Value {
    json!({"input": [{"type": "image_url", "image_url": {"url": url}}]})
}

#[tokio::test]
async fn moderations_are_verdicts_and_are_stored() {
    let s = real_service(settings()).await;
    let text = "you are a worthless idiot, shut up";
    let (status, answer) = post(&s, "/v1/moderations", &json!({"input": text})).await;
    assert_eq!(status, 200, "{answer}");
    let result = &answer["results"][0];
    assert_eq!(result["flagged"], true);
    let id = result["novastream"]["verdict_ids"][0].as_str().unwrap();
    assert_eq!(answer["id"], format!("modr-{id}"));
    let reviews = s.get("/v1/reviews?status=open").await;
    let stored = reviews["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["id"] == id)
        .unwrap();
    // The same scores as the native route gives, by the native names.
    for (name, score) in result["category_scores"].as_object().unwrap() {
        let own = &stored["categories"][name];
        match own["status"].as_str().unwrap() {
            "scored" => assert_eq!(own["score"], *score, "{name}"),
            _ => assert!(
                result["not_evaluated"]
                    .as_array()
                    .unwrap()
                    .contains(&json!(name)),
                "{name}"
            ),
        }
    }
}

#[tokio::test]
async fn pictures_come_as_data_or_by_permitted_urls() {
    let mut allowed = settings();
    allowed.image_urls.allow_private_hosts = true;
    let s = real_service(allowed).await;
    let data = base64::engine::general_purpose::STANDARD.encode(jpeg());
    let (status, by_data) = post(
        &s,
        "/v1/moderations",
        &picture(&format!("data:image/jpeg;base64,{data}")),
    )
    .await;
    assert_eq!(status, 200, "{by_data}");

    let bytes = jpeg();
    let site = axum::Router::new()
        .route("/a.jpg", axum::routing::get(move || async move { bytes }))
        .route(
            "/away",
            axum::routing::get(|| async { axum::response::Redirect::temporary("/a.jpg") }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, site).await });
    let (status, by_url) = post(&s, "/v1/moderations", &picture(&format!("{host}/a.jpg"))).await;
    assert_eq!(status, 200, "{by_url}");
    let scores = |answer: &Value| answer["results"][0]["category_scores"].clone();
    assert_eq!(scores(&by_url), scores(&by_data));

    for (url, status, code) in [
        (format!("{host}/away"), 400, "image_url_failed"),
        (format!("{host}/nothing"), 400, "image_url_failed"),
        (
            "ftp://a.example/a.jpg".to_owned(),
            403,
            "image_url_forbidden",
        ),
        (
            "data:image/png;base64,aGVsbG8=".to_owned(),
            415,
            "image_unsupported_format",
        ),
    ] {
        let (got, answer) = post(&s, "/v1/moderations", &picture(&url)).await;
        assert_eq!(
            (got, &answer["error"]["code"]),
            (status, &json!(code)),
            "{url}"
        );
        assert_eq!(answer["error"]["param"], "input", "{answer}");
    }
    // Closed unless somebody opens it.
    let strict = service(settings()).await;
    let (status, answer) = post(
        &strict,
        "/v1/moderations",
        &picture(&format!("{host}/a.jpg")),
    )
    .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (403, &json!("image_url_forbidden"))
    );
}

#[tokio::test]
async fn errors_have_the_shape_of_the_route() {
    let s = service(settings()).await;
    for (body, code) in [
        (json!({}), "invalid_json"),
        (json!({"input": 5}), "invalid_json"),
        (json!({"input": []}), "invalid_item"),
        (json!({"input": vec!["a"; 300]}), "too_many_items"),
    ] {
        let (status, answer) = post(&s, "/v1/moderations", &body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(code)),
            "{answer}"
        );
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    let (status, answer) = post(&s, "/v1/moderations", &json!({"input": "[panic]"})).await;
    assert_eq!(
        (status, &answer["error"]["type"]),
        (500, &json!("server_error"))
    );
    let ask = json!({"comment": {"text": "[panic]"}, "requestedAttributes": {"TOXICITY": {}}});
    let (status, answer) = post(&s, "/v1alpha1/comments:analyze?key=k&alt=json", &ask).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (500, &json!("INTERNAL"))
    );
    let (status, answer) = post(&s, "/v1alpha1/comments:nothing", &ask).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (404, &json!("NOT_FOUND"))
    );
    let misspelt = json!({"comment": {"text": "a"}, "requestedAttribute": {}});
    let (status, answer) = post(&s, "/v1alpha1/comments:analyze", &misspelt).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (400, &json!("INVALID_ARGUMENT"))
    );
}

#[tokio::test]
async fn a_missing_model_is_an_error_and_never_a_zero() {
    let mut none = settings();
    none.models.zoo = Some(std::env::temp_dir().join("novastream-no-zoo"));
    let s = real_service(none).await;
    let ask = json!({"comment": {"text": "hello"}, "requestedAttributes": {"TOXICITY": {}}});
    let (status, answer) = post(&s, "/v1alpha1/comments:analyze", &ask).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (503, &json!("UNAVAILABLE"))
    );
    assert_eq!(
        answer["error"]["details"][0]["metadata"]["code"],
        "model_not_loaded"
    );
    let (status, answer) = post(&s, "/v1/moderations", &json!({"input": "hello"})).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer["results"][0]["flagged"], true,
        "what was not judged is not allowed"
    );
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let mut small = settings();
    small.queue.text_workers = 1;
    small.queue.waiting = 0;
    let s = service(small).await;
    s.judge.shut();
    let held = tokio::spawn(s.post_text(&json!({"items": [{"text": "a"}]})).send());
    while s.judge.calls.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let request = s.client.post(s.at("/v1/moderations"));
    let busy = request.json(&json!({"input": "a"})).send().await.unwrap();
    assert_eq!(busy.status(), 429);
    assert_eq!(busy.headers()["retry-after"], "1");
    assert_eq!(busy.headers()["retry-after-ms"], "1000");
    let ask = json!({"comment": {"text": "hello"}, "requestedAttributes": {"TOXICITY": {}}});
    let (status, answer) = post(&s, "/v1alpha1/comments:analyze", &ask).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (429, &json!("RESOURCE_EXHAUSTED"))
    );
    s.judge.open();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}
