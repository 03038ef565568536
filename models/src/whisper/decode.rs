//! The search for words: beams or the likeliest token, and chance where the answer is poor.

use std::cmp::Ordering;
use std::io::Write;

use super::rules::Rules;
use super::tokens::TICK;
use super::{WhisperError, WhisperTokens};

/// Something that says what comes after some tokens.
pub trait Stepper {
    /// What it remembers of a sequence; beams clone it.
    type State: Clone + Default;

    /// Most tokens of a sequence.
    fn room(&self) -> usize;

    /// Logits of the token behind `tokens`, which go on from `state`.
    ///
    /// # Errors
    /// [`WhisperError`]: the network failed.
    fn step(&self, state: &mut Self::State, tokens: &[u32]) -> Result<Vec<f32>, WhisperError>;
}

/// How to search. The defaults are those of the published decoder but for fewer temperatures.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeOptions {
    /// Language code; `None`: the likeliest, where the model knows several.
    pub language: Option<String>,
    /// Sequences that are followed side by side at temperature 0; 1 is greedy.
    pub beams: usize,
    /// Tried in order until an answer is good enough; above 0 tokens are drawn by chance.
    pub temperatures: Vec<f32>,
    /// An answer that zlib makes more than this many times smaller repeats itself: not good enough.
    pub most_compression: f32,
    /// An answer whose mean log probability is lower is not good enough.
    pub least_log_probability: f32,
    /// With an answer that is not good enough and a probability of silence over this, nobody spoke.
    pub silence: f32,
    /// Most tokens of an answer.
    pub most_tokens: usize,
    /// Seed of chance.
    pub seed: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            language: None,
            beams: 5,
            temperatures: vec![0.0, 0.4, 0.8],
            most_compression: 2.4,
            least_log_probability: -1.0,
            silence: 0.6,
            most_tokens: 224,
            seed: 7,
        }
    }
}

/// Some words and when they were said, in seconds from the start of the sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Beginning.
    pub start: f64,
    /// End; at most 30.
    pub end: f64,
    /// The words.
    pub text: String,
}

/// What was said in a stretch of sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Code of the language.
    pub language: Option<String>,
    /// The words; none where nobody spoke.
    pub segments: Vec<Segment>,
    /// Mean log probability of a token.
    pub log_probability: f32,
    /// Probability that nobody speaks.
    pub no_speech: f32,
    /// The temperature that the answer was found at.
    pub temperature: f32,
    /// How many times smaller zlib makes the text.
    pub compression: f32,
}

/// Finds the words. `suppress` and `begin_suppress` are the checkpoint's lists.
///
/// # Errors
/// [`WhisperError`]: the network failed, or the language is none of its own.
pub fn decode<S: Stepper>(
    stepper: &S,
    tokens: &WhisperTokens,
    suppress: Option<&[i64]>,
    begin_suppress: Option<&[i64]>,
    options: &DecodeOptions,
) -> Result<Decoded, WhisperError> {
    let mut start = S::State::default();
    let first = stepper.step(&mut start, &[tokens.start])?;
    let no_speech = probabilities(&first)
        .get(tokens.no_speech as usize)
        .copied()
        .unwrap_or(0.0);
    let language = language(&first, tokens, options)?;
    let mut prompt = Vec::new();
    if let Some((_, id)) = &language {
        prompt.extend([*id, tokens.transcribe]);
    }
    let logits = if prompt.is_empty() {
        first
    } else {
        stepper.step(&mut start, &prompt)?
    };
    let search = Search {
        stepper,
        rules: Rules::new(tokens, suppress, begin_suppress),
        end: tokens.end,
        most: options
            .most_tokens
            .min(stepper.room().saturating_sub(prompt.len() + 2)),
    };
    let language = language.map(|(code, _)| code);
    let mut answer = None;
    for temperature in &options.temperatures {
        let begin = (start.clone(), logits.clone());
        let found = if *temperature > 0.0 {
            search.chance(begin, *temperature, options.seed)?
        } else {
            search.beams(begin, options.beams.max(1))?
        };
        let text = tokens.text(&found.written);
        let compression = compression(&text);
        let log_probability = found.mean();
        let poor = log_probability < options.least_log_probability;
        let silent = poor && no_speech > options.silence;
        let decoded = Decoded {
            language: language.clone(),
            segments: if silent {
                Vec::new()
            } else {
                segments(&found.written, tokens)
            },
            log_probability,
            no_speech,
            temperature: *temperature,
            compression,
        };
        let good = silent || (!poor && compression <= options.most_compression);
        answer = Some(decoded);
        if good {
            break;
        }
    }
    answer.ok_or(WhisperError::Invalid {
        file: "options",
        message: "no temperature was given".to_owned(),
    })
}

