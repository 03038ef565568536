//! A whole training run on the sample that ships: small, but every step is the real one.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use novastream_datasets::sample::chat_sample_path;
use novastream_features::text::{NgramHasher, Normalizer};
use novastream_models::linear::LinearChatModel;
use novastream_models::manifest::Manifest;
use novastream_training::chat::{self, ChatArgs, ChatReport};

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ChatArgs,
}

fn args(out: &Path, more: &[&str]) -> ChatArgs {
    let sample = chat_sample_path();
    let mut line = vec!["chat", "--data", sample.to_str().expect("path"), "--out"];
    line.push(out.to_str().expect("path"));
    line.extend([
        "--hash-bits",
        "14",
        "--epochs",
        "30",
        "--validation-fraction",
        "0.4",
    ]);
    line.extend(["--min-positives", "3", "--min-auc", "0.6"]);
    // Eighty messages: every feature counts.
    line.extend(["--min-count", "1", "--min-weight", "0"]);
    line.extend(more);
    Cli::parse_from(line).args
}

fn train(out: &Path, more: &[&str]) -> ChatReport {
    chat::run(&args(out, more)).expect("run")
}

fn score(model: &LinearChatModel, head: &str, text: &str) -> f32 {
    let (mut features, mut scores) = (Vec::new(), Vec::new());
    let normalized = Normalizer::new().normalize(text);
    NgramHasher::with_set(model.hash_bits(), model.ngram_set()).features(
        text,
        &normalized,
        &mut features,
    );
    model.score(&features, &mut scores);
    scores[model.head(head).expect(head)]
}

#[test]
fn a_run_makes_a_model_that_loads_and_learned_something() {
    let dir = tempfile::tempdir().expect("dir");
    let sample = chat_sample_path();
    let report = train(
        dir.path(),
        &[
            "--report",
            sample.to_str().expect("path"),
            "--note",
            "A small run.",
        ],
    );
    assert_eq!(report.model, "chat-linear@0.1.0");
    let model = LinearChatModel::load(dir.path()).expect("model");
    let insult = score(&model, "toxicity", "you are an idiot");
    let calm = score(&model, "toxicity", "my ping is 120 ms today, so laggy");
    assert!(insult > calm + 0.2, "{insult} {calm}");
    let figures = &report.report[0].heads["toxicity"];
    assert!(figures.auc.expect("auc") > 0.9, "{figures:?}");

    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect(name);
    let manifest = Manifest::from_toml(&read("manifest.toml"), "test").expect("manifest");
    let heads: Vec<&str> = model
        .heads()
        .iter()
        .map(|head| head.name.as_str())
        .collect();
    assert_eq!(manifest.labels, heads);
    assert!(
        manifest
            .thresholds
            .values()
            .all(|threshold| *threshold == 0.5)
    );
    let card = read("MODEL_CARD.md");
    for part in [
        "# chat-linear@0.1.0",
        "A small run.",
        "not in the catalogue",
        "Not shipped",
        "Test files",
    ] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    assert!(read("config.json").contains("\"seed\": 7"));
    assert!(read("metrics.json").contains("auc_within_sources"));
    assert!(read("train.log").contains("84 messages"));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let weights = |more: &[&str]| {
        let dir = tempfile::tempdir().expect("dir");
        train(dir.path(), more);
        std::fs::read(dir.path().join("weights.nslm")).expect("weights")
    };
    let first = weights(&[]);
    assert_eq!(first, weights(&[]));
    assert_ne!(first, weights(&["--seed", "8"]));
}

#[test]
fn unlabelled_heads_are_not_shipped() {
    let dir = tempfile::tempdir().expect("dir");
    let report = train(dir.path(), &[]);
    let hate = report
        .heads
        .iter()
        .find(|head| head.head == "hate")
        .expect("hate");
    assert!(!hate.kept);
    assert_eq!(hate.reason.as_deref(), Some("no source labels both kinds"));
    let model = LinearChatModel::load(dir.path()).expect("model");
    assert_eq!(model.head("hate"), None);
}

#[test]
fn what_cannot_be_trained_says_why() {
    let dir = tempfile::tempdir().expect("dir");
    let code = |change: &dyn Fn(&mut ChatArgs)| {
        let mut args = args(dir.path(), &[]);
        change(&mut args);
        chat::run(&args).expect_err("refused").code()
    };
    assert_eq!(
        code(&|args| args.exclude_source = vec!["sample".into()]),
        "no_rows"
    );
    assert_eq!(code(&|args| args.min_positives = 1000), "no_head");
    assert_eq!(code(&|args| args.background = 0.99), "usage");
    assert_eq!(
        code(&|args| args.data = vec!["missing.csv".into()]),
        "data_unreadable"
    );
}
