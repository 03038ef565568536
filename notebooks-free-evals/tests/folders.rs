//! `frames` and `audio` over small folders that the tests draw and synthesise themselves.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here fails the test"
)]

use std::f32::consts::TAU;
use std::path::Path;

use clap::Parser;
use novastream_evals::audio::{self, AudioReport};
use novastream_evals::error::EvalError;
use novastream_evals::frames::{self, FramesOptions, FramesReport};
use novastream_evals::moderated::FolderOptions;
use novastream_evals::report::Report;
use novastream_features::picture::RgbImage;
use novastream_inference::Category;
use serde_json::Value;
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: FolderOptions,
}

#[derive(Parser)]
struct FramesCli {
    #[command(flatten)]
    options: FramesOptions,
}

fn frames_options(dir: &Path, rest: &[&str]) -> FramesOptions {
    let dir = dir.display().to_string();
    let fixed = ["eval", "--dir", &dir];
    FramesCli::parse_from(fixed.into_iter().chain(rest.iter().copied())).options
}

fn options(dir: &Path, rest: &[&str]) -> FolderOptions {
    let dir = dir.display().to_string();
    let fixed = ["eval", "--dir", &dir];
    Cli::parse_from(fixed.into_iter().chain(rest.iter().copied())).options
}

/// Whether pulled models are at hand; says which test is skipped if not.
fn has_model(name: &str) -> bool {
    let root = std::env::var_os("NOVASTREAM_MODELS").unwrap_or_default();
    let present = !root.is_empty() && Path::new(&root).join(name).is_dir();
    if !present {
        println!("skipped: {name} not present (set NOVASTREAM_MODELS)");
    }
    present
}

/// A sky above a meadow, somewhat different for each `seed`.
fn landscape(seed: u32) -> Vec<u8> {
    let (width, height) = (320, 240);
    let mut data = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let wave = ((x + seed * 31) as f32 / 40.0).sin() * 20.0 + 120.0;
            let speckle = ((x * 7 + y * 13 + seed) % 16) as u8;
            let sky = [90 + speckle, 150, 210];
            let meadow = [60, 120 + speckle, 40];
            data.extend(if (y as f32) < wave { sky } else { meadow });
        }
    }
    RgbImage::new(width, height, data)
        .unwrap()
        .encode_jpeg(90)
        .unwrap()
}

/// A 16-bit mono WAV of `samples` at 16 kHz.
fn wav(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes())
        .collect();
    let mut out = Vec::from(*b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(*b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        out.extend(half.to_le_bytes());
    }
    for word in [16_000_u32, 32_000] {
        out.extend(word.to_le_bytes());
    }
    for half in [2_u16, 16] {
        out.extend(half.to_le_bytes());
    }
    out.extend(*b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// Three seconds that are computed sample by sample from the time in seconds.
fn three_seconds(f: impl Fn(f32) -> f32) -> Vec<u8> {
    wav(&(0..48_000)
        .map(|i| f(i as f32 / 16_000.0))
        .collect::<Vec<_>>())
}

fn pictures() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["everyday/a.jpg", "everyday/b.jpg", "guns/c.jpg", "d.jpg"]
        .iter()
        .enumerate()
    {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, landscape(i as u32)).unwrap();
    }
    std::fs::write(dir.path().join("everyday/broken.jpg"), b"no picture").unwrap();
    dir
}

fn clips() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let silence = three_seconds(|_| 0.0);
    let tone = three_seconds(|t| (TAU * 440.0 * t).sin() * 0.3);
    // Up and down between 650 and 1,250 Hz, the way an emergency vehicle wails: the phase is the
    // integral of 950 - 300 cos(2π t / 1.5).
    let wail = three_seconds(|t| {
        let swing = 1.5 / TAU * (TAU * t / 1.5).sin();
        (TAU * (950.0 * t - 300.0 * swing)).sin() * 0.5
    });
    for (name, bytes) in [
        ("calm/silence.wav", silence),
        ("calm/tone.wav", tone),
        ("siren/wail.wav", wail),
    ] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(dir.path().join("calm/broken.ogg"), b"no sound").unwrap();
    dir
}

