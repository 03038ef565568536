//! Held-out rows: how good the encoder is, how it joins the fast tier, where its thresholds lie.

use novastream_datasets::chat::CHAT_HEADS;
use novastream_models::encoder::{
    ChatHead, Packed, Route, TextClassifier, blend_inputs, fast_logit,
};

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

/// Largest share of held-out ordinary chat that may go on to the encoder: a tenth, with something
/// to spare for other chat.
const GOES_ON: f64 = 0.09;
/// Upper ends of the band that are tried.
const HIGHS: [f32; 6] = [0.6, 0.8, 0.9, 0.95, 0.98, 1.01];

/// One held-out message as the cascade sees it.
#[derive(Clone, Copy, Debug)]
pub struct CascadeRow {
    /// Its source.
    pub source: usize,
    /// The fast tier's highest score over the heads that decide.
    pub top: f32,
    /// The fast tier's overall score.
    pub fast: f32,
    /// The joined score.
    pub full: f32,
    /// The overall label.
    pub positive: bool,
    /// Whether it is as short as a chat line.
    pub short: bool,
    /// Whether it is ordinary chat: from a source of nothing but chat lines.
    pub ordinary: bool,
}

/// What of any source's AUC may be lost by not sending longer messages on.
const MAY_LOSE: f64 = 0.001;
/// Lower ends of the band of longer messages that are tried, highest first.
const LOWS: [f32; 9] = [0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.001];

/// Where messages go on. Short ones: of the bands that hold a tenth of ordinary chat, the one with
/// the best mean AUC over sources. Longer ones: all above the highest score at which next to
/// nothing is lost.
pub fn route(rows: &[CascadeRow]) -> Route {
    let (short, long): (Vec<CascadeRow>, Vec<CascadeRow>) = rows.iter().partition(|r| r.short);
    let all = source_aucs(&long, [0.0, 1.01]);
    let low = LOWS.into_iter().find(|low| {
        let some = source_aucs(&long, [*low, 1.01]);
        all.iter()
            .zip(some)
            .all(|(all, some)| some >= all - MAY_LOSE)
    });
    Route {
        short: short_band(&short),
        long: [low.unwrap_or(0.0), 1.01],
    }
}

fn short_band(rows: &[CascadeRow]) -> [f32; 2] {
    let mut tops: Vec<f32> = rows.iter().filter(|r| r.ordinary).map(|r| r.top).collect();
    if tops.is_empty() {
        tops = rows.iter().map(|r| r.top).collect();
    }
    tops.sort_by(|a, b| b.total_cmp(a));
    let allowed = (tops.len() as f64 * GOES_ON) as usize;
    let mut best = (f64::NEG_INFINITY, [0.5, 1.01]);
    for high in HIGHS {
        let below = tops.partition_point(|top| *top >= high);
        let Some(low) = tops.get(below + allowed).copied() else {
            continue;
        };
        let low = low.next_up().min(high);
        let quality = cascade_auc(rows, [low, high]);
        if quality > best.0 {
            best = (quality, [low, high]);
        }
    }
    best.1
}

/// Mean over sources of the AUC of a cascade's overall score.
pub fn cascade_auc(rows: &[CascadeRow], band: [f32; 2]) -> f64 {
    let aucs = source_aucs(rows, band);
    aucs.iter().sum::<f64>() / aucs.len().max(1) as f64
}

/// Each source's own AUC, of those that have enough rows of both kinds.
fn source_aucs(rows: &[CascadeRow], [low, high]: [f32; 2]) -> Vec<f64> {
    let sources = rows.iter().map(|r| r.source + 1).max().unwrap_or(0);
    let mut by_source: Vec<Vec<(f32, bool)>> = vec![Vec::new(); sources];
    for row in rows {
        let goes_on = (low..high).contains(&row.top);
        let score = if goes_on { row.full } else { row.fast };
        by_source[row.source].push((score, row.positive));
    }
    let both = |rows: &&Vec<(f32, bool)>| {
        let positives = rows.iter().filter(|row| row.1).count();
        positives >= 20 && rows.len() - positives >= 20
    };
    by_source
        .iter()
        .filter(both)
        .filter_map(|rows| auc(rows))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_sends_on_those_that_gain_and_no_more_than_a_tenth() {
        // The fast tier errs in the middle only; there the full tier is right.
        let rows: Vec<CascadeRow> = (0..2000)
            .map(|i| {
                let top = i as f32 / 2000.0;
                let middle = (0.4..0.48).contains(&top);
                let positive = if middle { i % 2 == 0 } else { top > 0.44 };
                let full = if positive { 0.9 } else { 0.1 };
                CascadeRow {
                    source: 0,
                    top,
                    fast: top,
                    full,
                    positive,
                    short: true,
                    ordinary: true,
                }
            })
            .collect();
        let [low, high] = route(&rows).short;
        let goes_on = rows.iter().filter(|r| (low..high).contains(&r.top)).count();
        assert!(goes_on <= 200, "{goes_on}");
        assert!(cascade_auc(&rows, [low, high]) >= cascade_auc(&rows, [0.0, 0.0]));
        assert!(cascade_auc(&rows, [0.0, 1.01]) > 0.999);
    }
}
