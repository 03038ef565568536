//! A whole run of the full tier, from a tiny encoder with random weights.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use novastream_datasets::chat::load_chat;
use novastream_datasets::sample::chat_sample_path;
use novastream_models::encoder::pack::WEIGHTS_FILE;
use novastream_models::encoder::{ChatEncoder, Packed};
use novastream_models::manifest::Manifest;
use novastream_training::chat::{self, ChatArgs};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ChatArgs,
}

const WIDTH: usize = 32;
const INNER: usize = 64;

/// Writes a BERT checkpoint of two layers whose vocabulary is the sample's words.
fn base(dir: &Path) {
    let mut vocabulary: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .map(str::to_owned)
        .to_vec();
    for row in load_chat(&chat_sample_path()).expect("sample") {
        for word in row
            .text
            .to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
        {
            if !word.is_empty() && !vocabulary.iter().any(|known| known == word) {
                vocabulary.push(word.to_owned());
            }
        }
    }
    let n = vocabulary.len();
    std::fs::write(dir.join("vocab.txt"), vocabulary.join("\n")).expect("vocab");
    let config = serde_json::json!({
        "vocab_size": n, "max_position_embeddings": 256, "type_vocab_size": 2, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": 2, "num_attention_heads": 4,
        "hidden_act": "gelu",
    });
    std::fs::write(dir.join("config.json"), config.to_string()).expect("config");
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut put = |name: String, shape: &[usize]| {
        shapes.insert(name, shape.to_vec());
    };
    put("embeddings.word_embeddings.weight".into(), &[n, WIDTH]);
    put(
        "embeddings.position_embeddings.weight".into(),
        &[256, WIDTH],
    );
    put(
        "embeddings.token_type_embeddings.weight".into(),
        &[2, WIDTH],
    );
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..2 {
        let at = format!("encoder.layer.{layer}");
        for (name, rows, columns) in [
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", INNER, WIDTH),
            ("output.dense", WIDTH, INNER),
        ] {
            put(format!("{at}.{name}.weight"), &[rows, columns]);
            put(format!("{at}.{name}.bias"), &[rows]);
        }
        norms.push(format!("{at}.attention.output.LayerNorm"));
        norms.push(format!("{at}.output.LayerNorm"));
    }
    for norm in &norms {
        put(format!("{norm}.weight"), &[WIDTH]);
        put(format!("{norm}.bias"), &[WIDTH]);
    }
    let mut rng = StdRng::seed_from_u64(3);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let gain = norms.iter().any(|norm| name == format!("{norm}.weight"));
            let values = (0..shape.iter().product()).map(|_| {
                let noise: f32 = rng.random_range(-0.2..0.2);
                if gain { 1.0 } else { noise }
            });
            let bytes = values.flat_map(f32::to_le_bytes).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("view");
        (name.as_str(), view)
    });
    let file = safetensors::serialize(views, None).expect("file");
    std::fs::write(dir.join("model.safetensors"), file).expect("weights");
}

fn args(base: &Path, out: &Path, steps: &str) -> ChatArgs {
    Cli::parse_from(options(base, out, steps)).args
}

