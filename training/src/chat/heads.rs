//! From a problem to a head: fit, judge on held-out rows, calibrate, decide, fit again on all.

use novastream_datasets::chat::CHAT_HEADS;
use novastream_models::linear::{FormatError, Head, LinearChatModel};
use rayon::prelude::*;
use serde::Serialize;

use super::calibration::{Calibration, Point, calibrate};
use super::corpus::Corpus;
use super::logistic::{FitParams, Fitted, fit};
use super::problem::{Balance, Problem, Role};
use crate::metrics::{Confusion, auc, average_precision};

/// Fewest held-out rows of each kind for a source's own AUC.
const MIN_FOR_AUC: usize = 5;

/// When a head is good enough to ship.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gate {
    /// Fewest positives among the held-out rows.
    pub min_positives: usize,
    /// Lowest AUC within sources.
    pub min_auc: f64,
}

/// A source's part in a head.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Name of the source.
    pub source: String,
    /// What it does for the head.
    pub role: Role,
    /// Whether a keyword, a forum or a model gave the labels.
    pub weak: bool,
    /// Positives among its training rows.
    pub positives: usize,
    /// Negatives among its training rows.
    pub negatives: usize,
    /// Held-out AUC within the source.
    pub validation_auc: Option<f64>,
}

/// How a head did on held-out rows.
#[derive(Clone, Debug, Serialize)]
pub struct HeadReport {
    /// Name in the taxonomy.
    pub head: String,
    /// Whether it ships.
    pub kept: bool,
    /// Why not, where it does not.
    pub reason: Option<String>,
    /// Held-out labelled rows.
    pub validation_rows: usize,
    /// Positives among them.
    pub validation_positives: usize,
    /// Mean of the sources' own AUCs, each counted once: what the gate looks at. A pooled AUC
    /// would also reward telling the sources apart.
    pub auc_within_sources: Option<f64>,
    /// Average precision over all held-out rows.
    pub average_precision: Option<f64>,
    /// F1 at the shipped threshold over all held-out rows.
    pub f1: f64,
    /// Balanced accuracy at the shipped threshold over all held-out rows.
    pub balanced_accuracy: Option<f64>,
    /// Share of held-out background rows (harmless elsewhere) that the threshold flags.
    pub background_flagged: Option<f64>,
    /// What each source contributed.
    pub sources: Vec<SourceReport>,
}

/// A head that ships, with one weight a bucket.
type Kept = (Head, Vec<f32>);

/// Settings of all heads.
#[derive(Clone, Debug)]
pub struct HeadParams {
    /// How to fit; each head shuffles with its own seed, derived from this one.
    pub fit: FitParams,
    /// How to weigh rows.
    pub balance: Balance,
    /// What to keep.
    pub gate: Gate,
    /// Whether kept heads learn from the held-out rows too, once they are judged and calibrated.
    pub refit: bool,
}

/// Trains all heads in parallel. The model is `None` when no head is good enough. `tick` is
/// called after every pass of every head, at most `2 · epochs · CHAT_HEADS` times.
pub fn train(
    corpus: &Corpus,
    params: &HeadParams,
    tick: impl Fn() + Sync,
) -> Result<(Option<LinearChatModel>, Vec<HeadReport>), FormatError> {
    let trained: Vec<(HeadReport, Option<Kept>)> = (0..CHAT_HEADS.len())
        .into_par_iter()
        .map(|head| train_head(corpus, head, params, &tick))
        .collect();
    let mut reports = Vec::new();
    let (mut heads, mut weights) = (Vec::new(), Vec::new());
    for (report, kept) in trained {
        reports.push(report);
        if let Some((head, weight)) = kept {
            heads.push(head);
            weights.push(weight);
        }
    }
    if heads.is_empty() {
        return Ok((None, reports));
    }
    let model = LinearChatModel::quantize(params.fit.hash_bits, heads, &weights)?
        .with_ngram_set(params.fit.ngram_set);
    Ok((Some(model), reports))
}

