//! Chat rows as sparse vectors with masked labels.

use novastream_datasets::chat::{CHAT_HEADS, ChatRow};
use novastream_features::text::{NgramHasher, Normalizer};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

/// Buckets of the split hash: fractions are multiples of 1/10,000.
const SPLIT_BUCKETS: u64 = 10_000;

/// One message, ready for training.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Hashed features, as serving computes them.
    pub features: Box<[(u32, f32)]>,
    /// Index into [`Corpus::sources`].
    pub source: u16,
    /// Labelled by keyword, forum or model.
    pub weak: bool,
    /// Held out of training.
    pub validation: bool,
    /// Label per head of [`CHAT_HEADS`].
    pub labels: [Option<bool>; CHAT_HEADS.len()],
}

/// Everything a training run learns from.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Messages in the order of the files.
    pub samples: Vec<Sample>,
    /// Source names in order of first appearance.
    pub sources: Vec<String>,
}

impl Corpus {
    /// Normalises and hashes all rows, in parallel; `validation_fraction` of them, chosen by a
    /// hash of the text so that copies of a message fall on the same side, are held out.
    pub fn build(rows: &[ChatRow], hasher: NgramHasher, validation_fraction: f64) -> Self {
        let mut sources: Vec<String> = Vec::new();
        let of_row: Vec<u16> = rows
            .iter()
            .map(|row| {
                let known = sources.iter().position(|name| *name == row.source);
                let index = known.unwrap_or_else(|| {
                    sources.push(row.source.clone());
                    sources.len() - 1
                });
                // More than 65,535 sources would share the last number; nobody has them.
                u16::try_from(index).unwrap_or(u16::MAX)
            })
            .collect();
        let normalizer = Normalizer::new();
        let samples = rows
            .par_iter()
            .zip(of_row)
            .map_init(Vec::new, |scratch, (row, source)| {
                let normalized = normalizer.normalize(&row.text);
                hasher.features(&row.text, &normalized, scratch);
                Sample {
                    features: scratch.as_slice().into(),
                    source,
                    weak: row.weak,
                    validation: held_out(&normalized.text, validation_fraction),
                    labels: row.labels,
                }
            })
            .collect();
        Self { samples, sources }
    }
}

/// Whether a message, normalised, is held out of training when `fraction` of all are.
pub(crate) fn held_out(normalized: &str, fraction: f64) -> bool {
    split_bucket(normalized) < (fraction * SPLIT_BUCKETS as f64) as u64
}

/// Stable across machines and runs: copies that differ in case or spacing share a bucket.
fn split_bucket(text: &str) -> u64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    xxh3_64(words.join(" ").as_bytes()) % SPLIT_BUCKETS
}