/// The language asked for, or the likeliest.
fn language(
    logits: &[f32],
    tokens: &WhisperTokens,
    options: &DecodeOptions,
) -> Result<Option<(String, u32)>, WhisperError> {
    if let Some(wanted) = &options.language {
        // A model that knows no languages is an English one.
        if tokens.languages.is_empty() && wanted == "en" {
            return Ok(None);
        }
        let found = tokens.languages.iter().find(|(code, _)| code == wanted);
        return match found {
            Some(language) => Ok(Some(language.clone())),
            None => Err(WhisperError::Invalid {
                file: "options",
                message: format!("the model has no language {wanted:?}"),
            }),
        };
    }
    let score = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::MIN);
    Ok(tokens
        .languages
        .iter()
        .max_by(|a, b| score(a.1).total_cmp(&score(b.1)))
        .cloned())
}

/// A sequence on its way.
#[derive(Clone)]
struct Path<T> {
    state: T,
    logits: Vec<f32>,
    written: Vec<u32>,
    sum: f32,
}

/// A finished sequence, without the end.
struct Found {
    written: Vec<u32>,
    sum: f32,
}

impl Found {
    /// Mean log probability, the end included.
    fn mean(&self) -> f32 {
        self.sum / (self.written.len() + 1) as f32
    }
}

struct Search<'a, S: Stepper> {
    stepper: &'a S,
    rules: Rules<'a>,
    end: u32,
    most: usize,
}

