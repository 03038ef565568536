//! A trained model on labelled files.

use std::collections::BTreeMap;
use std::time::Duration;

use novastream_datasets::chat::{CHAT_HEADS, ChatRow};
use novastream_features::text::{NgramHasher, Normalizer};
use novastream_models::linear::LinearChatModel;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::metrics::{Confusion, auc, average_precision};

/// The decision threshold on calibrated scores.
pub const THRESHOLD: f32 = 0.5;
/// Rows scored before the clock starts, so that it does not measure cold caches.
const WARM_UP_ROWS: usize = 200;

/// One head on one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadFigures {
    /// Labelled rows.
    pub n: usize,
    /// Positives among them.
    pub pos: usize,
    /// Area under the ROC curve; null without both kinds.
    pub auc: Option<f64>,
    /// Average precision; null without both kinds.
    pub average_precision: Option<f64>,
    /// At the shipped threshold.
    pub f1: f64,
    /// At the shipped threshold.
    pub accuracy: f64,
    /// At the shipped threshold; null without both kinds.
    pub balanced_accuracy: Option<f64>,
}

/// A model on one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileFigures {
    /// The file as it was named.
    pub file: String,
    /// Rows in it.
    pub rows: usize,
    /// Figures of every head that both the file labels and the model has.
    pub heads: BTreeMap<String, HeadFigures>,
    /// Heads that the file labels and the model lacks.
    pub not_evaluated: Vec<String>,
    /// Messages normalised, hashed and scored on all heads, per second of this process's CPU
    /// time, on one thread; null for a file without rows.
    pub texts_per_cpu_second: Option<f64>,
}

/// Scores rows in order on the calling thread: one vector of calibrated scores a row, in the order
/// of the model's heads, and the rate.
pub fn score_rows(model: &LinearChatModel, rows: &[ChatRow]) -> (Vec<Vec<f32>>, Option<f64>) {
    let normalizer = Normalizer::new();
    let hasher = NgramHasher::with_set(model.hash_bits(), model.ngram_set());
    let mut features = Vec::new();
    let mut score = |row: &ChatRow| {
        let mut scores = Vec::new();
        hasher.features(&row.text, &normalizer.normalize(&row.text), &mut features);
        model.score(&features, &mut scores);
        scores
    };
    for row in rows.iter().take(WARM_UP_ROWS) {
        std::hint::black_box(score(row));
    }
    let start = cpu_time();
    let scores: Vec<Vec<f32>> = rows.iter().map(&mut score).collect();
    let used = cpu_time().saturating_sub(start).as_secs_f64();
    let rate = (!rows.is_empty() && used > 0.0).then(|| rows.len() as f64 / used);
    (scores, rate)
}

/// CPU time of this process so far, all threads.
pub fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// Figures of one file from the scores of its rows, which are in the order of `names`.
pub fn figures(
    names: &[String],
    file: &str,
    rows: &[ChatRow],
    scores: &[Vec<f32>],
    rate: Option<f64>,
) -> FileFigures {
    let mut heads = BTreeMap::new();
    let mut not_evaluated = Vec::new();
    for (label, name) in CHAT_HEADS.iter().enumerate() {
        if rows.iter().all(|row| row.labels[label].is_none()) {
            continue;
        }
        let Some(head) = names.iter().position(|head| head == name) else {
            not_evaluated.push((*name).to_owned());
            continue;
        };
        let scored: Vec<(f32, bool)> = rows
            .iter()
            .zip(scores)
            .filter_map(|(row, scores)| Some((scores[head], row.labels[label]?)))
            .collect();
        let counts = Confusion::at(THRESHOLD, &scored);
        let figures = HeadFigures {
            n: scored.len(),
            pos: scored.iter().filter(|(_, positive)| *positive).count(),
            auc: auc(&scored),
            average_precision: average_precision(&scored),
            f1: counts.f1(),
            accuracy: counts.accuracy(),
            balanced_accuracy: counts.balanced_accuracy(),
        };
        heads.insert((*name).to_owned(), figures);
    }
    FileFigures {
        file: file.to_owned(),
        rows: rows.len(),
        heads,
        not_evaluated,
        texts_per_cpu_second: rate,
    }
}
