//! Stored answers of a model: what it must still say, within a tolerance, before it is used.
//!
//! `golden.json` stands beside the manifest. `novastream models golden DIR` and the training commands
//! write it; every load of the model asks the same questions again. It finds what a hash can't: an
//! engine, a processor or a build that computes something else from the right bytes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::store::{StoreError, read_verified};

/// Name of the file beside the manifest.
pub const GOLDEN_FILE: &str = "golden.json";

/// Most questions of a file.
pub const MAX_PAIRS: usize = 256;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Questions for chat models: everyday lines, some of which a moderator would stop.
pub const TEXTS: [&str; 20] = [
    "gg",
    "hello everyone",
    "what a save!!!",
    "lol that was so bad",
    "first time here, love the stream",
    "can someone explain the new patch to me please",
    "you are the worst player I have ever seen",
    "shut up you worthless idiot",
    "y0u are an 1d10t",
    "nobody asked you, go away",
    "I will find out where you live",
    "I hate mondays",
    "free coins at my page, click now",
    "GIVEAWAY!! send 0.1 and get 0.2 back, link in my profile",
    "he dies at the end of the third episode, sorry",
    "my number is 555 0100, call me",
    "the boss on level four is impossible without the shield, I tried it for three hours yesterday",
    "he said the whole team should be ashamed of how they treated her after the match",
    "stop spamming or the mods will ban you, this is the last time I say it, read the rules first",
    "good night all, see you tomorrow",
];

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Question {
    /// A chat message.
    Text {
        /// The message.
        text: String,
        /// Messages before it, oldest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        previous: Vec<String>,
    },
    /// A tone that glides from one pitch to another, 16 kHz mono.
    Tone {
        /// Pitch at the beginning, Hz.
        from_hz: f32,
        /// Pitch at the end, Hz.
        to_hz: f32,
        /// Amplitude, 0 to 1.
        amplitude: f32,
        /// Length in samples.
        samples: u32,
    },
}

impl Question {
    /// A message that stands alone.
    pub fn text(text: &str) -> Self {
        Self::Text {
            text: text.to_owned(),
            previous: Vec::new(),
        }
    }

    /// The samples of a tone, at most ten seconds; none for a message.
    pub fn samples(&self) -> Vec<f32> {
        let Self::Tone {
            from_hz,
            to_hz,
            amplitude,
            samples,
        } = self
        else {
            return Vec::new();
        };
        let n = (*samples).min(160_000);
        let mut phase = 0.0_f64;
        (0..n)
            .map(|i| {
                let at = f64::from(i) / f64::from(n.max(1));
                let hz = f64::from(*from_hz) + at * f64::from(to_hz - from_hz);
                phase += std::f64::consts::TAU * hz / 16_000.0;
                amplitude * phase.sin() as f32
            })
            .collect()
    }
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// The answer, a value an output.
    pub values: Vec<f32>,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The engine that gave the answers, such as `linear`, `onnxruntime` or `candle`.
    pub made_by: String,
    /// How far the same engine may be from them.
    pub tolerance: f32,
    /// How far any other engine may be from them; engines round differently.
    pub tolerance_elsewhere: f32,
    /// What the values are, such as head names.
    pub outputs: Vec<String>,
    /// Questions and answers.
    pub pairs: Vec<Pair>,
}

/// A golden check that can't be made, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file is there and can't be used.
    #[error("{GOLDEN_FILE}: {0}")]
    Unreadable(String),
    /// The model answers something else.
    #[error(
        "{GOLDEN_FILE}: {output} of question {} is {found}, not {wanted} (tolerance {tolerance})",
        question + 1
    )]
    Differs {
        /// Which question.
        question: usize,
        /// Which output.
        output: String,
        /// The stored value.
        wanted: f32,
        /// The model's.
        found: f32,
        /// How far apart they may be.
        tolerance: f32,
    },
    /// The model has other outputs than the file.
    #[error("{GOLDEN_FILE}: the outputs are {found:?}, not {wanted:?}")]
    Outputs {
        /// The stored names.
        wanted: Vec<String>,
        /// The model's.
        found: Vec<String>,
    },
    /// The model could not answer.
    #[error("{GOLDEN_FILE}: question {} failed: {message}", question + 1)]
    Failed {
        /// Which question.
        question: usize,
        /// The engine's words.
        message: String,
    },
}

impl GoldenError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "golden_unreadable",
            Self::Differs { .. } | Self::Outputs { .. } | Self::Failed { .. } => "golden_failed",
        }
    }
}

impl Golden {
    /// The file of a model in `dir`, checked against the manifest where that lists it; `None` where
    /// there is none.
    ///
    /// # Errors
    /// [`StoreError`] of a listed file that is missing or altered, as the outer error;
    /// [`GoldenError::Unreadable`] as the inner one.
    pub fn of(
        manifest: &Manifest,
        dir: &Path,
    ) -> Result<Result<Option<Self>, GoldenError>, StoreError> {
        let path = dir.join(GOLDEN_FILE);
        let bytes = if manifest.file(GOLDEN_FILE).is_some() {
            read_verified(manifest, dir, GOLDEN_FILE)?
        } else {
            match std::fs::metadata(&path) {
                Err(_) => return Ok(Ok(None)),
                Ok(m) if m.len() > MAX_BYTES => {
                    return Ok(Err(GoldenError::Unreadable("is too large".to_owned())));
                }
                Ok(_) => std::fs::read(&path).map_err(|source| StoreError::Io { path, source })?,
            }
        };
        Ok(Self::from_json(&bytes).map(Some))
    }