fn json(report: &impl Report) -> Value {
    serde_json::to_value(report).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn frames_without_the_screen_says_so_and_is_no_success() {
    let (dir, store) = (pictures(), tempfile::tempdir().unwrap());
    let store = store.path().display().to_string();
    let report: FramesReport =
        frames::pipeline(&frames_options(dir.path(), &["--store", &store])).unwrap();
    assert_eq!(report.folder.status, "not_evaluated");
    assert!(
        report
            .folder
            .reason
            .as_ref()
            .unwrap()
            .contains("nsfw-mobilenet-v2")
    );
    assert_eq!(report.done().unwrap_err().code(), "not_evaluated");
    assert!(
        report
            .folder
            .tally
            .not_evaluated
            .contains(&Category::Sexual)
    );
    assert!(
        !report
            .folder
            .tally
            .all
            .categories
            .contains_key(&Category::Sexual)
    );
    assert!(
        report
            .folder
            .head
            .models
            .iter()
            .all(|m| !m.starts_with("nsfw"))
    );
    assert!(report.text().contains("NOT EVALUATED"));
    // The folder was read all the same.
    assert_eq!((report.folder.n, report.folder.error_count), (4, 1));
    assert!(report.folder.errors[0].file.ends_with("broken.jpg"));
    let value = json(&report);
    assert_eq!(value["command"], "frames");
    assert!(value["machine"]["cores"].as_u64().unwrap() >= 1);
    assert_eq!(value["targets"]["weapons"]["status"], "not_evaluated");
    assert_eq!(value["labels"]["everyday"]["n"], 2);
    assert_eq!(value["labels"][""]["n"], 1);
}

#[test]
fn frames_with_models_scores_every_picture() {
    if !has_model("nsfw-mobilenet-v2") {
        return;
    }
    let dir = pictures();
    let file = dir.path().join("scores.jsonl");
    let file_name = file.display().to_string();
    let report = frames::pipeline(&frames_options(dir.path(), &["--scores", &file_name])).unwrap();
    assert_eq!(
        (
            report.folder.status,
            report.folder.n,
            report.folder.error_count
        ),
        ("evaluated", 4, 1)
    );
    assert!(report.done().is_ok());
    assert!(
        report
            .folder
            .head
            .models
            .iter()
            .any(|m| m.starts_with("nsfw-mobilenet-v2@"))
    );
    let sexual = &report.folder.tally.all.categories[&Category::Sexual];
    assert_eq!(sexual.n, 4);
    assert!(sexual.max < 0.5, "a drawn landscape scored {}", sexual.max);
    assert!(sexual.mean > 0.0);

    let lines = lines(&file);
    assert_eq!(lines.len(), 5);
    let named: Vec<&str> = lines.iter().map(|l| l["label"].as_str().unwrap()).collect();
    assert_eq!(named, ["", "everyday", "everyday", "everyday", "guns"]);
    for line in &lines {
        if line["file"].as_str().unwrap().ends_with("broken.jpg") {
            assert!(line["error"].is_string() && line["scores"].as_object().unwrap().is_empty());
        } else {
            assert!(line["scores"]["sexual"].as_f64().unwrap() < 0.5);
        }
    }

    // The same picture has the same score however many are judged at once.
    let alone = frames::pipeline(&frames_options(dir.path(), &["--threads", "1"])).unwrap();
    assert_eq!(alone.folder.tally, report.folder.tally);
}

#[test]
fn audio_without_the_model_says_so_and_is_no_success() {
    let (dir, store) = (clips(), tempfile::tempdir().unwrap());
    let store = store.path().display().to_string();
    let report: AudioReport = audio::run(&options(dir.path(), &["--store", &store])).unwrap();
    assert_eq!(report.folder.status, "not_evaluated");
    assert_eq!(report.done().unwrap_err().code(), "not_evaluated");
    assert!(
        report
            .folder
            .tally
            .not_evaluated
            .contains(&Category::DangerousSound)
    );
    assert_eq!(
        (report.windows_per_cpu_second, report.window_ms),
        (None, None)
    );
    assert_eq!((report.folder.n, report.folder.error_count), (3, 1));
    assert!((report.seconds - 9.0).abs() < 0.2, "{}", report.seconds);
    // Three seconds are six windows; one of the three clips is silent.
    assert!(
        report.windows >= 10 && report.silent_windows >= 5,
        "{report:?}"
    );
}

#[test]
fn audio_with_the_model_hears_the_siren_and_nothing_in_silence() {
    if !has_model("yamnet") {
        return;
    }
    let dir = clips();
    let file = dir.path().join("scores.jsonl");
    let file_name = file.display().to_string();
    let report = audio::run(&options(dir.path(), &["--scores", &file_name])).unwrap();
    assert_eq!((report.folder.status, report.folder.n), ("evaluated", 3));
    assert!(report.done().is_ok());
    assert!(
        report
            .folder
            .head
            .models
            .iter()
            .any(|m| m.starts_with("yamnet@"))
    );
    assert!(report.window_ms.unwrap() > 0.0);
    let score = |name: &str| {
        let lines = lines(&file);
        let line = lines
            .iter()
            .find(|l| l["file"].as_str().unwrap().ends_with(name))
            .unwrap();
        line["scores"]["dangerous-sound"].as_f64()
    };
    assert_eq!(score("silence.wav"), Some(0.0));
    assert_eq!(score("broken.ogg"), None);
    assert!(score("wail.wav").unwrap() > score("tone.wav").unwrap());
    let target = &report.folder.tally.targets[&Category::DangerousSound];
    assert_eq!(target.status, "evaluated");
    assert!((target.ranking.unwrap().auc - 1.0).abs() < 1e-9);
}

#[test]
fn a_wrong_model_label_or_folder_is_refused() {
    let dir = pictures();
    let refused = |rest: &[&str]| frames::pipeline(&frames_options(dir.path(), rest)).unwrap_err();
    assert_eq!(
        refused(&["--model", "nobody@1"]).code(),
        "model_unavailable"
    );
    let folder = dir.path().display().to_string();
    assert!(
        refused(&["--model", &folder])
            .to_string()
            .contains("training run")
    );
    assert_eq!(refused(&["--category", "guns=nothing"]).code(), "usage");
    assert_eq!(refused(&["--limit", "0"]).code(), "usage");
    assert_eq!(refused(&["--threads", "0"]).code(), "usage");
    let error: EvalError = audio::run(&options(dir.path(), &[])).unwrap_err();
    assert_eq!(error.code(), "no_files");
}
