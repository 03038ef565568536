//! The program itself: one JSON object on stdout, and an exit status that can be trusted.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here fails the test"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn eval(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_novastream-eval"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn a_report_of_what_was_not_evaluated_is_one_object_and_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let picture =
        novastream_features::picture::RgbImage::new(64, 48, vec![90; 64 * 48 * 3]).unwrap();
    std::fs::create_dir(dir.path().join("grey")).unwrap();
    std::fs::write(
        dir.path().join("grey/a.jpg"),
        picture.encode_jpeg(90).unwrap(),
    )
    .unwrap();
    let output = eval(
        &["frames", "--dir", ".", "--store", "no-models", "--json"],
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["status"], "not_evaluated");
    assert_eq!(report["command"], "frames");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["labels"]["grey"]["n"], 1);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("error[not_evaluated]"), "{stderr}");

    let text = eval(
        &["frames", "--dir", ".", "--store", "no-models"],
        dir.path(),
    );
    assert!(
        String::from_utf8(text.stdout)
            .unwrap()
            .contains("NOT EVALUATED")
    );
}

#[test]
fn failures_print_nothing_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (
            &["frames", "--dir", "nowhere", "--json"][..],
            "error[data_unreadable]",
        ),
        (&["audio", "--dir", ".", "--json"], "error[no_files]"),
        (
            &["load", "--target", "https://127.0.0.1", "--json"],
            "error[target_invalid]",
        ),
    ] {
        let output = eval(arguments, dir.path());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(code), "{arguments:?}: {stderr}");
    }
}
