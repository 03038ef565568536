use novastream_datasets::sample::chat_sample_path;

use super::*;

fn options(model: &str, data: Vec<PathBuf>) -> ChatOptions {
    ChatOptions {
        data,
        model: Some(model.to_owned()),
        fast_model: None,
        tier: Tier::Fast,
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
