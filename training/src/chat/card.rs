//! The card of a trained model: the manifest's page, then how it was made and how it does.

use std::fmt::Write as _;

use novastream_datasets::manifest::{DataSource, catalog};
use novastream_models::card::model_card;
use novastream_models::manifest::Manifest;

use super::calibration::MAX_BACKGROUND_FLAGGED;
use super::heads::HeadReport;
use super::problem::Role;
use super::{ChatArgs, ChatReport, TrainError};

/// What the model must not be trusted with.
pub(super) const LIMITS: &str = "English first: other languages are seen only where a source has them. \
It counts words and spellings and does not understand them: counter-speech, quotations, reclaimed words, \
irony and hate without slurs are where it errs, so its scores belong in front of a threshold for review \
and a second opinion, not alone behind an action. Narrow heads were trained on text of another style \
than chat (prompts, forum posts, short messages). Heads that are not listed answer \"not evaluated\".";

const LICENCES: &str = "The weights are sums over hashed n-grams of many messages: they hold no text \
and none can be read back from them. They are therefore given under the licence above. Sources without a \
clear licence are used for these statistics only, and none of their text is distributed; whoever \
needs a model without them trains it with `--exclude-source NAME`. Share-alike terms of a source \
concern its text.";

pub(super) fn render(
    args: &ChatArgs,
    manifest: &Manifest,
    report: &ChatReport,
) -> Result<String, TrainError> {
    let mut out = model_card(manifest);
    // Writing to a string can't fail.
    let _ = sections(&mut out, args, report, &sources()?);
    Ok(out)
}

fn sources() -> Result<Vec<DataSource>, TrainError> {
    Ok(catalog()?
        .into_iter()
        .flat_map(|manifest| manifest.sources)
        .collect())
}

fn sections(
    out: &mut String,
    args: &ChatArgs,
    report: &ChatReport,
    known: &[DataSource],
) -> std::fmt::Result {
    writeln!(out, "\n## How it was made\n")?;
    let mut weights = String::new();
    for (name, weight) in &args.source_weight {
        write!(weights, ", {name} × {weight}")?;
    }
    writeln!(
        out,
        "`novastream-train chat` with seed {}, {} passes of AdaGrad (step {}, L2 {:e}), sources weighed \
         n^{:.2}{}, background share {}. {:.0} % of the messages, chosen by a hash of their text, were held \
         out: a head ships with at least {} held-out positives and an AUC within sources of at least {} \
         and at least one hand-labelled source. Its threshold is the one with the best F1 on the held-out \
         messages, weighed as in training, among those that flag at most {:.0} % of the background; the slope \
         is Platt's.{} `config.json` and `metrics.json` of the run hold every option and figure.",
        args.seed,
        args.epochs,
        args.learning_rate,
        args.l2,
        1.0 - args.source_balance,
        weights,
        args.background,
        100.0 * args.validation_fraction,
        args.min_positives,
        args.min_auc,
        100.0 * MAX_BACKGROUND_FLAGGED,
        if args.no_refit {
            ""
        } else {
            " The shipped weights were then fitted once more on all messages."
        },
    )?;
    if !args.exclude_source.is_empty() {
        writeln!(
            out,
            "\nLeft out on request: {}.",
            args.exclude_source.join(", ")
        )?;
    }

    if let Some(note) = &args.note {
        writeln!(out, "\n{}", note.trim())?;
    }

    writeln!(
        out,
        "\n## Training data\n\n| file | rows | sha256 |\n|---|---|---|"
    )?;
    for data in &report.data {
        writeln!(out, "| {} | {} | `{}` |", data.file, data.rows, data.sha256)?;
    }
    writeln!(
        out,
        "\n| source | messages | licence | what it is |\n|---|---|---|---|"
    )?;
    for (name, rows) in &report.sources {
        let (licence, about) = match known.iter().find(|source| source.name == *name) {
            Some(source) => (source.licence.as_str(), source.about.as_str()),
            None => ("not in the catalogue", ""),
        };
        writeln!(out, "| {name} | {rows} | {licence} | {about} |")?;
    }
    writeln!(out, "\n{LICENCES}")?;

    validation(out, &report.heads)?;
    tests(out, report)
}

fn validation(out: &mut String, heads: &[HeadReport]) -> std::fmt::Result {
    writeln!(out, "\n## Held-out part of the training data\n")?;
    writeln!(
        out,
        "| head | positives / rows | AUC within sources | F1 | balanced accuracy | background flagged | learned from |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for head in heads.iter().filter(|head| head.kept) {
        let from: Vec<&str> = head
            .sources
            .iter()
            .filter(|source| source.role == Role::Labelled)
            .map(|source| source.source.as_str())
            .collect();
        writeln!(
            out,
            "| {} | {} / {} | {} | {:.3} | {} | {} | {} |",
            head.head,
            head.validation_positives,
            head.validation_rows,
            cell(head.auc_within_sources),
            head.f1,
            cell(head.balanced_accuracy),
            cell(head.background_flagged),
            from.join(", "),
        )?;
    }
    let dropped: Vec<&HeadReport> = heads.iter().filter(|head| !head.kept).collect();
    if !dropped.is_empty() {
        writeln!(
            out,
            "\nNot shipped, because the data at hand can't carry them:\n"
        )?;
        for head in dropped {
            writeln!(
                out,
                "- {}: {}",
                head.head,
                head.reason.as_deref().unwrap_or_default()
            )?;
        }
    }
    Ok(())
}

fn tests(out: &mut String, report: &ChatReport) -> std::fmt::Result {
    if report.report.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## Test files\n\nThis run chose nothing by these; F1 and accuracies are at the shipped threshold.\n"
    )?;
    writeln!(
        out,
        "| file | head | n | positives | AUC | average precision | F1 | accuracy | balanced accuracy |\n\
         |---|---|---|---|---|---|---|---|---|"
    )?;
    for file in &report.report {
        for (head, figures) in &file.heads {
            writeln!(
                out,
                "| {} | {head} | {} | {} | {} | {} | {:.3} | {:.3} | {} |",
                file.file,
                figures.n,
                figures.pos,
                cell(figures.auc),
                cell(figures.average_precision),
                figures.f1,
                figures.accuracy,
                cell(figures.balanced_accuracy),
            )?;
        }
    }
    Ok(())
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}
