//! Which rows train a head, and how much each one counts.
//!
//! A row without a label for a head is masked. A source with too few of either kind would teach
//! a narrow head to tell sources apart, not messages: sources of positives alone are left out,
//! sources of negatives alone join the background. The overall head keeps sources of positives:
//! their own intercept takes up that they are all positive, and what is left teaches words that
//! its other sources lack (held-out AUC of the others rose by .001 to .003). It is not judged by
//! them. The background (messages that their own source calls
//! not toxic, or not spam) keeps narrow heads quiet on ordinary chat, which their own sources
//! lack.
//!
//! Where a teacher has scored the messages, its score replaces part of a label, and messages without a
//! label for the head teach with the score alone; nothing is judged by them.

use novastream_datasets::chat::CHAT_HEADS;

use super::corpus::{Corpus, Sample};
use super::teacher;

/// Fewest rows of each kind that make a source useful for a head.
const MIN_OF_EACH: usize = 5;
/// Weight of a weakly labelled source beside a hand-labelled one of the same size.
const WEAK_WEIGHT: f32 = 0.5;
/// Most background rows for one head.
const MAX_BACKGROUND: usize = 30_000;
/// Most messages for one head that only the teacher answers.
const MAX_TAUGHT: usize = 60_000;
/// Index of the overall head in [`CHAT_HEADS`].
const TOXICITY: usize = 0;
/// Index of `spam` in [`CHAT_HEADS`].
const SPAM: usize = 13;

/// How sources and background are weighed.
#[derive(Clone, Debug)]
pub struct Balance {
    /// A source of n rows weighs n^(1 − exponent): 0 counts rows, 1 counts sources.
    pub exponent: f32,
    /// Further factor per source, by index; 1 where absent.
    pub source_weights: Vec<f32>,
    /// Share of a narrow head's whole weight that the background has, in `0..1`.
    pub background: f32,
    /// How much of a label the teacher's score replaces, in `0..=1`.
    pub teacher_share: f32,
    /// Share of a head's whole weight that messages have which only the teacher answers, in `0..1`.
    pub taught: f32,
}

/// One row of a head's problem.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Index into the corpus.
    pub row: u32,
    /// Source index; `None` for background, which has no intercept of its own.
    pub source: Option<u16>,
    /// The label; what the teacher holds more likely where there is none.
    pub positive: bool,
    /// What is learned, 0 to 1: the label, or what it and the teacher say together.
    pub target: f32,
    /// Only the teacher answers for this row.
    pub taught: bool,
    /// Mean 1 over the problem.
    pub weight: f32,
}

/// What a source does for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Both kinds: trains the head.
    Labelled,
    /// Negatives alone: background.
    Background,
    /// Positives alone: left out.
    LeftOut,
    /// Positives alone: trains the overall head, judges nothing.
    PositivesOnly,
}

/// A source with any label for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Source index.
    pub source: u16,
    /// What it does.
    pub role: Role,
    /// Whether its labels for the head are weak.
    pub weak: bool,
    /// Positives among its rows.
    pub positives: usize,
    /// Negatives among its rows.
    pub negatives: usize,
}

/// The rows of one head.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Rows, corpus order, labelled first.
    pub examples: Vec<Example>,
    /// Sources that label the head.
    pub sources: Vec<Part>,
}

