//! Chat rows as sparse vectors with masked labels.

use novastream_datasets::chat::{CHAT_HEADS, ChatRow};
use novastream_features::text::{NgramHasher, Normalizer};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::teacher::Taught;
use crate::disguise::disguise;

/// Part of a disguised copy beside the message as it was written.
const DISGUISED_FACTOR: f32 = 0.5;

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
    /// Its part beside other messages of its source: 1, or less for a disguised copy.
    pub factor: f32,
    /// Label per head of [`CHAT_HEADS`].
    pub labels: [Option<bool>; CHAT_HEADS.len()],
    /// What a better model says, where there is one.
    pub taught: Option<Taught>,
}

/// Everything a training run learns from.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Messages in the order of the files.
    pub samples: Vec<Sample>,
    /// Source names in order of first appearance.
    pub sources: Vec<String>,
    /// What made the features.
    pub hasher: NgramHasher,
}

impl Corpus {
    /// Gives the first messages what a teacher says of them, in their order.
    pub fn teach(&mut self, taught: &[Taught]) {
        for (sample, taught) in self.samples.iter_mut().zip(taught) {
            sample.taught = Some(taught.clone());
        }
    }

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
                    factor: 1.0,
                    labels: row.labels,
                    taught: None,
                }
            })
            .collect();
        Self {
            samples,
            sources,
            hasher,
        }
    }

    /// Adds disguised copies of a share of the training messages, behind all others: they teach
    /// what words look like where the normaliser can't undo a disguise. `rows` are those that the
    /// corpus was built from.
    pub fn add_disguised(&mut self, rows: &[ChatRow], share: f64, seed: u64) {
        if share <= 0.0 {
            return;
        }
        let normalizer = Normalizer::new();
        let hasher = self.hasher;
        let copies: Vec<Sample> = rows
            .par_iter()
            .zip(&self.samples)
            .enumerate()
            .filter(|(_, (_, sample))| !sample.validation)
            .filter_map(|(at, (row, sample))| {
                let mut rng = StdRng::seed_from_u64(seed ^ (at as u64) << 8);
                let hidden = rng
                    .random_bool(share.min(1.0))
                    .then(|| disguise(&row.text, &mut rng))
                    .filter(|hidden| *hidden != row.text)?;
                let mut features = Vec::new();
                hasher.features(&hidden, &normalizer.normalize(&hidden), &mut features);
                Some(Sample {
                    features: features.into(),
                    factor: DISGUISED_FACTOR,
                    ..sample.clone()
                })
            })
            .collect();
        self.samples.extend(copies);
    }

    /// Drops features that fewer than `min_count` training messages have: their weights would be
    /// learned by heart, and a model would have to ship them. Vectors keep the length that serving
    /// gives them.
    pub fn prune(&mut self, hash_bits: u8, min_count: u32) {
        if min_count < 2 {
            return;
        }
        let mut counts = vec![0_u32; 1 << hash_bits];
        for sample in self.samples.iter().filter(|sample| !sample.validation) {
            for (bucket, _) in &sample.features {
                counts[*bucket as usize] += 1;
            }
        }
        self.samples.par_iter_mut().for_each(|sample| {
            let kept = sample.features.iter().copied();
            sample.features = kept
                .filter(|(bucket, _)| counts[*bucket as usize] >= min_count)
                .collect();
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(buckets: &[u32], validation: bool) -> Sample {
        Sample {
            features: buckets.iter().map(|bucket| (*bucket, 0.5)).collect(),
            source: 0,
            weak: false,
            validation,
            factor: 1.0,
            labels: [None; CHAT_HEADS.len()],
            taught: None,
        }
    }

    #[test]
    fn disguised_copies_stand_behind_all_others_and_are_never_held_out() {
        let rows: Vec<ChatRow> = (0..40)
            .map(|i| ChatRow {
                text: format!("message number {i} about something entirely harmless"),
                source: "a".to_owned(),
                weak: false,
                labels: [Some(i % 2 == 0); CHAT_HEADS.len()],
            })
            .collect();
        let mut corpus = Corpus::build(&rows, NgramHasher::with_set(12, 2), 0.3);
        let held_out = corpus.samples.iter().filter(|s| s.validation).count();
        corpus.add_disguised(&rows, 1.0, 7);
        let copies = &corpus.samples[rows.len()..];
        assert!(
            copies.len() > (rows.len() - held_out) / 2,
            "{}",
            copies.len()
        );
        assert!(copies.len() <= rows.len() - held_out);
        assert!(copies.iter().all(|s| !s.validation && s.factor < 1.0));
        let mut again = Corpus::build(&rows, NgramHasher::with_set(12, 2), 0.3);
        again.add_disguised(&rows, 1.0, 7);
        assert_eq!(again.samples[rows.len()].features, copies[0].features);
    }

    #[test]
    fn features_of_one_training_message_go() {
        let mut corpus = Corpus {
            samples: vec![
                sample(&[1, 2], false),
                sample(&[2, 3], false),
                sample(&[2, 3], true),
            ],
            sources: vec!["a".to_owned()],
            hasher: NgramHasher::new(8),
        };
        corpus.prune(4, 2);
        let left: Vec<usize> = corpus.samples.iter().map(|s| s.features.len()).collect();
        assert_eq!(left, [1, 1, 1]);
        assert_eq!(corpus.samples[0].features[0], (2, 0.5));
    }
}