impl<S: Stepper> Search<'_, S> {
    /// Log probabilities of what may come next.
    fn next(&self, path: &Path<S::State>) -> Vec<f32> {
        let mut logits = path.logits.clone();
        self.rules.apply(&path.written, &mut logits);
        log_softmax(&mut logits);
        logits
    }

    /// Goes one token further.
    fn follow(
        &self,
        path: &Path<S::State>,
        token: u32,
        log_probability: f32,
    ) -> Result<Path<S::State>, WhisperError> {
        let mut next = path.clone();
        next.written.push(token);
        next.sum += log_probability;
        next.logits = self.stepper.step(&mut next.state, &[token])?;
        Ok(next)
    }

    /// Follows the `width` likeliest sequences until as many have ended.
    fn beams(
        &self,
        (state, logits): (S::State, Vec<f32>),
        width: usize,
    ) -> Result<Found, WhisperError> {
        let mut open = vec![Path {
            state,
            logits,
            written: Vec::new(),
            sum: 0.0,
        }];
        let mut done: Vec<Found> = Vec::new();
        for _ in 0..self.most {
            let mut next: Vec<(usize, u32, f32, f32)> = Vec::new();
            for (i, path) in open.iter().enumerate() {
                let scores = self.next(path);
                for token in highest(&scores, width + 1) {
                    let p = scores[token];
                    if p.is_finite() {
                        next.push((i, token as u32, p, path.sum + p));
                    }
                }
            }
            next.sort_by(|a, b| b.3.total_cmp(&a.3).then((a.0, a.1).cmp(&(b.0, b.1))));
            let mut going = Vec::new();
            for (i, token, p, sum) in next {
                if going.len() == width {
                    break;
                }
                if token == self.end {
                    done.push(Found {
                        written: open[i].written.clone(),
                        sum,
                    });
                } else {
                    going.push((i, token, p));
                }
            }
            if done.len() >= width || going.is_empty() {
                break;
            }
            open = going
                .into_iter()
                .map(|(i, token, p)| self.follow(&open[i], token, p))
                .collect::<Result<_, _>>()?;
        }
        // What has not ended counts only where nothing has.
        if done.is_empty() {
            let cut = |path: Path<S::State>| Found {
                written: path.written,
                sum: path.sum,
            };
            done.extend(open.into_iter().map(cut));
        }
        let best = done
            .into_iter()
            .max_by(|a, b| a.mean().partial_cmp(&b.mean()).unwrap_or(Ordering::Equal));
        Ok(best.unwrap_or(Found {
            written: Vec::new(),
            sum: 0.0,
        }))
    }

    /// Draws tokens by chance; the same seed draws the same.
    fn chance(
        &self,
        (state, logits): (S::State, Vec<f32>),
        temperature: f32,
        seed: u64,
    ) -> Result<Found, WhisperError> {
        let mut path = Path {
            state,
            logits,
            written: Vec::new(),
            sum: 0.0,
        };
        let mut dice = Dice(seed ^ u64::from(temperature.to_bits()));
        for _ in 0..self.most {
            let scores = self.next(&path);
            let mut warm: Vec<f32> = scores.iter().map(|s| s / temperature).collect();
            log_softmax(&mut warm);
            let (mut left, mut token) = (dice.roll(), None);
            for (i, p) in warm.iter().enumerate().filter(|(_, p)| p.is_finite()) {
                token = Some(i as u32);
                left -= p.exp();
                if left < 0.0 {
                    break;
                }
            }
            let Some(token) = token else { break };
            let p = scores[token as usize];
            if token == self.end {
                path.sum += p;
                break;
            }
            path = self.follow(&path, token, p)?;
        }
        Ok(Found {
            written: path.written,
            sum: path.sum,
        })
    }
}

/// SplitMix64 (Steele et al. 2014): chance that is the same on every machine.
struct Dice(u64);

impl Dice {
    /// Between 0 and 1.
    fn roll(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// Indices of the `n` highest values, highest first.
fn highest(values: &[f32], n: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(n + 1);
    for (i, value) in values.iter().enumerate() {
        let at = best.partition_point(|b| values[*b] >= *value);
        if at < n {
            best.insert(at, i);
            best.truncate(n);
        }
    }
    best
}

fn log_softmax(logits: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !top.is_finite() {
        return;
    }
    let sum: f32 = logits.iter().map(|z| (z - top).exp()).sum();
    let all = top + sum.ln();
    for z in logits.iter_mut() {
        *z -= all;
    }
}

fn probabilities(logits: &[f32]) -> Vec<f32> {
    let mut all = logits.to_vec();
    log_softmax(&mut all);
    all.into_iter().map(f32::exp).collect()
}

/// How many times smaller zlib makes a text.
fn compression(text: &str) -> f32 {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing into memory can't fail.
    let _ = encoder.write_all(text.as_bytes());
    let small = encoder.finish().map_or(1, |bytes| bytes.len());
    text.len() as f32 / small.max(1) as f32
}

/// Cuts an answer at its times.
fn segments(written: &[u32], tokens: &WhisperTokens) -> Vec<Segment> {
    let first = tokens.first_timestamp();
    let seconds = |t: u32| f64::from(t - first) * TICK;
    let (mut found, mut start, mut words) = (Vec::new(), 0.0, Vec::new());
    let mut push = |start: f64, end: f64, words: &mut Vec<u32>| {
        let text = tokens.text(words).trim().to_owned();
        words.clear();
        if !text.is_empty() {
            found.push(Segment {
                start,
                end: end.max(start),
                text,
            });
        }
    };
    for token in written {
        if *token >= first {
            let at = seconds(*token);
            push(start, at, &mut words);
            start = at;
        } else {
            words.push(*token);
        }
    }
    // An answer that was cut off has no last time: it goes on to the end of the sound.
    push(start, 30.0, &mut words);
    found
}
