//! The folder of a full-tier run: weights in eight bits, vocabulary, manifest, card, figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use candle_core::Tensor;
use novastream_datasets::chat::head_index;
use novastream_features::text::{EncoderText, Normalizer, WordPiece};
use novastream_models::card::{CARD_FILE, model_card};
use novastream_models::encoder::pack::{Description, VOCABULARY_FILE, WEIGHTS_FILE};
use novastream_models::encoder::{ChatEncoder, EncoderConfig, Packed, Route};
use novastream_models::golden::{Golden, Pair, Question, TEXTS};
use novastream_models::manifest::{
    Contract, Dim, FileSpec, MANIFEST_FILE, Manifest, Task, TensorSpec,
};
use sha2::{Digest, Sha256};

use super::judge::Judged;
use crate::chat::export::{RunLog, write_golden};
use crate::chat::{ChatArgs, ChatReport, DataEntry, TrainError};

const LIMITS: &str = "English. Trained on comments, tweets, game chat, forum posts and prompts: what is \
implied, what needs the picture or the speaker's voice, and slang younger than its data are where it errs. \
The messages before one are read, but no training set labels messages by what was said before them, so they \
mostly keep it from taking a reply for more than it is. Narrow heads were trained on text of another style \
than chat. Heads that are not listed answer \"not evaluated\".";

/// An encoder's weights.
pub(super) enum Weights {
    /// As training left them, all heads.
    Trained(BTreeMap<String, Tensor>),
    /// As they shipped before.
    Packed(Box<ChatEncoder>),
}

/// What a run is written from.
pub(super) struct Finished<'a> {
    pub config: EncoderConfig,
    pub shape: EncoderText,
    pub weights: Weights,
    pub vocabulary: &'a str,
    pub judged: Vec<Judged>,
    pub route: Route,
    /// Share of held-out ordinary chat that goes on to the encoder.
    pub ordinary_share: f64,
    /// By source: held-out AUC joined, of the cascade, share that goes on.
    pub routed: Vec<(String, f64, f64, f64)>,
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
    let names: Vec<String> = heads.iter().map(|head| head.name.clone()).collect();
    let description = Description {
        config: run.config,
        own_tokens: run.shape.own,
        context_tokens: run.shape.context,
        emoji_names: run.shape.emoji_names,
        route: run.route,
        heads,
    };
    let (model, weights_count) = match run.weights {
        Weights::Trained(weights) => {
            let places: Vec<usize> = names.iter().filter_map(|name| head_index(name)).collect();
            let model = ChatEncoder::quantize(description, &places, &weights)?;
            (model, weights.values().map(Tensor::elem_count).sum())
        }
        Weights::Packed(model) => {
            let count = model.len();
            (model.described_anew(description)?, count)
        }
    };
    let weights = put(&args.out, WEIGHTS_FILE, &model.to_bytes()?)?;
    let vocabulary = put(&args.out, VOCABULARY_FILE, run.vocabulary.as_bytes())?;
    let weights_bytes = weights.size;
    let golden = write_golden(&args.out, &golden(&model, run.vocabulary)?)?;
    let files = vec![weights, vocabulary, golden];
    let manifest = manifest(args, &model, &run.judged, files);
    let report = ChatReport {
        model: format!("{}@{}", manifest.name, manifest.version),
        non_zero_weights: weights_count,
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
    let mut card = card(args, &manifest, &report, &run.judged);
    // Writing to a string can't fail.
    let _ = cascade_section(&mut card, run.ordinary_share, &run.routed);
    put(&args.out, CARD_FILE, card.as_bytes())?;
    log.line(&format!(
        "wrote {}, {weights_bytes} bytes of weights",
        report.model
    ))?;
    Ok(report)
}

/// The logits of the packed weights as Candle computes them, in floats. An engine in eight bits rounds
/// otherwise; `novastream models golden` stores its answers instead, with a tighter tolerance.
fn golden(model: &ChatEncoder, vocabulary: &str) -> Result<Golden, TrainError> {
    let wrong = |error: &dyn std::fmt::Display| TrainError::Usage(error.to_string());
    let tokenizer = WordPiece::from_vocabulary(vocabulary).map_err(|e| wrong(&e))?;
    let (normalizer, description) = (Normalizer::new(), &model.description);
    let shape = EncoderText {
        own: description.own_tokens,
        context: description.context_tokens,
        emoji_names: description.emoji_names,
    };
    let mut packed = Packed::default();
    for text in TEXTS {
        let (own, context) = shape.tokens(&tokenizer, text, &normalizer.normalize(text), &[]);
        packed.push(&own, &context)?;
    }
    let logits = model.to_classifier()?.logits(&packed)?;
    let pair = |(text, values): (&&str, Vec<f32>)| Pair {
        question: Question::text(text),
        values,
    };
    Ok(Golden {
        made_by: "candle".to_owned(),
        tolerance: 0.01,
        tolerance_elsewhere: 1.0,
        outputs: description.heads.iter().map(|h| h.name.clone()).collect(),
        pairs: TEXTS.iter().zip(logits).map(pair).collect(),
    })
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
        int8: None,
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

fn cascade_section(
    out: &mut String,
    ordinary_share: f64,
    routed: &[(String, f64, f64, f64)],
) -> std::fmt::Result {
    writeln!(
        out,
        "\n## Cascade on held-out rows\n\nA message goes on to the encoder where a regression expects its place among \
         the others to change; {:.1} % of ordinary chat does. The overall score of the others is moved onto the joined \
         scale. AUC of `toxicity`:\n\n| source | joined | cascade | goes on |\n|---|---|---|---|",
        100.0 * ordinary_share
    )?;
    for (source, full, mixed, share) in routed {
        writeln!(
            out,
            "| {source} | {full:.4} | {mixed:.4} | {:.1} % |",
            100.0 * share
        )?;
    }
    Ok(())
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
    if let Some(dir) = &e.from {
        writeln!(
            out,
            "\n## How it was made\n\n`novastream-train chat --tier full --from {}`: the encoder of that model, joined with \
             the fast tier, calibrated and routed anew on its held-out rows ({:.0} % of the messages, chosen by a hash \
             of their text).",
            dir.display(),
            100.0 * args.validation_fraction
        )?;
    } else {
        how_it_was_trained(out, args)?;
    }
    if let Some(dir) = &e.warm_start {
        writeln!(out, "\nIt went on from the weights of {}.", earlier(dir))?;
    }
    if !e.keep_layers.is_empty() {
        writeln!(
            out,
            "\nOf these it kept {} layers alone: {:?}, counted from 0.",
            e.keep_layers.len(),
            e.keep_layers
        )?;
    }
    if !args.teacher.is_empty() {
        writeln!(
            out,
            "\nIt learned from the scores of a teacher as well: {} of each label, and heads that nobody labelled.",
            args.teacher_share
        )?;
    }
    if let Some(note) = &args.note {
        writeln!(out, "\n{}", note.trim())?;
    }
    held_out_table(out, judged)?;
    data_tables(out, args, report)
}

fn how_it_was_trained(out: &mut String, args: &ChatArgs) -> std::fmt::Result {
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
    )
}

fn held_out_table(out: &mut String, judged: &[Judged]) -> std::fmt::Result {
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
    Ok(())
}

fn data_tables(out: &mut String, args: &ChatArgs, report: &ChatReport) -> std::fmt::Result {
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
