//! Speech to text as an interface, and what the pipeline does with it.
//!
//! Off unless the operator brings a model. Sound goes to it in the stretches in which somebody
//! speaks, bounded in number and length; what was said goes the way of a chat message.

mod whisper;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use novastream_features::audio::{SAMPLE_RATE, rms_dbfs};

pub use self::whisper::WhisperSpeech;
pub(crate) use self::whisper::name as speech_name;
use crate::backend::{BackendError, guarded};
use crate::engine::Call;
use crate::sound::VadModel;

/// Longest stretch that is transcribed at once, in samples: Whisper's 30 s.
pub const MAX_SPOKEN: usize = 30 * SAMPLE_RATE as usize;
/// Most stretches of one segment or window that are transcribed: two minutes in all.
const MOST_STRETCHES: usize = 4;
/// Sound kept around a stretch (0.2 s).
const MARGIN: usize = SAMPLE_RATE as usize / 5;
/// Loudness from which on something may be speech, where there is no detector; dB relative to full
/// scale.
const LOUD_DBFS: f32 = -45.0;
/// Samples of a window of that loudness (0.1 s).
const STEP: usize = 1_600;

/// Some words.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// Milliseconds from the first sample.
    pub start_ms: i64,
    /// Milliseconds from the first sample.
    pub end_ms: i64,
    /// What was said.
    pub text: String,
    /// ISO 639-1 code, where it is known.
    pub language: Option<String>,
}

/// Something that turns speech into text. Calls come from many threads and are synchronous.
pub trait SpeechToText: Send + Sync {
    /// `name@version`, for evidence.
    fn id(&self) -> &str;

    /// The words in `samples` (16 kHz mono in -1..=1, at most [`MAX_SPOKEN`]), in order of time.
    /// After `until` nobody waits for them.
    ///
    /// # Errors
    /// [`BackendError`]: the engine failed, or it was too late.
    fn transcribe(
        &self,
        samples: &[f32],
        until: Option<Instant>,
    ) -> Result<Vec<Spoken>, BackendError>;
}

/// A transcriber behind the voice detector.
pub(crate) struct Speech {
    engine: Arc<dyn SpeechToText>,
    vad: Option<VadModel>,
}

/// What was said in a stretch of sound.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Transcript {
    /// The words, times from the first sample.
    pub spoken: Vec<Spoken>,
    /// Why it is not all that was said.
    pub missing: Option<String>,
}

impl Speech {
    /// Without a detector everything that is loud counts as speech.
    pub(crate) fn new(engine: Arc<dyn SpeechToText>, vad: Option<VadModel>) -> Self {
        Self { engine, vad }
    }

    /// `name@version` of the transcriber.
    pub(crate) fn id(&self) -> &str {
        self.engine.id()
    }

    /// Transcribes what is spoken in `samples` (16 kHz mono). What was understood before something
    /// failed is kept. Under a deadline half of the time that is left is spent here, so that the
    /// rest of the verdict is not late for it.
    ///
    /// # Errors
    /// [`BackendError`]: the voice detector failed.
    pub(crate) fn transcript(&self, samples: &[f32]) -> Result<Transcript, BackendError> {
        let now = Instant::now();
        let until = Call::current()
            .deadline
            .map(|end| now + end.saturating_duration_since(now) / 2);
        let voices = match &self.vad {
            Some(vad) => vad.speech(samples)?,
            None => loud(samples),
        };
        let mut transcript = Transcript::default();
        for (i, stretch) in stretches(&voices, samples.len()).into_iter().enumerate() {
            if i == MOST_STRETCHES {
                transcript.missing = Some("there was more speech than is transcribed".to_owned());
                break;
            }
            let from = stretch.start as i64 * 1000 / i64::from(SAMPLE_RATE);
            match guarded(|| self.engine.transcribe(&samples[stretch], until)) {
                Ok(spoken) => transcript.spoken.extend(spoken.into_iter().map(|s| Spoken {
                    start_ms: s.start_ms + from,
                    end_ms: s.end_ms + from,
                    ..s
                })),
                Err(error) => {
                    transcript.missing = Some(error.to_string());
                    break;
                }
            }
        }
        Ok(transcript)
    }
}

/// Stretches to transcribe: voices with a margin, none longer than [`MAX_SPOKEN`], and joined over
/// pauses as long as they fit into one, because a network that always reads 30 s takes as long for
/// a word as for a speech.
fn stretches(voices: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for voice in voices {
        let heard = joined.last().map_or(0, |last| last.end);
        let mut from = voice.start.saturating_sub(MARGIN).max(heard);
        let to = (voice.end + MARGIN).min(len);
        match joined.last_mut() {
            Some(last) if to <= last.start + MAX_SPOKEN => last.end = last.end.max(to),
            _ => {
                while from < to {
                    let end = (from + MAX_SPOKEN).min(to);
                    joined.push(from..end);
                    from = end;
                }
            }
        }
    }
    joined
}

