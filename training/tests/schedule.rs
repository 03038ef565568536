//! Rounds of `novastream-train recommender schedule`, with a stand-in for the evaluation.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use novastream_models::recommender::RecommenderBundle;
use serde_json::Value;

/// Users who take turns between their own channels, ten minutes apart.
fn write_events(path: &Path, rows: u32) {
    let mut text = "user,item,time\n".to_owned();
    for at in 0..rows {
        let user = at % 40;
        let item = (user % 4) * 5 + (at / 40 + user) % 5;
        text.push_str(&format!("u{user},i{item},{}\n", at / 4));
    }
    std::fs::write(path, text).expect("writes");
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("folder"),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that answers as the evaluation does, and notes how it was called.
    fn judge(&self, decision: &str) -> PathBuf {
        let path = self.at(&format!("judge-{decision}"));
        let calls = self.at("calls").display().to_string();
        let answer = format!(
            r#"{{"comparison": {{"decision": "{decision}", "reasons": ["because"], "difference": 0.02, "interval": [0.01, 0.03]}}}}"#
        );
        let text = format!("#!/bin/sh\necho \"$*\" >> '{calls}'\necho '{answer}'\n");
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("may run");
        path
    }

    fn round(&self, judge: &Path, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_novastream-train"));
        command.args(["recommender", "schedule", "--step-seconds=600", "--json"]);
        command.arg("--events").arg(self.at("events.csv"));
        command.arg("--work").arg(self.at("work"));
        command.arg("--eval-program").arg(judge).args(more);
        command.args(["--", "--dims=8", "--no-search"]);
        command.output().expect("runs")
    }

    fn decide(&self, judge: &Path, more: &[&str]) -> Value {
        let output = self.round(judge, more);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        // A second passes, so that every round has a stamp of its own.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }

    fn production(&self) -> PathBuf {
        std::fs::canonicalize(self.at("work/production")).expect("a link")
    }
}

#[test]
fn recommender_schedule_promotes_keeps_waits_and_cleans_up() {
    let place = Place::new();
    write_events(&place.at("events.csv"), 4_000);
    let (yes, no) = (place.judge("promote"), place.judge("keep"));
    // What a round that died has left.
    std::fs::create_dir_all(place.at("work/2020.0101.000000.part/candidate")).expect("folder");

    let first = place.decide(&no, &[]);
    assert_eq!(first["outcome"], "promote", "{first}");
    assert!(!place.at("calls").exists(), "nothing to compare with");
    assert!(!place.at("work/2020.0101.000000.part").exists());
    let one = place.production();
    let bundle = RecommenderBundle::load(&one).expect("whole");
    assert_eq!(bundle.config.trained_until, 1_000);

    let second = place.decide(&yes, &[]);
    assert_eq!(second["outcome"], "wait", "{second}");

    write_events(&place.at("events.csv"), 5_000);
    let third = place.decide(&no, &[]);
    assert_eq!(
        (&third["outcome"], &third["cut"]),
        (&"keep".into(), &1_187.into())
    );
    assert_eq!(place.production(), one);
    let calls = std::fs::read_to_string(place.at("calls")).expect("called");
    assert!(calls.contains("--from=1187") && calls.contains("--step-seconds=600"));

    let fourth = place.decide(&yes, &["--keep=0", "--full-every=2"]);
    assert_eq!(fourth["outcome"], "promote", "{fourth}");
    assert_eq!(fourth["production"], first["candidate"]);
    let two = place.production();
    assert!(two != one && !one.exists(), "the old model was tidied away");
    let bundle = RecommenderBundle::load(&two).expect("whole");
    assert_eq!(bundle.config.trained_until, 1_250);

    let lines = std::fs::read_to_string(place.at("work/decisions.jsonl")).expect("there");
    let outcomes: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["promote", "wait", "keep", "promote"]);
}

#[test]
fn recommender_schedule_that_goes_wrong_leaves_production_alone() {
    let place = Place::new();
    write_events(&place.at("events.csv"), 4_000);
    let odd = place.judge("perhaps");
    place.decide(&odd, &[]);
    let one = place.production();
    write_events(&place.at("events.csv"), 5_000);
    let output = place.round(&odd, &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no decision"));
    assert_eq!(place.production(), one);

    std::fs::create_dir(place.at("folder")).expect("folder");
    let folder = place.at("folder");
    let link = format!("--production={}", folder.display());
    let output = place.round(&odd, &[&link]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be a link"));
    for wrong in ["--every=0", "--judge-share=0", "--full-every=0"] {
        assert!(!place.round(&odd, &[wrong]).status.success(), "{wrong}");
    }
}