impl Problem {
    /// Gathers the rows of head `head` among those that `take` accepts.
    pub fn gather(
        corpus: &Corpus,
        head: usize,
        balance: &Balance,
        take: impl Fn(&Sample) -> bool,
    ) -> Self {
        debug_assert!(head < CHAT_HEADS.len());
        let mut counts = vec![(0, 0); corpus.sources.len()];
        let mut weak = vec![false; corpus.sources.len()];
        for sample in corpus.samples.iter().filter(|sample| take(sample)) {
            let Some(count) = counts.get_mut(usize::from(sample.source)) else {
                continue;
            };
            match sample.labels[head] {
                Some(true) => count.0 += 1,
                Some(false) => count.1 += 1,
                None => continue,
            }
            weak[usize::from(sample.source)] |= sample.weak;
        }
        let role = |(pos, neg): (usize, usize)| {
            if pos >= MIN_OF_EACH && neg >= MIN_OF_EACH {
                Role::Labelled
            } else if pos >= MIN_OF_EACH && head == TOXICITY {
                Role::PositivesOnly
            } else if pos >= MIN_OF_EACH {
                Role::LeftOut
            } else {
                Role::Background
            }
        };
        let row_weight: Vec<f32> = counts
            .iter()
            .enumerate()
            .map(|(source, (pos, neg))| {
                let weak = if weak[source] { WEAK_WEIGHT } else { 1.0 };
                let wanted = balance.source_weights.get(source).copied().unwrap_or(1.0);
                ((pos + neg).max(1) as f32).powf(-balance.exponent) * weak * wanted
            })
            .collect();

        let mut sizes = vec![0_usize; corpus.sources.len()];
        for sample in corpus.samples.iter().filter(|sample| take(sample)) {
            sizes[usize::from(sample.source)] += 1;
        }
        let size_weight: Vec<f32> = sizes
            .iter()
            .map(|size| ((*size).max(1) as f32).powf(-balance.exponent))
            .collect();

        let mut labelled = Vec::new();
        let mut background = Vec::new();
        let mut taught = Vec::new();
        for (row, sample) in corpus
            .samples
            .iter()
            .enumerate()
            .filter(|(_, sample)| take(sample))
        {
            let source = usize::from(sample.source);
            let says = teacher::says(sample.taught.as_ref(), head);
            let example = |source, positive, weight: f32| Example {
                row: row as u32,
                source,
                positive,
                target: teacher::soften(positive, says, balance.teacher_share),
                taught: false,
                weight: weight * sample.factor,
            };
            let ordinary = |source: usize| example(None, false, size_weight[source]);
            match (sample.labels[head], role(counts[source])) {
                (Some(positive), Role::Labelled | Role::PositivesOnly) => {
                    labelled.push(example(Some(sample.source), positive, row_weight[source]));
                }
                (Some(false), Role::Background) => background.push(ordinary(source)),
                (None, _) if head != TOXICITY && is_harmless(sample) => {
                    background.push(ordinary(source));
                }
                (None, _) => {
                    if let Some(score) = says {
                        taught.push(Example {
                            target: score,
                            taught: true,
                            ..example(None, score >= 0.5, size_weight[source])
                        });
                    }
                }
                _ => {}
            }
        }
        thin(&mut background, MAX_BACKGROUND);
        thin(&mut taught, MAX_TAUGHT);
        scale(&mut labelled, 1.0);
        let share = if background.is_empty() || head == TOXICITY {
            0.0
        } else {
            balance.background
        };
        join(&mut labelled, background, share);
        join(&mut labelled, taught, balance.taught);
        let sources = counts
            .iter()
            .enumerate()
            .filter(|(_, (pos, neg))| pos + neg > 0)
            .map(|(source, &(positives, negatives))| Part {
                source: source as u16,
                role: role((positives, negatives)),
                weak: weak[source],
                positives,
                negatives,
            })
            .collect();
        Self {
            examples: labelled,
            sources,
        }
    }

    /// The rows that a head may be judged by.
    #[must_use]
    pub fn judged(mut self) -> Self {
        let taught: Vec<u16> = self
            .sources
            .iter()
            .filter(|part| part.role == Role::PositivesOnly)
            .map(|part| part.source)
            .collect();
        self.examples.retain(|example| {
            !example.taught
                && example
                    .source
                    .is_none_or(|source| !taught.contains(&source))
        });
        self
    }
}

/// Whether the message's own source calls it harmless.
fn is_harmless(sample: &Sample) -> bool {
    let labels = &sample.labels;
    labels[TOXICITY] == Some(false) || (labels[TOXICITY].is_none() && labels[SPAM] == Some(false))
}

/// Adds rows so that they have a share of the whole weight, whose mean stays 1.
fn join(examples: &mut Vec<Example>, mut more: Vec<Example>, share: f32) {
    if share > 0.0 && share < 1.0 && !examples.is_empty() && !more.is_empty() {
        let each = examples.len() as f32 * share / (1.0 - share) / more.len() as f32;
        scale(&mut more, each);
        examples.append(&mut more);
        scale(examples, 1.0);
    }
}

/// Keeps every n-th so that at most `most` stay.
fn thin(examples: &mut Vec<Example>, most: usize) {
    let step = examples.len().div_ceil(most).max(1);
    let mut at = 0;
    examples.retain(|_| {
        at += 1;
        (at - 1) % step == 0
    });
}

