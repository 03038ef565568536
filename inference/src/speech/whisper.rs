//! Whisper from a folder of the operator's.

use std::path::Path;
use std::time::Instant;

use novastream_features::audio::{WHISPER_FRAMES, WhisperMel};
use novastream_models::whisper::{
    self, Checkpoint, DecodeOptions, Stepper, Whisper, WhisperError, WhisperTokens, decode,
};

use super::{SpeechToText, Spoken};
use crate::backend::{BackendError, guarded};

const NAME: &str = "candle";

/// A Whisper checkpoint run by Candle.
pub struct WhisperSpeech {
    model: Whisper,
    tokens: WhisperTokens,
    mel: WhisperMel,
    options: DecodeOptions,
    id: String,
}

/// A decoder that stops when nobody waits any more.
struct Until<S>(S, Option<Instant>);

impl<S: Stepper> Stepper for Until<S> {
    type State = S::State;

    fn room(&self) -> usize {
        self.0.room()
    }

    fn step(&self, state: &mut S::State, tokens: &[u32]) -> Result<Vec<f32>, WhisperError> {
        if self.1.is_some_and(|until| Instant::now() >= until) {
            return Err(WhisperError::Late);
        }
        self.0.step(state, tokens)
    }
}

/// The name of a folder's model.
pub(crate) fn name(dir: &Path) -> String {
    dir.file_name()
        .map_or_else(|| "whisper".into(), |name| name.to_string_lossy())
        .into_owned()
}

impl WhisperSpeech {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` from `dir`, whose name
    /// becomes the model's; its version is taken from the files' hash.
    ///
    /// # Errors
    /// [`WhisperError`]: a file is missing, or they do not fit each other.
    pub fn load(dir: &Path, options: DecodeOptions) -> Result<Self, WhisperError> {
        let Checkpoint {
            model,
            tokens,
            sha256,
        } = whisper::load(dir)?;
        Ok(Self {
            mel: WhisperMel::new(model.config().num_mel_bins),
            id: format!("{}@local-{}", name(dir), &sha256[..12]),
            model,
            tokens,
            options,
        })
    }
}

impl SpeechToText for WhisperSpeech {
    fn id(&self) -> &str {
        &self.id
    }

    fn transcribe(
        &self,
        samples: &[f32],
        until: Option<Instant>,
    ) -> Result<Vec<Spoken>, BackendError> {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(BackendError::Late);
        }
        let failed = |e: WhisperError| match e {
            WhisperError::Late => BackendError::Late,
            other => BackendError::Run {
                backend: NAME,
                message: other.to_string(),
            },
        };
        guarded(|| {
            let config = self.model.config();
            let frames = 2 * config.max_source_positions;
            let mut spectrum = self.mel.spectrum(samples);
            if frames < WHISPER_FRAMES {
                // A network that was made for less than 30 s.
                spectrum = spectrum
                    .chunks_exact(WHISPER_FRAMES)
                    .flat_map(|row| row[..frames].iter().copied())
                    .collect();
            }
            let sound = self.model.encode(&spectrum).map_err(failed)?;
            let said = decode::decode(
                &Until(self.model.decoder(&sound), until),
                &self.tokens,
                config.suppress_tokens.as_deref(),
                config.begin_suppress_tokens.as_deref(),
                &self.options,
            )
            .map_err(failed)?;
            // Words cannot end after the sound.
            let last = samples.len() as i64 / 16;
            let ms = |seconds: f64| ((seconds * 1000.0).round() as i64).clamp(0, last);
            Ok(said
                .segments
                .into_iter()
                .map(|segment| Spoken {
                    start_ms: ms(segment.start),
                    end_ms: ms(segment.end),
                    text: segment.text,
                    language: said.language.clone(),
                })
                .collect())
        })
    }
}
