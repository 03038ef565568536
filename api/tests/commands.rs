//! The program's commands: what they print, where, and how they exit.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::process::Output;

use common::process::{program, serve};
use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    program()
        .args(args)
        .env("NOVASTREAM__DATA_DIR", dir.path())
        .output()
        .unwrap()
}

/// stdout as one JSON object and nothing else.
fn object(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value.is_object());
    value
}

#[test]
fn moderate_judges_a_text() {
    let verdict = object(&run(&[
        "moderate",
        "--text",
        "good luck, have fun",
        "--json",
    ]));
    assert_eq!(
        (&verdict["kind"], &verdict["item_id"]),
        (&"text".into(), &"0".into())
    );
    let table = run(&["moderate", "--text", "good luck, have fun"]);
    assert!(table.status.success());
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("modality") && table.contains("text"),
        "{table}"
    );
}

#[test]
fn moderate_knows_files_by_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note.txt");
    std::fs::write(&note, "good luck, have fun").unwrap();
    let verdict = object(&run(&["moderate", note.to_str().unwrap(), "--json"]));
    assert_eq!(
        (&verdict["kind"], &verdict["item_id"]),
        (&"text".into(), &"note.txt".into())
    );
    let pixels = (0..64 * 48 * 3).map(|n| (n % 251) as u8).collect();
    let picture = novastream_features::picture::RgbImage::new(64, 48, pixels).unwrap();
    let image = dir.path().join("picture");
    std::fs::write(&image, picture.encode_jpeg(90).unwrap()).unwrap();
    let verdict = object(&run(&["moderate", image.to_str().unwrap(), "--json"]));
    assert_eq!(verdict["kind"], "image");
    if common::have_ffmpeg() {
        let clip = dir.path().join("clip.bin");
        common::clip(&clip, 2, &["-f", "mpegts"]);
        let verdict = object(&run(&["moderate", clip.to_str().unwrap(), "--json"]));
        assert_eq!(verdict["kind"], "segment");
    }
}

#[test]
fn what_cannot_be_judged_fails_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let junk = dir.path().join("junk");
    std::fs::write(&junk, b"nothing of any kind").unwrap();
    for (args, part) in [
        (
            vec!["moderate", junk.to_str().unwrap(), "--json"],
            "media_not_recognised",
        ),
        (vec!["moderate", "/no/such/file", "--json"], "/no/such/file"),
        (
            vec!["moderate", "--text", "a", "--policy", "/no/policy.toml"],
            "/no/policy.toml",
        ),
        (vec!["models", "pull", "no-such-model"], "known are"),
        (
            vec!["serve", "--config", "/no/config.toml"],
            "/no/config.toml",
        ),
    ] {
        let output = run(&args);
        assert!(!output.status.success(), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn models_are_listed_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let with = |args: &[&str]| {
        let mut command = program();
        command
            .args(args)
            .env("NOVASTREAM__MODELS__DIR", dir.path())
            .output()
            .unwrap()
    };
    let list = object(&with(&["models", "list", "--json"]));
    let models = list["models"].as_array().unwrap();
    for name in [
        "nsfw-mobilenet-v2",
        "yamnet",
        "ppocr-v4-det",
        "ppocr-v4-rec",
        "onnxruntime",
    ] {
        let model = models
            .iter()
            .find(|m| m["name"] == name)
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (&model["state"], &model["origin"]),
            (&"missing".into(), &"catalog".into())
        );
    }
    let table = String::from_utf8(with(&["models", "list"]).stdout).unwrap();
    assert_eq!(table.lines().count(), models.len());
    assert!(
        with(&["models", "verify"]).status.success(),
        "nothing here is nothing broken"
    );
    assert!(!with(&["models", "verify", "yamnet"]).status.success());
}

#[test]
fn a_local_watch_prints_a_line_a_window_and_ends_with_the_file() {
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("clip.mp4");
    common::clip(&clip, 6, &[]);
    let output = run(&[
        "watch",
        clip.to_str().unwrap(),
        "--json",
        "--stream-id",
        "mine",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    // Three of two seconds, and a short one where the sound is a little longer.
    assert!((3..=4).contains(&lines.len()), "{text}");
    assert!(
        lines
            .iter()
            .all(|v| v["kind"] == "window" && v["stream_id"] == "mine")
    );
    assert!(lines.iter().all(|v| v["latency_ms"].is_f64()));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(
        notes.contains(&format!("ended: {} windows", lines.len())),
        "{notes}"
    );
    let table = String::from_utf8(run(&["watch", clip.to_str().unwrap()]).stdout).unwrap();
    assert!(
        table.lines().count() >= 4 && table.contains("latency"),
        "{table}"
    );
    let gone = run(&["watch", dir.path().join("none.mp4").to_str().unwrap()]);
    assert!(!gone.status.success());
}

#[test]
fn a_watch_at_a_service_follows_it_with_the_chat() {
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("clip.mp4");
    common::clip(&clip, 6, &[]);
    let server = serve(
        &dir.path().join("data"),
        &[("NOVASTREAM__WATCH__ALLOW_FILES", "true")],
    );
    let before = serde_json::json!({"items": [{"text": "before", "channel_id": "s"}]});
    server.post_json("/v1/moderate/text", &before);
    let output = program()
        .args([
            "watch",
            clip.to_str().unwrap(),
            "--server",
            &server.url,
            "--stream-id",
            "s",
        ])
        .arg("--json")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!((3..=4).contains(&lines.len()), "{text}");
    // Not what was there before the watch.
    assert!(
        lines
            .iter()
            .all(|v| v["kind"] == "window" && v["seq"].is_i64())
    );
}

#[test]
fn ctrl_c_ends_the_watch_at_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &[("NOVASTREAM__WATCH__START_TIMEOUT_S", "60")]);
    let watch = |more: &[&str]| {
        program()
            .args([
                "watch",
                "http://127.0.0.1:9/live.m3u8",
                "--server",
                &server.url,
            ])
            .args(["--stream-id", "s", "--seconds", "1"])
            .args(more)
            .output()
            .unwrap()
    };
    let kept = watch(&["--keep"]);
    assert!(
        kept.status.success(),
        "{}",
        String::from_utf8_lossy(&kept.stderr)
    );
    assert_eq!(
        server.get("/v1/watches?active=true")["watches"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let ended = watch(&[]);
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(
        server.get("/v1/watches?active=true")["watches"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let away = program()
        .args(["watch", "http://h/x", "--server", "http://127.0.0.1:9"])
        .output();
    assert!(!away.unwrap().status.success());
}

#[test]
fn a_graph_is_exported_as_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("encoder.onnx");
    let out = file.to_str().unwrap();
    for name in ["chat-minilm", "sound-cnn"] {
        let done = run(&["models", "export", name, "--out", out]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        let graph = novastream_models::onnx::decode(&std::fs::read(&file).unwrap());
        assert!(graph.is_ok(), "{graph:?}");
    }
    for (name, word) in [
        ("chat-linear", "without an ONNX graph"),
        ("nobody", "no model"),
    ] {
        let refused = run(&["models", "export", name, "--out", out]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(word), "{said}");
    }
}