/// The command line of a small run, from the subcommand on.
fn options(base: &Path, out: &Path, steps: &str) -> Vec<String> {
    let sample = chat_sample_path();
    [
        "chat",
        "--tier",
        "full",
        "--data",
        sample.to_str().expect("path"),
        "--out",
        out.to_str().expect("path"),
        "--base",
        base.to_str().expect("path"),
        "--steps",
        steps,
        "--batch",
        "16",
        "--encoder-learning-rate",
        "0.003",
        "--checkpoint-every",
        "20",
        "--validation-fraction",
        "0.4",
        "--min-positives",
        "3",
        "--min-auc",
        "0.5",
        "--hash-bits",
        "14",
        "--min-count",
        "1",
        "--min-weight",
        "0",
        "--patience",
        "100",
        // Thousands of our own sentences would drown the sample's few messages.
        "--no-counterfactuals",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn a_run_makes_a_model_that_both_halves_of_the_house_read() {
    let dir = tempfile::tempdir().expect("dir");
    base(dir.path());
    let out = dir.path().join("run");
    let report = chat::run(&args(dir.path(), &out, "60")).expect("run");
    assert!(report.heads.iter().any(|h| h.head == "toxicity" && h.kept));
    let log = std::fs::read_to_string(out.join("train.log")).expect("log");
    let losses: Vec<f64> = log
        .lines()
        .filter_map(|line| line.split_once("loss ")?.1.split(',').next()?.parse().ok())
        .collect();
    assert_eq!(losses.len(), 3, "{log}");
    assert!(losses[2] < 0.8 * losses[0], "{losses:?}");

    let manifest = std::fs::read_to_string(out.join("manifest.toml")).expect("manifest");
    let manifest = Manifest::from_toml(&manifest, "run").expect("manifest");
    assert_eq!(manifest.id(), "chat-minilm@0.1.0");
    let model = std::fs::read(out.join(WEIGHTS_FILE)).expect("weights");
    let model = ChatEncoder::from_bytes(&model).expect("model");
    assert_eq!(model.description.heads.len(), manifest.labels.len());
    let classifier = model.to_classifier().expect("classifier");
    let mut texts = Packed::default();
    texts.push(&[2, 4, 5, 3], &[]).expect("text");
    let logits = classifier.logits(&texts).expect("logits");
    assert_eq!(logits[0].len(), manifest.labels.len());
}

#[test]
fn a_trained_encoder_is_joined_and_routed_anew() {
    let dir = tempfile::tempdir().expect("dir");
    base(dir.path());
    let (first, again) = (dir.path().join("first"), dir.path().join("again"));
    chat::run(&args(dir.path(), &first, "60")).expect("run");
    let mut options = args(dir.path(), &again, "60");
    options.encoder.base = None;
    options.encoder.from = Some(first.clone());
    options.model_version = "0.1.1".to_owned();
    chat::run(&options).expect("run");
    let read = |dir: &Path| {
        let bytes = std::fs::read(dir.join(WEIGHTS_FILE)).expect("weights");
        ChatEncoder::from_bytes(&bytes).expect("model")
    };
    let (first, second) = (read(&first), read(&again));
    assert_eq!(first.matrices, second.matrices);
    let heads: Vec<&str> = second
        .description
        .heads
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert!(heads.contains(&"toxicity"), "{heads:?}");
    assert_eq!(
        second.floats["head.bias"].0,
        [second.description.heads.len()]
    );
    let card = std::fs::read_to_string(again.join("MODEL_CARD.md")).expect("card");
    assert!(
        card.contains("--from") && card.contains("Cascade"),
        "{card}"
    );
}

#[test]
fn a_run_that_was_killed_ends_as_if_it_had_not_been() {
    let dir = tempfile::tempdir().expect("dir");
    base(dir.path());
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let child = |out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_novastream-train"));
        command.args(options(dir.path(), out, "60"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let log = |out: &Path| std::fs::read_to_string(out.join("train.log")).unwrap_or_default();
    let mut killed = child(&parts).spawn().expect("start");
    while !log(&parts).contains("step 20 of") {
        let ended = killed.try_wait().expect("child");
        assert!(ended.is_none(), "it ended by itself: {}", log(&parts));
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill().expect("kill");
    killed.wait().expect("child");
    assert!(!log(&parts).contains("step 60 of"), "too late to tell");
    for out in [&parts, &whole] {
        assert!(child(out).status().expect("run").success());
    }
    assert!(log(&parts).contains("going on from step"));
    let weights = |out: &Path| std::fs::read(out.join(WEIGHTS_FILE)).expect("weights");
    assert!(weights(&whole) == weights(&parts), "{}", log(&parts));
}

#[test]
fn a_run_that_was_done_goes_on_to_the_same_weights() {
    let dir = tempfile::tempdir().expect("dir");
    base(dir.path());
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    chat::run(&args(dir.path(), &whole, "60")).expect("run");
    chat::run(&args(dir.path(), &parts, "60")).expect("run");
    let weights = |out: &Path| std::fs::read(out.join(WEIGHTS_FILE)).expect("weights");
    assert_eq!(
        weights(&whole),
        weights(&parts),
        "the same seed gives the same bytes"
    );
    // Everything is done: going on trains nothing and writes the best checkpoint's model.
    chat::run(&args(dir.path(), &parts, "60")).expect("run");
    let log = std::fs::read_to_string(parts.join("train.log")).expect("log");
    assert!(log.contains("going on from step 60"), "{log}");
    assert_eq!(weights(&whole), weights(&parts), "the best is kept");

    let mut other = args(dir.path(), &parts, "60");
    other.encoder.batch = 8;
    let error = chat::run(&other).expect_err("other options");
    assert_eq!(error.code(), "checkpoint");
}

#[test]
fn a_run_goes_on_from_what_an_earlier_one_shipped() {
    let dir = tempfile::tempdir().expect("dir");
    base(dir.path());
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    chat::run(&args(dir.path(), &first, "60")).expect("run");
    let mut more = args(dir.path(), &second, "20");
    more.encoder.base = None;
    more.encoder.warm_start = Some(first.clone());
    chat::run(&more).expect("run");
    let loss = |out: &Path| -> f64 {
        let log = std::fs::read_to_string(out.join("train.log")).expect("log");
        let first = log.lines().find_map(|line| line.split_once("loss "));
        let number = first.and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        number.expect("a loss")
    };
    // Twenty steps from fresh heads end far above where the earlier run stood.
    assert!(
        loss(&second) < 0.8 * loss(&first),
        "{} {}",
        loss(&second),
        loss(&first)
    );
    let card = std::fs::read_to_string(second.join("MODEL_CARD.md")).expect("card");
    assert!(
        card.contains("from the weights of `chat-minilm@0.1.0`"),
        "{card}"
    );
}

#[test]
fn a_student_has_the_layers_that_were_kept() {
    let dir = tempfile::tempdir().expect("dir");
    base(dir.path());
    let (first, student) = (dir.path().join("first"), dir.path().join("student"));
    chat::run(&args(dir.path(), &first, "60")).expect("run");
    let scores = dir.path().join("scores.jsonl");
    let rows = load_chat(&chat_sample_path()).expect("sample");
    let line = "{\"scores\":{\"toxicity\":0.5}}\n";
    std::fs::write(&scores, line.repeat(rows.len())).expect("scores");
    let mut options = args(dir.path(), &student, "20");
    options.encoder.base = None;
    options.encoder.warm_start = Some(first.clone());
    options.encoder.keep_layers = vec![1];
    options.teacher = vec![scores];
    chat::run(&options).expect("run");
    let bytes = std::fs::read(student.join(WEIGHTS_FILE)).expect("weights");
    let model = ChatEncoder::from_bytes(&bytes).expect("model");
    assert_eq!(model.description.config.layers, 1);
    let card = std::fs::read_to_string(student.join("MODEL_CARD.md")).expect("card");
    assert!(
        card.contains("kept 1 layers alone: [1]") && card.contains("teacher"),
        "{card}"
    );
}

#[test]
fn what_cannot_be_trained_says_why() {
    let dir = tempfile::tempdir().expect("dir");
    let missing = args(&dir.path().join("nothing"), &dir.path().join("run"), "1");
    assert_eq!(chat::run(&missing).expect_err("no base").code(), "io");
    base(dir.path());
    let mut frozen = args(dir.path(), &dir.path().join("run"), "1");
    frozen.encoder.frozen_layers = 2;
    assert_eq!(chat::run(&frozen).expect_err("all frozen").code(), "usage");
}
