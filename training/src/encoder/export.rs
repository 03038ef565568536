//! The folder of a full-tier run: weights in eight bits, vocabulary, manifest, card, figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use candle_core::Tensor;
use novastream_datasets::chat::head_index;
use novastream_models::card::{CARD_FILE, model_card};
use novastream_models::encoder::pack::{Description, VOCABULARY_FILE, WEIGHTS_FILE};
use novastream_models::encoder::{ChatEncoder, EncoderConfig, Route};
use novastream_models::manifest::{
    Contract, Dim, FileSpec, MANIFEST_FILE, Manifest, Task, TensorSpec,
};
use sha2::{Digest, Sha256};

use super::SHAPE;
use super::judge::Judged;
use crate::chat::export::RunLog;
use crate::chat::{ChatArgs, ChatReport, DataEntry, TrainError};

const LIMITS: &str = "English. Trained on comments, tweets, game chat, forum posts and prompts: what is \
implied, what needs the picture or the speaker's voice, and slang younger than its data are where it errs. \
The messages before one are read, but no training set labels messages by what was said before them, so they \
mostly keep it from taking a reply for more than it is. Narrow heads were trained on text of another style \
than chat. Heads that are not listed answer \"not evaluated\".";

/// What a run is written from.
pub(super) struct Finished<'a> {
    pub config: EncoderConfig,
    pub weights: &'a BTreeMap<String, Tensor>,
    pub vocabulary: &'a str,
    pub judged: Vec<Judged>,
    pub route: Route,
    pub data: Vec<DataEntry>,
    pub sources: Vec<(String, usize)>,
}

pub(super) fn write(
    args: &ChatArgs,
    log: &mut RunLog,
    run: Finished<'_>,
) -> Result<ChatReport, TrainError> {
    let kept: Vec<&Judged> = run.judged.iter().filter(|j| j.shipped.is_some()).collect();
    if kept.is_empty() {
        let all: Vec<String> = run.judged.iter().map(Judged::describe).collect();
        return Err(TrainError::NoHead(all.join("; ")));
    }
    let heads: Vec<_> = kept.iter().filter_map(|j| j.shipped.clone()).collect();
    let places: Vec<usize> = heads.iter().filter_map(|h| head_index(&h.name)).collect();
    let description = Description {
        config: run.config,
        own_tokens: SHAPE.own,
        context_tokens: SHAPE.context,
        route: run.route,
        heads,
    };
    let model = ChatEncoder::quantize(description, &places, run.weights)?;
    let weights = put(&args.out, WEIGHTS_FILE, &model.to_bytes()?)?;
    let vocabulary = put(&args.out, VOCABULARY_FILE, run.vocabulary.as_bytes())?;
    let weights_bytes = weights.size;
    let manifest = manifest(args, &model, &run.judged, vec![weights, vocabulary]);
    let report = ChatReport {
        model: format!("{}@{}", manifest.name, manifest.version),
        non_zero_weights: run.weights.values().map(Tensor::elem_count).sum(),
        heads: run.judged.iter().map(|j| j.report.clone()).collect(),
        report: Vec::new(),
        data: run.data,
        sources: run.sources,
        weights_bytes,
    };
    let json = serde_json::to_string_pretty(args)? + "\n";
    put(&args.out, "config.json", json.as_bytes())?;
    let json = serde_json::to_string_pretty(&report)? + "\n";
    put(&args.out, "metrics.json", json.as_bytes())?;
    put(&args.out, MANIFEST_FILE, manifest.to_toml()?.as_bytes())?;
    let card = card(args, &manifest, &report, &run.judged);
    put(&args.out, CARD_FILE, card.as_bytes())?;
    log.line(&format!(
        "wrote {}, {weights_bytes} bytes of weights",
        report.model
    ))?;
    Ok(report)
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<FileSpec, TrainError> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).map_err(|source| TrainError::Io { path, source })?;
    Ok(FileSpec {
        path: name.to_owned(),
        sha256: hex::encode(Sha256::digest(bytes)),
        size: bytes.len() as u64,
        platform: None,
    })
}