fn train_head(
    corpus: &Corpus,
    head: usize,
    params: &HeadParams,
    tick: &(impl Fn() + Sync),
) -> (HeadReport, Option<Kept>) {
    let fit_params = FitParams {
        seed: params.fit.seed.wrapping_add(head as u64),
        ..params.fit
    };
    let training = Problem::gather(corpus, head, &params.balance, |sample| !sample.validation);
    let held_out =
        Problem::gather(corpus, head, &params.balance, |sample| sample.validation).judged();
    let mut report = HeadReport {
        head: CHAT_HEADS[head].to_owned(),
        kept: false,
        reason: None,
        validation_rows: 0,
        validation_positives: 0,
        auc_within_sources: None,
        average_precision: None,
        f1: 0.0,
        balanced_accuracy: None,
        background_flagged: None,
        sources: training
            .sources
            .iter()
            .map(|part| SourceReport {
                source: corpus.sources[usize::from(part.source)].clone(),
                role: part.role,
                weak: part.weak,
                positives: part.positives,
                negatives: part.negatives,
                validation_auc: None,
            })
            .collect(),
    };
    let labelled = || {
        training
            .sources
            .iter()
            .filter(|source| source.role == Role::Labelled)
    };
    if labelled().next().is_none() {
        report.reason = Some("no source labels both kinds".to_owned());
        return (report, None);
    }
    // A keyword or a forum as the only teacher teaches keywords and forums.
    if labelled().all(|source| source.weak) {
        report.reason = Some("only weak labels (keyword, forum or model)".to_owned());
        return (report, None);
    }
    let fitted = fit(corpus, &training.examples, &fit_params, tick);
    let calibration = judge(corpus, &held_out, &fitted, &mut report);
    report.reason = refusal(&report, &params.gate);
    report.kept = report.reason.is_none();
    if !report.kept {
        return (report, None);
    }
    let fitted = if params.refit {
        let all = Problem::gather(corpus, head, &params.balance, |_| true);
        fit(corpus, &all.examples, &fit_params, tick)
    } else {
        fitted
    };
    let head = Head {
        name: CHAT_HEADS[head].to_owned(),
        step: 1.0,
        bias: fitted.bias,
        slope: calibration.slope,
        threshold: calibration.threshold,
    };
    (report, Some((head, fitted.weights)))
}

/// Fills the report's figures from held-out rows and answers the calibration.
fn judge(
    corpus: &Corpus,
    held_out: &Problem,
    fitted: &Fitted,
    report: &mut HeadReport,
) -> Calibration {
    let points: Vec<Point> = held_out
        .examples
        .iter()
        .map(|example| {
            let features = &corpus.samples[example.row as usize].features;
            (fitted.logit(features), example.positive, example.weight)
        })
        .collect();
    let background: Vec<(f32, f32)> = held_out
        .examples
        .iter()
        .zip(&points)
        .filter(|(example, _)| example.source.is_none())
        .map(|(_, point)| (point.0, point.2))
        .collect();
    let calibration = calibrate(&points, &background);
    let scored = |take: &dyn Fn(Option<u16>) -> bool| -> Vec<(f32, bool)> {
        let rows = held_out.examples.iter().zip(&points);
        rows.filter(|(example, _)| take(example.source))
            .map(|(_, point)| (point.0, point.1))
            .collect()
    };
    let mut own_aucs = Vec::new();
    for part in &held_out.sources {
        if part.role != Role::Labelled || part.positives.min(part.negatives) < MIN_FOR_AUC {
            continue;
        }
        let Some(own) = auc(&scored(&|of| of == Some(part.source))) else {
            continue;
        };
        own_aucs.push(own);
        let name = &corpus.sources[usize::from(part.source)];
        if let Some(entry) = report
            .sources
            .iter_mut()
            .find(|entry| entry.source == *name)
        {
            entry.validation_auc = Some(own);
        }
    }
    let labelled = scored(&|of| of.is_some());
    let at_threshold = Confusion::at(calibration.threshold, &labelled);
    report.validation_rows = labelled.len();
    report.validation_positives = labelled.iter().filter(|(_, positive)| *positive).count();
    report.auc_within_sources =
        (!own_aucs.is_empty()).then(|| own_aucs.iter().sum::<f64>() / own_aucs.len() as f64);
    report.average_precision = average_precision(&labelled);
    report.f1 = at_threshold.f1();
    report.balanced_accuracy = at_threshold.balanced_accuracy();
    if !background.is_empty() {
        let flagged = background
            .iter()
            .filter(|row| row.0 >= calibration.threshold)
            .count();
        report.background_flagged = Some(flagged as f64 / background.len() as f64);
    }
    calibration
}

fn refusal(report: &HeadReport, gate: &Gate) -> Option<String> {
    let positives = report.validation_positives;
    match report.auc_within_sources {
        _ if positives < gate.min_positives => Some(format!(
            "{positives} held-out positives, {} needed",
            gate.min_positives
        )),
        None => Some("no source has enough held-out rows of both kinds".to_owned()),
        Some(auc) if auc < gate.min_auc => {
            Some(format!("held-out AUC {auc:.3}, {} needed", gate.min_auc))
        }
        Some(_) => None,
    }
}
