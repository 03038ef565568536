//! What sound is judged by: YAMNet over overlapping windows.

mod groups;

use std::{ops::Range, sync::Arc};

use novastream_features::{
    audio::{LogMel, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_WINDOW, rms_dbfs},
    media::Audio,
};

use self::groups::Group;
use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Samples from one window to the next: 0.48 s at 16 kHz.
const HOP: usize = 7_680;
/// Windows quieter than this hold nothing to hear; dB relative to full scale.
const SILENT_DBFS: f32 = -60.0;
/// A rest shorter than this many samples (0.1 s) is not worth a window of its own.
const SHORTEST_REST: usize = 1_600;
/// Windows per call to the model; bounds memory on long uploads.
const BATCH: usize = 32;

/// The event classifier with its labels resolved to groups.
pub(crate) struct SoundModel {
    session: Arc<dyn Session>,
    input: String,
    output: String,
    mel: LogMel,
    group: Group,
    labels: Vec<String>,
    /// `name@version`, for evidence.
    pub id: String,
}

/// What one window of sound holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SoundScore {
    /// Milliseconds of stream time.
    pub start_ms: i64,
    /// Milliseconds of stream time.
    pub end_ms: i64,
    /// `dangerous-sound`, 0 to 1; 0 for silence.
    pub dangerous: f32,
    /// The label behind the score and its own score.
    pub label: Option<(String, f32)>,
}

impl SoundModel {
    /// # Errors
    /// [`BackendError::Tensor`] if `labels` lack one that a group is made of.
    pub(crate) fn new(
        session: Arc<dyn Session>,
        input: String,
        output: String,
        labels: Vec<String>,
        id: String,
    ) -> Result<Self, BackendError> {
        let group = Group::dangerous(&labels).map_err(|message| BackendError::Tensor {
            name: output.clone(),
            message,
        })?;
        Ok(Self {
            session,
            input,
            output,
            mel: LogMel::yamnet(),
            group,
            labels,
            id,
        })
    }

    /// Scores every window of `audio` (16 kHz mono), in order of time.
    pub(crate) fn score(&self, audio: &Audio) -> Result<Vec<SoundScore>, BackendError> {
        let spans = windows(audio.samples.len());
        let mut scores: Vec<SoundScore> = spans
            .iter()
            .map(|span| SoundScore {
                start_ms: audio.start_ms + ms(span.start),
                end_ms: audio.start_ms + ms(span.end),
                dangerous: 0.0,
                label: None,
            })
            .collect();
        let loud: Vec<usize> = (0..spans.len())
            .filter(|i| rms_dbfs(&audio.samples[spans[*i].clone()]) >= SILENT_DBFS)
            .collect();
        for batch in loud.chunks(BATCH) {
            let mut values = Vec::with_capacity(batch.len() * YAMNET_FRAMES * YAMNET_BANDS);
            for i in batch {
                self.mel
                    .window(&audio.samples[spans[*i].clone()], &mut values);
            }
            let shape = vec![batch.len(), YAMNET_FRAMES, YAMNET_BANDS];
            let input = NamedTensor::f32(&self.input, shape, values)?;
            let mut outputs = self.session.run(vec![input])?;
            let (shape, events) = take_f32(&mut outputs, &self.output)?;
            if shape != [batch.len(), self.labels.len()] {
                return Err(BackendError::Tensor {
                    name: self.output.clone(),
                    message: format!("has the shape {shape:?} for {} windows", batch.len()),
                });
            }
            for (i, events) in batch.iter().zip(events.chunks_exact(self.labels.len())) {
                let (score, label) = self.group.score(events);
                scores[*i].dangerous = score;
                scores[*i].label = Some((self.labels[label].clone(), events[label]));
            }
        }
        Ok(scores)
    }
}

/// Windows over `len` samples: every [`HOP`], and one more that ends with the sound if the rest is
/// long enough. Sound shorter than a window gives one short range.
fn windows(len: usize) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> =
        novastream_features::audio::windows(len, YAMNET_WINDOW, HOP).collect();
    if let [.., before, last] = spans.as_slice()
        && last.end - before.end < SHORTEST_REST
    {
        spans.pop();
    }
    spans
}

/// Milliseconds of a number of samples at 16 kHz.
fn ms(samples: usize) -> i64 {
    samples as i64 / 16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Answers "Siren" for every window that it is asked about.
    struct Siren;
    impl Session for Siren {
        fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
            let n = inputs[0].tensor.shape[0];
            let labels = groups::names();
            let mut scores = vec![0.0f32; n * labels.len()];
            let siren = labels.iter().position(|l| l == "Siren").unwrap();
            for window in scores.chunks_exact_mut(labels.len()) {
                window[siren] = 0.9;
            }
            Ok(vec![NamedTensor::f32(
                "scores",
                vec![n, labels.len()],
                scores,
            )?])
        }
        fn backend(&self) -> &'static str {
            "fixed"
        }
    }

    fn model() -> SoundModel {
        let labels = groups::names();
        SoundModel::new(
            Arc::new(Siren),
            "log_mel".into(),
            "scores".into(),
            labels,
            "m@1".into(),
        )
        .unwrap()
    }

    #[test]
    fn loud_windows_are_judged_and_silence_is_not() {
        let mut samples = vec![0.0f32; 32_000];
        for (i, s) in samples[..16_000].iter_mut().enumerate() {
            *s = (i as f32 * 0.3).sin() * 0.5;
        }
        let scores = model()
            .score(&Audio {
                start_ms: 4000,
                samples,
            })
            .unwrap();
        assert_eq!(scores.len(), 3);
        assert_eq!((scores[0].start_ms, scores[0].end_ms), (4000, 4975));
        assert_eq!(scores[0].dangerous, 0.9);
        assert_eq!(scores[0].label, Some(("Siren".to_owned(), 0.9)));
        let quiet = model()
            .score(&Audio {
                start_ms: 0,
                samples: vec![0.0; 32_000],
            })
            .unwrap();
        assert!(
            quiet
                .iter()
                .all(|s| s.dangerous == 0.0 && s.label.is_none())
        );
    }

    #[test]
    fn short_sound_is_padded() {
        let samples = vec![0.5f32; 800];
        let scores = model()
            .score(&Audio {
                start_ms: 0,
                samples,
            })
            .unwrap();
        assert_eq!(scores.len(), 1);
        assert_eq!(scores[0].end_ms, 50);
        assert!(
            model()
                .score(&Audio {
                    start_ms: 0,
                    samples: vec![]
                })
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn labels_must_hold_the_group() {
        let labels = vec!["Speech".to_owned()];
        let none = SoundModel::new(
            Arc::new(Siren),
            "x".into(),
            "y".into(),
            labels,
            "m@1".into(),
        );
        assert!(none.is_err());
    }

    proptest! {
        #[test]
        fn windows_cover_all_but_a_moment(len in 1usize..200_000) {
            let spans = windows(len);
            prop_assert_eq!(spans[0].start, 0);
            prop_assert!(spans.iter().all(|s| s.len() == YAMNET_WINDOW.min(len)));
            prop_assert!(spans.windows(2).all(|p| p[1].start > p[0].start && p[1].start <= p[0].end));
            let end = spans[spans.len() - 1].end;
            prop_assert!(end <= len && end + SHORTEST_REST > len);
        }
    }
}