fn manifest(
    args: &ChatArgs,
    model: &ChatEncoder,
    judged: &[Judged],
    files: Vec<FileSpec>,
) -> Manifest {
    let heads = &model.description.heads;
    let labels: Vec<String> = heads.iter().map(|head| head.name.clone()).collect();
    let mut metrics = BTreeMap::new();
    for judged in judged.iter().filter(|j| j.report.kept) {
        if let Some(auc) = judged.report.auc_within_sources {
            let name = format!("validation.{}.auc_within_sources", judged.report.head);
            metrics.insert(name, (auc * 1e4).round() / 1e4);
        }
    }
    let spec = |name: &str, dtype: &str, shape: Vec<Dim>, description: &str| TensorSpec {
        name: name.to_owned(),
        dtype: dtype.to_owned(),
        shape,
        description: description.to_owned(),
    };
    Manifest {
        name: args.model_name().to_owned(),
        version: args.model_version.clone(),
        task: Task::Chat,
        licence: "Apache-2.0".to_owned(),
        description: format!(
            "Chat encoder, the full tier: all-MiniLM-L6-v2 fine-tuned with {} heads, matrices in eight \
             bits, joined with the fast tier's scores so that 0.5 is the shipped threshold.",
            labels.len(),
        ),
        limits: LIMITS.to_owned(),
        importer: None,
        thresholds: labels.iter().map(|label| (label.clone(), 0.5)).collect(),
        contract: Contract {
            inputs: vec![
                spec("text", "string", Vec::new(), "one message, UTF-8"),
                spec(
                    "previous",
                    "string",
                    vec![Dim::Named("messages".to_owned())],
                    "messages before it, oldest first",
                ),
            ],
            outputs: vec![spec(
                "scores",
                "float32",
                vec![Dim::Fixed(labels.len() as u64)],
                "calibrated score per label, 0..1",
            )],
        },
        labels,
        labels_file: None,
        metrics,
        files,
        sources: Vec::new(),
    }
}

/// What an earlier run's folder calls itself.
fn earlier(dir: &Path) -> String {
    let manifest = std::fs::read_to_string(dir.join(MANIFEST_FILE)).ok();
    let manifest = manifest.and_then(|text| Manifest::from_toml(&text, "earlier").ok());
    manifest.map_or_else(
        || "an earlier run".to_owned(),
        |manifest| format!("`{}`", manifest.id()),
    )
}

fn card(args: &ChatArgs, manifest: &Manifest, report: &ChatReport, judged: &[Judged]) -> String {
    let mut out = model_card(manifest);
    // Writing to a string can't fail.
    let _ = sections(&mut out, args, report, judged);
    out
}

fn sections(
    out: &mut String,
    args: &ChatArgs,
    report: &ChatReport,
    judged: &[Judged],
) -> std::fmt::Result {
    let e = &args.encoder;
    writeln!(
        out,
        "\n## How it was made\n\n`novastream-train chat --tier full` with seed {}: {} steps of {} messages, AdamW, \
         learning rate {:e} with a cool-down over the last 30 % of the steps, word embeddings{} as they were, \
         sources balanced with exponent {}. An eighth of the messages were disguised and a twelfth stood after \
         strangers' messages. {:.0} % of the messages, chosen by a hash of their text, were held out: they chose \
         the checkpoint, how the fast tier joins (a logistic regression on both logits and the message's length), \
         and the thresholds. `config.json` and `metrics.json` of the run hold every option and figure.",
        args.seed,
        e.steps,
        e.batch,
        e.encoder_learning_rate,
        match e.frozen_layers {
            0 => String::new(),
            n => format!(" and the lowest {n} layers"),
        },
        args.source_balance,
        100.0 * args.validation_fraction,
    )?;
    if let Some(from) = &e.warm_start {
        writeln!(out, "\nIt went on from the weights of {}.", earlier(from))?;
    }
    if let Some(note) = &args.note {
        writeln!(out, "\n{}", note.trim())?;
    }
    writeln!(
        out,
        "\n## Held-out figures\n\nMean over sources of the AUC within each.\n\n\
         | head | encoder | fast tier | joined | rows | positive | shipped |\n|---|---|---|---|---|---|---|"
    )?;
    let show = |auc: Option<f64>| auc.map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}"));
    for judged in judged {
        let [encoder, fast, both] = judged.auc_within_sources.map(show);
        let report = &judged.report;
        writeln!(
            out,
            "| {} | {encoder} | {fast} | {both} | {} | {} | {} |",
            report.head,
            report.validation_rows,
            report.validation_positives,
            report
                .reason
                .as_deref()
                .map_or("yes".to_owned(), |reason| format!("no: {reason}")),
        )?;
    }
    writeln!(
        out,
        "\n## Training data\n\n| file | rows | sha256 |\n|---|---|---|"
    )?;
    for data in &report.data {
        writeln!(out, "| {} | {} | `{}` |", data.file, data.rows, data.sha256)?;
    }
    writeln!(out, "\n| source | messages | weight |\n|---|---|---|")?;
    for (name, rows) in &report.sources {
        writeln!(out, "| {name} | {rows} | {} |", args.weight_of(name))?;
    }
    if !args.exclude_source.is_empty() {
        writeln!(
            out,
            "\nLeft out on request: {}.",
            args.exclude_source.join(", ")
        )?;
    }
    Ok(())
}