    /// Reads and checks a file's content.
    ///
    /// # Errors
    /// [`GoldenError::Unreadable`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, GoldenError> {
        let bad = |message: String| Err(GoldenError::Unreadable(message));
        let golden: Self = match serde_json::from_slice(bytes) {
            Ok(golden) => golden,
            Err(error) => return bad(error.to_string()),
        };
        if golden.pairs.is_empty() || golden.pairs.len() > MAX_PAIRS {
            return bad(format!("must have 1 to {MAX_PAIRS} pairs"));
        }
        let n = golden.outputs.len();
        if golden.pairs.iter().any(|p| p.values.len() != n) {
            return bad(format!("must have {n} values an answer"));
        }
        let sound = |t: f32| t.is_finite() && t >= 0.0;
        if !sound(golden.tolerance) || !sound(golden.tolerance_elsewhere) {
            return bad("a tolerance must be 0 or more".to_owned());
        }
        Ok(golden)
    }

    /// The file's content.
    ///
    /// # Errors
    /// [`GoldenError::Unreadable`]: a value is no number.
    pub fn to_json(&self) -> Result<String, GoldenError> {
        let unreadable = |e: serde_json::Error| GoldenError::Unreadable(e.to_string());
        let text = serde_json::to_string_pretty(self).map_err(unreadable)? + "\n";
        Self::from_json(text.as_bytes())?;
        Ok(text)
    }

    /// Asks every question of a model that `engine` runs; answers the largest difference.
    ///
    /// # Errors
    /// [`GoldenError`]: at the first answer outside the tolerance, or that did not come.
    pub fn check<E: std::fmt::Display>(
        &self,
        engine: &str,
        outputs: &[String],
        mut answer: impl FnMut(&Question) -> Result<Vec<f32>, E>,
    ) -> Result<f32, GoldenError> {
        if outputs != self.outputs {
            return Err(GoldenError::Outputs {
                wanted: self.outputs.clone(),
                found: outputs.to_vec(),
            });
        }
        let tolerance = if engine == self.made_by {
            self.tolerance
        } else {
            self.tolerance_elsewhere
        };
        let mut largest = 0.0_f32;
        for (question, pair) in self.pairs.iter().enumerate() {
            let values = answer(&pair.question).map_err(|e| GoldenError::Failed {
                question,
                message: e.to_string(),
            })?;
            if values.len() != outputs.len() {
                return Err(GoldenError::Failed {
                    question,
                    message: format!("{} values for {} outputs", values.len(), outputs.len()),
                });
            }
            for ((wanted, found), output) in pair.values.iter().zip(&values).zip(outputs) {
                let gap = (wanted - found).abs();
                if gap.is_nan() || gap > tolerance {
                    return Err(GoldenError::Differs {
                        question,
                        output: output.clone(),
                        wanted: *wanted,
                        found: *found,
                        tolerance,
                    });
                }
                largest = largest.max(gap);
            }
        }
        Ok(largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Golden {
        Golden {
            made_by: "linear".into(),
            tolerance: 0.01,
            tolerance_elsewhere: 0.1,
            outputs: vec!["a".into()],
            pairs: vec![
                Pair {
                    question: Question::text("hello"),
                    values: vec![0.5],
                },
                Pair {
                    question: Question::Tone {
                        from_hz: 200.0,
                        to_hz: 400.0,
                        amplitude: 0.5,
                        samples: 1600,
                    },
                    values: vec![0.25],
                },
            ],
        }
    }

    fn check(engine: &str, by: f32) -> Result<f32, GoldenError> {
        golden().check(engine, &["a".to_owned()], |question| {
            Ok::<_, String>(match question {
                Question::Text { .. } => vec![0.5],
                Question::Tone { .. } => vec![0.25 + by],
            })
        })
    }

    #[test]
    fn an_engine_is_held_to_its_own_tolerance() {
        assert!(check("linear", 0.005).unwrap() > 0.0);
        assert_eq!(check("linear", 0.05).unwrap_err().code(), "golden_failed");
        assert!(check("candle", 0.05).is_ok());
        assert!(check("candle", 0.5).is_err());
        assert!(check("linear", f32::NAN).is_err());
        let other = golden().check("linear", &["b".to_owned()], |_| Ok::<_, String>(vec![0.5]));
        assert_eq!(other.unwrap_err().code(), "golden_failed");
    }

    #[test]
    fn files_come_back_unchanged_and_nonsense_is_refused() {
        let text = golden().to_json().unwrap();
        assert_eq!(Golden::from_json(text.as_bytes()).unwrap(), golden());
        for text in [
            "{}",
            "[]",
            r#"{"made_by":"x","tolerance":0.1,"tolerance_elsewhere":0.1,"outputs":["a"],"pairs":[]}"#,
            r#"{"made_by":"x","tolerance":-1,"tolerance_elsewhere":0.1,"outputs":["a"],"pairs":[{"text":"x","values":[1]}]}"#,
            r#"{"made_by":"x","tolerance":0.1,"tolerance_elsewhere":0.1,"outputs":["a"],"pairs":[{"text":"x","values":[1,2]}]}"#,
        ] {
            let error = Golden::from_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "golden_unreadable", "{text}");
        }
    }

    #[test]
    fn tones_are_bounded_and_sound() {
        let tone = golden().pairs[1].question.samples();
        assert_eq!(tone.len(), 1600);
        let loud = tone.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        assert!((0.4..=0.5).contains(&loud), "{loud}");
        let long = Question::Tone {
            from_hz: 1.0,
            to_hz: 1.0,
            amplitude: 1.0,
            samples: u32::MAX,
        };
        assert_eq!(long.samples().len(), 160_000);
    }
}