/// Stretches that are loud.
fn loud(samples: &[f32]) -> Vec<Range<usize>> {
    samples
        .chunks(STEP)
        .enumerate()
        .filter(|(_, chunk)| rms_dbfs(chunk) >= LOUD_DBFS)
        .map(|(i, chunk)| i * STEP..i * STEP + chunk.len())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Says how long what it heard was.
    pub(crate) struct Echo;

    impl SpeechToText for Echo {
        fn id(&self) -> &'static str {
            "echo@1"
        }

        fn transcribe(
            &self,
            samples: &[f32],
            until: Option<Instant>,
        ) -> Result<Vec<Spoken>, BackendError> {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(BackendError::Late);
            }
            Ok(vec![Spoken {
                start_ms: 100,
                end_ms: samples.len() as i64 / 16,
                text: "you are an idiot".to_owned(),
                language: Some("en".to_owned()),
            }])
        }
    }

    #[test]
    fn only_what_is_loud_is_transcribed_and_times_are_those_of_the_sound() {
        let speech = Speech::new(Arc::new(Echo), None);
        let mut samples = vec![0.0_f32; 160_000];
        samples[32_000..64_000].fill(0.2);
        let said = speech.transcript(&samples).unwrap();
        assert_eq!(said.spoken.len(), 1);
        assert_eq!(said.spoken[0].start_ms, 1_800 + 100);
        assert_eq!(said.spoken[0].end_ms, 1_800 + 2_400);
        assert_eq!(said.missing, None);
        assert_eq!(
            speech.transcript(&vec![0.0; 16_000]).unwrap(),
            Transcript::default()
        );
    }

    #[test]
    #[allow(
        clippy::single_range_in_vec_init,
        reason = "lists of stretches that hold one"
    )]
    fn pauses_join_and_length_is_bounded() {
        let second = SAMPLE_RATE as usize;
        let near = [second..2 * second, 20 * second..29 * second];
        assert_eq!(
            stretches(&near, 100 * second),
            [second - MARGIN..29 * second + MARGIN]
        );
        let apart = [second..2 * second, 31 * second..32 * second];
        assert_eq!(stretches(&apart, 100 * second).len(), 2);
        let long = stretches(&[0..70 * second], 70 * second);
        assert!(long.iter().all(|r| r.len() <= MAX_SPOKEN));
        assert_eq!(long.iter().map(Range::len).sum::<usize>(), 70 * second);
        // Loud windows one behind the other are one stretch, cut without a gap.
        let windows = loud(&vec![0.2; 65 * second]);
        let whole = stretches(&windows, 65 * second);
        assert_eq!(whole.len(), 3);
        assert!(whole.windows(2).all(|w| w[0].end == w[1].start));
        assert_eq!(whole[2].end, 65 * second);
        assert_eq!(stretches(&[5..9], 0), [] as [Range<usize>; 0]);
        let speech = Speech::new(Arc::new(Echo), None);
        let said = speech.transcript(&vec![0.2; 200 * second]).unwrap();
        assert_eq!(said.spoken.len(), MOST_STRETCHES);
        assert!(said.missing.unwrap().contains("more speech"));
    }

    #[test]
    fn a_deadline_ends_transcribing_and_what_was_understood_is_kept() {
        struct Second(std::sync::atomic::AtomicUsize);
        impl SpeechToText for Second {
            fn id(&self) -> &'static str {
                "second@1"
            }
            fn transcribe(
                &self,
                samples: &[f32],
                until: Option<Instant>,
            ) -> Result<Vec<Spoken>, BackendError> {
                match self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => Echo.transcribe(samples, until),
                    _ => panic!("on purpose"),
                }
            }
        }
        let sound = vec![0.2; 40 * SAMPLE_RATE as usize];
        let speech = Speech::new(Arc::new(Second(0.into())), None);
        let said = speech.transcript(&sound).unwrap();
        assert_eq!(said.spoken.len(), 1);
        assert!(said.missing.unwrap().contains("on purpose"));
        let over = Call {
            deadline: Some(Instant::now()),
            ..Call::default()
        };
        let speech = Speech::new(Arc::new(Echo), None);
        let said = over.enter(|| speech.transcript(&sound)).unwrap();
        assert!(said.spoken.is_empty());
        assert!(said.missing.unwrap().contains("deadline"));
    }
}