/// Scales weights to a mean.
fn scale(examples: &mut [Example], mean: f32) {
    let sum: f64 = examples
        .iter()
        .map(|example| f64::from(example.weight))
        .sum();
    if sum > 0.0 {
        let factor = f64::from(mean) * examples.len() as f64 / sum;
        for example in examples {
            example.weight = (f64::from(example.weight) * factor) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HATE: usize = 1;

    fn sample(source: u16, toxic: Option<bool>, hate: Option<bool>) -> Sample {
        let mut labels = [None; CHAT_HEADS.len()];
        labels[TOXICITY] = toxic;
        labels[HATE] = hate;
        Sample {
            features: Box::new([(0, 1.0)]),
            source,
            weak: false,
            validation: false,
            factor: 1.0,
            labels,
            taught: None,
        }
    }

    /// Source 0 labels hate both ways, 1 positives alone, 2 negatives alone, 3 toxicity alone.
    fn corpus() -> Corpus {
        let mut samples = Vec::new();
        for i in 0..20 {
            samples.push(sample(0, None, Some(i % 2 == 0)));
            samples.push(sample(1, None, Some(true)));
            samples.push(sample(2, None, Some(false)));
            samples.push(sample(3, Some(i % 4 == 0), None));
        }
        let sources = ["both", "positives", "negatives", "toxic"]
            .map(str::to_owned)
            .to_vec();
        Corpus {
            samples,
            sources,
            hasher: novastream_features::text::NgramHasher::new(8),
        }
    }

    fn balance(background: f32) -> Balance {
        Balance {
            exponent: 0.5,
            source_weights: Vec::new(),
            background,
            teacher_share: 0.5,
            taught: 0.25,
        }
    }

    fn gather(head: usize, background: f32) -> Problem {
        Problem::gather(&corpus(), head, &balance(background), |_| true)
    }

    #[test]
    fn indices_name_their_heads() {
        assert_eq!(
            (CHAT_HEADS[TOXICITY], CHAT_HEADS[SPAM]),
            ("toxicity", "spam")
        );
        assert_eq!(CHAT_HEADS[HATE], "hate");
    }

    #[test]
    fn one_sided_sources_do_not_teach() {
        let problem = gather(HATE, 0.5);
        let roles: Vec<Role> = problem.sources.iter().map(|part| part.role).collect();
        assert_eq!(roles, [Role::Labelled, Role::LeftOut, Role::Background]);
        let of = |source| {
            problem
                .examples
                .iter()
                .filter(move |e| e.source == source)
                .count()
        };
        assert_eq!((of(Some(0)), of(Some(1)), of(Some(2))), (20, 0, 0));
        // Negatives alone, and what the toxicity source calls harmless.
        assert_eq!(of(None), 20 + 15);
        assert!(
            problem
                .examples
                .iter()
                .all(|e| e.source.is_some() || !e.positive)
        );
    }

    #[test]
    fn the_background_has_its_share_of_the_weight() {
        for share in [0.0, 0.25, 0.5] {
            let problem = gather(HATE, share);
            let sum = |background: bool| -> f32 {
                let rows = problem
                    .examples
                    .iter()
                    .filter(|e| e.source.is_none() == background);
                rows.map(|e| e.weight).sum()
            };
            let total = sum(true) + sum(false);
            assert!((sum(true) / total - share).abs() < 1e-4, "{share}");
            assert!((total / problem.examples.len() as f32 - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn positives_alone_teach_the_overall_head_and_judge_nothing() {
        let mut corpus = corpus();
        for sample in corpus.samples.iter_mut().filter(|s| s.source == 1) {
            sample.labels[TOXICITY] = Some(true);
        }
        let problem = Problem::gather(&corpus, TOXICITY, &balance(0.5), |_| true);
        let of = |problem: &Problem| {
            problem
                .examples
                .iter()
                .filter(|e| e.source == Some(1))
                .count()
        };
        assert_eq!(of(&problem), 20);
        let judged = problem.judged();
        assert_eq!((of(&judged), judged.examples.len()), (0, 20));
    }

    #[test]
    fn a_teacher_softens_labels_and_answers_where_there_are_none() {
        let mut corpus = corpus();
        for sample in &mut corpus.samples {
            sample.taught = Some(Box::new([0.8; CHAT_HEADS.len()]));
        }
        let problem = Problem::gather(&corpus, HATE, &balance(0.5), |_| true);
        for example in &problem.examples {
            let expected = match (example.taught, example.positive) {
                (true, _) => 0.8,
                (false, true) => 0.9,
                (false, false) => 0.4,
            };
            assert!((example.target - expected).abs() < 1e-6);
        }
        let of = |problem: &Problem| -> f32 {
            let taught = problem.examples.iter().filter(|e| e.taught);
            taught.map(|e| e.weight).sum()
        };
        let total: f32 = problem.examples.iter().map(|e| e.weight).sum();
        // What the toxicity source calls toxic has no other label for hate.
        assert_eq!(problem.examples.iter().filter(|e| e.taught).count(), 5);
        assert!((of(&problem) / total - 0.25).abs() < 1e-4);
        assert_eq!(of(&problem.judged()), 0.0);
    }

    #[test]
    fn toxicity_has_no_background() {
        let problem = gather(TOXICITY, 0.5);
        assert_eq!(problem.examples.len(), 20);
        assert!(problem.examples.iter().all(|e| e.source == Some(3)));
    }
}
