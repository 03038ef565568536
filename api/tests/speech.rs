//! From `models.speech` to a verdict about what was said, with a tiny network of our own making.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use common::speech::{checkpoint, wave};
use common::{real_service, settings};
use serde_json::{Value, json};

#[tokio::test]
async fn what_is_said_in_a_segment_is_judged_and_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    checkpoint(&folder);
    let list = dir.path().join("words.tsv");
    std::fs::write(&list, "harassment\t3\tidiot\n").unwrap();
    let mut settings = settings();
    settings.models.speech = Some(folder);
    // No pulled models: without a voice detector what is loud is transcribed.
    settings.models.dir = Some(dir.path().join("none"));
    settings.text_lists = vec![list];
    let s = real_service(settings).await;

    let models = s.get("/v1/models").await;
    let model = models["models"].as_array().unwrap().iter();
    let mut model = model.filter(|m| m["task"] == "speech-to-text");
    let model = model.next().unwrap();
    assert_eq!(
        (&model["name"], &model["state"]),
        (&json!("tiny"), &json!("ready"))
    );
    let version = model["version"].as_str().unwrap();

    let said = |verdict: &Value| -> Vec<Value> {
        let evidence = verdict["evidence"].as_array().cloned().unwrap_or_default();
        evidence
            .into_iter()
            .filter(|e| e["modality"] == "speech")
            .collect()
    };
    let send = async |bytes: Vec<u8>| -> Value {
        let query = "stream_id=s&start_ms=60000";
        let response = s.post_segment(query, bytes).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    };
    let verdict = send(wave(2, true)).await;
    let words = said(&verdict);
    let insult = words.iter().find(|e| e["detail"]["matched"] == "idiot");
    let insult = insult.unwrap_or_else(|| panic!("{verdict:#}"));
    assert_eq!(insult["category"], "harassment");
    assert_eq!(insult["detail"]["reader"], format!("tiny@{version}"));
    let text = insult["detail"]["text"].as_str().unwrap();
    assert!(text.starts_with("you are an idiot"), "{text}");
    let times = (insult["start_ms"].as_i64(), insult["end_ms"].as_i64());
    assert!(
        times.0 >= Some(60_000) && times.1 <= Some(62_000),
        "{times:?}"
    );
    assert_ne!(verdict["action"], "allow");
    // It is stored as it was answered.
    let stored = s.get("/v1/streams/s/verdicts").await;
    assert_eq!(said(&stored["verdicts"][0]), words);

    assert_eq!(said(&send(wave(2, false)).await), [] as [Value; 0]);
}

#[tokio::test]
async fn a_speech_model_that_is_not_there_degrades_what_has_sound() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.models.speech = Some(dir.path().join("absent"));
    let s = real_service(settings).await;
    let response = s.post_segment("stream_id=s", wave(1, true)).send();
    let verdict: Value = response.await.unwrap().json().await.unwrap();
    let degraded = verdict["degraded"].as_array().unwrap();
    let speech = degraded
        .iter()
        .find(|d| d["component"] == "speech")
        .unwrap();
    let reason = speech["reason"].as_str().unwrap();
    assert!(reason.starts_with("speech_model_unreadable"), "{reason}");
    assert_eq!(verdict["review"], true);
}
