//! The recommender's training run from end to end.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use novastream_models::recommender::RecommenderBundle;

/// Two groups of users with their own items, each user leaving some out.
fn write_events(path: &Path, days: u32) {
    let mut text = "who,what,when\n".to_owned();
    for user in 0..60_u32 {
        for step in 0..10 + days {
            let item = (user % 2) * 20 + (user * 7 + step * step * 3) % 20;
            text.push_str(&format!("u{user},i{item},{}\n", step * 6 + user % 6));
        }
    }
    std::fs::write(path, text).expect("writes");
}

fn train(events: &Path, out: &Path, more: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_novastream-train"))
        .args([
            "recommender",
            "--user-col",
            "who",
            "--item-col",
            "what",
            "--time-col",
            "when",
        ])
        .args(["--goal", "rest", "--dims", "8", "--json", "--events"])
        .arg(events)
        .arg("--out")
        .arg(out)
        .args(more)
        .output()
        .expect("runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn recommender_trains_loads_and_updates() {
    let dir = tempfile::tempdir().expect("folder");
    let events = dir.path().join("events.csv");
    write_events(&events, 0);
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let report = train(&events, &first, &[]);
    assert_eq!(report["users"], 60);
    let bundle = RecommenderBundle::load(&first).expect("loads");
    let number = |id: &str| bundle.item_number(id).expect("known");
    let candidates = [number("i7"), number("i21")];
    let history = [(number("i0"), 1.0), (number("i3"), 1.0)];
    let mut scores = [0.0; 2];
    bundle.score(&history, &candidates, &mut scores);
    assert!(scores[0] > scores[1], "{scores:?}");

    train(&events, &second, &[]);
    let bytes = |dir: &Path| std::fs::read(dir.join("base.safetensors")).expect("there");
    assert!(
        bytes(&first) == bytes(&second),
        "the same run gives the same bytes"
    );

    write_events(&events, 3);
    let third = dir.path().join("third");
    let from = first.to_str().expect("a plain name");
    let report = train(&events, &third, &["--update", from]);
    assert_eq!(report["tries"].as_array().map(Vec::len), Some(0));
    assert_eq!(
        RecommenderBundle::load(&third).expect("loads").config.blend,
        bundle.config.blend
    );
}

#[test]
fn recommender_refuses_what_it_cannot_use() {
    let dir = tempfile::tempdir().expect("folder");
    let events = dir.path().join("events.csv");
    write_events(&events, 0);
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_novastream-train"))
            .args(["recommender", "--events"])
            .arg(&events)
            .arg("--out")
            .arg(dir.path().join("out"))
            .args(more)
            .output()
            .expect("runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&[]).contains("no column \"user\""));
    let columns = [
        "--user-col",
        "who",
        "--item-col",
        "what",
        "--time-col",
        "when",
    ];
    assert!(run(&[&columns[..], &["--until=-5"]].concat()).contains("no events"));
    assert!(run(&[&columns[..], &["--ease-lambda=0"]].concat()).contains("above 0"));
}
