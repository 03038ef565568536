//! Held-out rows: how good the encoder is, how it joins the fast tier, where its thresholds lie.

use novastream_datasets::chat::CHAT_HEADS;
use novastream_models::encoder::{ChatHead, Packed, TextClassifier, blend_inputs, fast_logit};

use super::batch::Batcher;
use super::blend::{self, BlendRow};
use crate::chat::calibration::{Calibration, Point, calibrate};
use crate::chat::corpus::Corpus;
use crate::chat::heads::{Gate, HeadReport};
use crate::chat::problem::Problem;
use crate::chat::{ChatArgs, TrainError};
use crate::metrics::{Confusion, auc, average_precision};

/// Tokens scored at once.
const TOKENS: usize = 4096;
/// One row of logits a pick, with its number of tokens.
pub type Logits = Vec<(Vec<f32>, usize)>;

/// Scores rows as they are, shortest first so that a batch has texts of one length.
pub fn logits(
    model: &TextClassifier,
    batcher: &Batcher<'_>,
    picks: &[u32],
) -> Result<Logits, TrainError> {
    let mut texts: Vec<(usize, Vec<u32>)> = picks
        .iter()
        .map(|pick| batcher.tokens(&batcher.rows[*pick as usize].text, &[]).0)
        .enumerate()
        .collect();
    texts.sort_by_key(|(at, tokens)| (tokens.len(), *at));
    let mut out: Logits = vec![(Vec::new(), 0); picks.len()];
    let mut rest = texts.as_slice();
    while !rest.is_empty() {
        let mut packed = Packed::default();
        while let Some((_, tokens)) = rest.get(packed.len())
            && (packed.is_empty() || packed.tokens() + tokens.len() <= TOKENS)
        {
            packed.push(tokens, &[])?;
        }
        let scored = model.logits(&packed)?;
        let (done, more) = rest.split_at(scored.len());
        for ((at, tokens), row) in done.iter().zip(scored) {
            out[*at] = (row, tokens.len());
        }
        rest = more;
    }
    Ok(out)
}

/// Logits of a model with some of the heads, put where those heads stand among all; 0 elsewhere.
pub fn spread(logits: Logits, places: &[Option<usize>]) -> Logits {
    logits
        .into_iter()
        .map(|(own, tokens)| {
            let mut all = vec![0.0; CHAT_HEADS.len()];
            for (value, place) in own.into_iter().zip(places) {
                if let Some(to) = place.and_then(|place| all.get_mut(place)) {
                    *to = value;
                }
            }
            (all, tokens)
        })
        .collect()
}

/// Mean over heads of the mean over sources of the AUC within each: what a checkpoint is judged by.
pub fn mean_auc(
    model: &TextClassifier,
    batcher: &Batcher<'_>,
    picks: &[u32],
    of_row: &[usize],
) -> Result<f64, TrainError> {
    let scores = logits(model, batcher, picks)?;
    let sources = of_row.iter().max().map_or(0, |last| last + 1);
    let mut heads = Vec::new();
    for head in 0..CHAT_HEADS.len() {
        let mut by_source: Vec<Vec<(f32, bool)>> = vec![Vec::new(); sources];
        for (pick, (logits, _)) in picks.iter().zip(&scores) {
            if let Some(label) = batcher.rows[*pick as usize].labels[head] {
                by_source[of_row[*pick as usize]].push((logits[head], label));
            }
        }
        let aucs: Vec<f64> = by_source
            .iter()
            .filter(|rows| {
                let positives = rows.iter().filter(|row| row.1).count();
                positives >= 5 && rows.len() - positives >= 5
            })
            .filter_map(|rows| auc(rows))
            .collect();
        if !aucs.is_empty() {
            heads.push(aucs.iter().sum::<f64>() / aucs.len() as f64);
        }
    }
    if heads.is_empty() {
        let message = "no held-out rows of both kinds; give more data or hold out more";
        return Err(TrainError::Usage(message.to_owned()));
    }
    Ok(heads.iter().sum::<f64>() / heads.len() as f64)
}

