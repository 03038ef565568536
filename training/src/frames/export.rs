//! The folder of a run: configuration, metrics, manifest and card beside the weights.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use novastream_models::card::{CARD_FILE, model_card};
use novastream_models::frame_heads::{FrameHeads, JOINT_BASE, SCREEN_BASE};
use novastream_models::manifest::{
    Contract, Dim, FileSpec, MANIFEST_FILE, Manifest, Task, TensorSpec,
};

use super::{FramesArgs, FramesReport, FramesTrainError};
use crate::chat::TrainError;

const LIMITS: &str = "A head knows its label from the pictures that it was shown and calls whatever \
    looks alike by the same name: toys, drawings, games and films included. It was trained on stills \
    and says nothing of intent. Its scores belong in front of a human, not behind an action. Figures \
    hold for the pictures they were measured on; a stream's own pictures differ.";

/// Writes everything but the weights.
pub(super) fn write(
    args: &FramesArgs,
    name: &str,
    version: &str,
    model: &FrameHeads,
    file: FileSpec,
    report: &FramesReport,
) -> Result<(), FramesTrainError> {
    let manifest = manifest(name, version, model, file, report);
    let put = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).map_err(|source| FramesTrainError::Io { path, source })
    };
    let json = |value: serde_json::Result<String>| value.map_err(TrainError::from);
    put(
        "config.json",
        json(serde_json::to_string_pretty(args))? + "\n",
    )?;
    put(
        "metrics.json",
        json(serde_json::to_string_pretty(report))? + "\n",
    )?;
    put(MANIFEST_FILE, manifest.to_toml().map_err(TrainError::from)?)?;
    let mut card = model_card(&manifest);
    // Writing to a string can't fail.
    let _ = sections(&mut card, args, report);
    put(CARD_FILE, card)
}

fn manifest(
    name: &str,
    version: &str,
    model: &FrameHeads,
    file: FileSpec,
    report: &FramesReport,
) -> Manifest {
    let labels: Vec<String> = model.heads.iter().map(|h| h.name.clone()).collect();
    let mut metrics = BTreeMap::new();
    for head in &report.heads {
        let figures = [
            ("auc", head.auc),
            ("average_precision", head.average_precision),
            ("tpr_at_1_percent_fpr", head.tpr_at_1_percent_fpr),
        ];
        for (figure, value) in figures {
            if let Some(value) = value {
                metrics.insert(format!("held_out.{}.{figure}", head.head), round(value));
            }
        }
    }
    let input = |base: &str, length: usize| TensorSpec {
        name: base.to_owned(),
        dtype: "float32".to_owned(),
        shape: vec![Dim::Named("N".to_owned()), Dim::Fixed(length as u64)],
        description: format!("pooled features of {base}"),
    };
    Manifest {
        name: name.to_owned(),
        version: version.to_owned(),
        task: Task::FrameHeads,
        licence: "Apache-2.0".to_owned(),
        description: format!(
            "Logistic heads for {} on the pooled features of {SCREEN_BASE} and {JOINT_BASE}, \
             calibrated so that 0.5 is the shipped threshold.",
            labels.join(", ")
        ),
        limits: LIMITS.to_owned(),
        importer: None,
        thresholds: labels.iter().map(|l| (l.clone(), 0.5)).collect(),
        contract: Contract {
            inputs: vec![
                input(SCREEN_BASE, model.small),
                input(JOINT_BASE, model.large),
            ],
            outputs: vec![TensorSpec {
                name: "scores".to_owned(),
                dtype: "float32".to_owned(),
                shape: vec![Dim::Named("heads".to_owned())],
                description: "calibrated score per label, 0..1".to_owned(),
            }],
        },
        labels,
        labels_file: None,
        metrics,
        files: vec![file],
        int8: None,
        sources: Vec::new(),
    }
}

fn sections(out: &mut String, args: &FramesArgs, report: &FramesReport) -> std::fmt::Result {
    writeln!(out, "\n## How it was made\n")?;
    writeln!(
        out,
        "`novastream-train frames` with seed {}: {} views of each picture, brought down to at most {} pixels \
         and encoded as JPEG in qualities of 45 to 90 whatever their source, {} rounds of hard negatives, \
         logistic regression on standardised features. A fifth of the pictures was held out by the hash of \
         their group of near-copies (PDQ, 31 bits); penalty, calibration and gate come from models of the other \
         parts that did not see what they judged.{} `config.json` and `metrics.json` of the run hold every \
         option and figure.",
        args.seed,
        args.views,
        report.common_area,
        args.hard_rounds,
        if args.no_refit {
            ""
        } else {
            " The shipped weights were then fitted once more on all pictures."
        },
    )?;
    if let Some(note) = &args.note {
        writeln!(out, "\n{}", note.trim())?;
    }
    writeln!(
        out,
        "\n## Training pictures\n\n| label | pictures | distinct | sha256 over theirs |\n|---|---|---|---|"
    )?;
    for label in &report.labels {
        writeln!(
            out,
            "| {} | {} | {} | `{}` |",
            label.label, label.pictures, label.distinct, label.sha256
        )?;
    }
    writeln!(
        out,
        "\n## Held-out pictures, as they are\n\n| head | positives / pictures | AUC | average precision | \
         TPR at 1 % FPR | found at 0.5 | false alarms at 0.5 |\n|---|---|---|---|---|---|---|"
    )?;
    let cell = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
    for head in &report.heads {
        writeln!(
            out,
            "| {} | {} / {} | {} | {} | {} | {} | {} |",
            head.head,
            head.pos,
            head.n,
            cell(head.auc),
            cell(head.average_precision),
            cell(head.tpr_at_1_percent_fpr),
            head.confusion[0],
            head.confusion[1],
        )?;
    }
    Ok(())
}

/// Four decimals: what the card shows.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
