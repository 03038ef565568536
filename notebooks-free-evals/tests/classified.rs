//! A sound network trained on clips that the test synthesises, then evaluated as it is served.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here fails the test"
)]

use std::path::Path;

use clap::Parser;
use novastream_evals::audio::AudioOptions;
use novastream_evals::classified;
use novastream_evals::report::Report;
use novastream_training::sound::{self, AudioArgs};

#[derive(Parser)]
struct TrainCli {
    #[command(flatten)]
    args: AudioArgs,
}

#[derive(Parser)]
struct EvalCli {
    #[command(flatten)]
    options: AudioOptions,
}

/// Two seconds of a tone that comes and goes, 16-bit mono WAV at 16 kHz.
fn clip(hz: f32, pace: f32) -> Vec<u8> {
    let samples: Vec<i16> = (0..32_000)
        .map(|i| {
            let t = i as f32 / 16_000.0;
            let swell = 0.5 + 0.5 * (std::f32::consts::TAU * pace * t).sin();
            ((std::f32::consts::TAU * hz * t).sin() * swell * 9_000.0) as i16
        })
        .collect();
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let mut out = Vec::from(*b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(*b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    out.extend([1_u16, 1].iter().flat_map(|v| v.to_le_bytes()));
    out.extend([16_000_u32, 32_000].iter().flat_map(|v| v.to_le_bytes()));
    out.extend([2_u16, 16].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(*b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

fn clips(dir: &Path) {
    for (label, hz) in [("high", 3000.0), ("low", 300.0)] {
        std::fs::create_dir_all(dir.join(label)).unwrap();
        for fold in 1..=3 {
            for i in 0..3 {
                let (i, fold) = (i as f32, fold as f32);
                let bytes = clip(hz * (1.0 + 0.05 * i + 0.02 * fold), 1.0 + 0.3 * i);
                std::fs::write(dir.join(label).join(format!("{fold}-{i}.wav")), bytes).unwrap();
            }
        }
    }
}

fn train(dir: &Path, out: &Path, rest: &[&str]) -> sound::AudioReport {
    let (dir, out) = (dir.display().to_string(), out.display().to_string());
    let fixed = ["train", "--dir", &dir, "--out", &out, "--base", "cnn"];
    let small = ["--channels", "4,6", "--epochs", "20", "--batch", "6"];
    let all = fixed.iter().chain(&small).chain(rest);
    sound::run(&TrainCli::parse_from(all).args).unwrap()
}

#[test]
fn what_training_measured_is_what_serving_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("data"), dir.path().join("model"));
    clips(&data);
    let report = train(&data, &out, &["--no-refit"]);
    assert_eq!((report.clips, report.labels.len()), (18, 2));
    let held_out = &report.held_out["fold 1"];
    assert_eq!(held_out.n, 6);
    for file in [
        "manifest.toml",
        "MODEL_CARD.md",
        "config.json",
        "metrics.json",
        "data.json",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }

    let scores = dir.path().join("scores.jsonl");
    let (data_name, out_name) = (data.display().to_string(), out.display().to_string());
    let scores_name = scores.display().to_string();
    let parse = |rest: &[&str]| {
        let fixed = ["eval", "--dir", &data_name, "--model", &out_name];
        EvalCli::parse_from(fixed.iter().chain(rest)).options
    };
    let options = parse(&["--fold", "1", "--scores", &scores_name, "--json"]);
    let model = options.trained().unwrap().unwrap();
    let answer = classified::run(&options.folder, &model, &options.fold).unwrap();
    assert_eq!(answer.figures.n, 6);
    assert!((answer.figures.accuracy - held_out.accuracy).abs() < 1e-9);
    for (label, precision) in &answer.figures.average_precision {
        assert!((precision - held_out.average_precision[label]).abs() < 1e-6);
    }
    assert!(answer.text().contains("accuracy"));
    let json = serde_json::to_value(&answer).unwrap();
    for key in [
        "accuracy",
        "average_precision",
        "confusion",
        "n",
        "models",
        "errors",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    let lines = std::fs::read_to_string(&scores).unwrap();
    assert_eq!(lines.lines().count(), 6);
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let sum = line["scores"]["high"].as_f64().unwrap() + line["scores"]["low"].as_f64().unwrap();
    assert!((sum - 1.0).abs() < 1e-4 && line["label"] == "high");

    // The same data and options give the same bytes, from a checkpoint as well as from nothing.
    let weights = |dir: &Path| std::fs::read(dir.join("sound.safetensors")).unwrap();
    let first = weights(&out);
    train(&data, &out, &["--no-refit"]);
    assert!(
        weights(&out) == first,
        "going on from the end changes nothing"
    );
    let other = dir.path().join("other");
    train(&data, &other, &["--no-refit"]);
    assert!(
        weights(&other) == first,
        "the same seed gives the same model"
    );
}

#[test]
fn a_folder_that_is_no_sound_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    clips(dir.path());
    let name = dir.path().display().to_string();
    let parse =
        |model: &str| EvalCli::parse_from(["eval", "--dir", &name, "--model", model]).options;
    // A catalogue's name is for the pipeline, a folder without a manifest for nobody.
    assert!(parse("yamnet").trained().unwrap().is_none());
    assert!(parse(&name).trained().unwrap().is_none());
    std::fs::write(
        dir.path().join("manifest.toml"),
        "name = \"x\"\nversion = \"1.0.0\"\ntask = \"chat\"\nlicence = \"MIT\"\ndescription = \"d\"\n",
    )
    .unwrap();
    let error = parse(&name).trained().unwrap_err();
    assert_eq!(error.code(), "model_unavailable");
}