/// Logits of a fast tier that has not seen the held-out rows: one row a pick, 0 where there is no
/// such head.
pub fn fast_logits(
    args: &ChatArgs,
    corpus: &Corpus,
    picks: &[u32],
) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut params = crate::chat::head_params(args, corpus);
    params.refit = false;
    params.gate = Gate {
        min_positives: 1,
        min_auc: 0.5,
    };
    let (model, _) = crate::chat::heads::train(corpus, &params, || {})?;
    let mut out = vec![vec![0.0; CHAT_HEADS.len()]; picks.len()];
    let Some(model) = model else { return Ok(out) };
    let places: Vec<Option<usize>> = CHAT_HEADS
        .iter()
        .map(|name| model.heads().iter().position(|head| head.name == *name))
        .collect();
    let mut scores = Vec::new();
    for (pick, row) in picks.iter().zip(&mut out) {
        model.score(&corpus.samples[*pick as usize].features, &mut scores);
        for (to, place) in row.iter_mut().zip(&places) {
            if let Some(place) = place {
                *to = fast_logit(scores[*place]);
            }
        }
    }
    Ok(out)
}

/// A head as it ships, or why it does not.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Judged {
    /// Its figures, with both tiers joined.
    pub report: HeadReport,
    /// What ships.
    pub shipped: Option<ChatHead>,
    /// Mean of the sources' own AUCs: the encoder, the fast tier, both.
    pub auc_within_sources: [Option<f64>; 3],
}

impl Judged {
    /// One line for the log.
    pub fn describe(&self) -> String {
        let show = |auc: Option<f64>| auc.map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}"));
        let [encoder, fast, both] = self.auc_within_sources.map(show);
        let report = &self.report;
        let shipped = report.reason.as_deref();
        let shipped = shipped.map_or(String::new(), |r| format!(", not shipped: {r}"));
        format!(
            "{}: held-out AUC encoder {encoder}, fast tier {fast}, both {both}; {} rows, {} positive{shipped}",
            report.head, report.validation_rows, report.validation_positives
        )
    }
}

/// Blends, calibrates and gates every head.
pub fn heads(
    args: &ChatArgs,
    corpus: &Corpus,
    picks: &[u32],
    encoder: &Logits,
    fast: &[Vec<f32>],
) -> Vec<Judged> {
    // A source that was left out of training (another language, say) is not judged by either.
    let learned = |pick: u32| {
        let source = usize::from(corpus.samples[pick as usize].source);
        args.weight_of(&corpus.sources[source]) > 0.0
    };
    let place: std::collections::HashMap<u32, usize> = picks
        .iter()
        .enumerate()
        .filter(|(_, pick)| learned(**pick))
        .map(|(at, pick)| (*pick, at))
        .collect();
    let params = crate::chat::head_params(args, corpus);
    (0..CHAT_HEADS.len())
        .map(|head| {
            let problem = Problem::gather(corpus, head, &params.balance, |s| s.validation);
            let problem = problem.judged();
            judge_head(head, &problem, &params.gate, |row| {
                let at = place.get(&row).copied()?;
                let (logits, tokens) = &encoder[at];
                Some((logits[head], fast[at][head], *tokens))
            })
        })
        .collect()
}

