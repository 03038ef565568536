//! kill -9 of the real program: what was acknowledged is there, watches go on, gaps are reported.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::process::{Server, program, serve};
use serde_json::{Value, json};

#[test]
fn every_acknowledged_verdict_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(BTreeMap::<i64, String>::new()));
    for round in 0..3 {
        let server = serve(dir.path(), &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let url = format!("{}/v1/moderate/text", server.url);
                let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
                std::thread::spawn(move || {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let text = format!("message {round} {w} {n}");
                        let body = json!({"items": [{"text": text, "channel_id": "c"}]});
                        let sent = ureq::post(&url)
                            .content_type("application/json")
                            .send(body.to_string())
                            .and_then(|mut r| r.body_mut().read_to_string());
                        // The connection breaks when the server is killed: not acknowledged.
                        let Ok(answer) = sent else { break };
                        let answer: Value = serde_json::from_str(&answer).unwrap();
                        let verdict = &answer["results"][0];
                        let id = verdict["id"].as_str().unwrap().to_owned();
                        let seq = verdict["seq"].as_i64().unwrap();
                        let before = acknowledged.lock().unwrap().insert(seq, id);
                        assert!(before.is_none(), "seq {seq} was given twice");
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(700));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
    }
    let server = serve(dir.path(), &[]);
    let stored: BTreeMap<i64, String> = stream(&server, "c")
        .iter()
        .map(|v| {
            (
                v["seq"].as_i64().unwrap(),
                v["id"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let acknowledged = acknowledged.lock().unwrap();
    assert!(
        acknowledged.len() > 30,
        "only {} messages went through",
        acknowledged.len()
    );
    for (seq, id) in acknowledged.iter() {
        assert_eq!(
            stored.get(seq),
            Some(id),
            "verdict {seq} was acknowledged and is lost"
        );
    }
}

/// All verdicts of a stream, page by page.
fn stream(server: &Server, id: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = server.get(&format!(
            "/v1/streams/{id}/verdicts?after={after}&limit=500"
        ));
        let verdicts = page["verdicts"].as_array().unwrap().clone();
        after = page["next_after"].as_i64().unwrap();
        all.extend(verdicts);
        if page["has_more"] == false {
            return all;
        }
    }
}

#[test]
fn a_watch_goes_on_after_kill_9_and_loses_nothing() {
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clip.ts");
    // Slow enough on any machine that the first process does not finish it.
    common::clip(&file, 120, &["-f", "mpegts"]);
    let env = [
        ("NOVASTREAM__WATCH__ALLOW_FILES", "true"),
        ("NOVASTREAM__WATCH__WINDOW_MS", "500"),
        ("NOVASTREAM__WATCH__QUEUE_WINDOWS", "2"),
    ];
    let data = dir.path().join("data");
    let server = serve(&data, &env);
    let body = json!({"url": file.to_str().unwrap(), "stream_id": "s"});
    let watch = server.post_json("/v1/watches", &body);
    let path = format!("/v1/watches/{}", watch["id"].as_str().unwrap());
    let seen = wait(|| Some(stream(&server, "s")).filter(|v| v.len() >= 10));
    assert_ne!(
        server.get(&path)["state"],
        "ended",
        "too quick to be killed in the middle"
    );
    server.kill();

    let server = serve(&data, &env);
    let done = wait(|| Some(server.get(&path)).filter(|w| w["state"] == "ended"));
    let all = stream(&server, "s");
    assert_eq!(
        all[..seen.len()],
        seen[..],
        "what was seen before the kill has changed"
    );
    let mut end = all[0]["start_ms"].as_i64().unwrap();
    for (n, v) in all.iter().enumerate() {
        assert_eq!(v["kind"], "window", "a file that is read again has no gap");
        assert_eq!(
            v["start_ms"].as_i64().unwrap(),
            end,
            "window {n} is doubled or missing"
        );
        assert_eq!(v["sequence"].as_u64().unwrap(), n as u64);
        end = v["end_ms"].as_i64().unwrap();
    }
    assert!(end >= 119_000, "{end}");
    assert_eq!(
        done["counts"]["windows"].as_u64().unwrap(),
        all.len() as u64
    );
    assert!(done["counts"]["repeated"].as_u64().unwrap() >= 10);
}

fn wait<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "waited for too long"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sigterm_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(
        dir.path(),
        &[("NOVASTREAM__SHUTDOWN__DRAIN_DELAY_MS", "1500")],
    );
    let body = json!({"url": "http://127.0.0.1:9/live.m3u8", "stream_id": "s"});
    server.post_json("/v1/watches", &body);
    assert_eq!(server.get("/readyz")["status"], "ready");
    server.signal("-TERM");
    let url = format!("{}/readyz", server.url);
    wait(|| matches!(ureq::get(&url).call(), Err(ureq::Error::StatusCode(503))).then_some(()));
    // Draining: not ready any more, still serving.
    let text = json!({"items": [{"text": "hello", "channel_id": "c"}]});
    assert_eq!(
        server.post_json("/v1/moderate/text", &text)["results"][0]["kind"],
        "text"
    );
    let status = wait(|| server.child.try_wait().unwrap());
    assert!(status.success(), "{status}");
    // The watch was not ended by that.
    let server = serve(dir.path(), &[]);
    assert_eq!(
        server.get("/v1/watches?active=true")["watches"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(stream(&server, "c").len(), 1);
}

#[test]
fn one_data_folder_has_one_service() {
    let dir = tempfile::tempdir().unwrap();
    let _first = serve(dir.path(), &[]);
    let second = program()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("NOVASTREAM__DATA_DIR", dir.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8_lossy(&second.stderr);
    assert!(
        message.contains("in use by another novastream"),
        "{message}"
    );
}
