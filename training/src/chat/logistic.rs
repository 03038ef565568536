//! Sparse logistic regression.
//!
//! AdaGrad (Duchi et al., 2011) over hashed features with a step that falls linearly to zero.
//! Rows come in an order shuffled anew for each pass. Each source has an intercept of its own
//! during training, so that weights need not explain why one source has more positives than
//! another; the shared intercept is all that stays. linfa's linear models and its FTRL take dense
//! arrays, half a million columns wide here, which is why this is our own.

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::corpus::Corpus;
use super::problem::Example;

/// Step of the intercepts.
const INTERCEPT_STEP: f32 = 0.02;
/// Keeps the first steps finite.
const EPSILON: f32 = 1e-3;

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub struct FitParams {
    /// log2 of the number of features.
    pub hash_bits: u8,
    /// Set of features, for the model that comes of it.
    pub ngram_set: u8,
    /// Passes over the rows.
    pub epochs: u32,
    /// AdaGrad's step.
    pub learning_rate: f32,
    /// Pull of each touched weight towards zero.
    pub l2: f32,
    /// Weights closer to zero are dropped in the end.
    pub min_weight: f32,
    /// Order of the rows.
    pub seed: u64,
}

/// A fitted head.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// One weight a bucket.
    pub weights: Vec<f32>,
    /// Shared intercept.
    pub bias: f32,
}

impl Fitted {
    /// The logit of a feature vector.
    pub fn logit(&self, features: &[(u32, f32)]) -> f32 {
        let sum = |features: &[(u32, f32)]| -> f32 {
            features
                .iter()
                .map(|(bucket, value)| value * self.weights[*bucket as usize])
                .sum()
        };
        self.bias + sum(features)
    }
}

/// Fits one head. `tick` is called after every pass. The same input gives the same output.
pub fn fit(corpus: &Corpus, examples: &[Example], params: &FitParams, tick: impl Fn()) -> Fitted {
    let buckets = 1_usize << params.hash_bits;
    let mut weights = vec![0.0_f32; buckets];
    let mut squares = vec![0.0_f32; buckets];
    let mut intercepts = vec![0.0_f32; corpus.sources.len()];
    let mut bias = 0.0;
    let mut order: Vec<u32> = (0..examples.len() as u32).collect();
    let mut random = StdRng::seed_from_u64(params.seed);
    for epoch in 0..params.epochs {
        order.shuffle(&mut random);
        let rate = params.learning_rate * (1.0 - epoch as f32 / params.epochs as f32);
        for &at in &order {
            let example = &examples[at as usize];
            let features = &corpus.samples[example.row as usize].features;
            let own = example
                .source
                .map_or(0.0, |source| intercepts[usize::from(source)]);
            let mut logit = bias + own;
            for &(bucket, value) in features {
                logit += value * weights[bucket as usize];
            }
            let probability = 1.0 / (1.0 + (-logit).exp());
            let gradient = example.weight * (probability - example.target);
            bias -= INTERCEPT_STEP * gradient;
            if let Some(source) = example.source {
                intercepts[usize::from(source)] -= INTERCEPT_STEP * gradient;
            }
            for &(bucket, value) in features {
                let bucket = bucket as usize;
                let slope = gradient * value + params.l2 * weights[bucket];
                squares[bucket] += slope * slope;
                weights[bucket] -= rate * slope / (squares[bucket].sqrt() + EPSILON);
            }
        }
        tick();
    }
    for weight in &mut weights {
        if weight.abs() < params.min_weight {
            *weight = 0.0;
        }
    }
    Fitted { weights, bias }
}

#[cfg(test)]
mod tests {
    use novastream_datasets::chat::CHAT_HEADS;

    use super::*;
    use crate::chat::corpus::Sample;

    const PARAMS: FitParams = FitParams {
        hash_bits: 10,
        ngram_set: 1,
        epochs: 40,
        learning_rate: 0.3,
        l2: 1e-6,
        min_weight: 0.0,
        seed: 1,
    };

    fn corpus(rows: &[(u16, &[(u32, f32)])]) -> Corpus {
        let sample = |&(source, features): &(u16, &[(u32, f32)])| Sample {
            features: features.into(),
            source,
            weak: false,
            validation: false,
            factor: 1.0,
            labels: [None; CHAT_HEADS.len()],
            taught: None,
        };
        let sources = vec!["a".to_owned(), "b".to_owned()];
        Corpus {
            samples: rows.iter().map(sample).collect(),
            sources,
            hasher: novastream_features::text::NgramHasher::new(10),
        }
    }

    fn example(row: u32, source: u16, positive: bool) -> Example {
        Example {
            row,
            source: Some(source),
            positive,
            target: f32::from(u8::from(positive)),
            taught: false,
            weight: 1.0,
        }
    }

    #[test]
    fn features_get_the_sign_of_their_label() {
        let corpus = corpus(&[(0, &[(1, 0.7), (9, 0.7)]), (0, &[(2, 0.7), (9, 0.7)])]);
        let fitted = fit(
            &corpus,
            &[example(0, 0, true), example(1, 0, false)],
            &PARAMS,
            || {},
        );
        assert!(fitted.weights[1] > 0.5 && fitted.weights[2] < -0.5);
        assert!(fitted.weights[9].abs() < 0.3, "{}", fitted.weights[9]);
        assert!(
            fitted.logit(&corpus.samples[0].features) > fitted.logit(&corpus.samples[1].features)
        );
    }

    #[test]
    fn a_mark_of_the_source_explains_less_than_with_one_intercept() {
        // Feature 5 marks source b, whose rows are all positive but one.
        let mut rows: Vec<(u16, &[(u32, f32)])> = Vec::new();
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        for i in 0..4000_u32 {
            let source = u16::from(i % 2 == 1);
            rows.push((
                source,
                if source == 1 {
                    &[(5, 1.0)]
                } else {
                    &[(6, 1.0)]
                },
            ));
            let positive = if source == 1 {
                i % 20 != 1
            } else {
                i % 20 == 0
            };
            own.push(example(i, source, positive));
            shared.push(Example {
                source: None,
                ..example(i, source, positive)
            });
        }
        let corpus = corpus(&rows);
        let with_own = fit(&corpus, &own, &PARAMS, || {}).weights[5];
        let with_one = fit(&corpus, &shared, &PARAMS, || {}).weights[5];
        assert!(with_own < 0.9 * with_one, "{with_own} {with_one}");
    }
}