fn judge_head(
    head: usize,
    problem: &Problem,
    gate: &Gate,
    known: impl Fn(u32) -> Option<(f32, f32, usize)>,
) -> Judged {
    let rows: Vec<(Option<u16>, BlendRow)> = problem
        .examples
        .iter()
        .filter_map(|example| {
            let (encoder, fast, tokens) = known(example.row)?;
            let row = BlendRow {
                encoder,
                fast,
                tokens,
                positive: example.positive,
                weight: example.weight,
            };
            Some((example.source, row))
        })
        .collect();
    let all: Vec<BlendRow> = rows.iter().map(|(_, row)| *row).collect();
    // Weights are shares: bring them to a mean of one, so that the ridge is in units of rows.
    let mean = all.iter().map(|r| r.weight).sum::<f32>() / all.len().max(1) as f32;
    let scaled: Vec<BlendRow> = all
        .iter()
        .map(|row| BlendRow {
            weight: row.weight / mean.max(1e-9),
            ..*row
        })
        .collect();
    let mut weights = blend::fit(&scaled);
    let both = |row: &BlendRow| -> f32 {
        let inputs = blend_inputs(row.encoder, row.fast, row.tokens);
        inputs.iter().zip(&weights).map(|(x, w)| x * w).sum()
    };
    let points: Vec<Point> = all
        .iter()
        .map(|r| (both(r), r.positive, r.weight))
        .collect();
    let background: Vec<(f32, f32)> = rows
        .iter()
        .zip(&points)
        .filter(|((source, _), _)| source.is_none())
        .map(|(_, point)| (point.0, point.2))
        .collect();
    let Calibration { slope, threshold } = calibrate(&points, &background);
    let within = |score: &dyn Fn(&BlendRow) -> f32| {
        let mut sources: Vec<u16> = rows.iter().filter_map(|(source, _)| *source).collect();
        sources.sort_unstable();
        sources.dedup();
        let aucs: Vec<f64> = sources
            .iter()
            .filter_map(|source| {
                let own = rows.iter().filter(|(of, _)| of == &Some(*source));
                let own: Vec<(f32, bool)> = own.map(|(_, r)| (score(r), r.positive)).collect();
                let positives = own.iter().filter(|row| row.1).count();
                (positives >= 5 && own.len() - positives >= 5)
                    .then(|| auc(&own))
                    .flatten()
            })
            .collect();
        (!aucs.is_empty()).then(|| aucs.iter().sum::<f64>() / aucs.len() as f64)
    };
    let auc_within_sources = [within(&|r| r.encoder), within(&|r| r.fast), within(&both)];
    let positives = rows
        .iter()
        .filter(|(source, row)| source.is_some() && row.positive)
        .count();
    let reason = match auc_within_sources[2] {
        _ if positives < gate.min_positives => Some(format!(
            "{positives} held-out positives, {} needed",
            gate.min_positives
        )),
        None => Some("no source has enough held-out rows of both kinds".to_owned()),
        Some(both) if auc_within_sources[1].is_some_and(|fast| both <= fast) => {
            Some("the fast tier alone is as good".to_owned())
        }
        Some(auc) if auc < gate.min_auc => {
            Some(format!("held-out AUC {auc:.3}, {} needed", gate.min_auc))
        }
        Some(_) => None,
    };
    // sigmoid(slope · (z − threshold)) as one blend.
    for weight in &mut weights {
        *weight *= slope;
    }
    weights[weights.len() - 1] -= slope * threshold;
    let labelled: Vec<(f32, bool)> = rows
        .iter()
        .zip(&points)
        .filter(|((source, _), _)| source.is_some())
        .map(|(_, point)| (point.0, point.1))
        .collect();
    let at_threshold = Confusion::at(threshold, &labelled);
    let flagged = background.iter().filter(|row| row.0 >= threshold).count();
    Judged {
        shipped: reason.is_none().then(|| ChatHead {
            name: CHAT_HEADS[head].to_owned(),
            blend: weights,
        }),
        report: HeadReport {
            head: CHAT_HEADS[head].to_owned(),
            kept: reason.is_none(),
            reason,
            validation_rows: labelled.len(),
            validation_positives: positives,
            auc_within_sources: auc_within_sources[2],
            average_precision: average_precision(&labelled),
            f1: at_threshold.f1(),
            balanced_accuracy: at_threshold.balanced_accuracy(),
            background_flagged: (!background.is_empty())
                .then(|| flagged as f64 / background.len() as f64),
            sources: Vec::new(),
        },
        auc_within_sources,
    }
}
