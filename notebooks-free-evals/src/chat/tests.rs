use novastream_datasets::sample::chat_sample_path;

use serde_json::Value;

use super::*;
use crate::report::Report;

fn options(model: &str, data: Vec<PathBuf>) -> ChatOptions {
    ChatOptions {
        data,
        model: Some(model.to_owned()),
        fast_model: None,
        tier: Tier::Fast,
        engine: Engine::Auto,
        all_tiers: false,
        evasion: false,
        seed: 7,
        html: None,
        scores: None,
        json: true,
    }
}

#[test]
fn the_shipped_model_tells_insults_from_look_alikes() {
    let dir = tempfile::tempdir().expect("dir");
    let scores = dir.path().join("scores.jsonl");
    let mut options = options("chat-linear", vec![chat_sample_path()]);
    options.scores = Some(scores.clone());
    let report = run(&options).expect("report");
    let figures = &report.files[0].figures.heads["toxicity"];
    // The sample is ours and nothing was trained on it.
    assert!(figures.auc.expect("auc") > 0.9, "{figures:?}");
    assert!(
        figures.balanced_accuracy.expect("both") > 0.8,
        "{figures:?}"
    );
    assert!(report.files[0].figures.heads["spam"].auc.expect("auc") > 0.8);
    assert!(report.files[0].figures.texts_per_cpu_second.expect("rate") > 0.0);

    let lines = std::fs::read_to_string(&scores).expect("scores");
    assert_eq!(lines.lines().count(), report.files[0].figures.rows);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("json");
        let scores = line["scores"].as_object().expect("scores");
        assert!(scores.contains_key("toxicity"));
        assert!(
            scores
                .values()
                .all(|score| (0.0..=1.0).contains(&score.as_f64().expect("number")))
        );
    }
}

#[test]
fn data_without_labels_is_scored() {
    let dir = tempfile::tempdir().expect("dir");
    let data = dir.path().join("messages.csv");
    std::fs::write(&data, "text\nhello there\nyou are an idiot\n").expect("write");
    let scores = dir.path().join("scores.jsonl");
    let mut options = options("chat-linear", vec![data]);
    options.scores = Some(scores.clone());
    let report = run(&options).expect("report");
    assert!(report.files[0].figures.heads.is_empty());
    let toxicity: Vec<f64> = std::fs::read_to_string(&scores)
        .expect("scores")
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("json");
            line["scores"]["toxicity"].as_f64().expect("number")
        })
        .collect();
    assert!(toxicity[0] < 0.5 && toxicity[1] > 0.5, "{toxicity:?}");
}

#[test]
fn unknown_models_and_files_are_errors() {
    let error = run(&options("no-such-model", vec![chat_sample_path()])).expect_err("unknown");
    assert_eq!(error.code(), "model_unavailable");
    assert!(run(&options("chat-linear", vec!["missing.csv".into()])).is_err());
    let named = options("chat-linear@0.1.0", Vec::new());
    assert_eq!(
        model::find(&named).expect("model").ids,
        ["chat-linear@0.1.0"]
    );
}

#[test]
fn the_text_report_names_every_head() {
    let text = run(&options("chat-linear", vec![chat_sample_path()]))
        .expect("report")
        .text();
    for head in ["toxicity", "spam", "scam", "harassment"] {
        assert!(text.contains(head), "{text}");
    }
}

#[test]
fn calibration_evasion_and_functional_tests_are_in_the_report_and_on_the_page() {
    let dir = tempfile::tempdir().expect("dir");
    let page = dir.path().join("chat.html");
    let mut options = options("chat-linear", vec![chat_sample_path()]);
    options.evasion = true;
    options.html = Some(page.clone());
    let report = run(&options).expect("report");
    let file = &report.files[0];
    let own = &file.calibration["toxicity"];
    assert!(
        (0.0..0.5).contains(&own.ece) && !own.bins.is_empty(),
        "{own:?}"
    );
    let seen = file.evasion.as_ref().expect("evasion");
    assert_eq!(seen.disguises.len(), 6);
    let functional = report.functional.as_ref().expect("functional tests");
    assert!(functional.kinds.len() >= 28);
    // A model of words is better than chance, and no better than that by much.
    assert!(
        (0.45..0.95).contains(&functional.balanced_accuracy),
        "{functional:?}"
    );
    let page = std::fs::read_to_string(page).expect("page");
    assert!(page.contains("<svg") && page.contains("counter-quote") && page.contains("zero-width"));
    assert!(!page.contains("<script"));
    let text = report.text();
    assert!(text.contains("functional tests") && text.contains("recall at 5 %"));
}
