//! What sound is judged by: YAMNet over overlapping windows, or our own small network where YAMNet
//! is missing, behind a gate of loudness and voice.

mod classifier;
mod events;
mod fireworks;
mod gate;
mod groups;
mod small;
mod vad;

use std::ops::Range;
use std::sync::Arc;

use novastream_features::{
    audio::{LogMel, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_HOP, YAMNET_WINDOW, spans},
    media::Audio,
};

pub use self::classifier::{SoundClassifier, SoundClassifierError};
pub(crate) use self::{
    events::{GAP_MS, SoundEvents},
    fireworks::SoundMemory,
    gate::Gate,
    small::SmallEars,
    vad::VadModel,
};
use self::{
    fireworks::beside_fireworks,
    groups::{Groups, SoundGroup},
};
use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Windows per call to the model; bounds memory on long uploads.
const BATCH: usize = 32;

/// What one window of sound holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SoundScore {
    /// Milliseconds of stream time.
    pub start_ms: i64,
    /// Milliseconds of stream time.
    pub end_ms: i64,
    /// `dangerous-sound`, 0 to 1; 0 for silence.
    pub dangerous: f32,
    /// What the score stands for.
    pub heard: Option<HeardAs>,
}

/// The group behind a score and the model's own label for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeardAs {
    /// Name of the group.
    pub group: &'static str,
    /// The label.
    pub label: String,
    /// The label's own score, before anything was held against it.
    pub score: f32,
}

/// What was heard in a stretch of sound.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    /// Every window in order of time; empty where the model knows no dangerous sound.
    pub windows: Vec<SoundScore>,
    /// What is told without being judged.
    pub events: SoundEvents,
}

/// Whatever listens.
pub(crate) enum Ears {
    /// YAMNet.
    Yamnet(Box<SoundModel>),
    /// A network of our own.
    Small(SmallEars),
}

impl Ears {
    /// `name@version` of the model.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Yamnet(model) => &model.id,
            Self::Small(model) => model.id(),
        }
    }

    /// What cannot be judged, and why.
    pub(crate) fn unjudged(&self) -> Option<String> {
        match self {
            Self::Yamnet(_) => None,
            Self::Small(model) => model.unjudged(),
        }
    }

    /// Listens to `audio` (16 kHz mono), which goes on from what `memory` has heard. `offset_ms`
    /// is added to its times.
    pub(crate) fn hear(
        &self,
        audio: &Audio,
        offset_ms: i64,
        memory: &mut SoundMemory,
    ) -> Result<Heard, BackendError> {
        match self {
            Self::Yamnet(model) => model.hear(audio, offset_ms, memory),
            Self::Small(model) => model.hear(audio, offset_ms, memory),
        }
    }
}

/// The event classifier with its labels resolved to groups.
pub(crate) struct SoundModel {
    session: Arc<dyn Session>,
    input: String,
    output: String,
    mel: LogMel,
    groups: Groups,
    gate: Gate,
    labels: Vec<String>,
    /// `name@version`, for evidence.
    pub id: String,
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
        let groups = Groups::resolve(&labels).map_err(|message| BackendError::Tensor {
            name: output.clone(),
            message,
        })?;
        Ok(Self {
            session,
            input,
            output,
            mel: LogMel::yamnet(),
            groups,
            gate: Gate::default(),
            labels,
            id,
        })
    }

    /// The same model behind another gate.
    pub(crate) fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Listens to every window that passes the gate, in order of time.
    pub(crate) fn hear(
        &self,
        audio: &Audio,
        offset_ms: i64,
        memory: &mut SoundMemory,
    ) -> Result<Heard, BackendError> {
        let from = audio.start_ms + offset_ms;
        let spans = spans(audio.samples.len(), YAMNET_WINDOW, YAMNET_HOP);
        let mut heard = Heard {
            windows: spans.iter().map(|span| silence(from, span)).collect(),
            events: SoundEvents::default(),
        };
        let open = self.gate.open(&audio.samples, &spans)?;
        for batch in open.chunks(BATCH) {
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
                let scores = self.groups.scores(events);
                let all = SoundGroup::ALL
                    .into_iter()
                    .zip(scores)
                    .map(|(group, (score, label))| (group, score, self.labels[label].as_str()));
                judge(&mut heard.windows[*i], all, memory, &mut heard.events);
            }
        }
        Ok(heard)
    }
}

/// Gives a window its score from the groups heard in it, and tells the groups that are no danger.
fn judge<'a>(
    window: &mut SoundScore,
    groups: impl Iterator<Item = (SoundGroup, f32, &'a str)> + Clone,
    memory: &mut SoundMemory,
    events: &mut SoundEvents,
) {
    let now = groups
        .clone()
        .find(|(group, ..)| *group == SoundGroup::Fireworks)
        .map_or(0.0, |(_, score, _)| score);
    let fireworks = memory.hear(window.start_ms, now);
    for (group, score, label) in groups {
        if !group.is_dangerous() {
            events.add(group.as_str(), label, score, window.start_ms, window.end_ms);
            continue;
        }
        let counts = match group {
            SoundGroup::Gunshot | SoundGroup::Explosion => beside_fireworks(score, fireworks),
            _ => score,
        };
        if counts > window.dangerous || window.heard.is_none() {
            window.dangerous = counts;
            window.heard = Some(HeardAs {
                group: group.as_str(),
                label: label.to_owned(),
                score,
            });
        }
    }
}

/// A window in which nothing is heard.
fn silence(from_ms: i64, span: &Range<usize>) -> SoundScore {
    SoundScore {
        start_ms: from_ms + ms(span.start),
        end_ms: from_ms + ms(span.end),
        dangerous: 0.0,
        heard: None,
    }
}

/// Milliseconds of a number of samples at 16 kHz.
fn ms(samples: usize) -> i64 {
    samples as i64 / 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers the same classes for every window that it is asked about.
    struct Always(&'static [(&'static str, f32)]);

    impl Session for Always {
        fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
            let n = inputs[0].tensor.shape[0];
            let labels = groups::names();
            let mut scores = vec![0.0f32; n * labels.len()];
            for window in scores.chunks_exact_mut(labels.len()) {
                for (name, score) in self.0 {
                    window[labels.iter().position(|l| l == name).unwrap()] = *score;
                }
            }
            let shape = vec![n, labels.len()];
            Ok(vec![NamedTensor::f32("scores", shape, scores)?])
        }
        fn backend(&self) -> &'static str {
            "fixed"
        }
    }

    fn model(heard: &'static [(&'static str, f32)]) -> SoundModel {
        SoundModel::new(
            Arc::new(Always(heard)),
            "log_mel".into(),
            "scores".into(),
            groups::names(),
            "m@1".into(),
        )
        .unwrap()
    }

    fn hear(heard: &'static [(&'static str, f32)], start_ms: i64, samples: Vec<f32>) -> Heard {
        let audio = Audio { start_ms, samples };
        model(heard)
            .hear(&audio, 0, &mut SoundMemory::default())
            .unwrap()
    }

    fn loud(samples: usize) -> Vec<f32> {
        (0..samples).map(|i| (i as f32 * 0.3).sin() * 0.5).collect()
    }

    #[test]
    fn loud_windows_are_judged_and_silence_is_not() {
        let mut samples = loud(32_000);
        samples[16_000..].fill(0.0);
        let windows = hear(&[("Siren", 0.9)], 4000, samples).windows;
        assert_eq!(windows.len(), 3);
        assert_eq!((windows[0].start_ms, windows[0].end_ms), (4000, 4975));
        assert_eq!(windows[0].dangerous, 0.9);
        let heard = windows[0].heard.as_ref().unwrap();
        assert_eq!(
            (heard.group, heard.label.as_str(), heard.score),
            ("siren", "Siren", 0.9)
        );
        let quiet = hear(&[("Siren", 0.9)], 0, vec![0.0; 32_000]).windows;
        assert!(
            quiet
                .iter()
                .all(|s| s.dangerous == 0.0 && s.heard.is_none())
        );
    }

    #[test]
    fn short_sound_is_padded() {
        let windows = hear(&[("Siren", 0.9)], 0, vec![0.5; 800]).windows;
        assert_eq!((windows.len(), windows[0].end_ms), (1, 50));
        assert!(hear(&[], 0, vec![]).windows.is_empty());
    }

    #[test]
    fn labels_must_hold_the_groups() {
        let labels = vec!["Speech".to_owned()];
        let none = SoundModel::new(
            Arc::new(Always(&[])),
            "x".into(),
            "y".into(),
            labels,
            "m@1".into(),
        );
        assert!(none.is_err());
    }

    #[test]
    fn shots_in_a_display_are_fireworks_and_are_told_as_one_event() {
        let display = &[("Gunshot, gunfire", 0.6), ("Fireworks", 0.8)];
        let heard = hear(display, 0, loud(48_000));
        assert!(heard.windows.iter().all(|w| w.dangerous < 0.15));
        let events = heard.events.finish("m@1");
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].sound.as_str(), events[0].start_ms, events[0].peak),
            ("fireworks", 0, 0.8)
        );
        assert!(events[0].end_ms >= 2_800);
        // Without the display the same shot counts.
        let alone = hear(&[("Gunshot, gunfire", 0.6)], 0, loud(16_000));
        assert_eq!(alone.windows[0].dangerous, 0.6);
        // And the siren beside a display does.
        let siren = hear(&[("Siren", 0.7), ("Fireworks", 0.8)], 0, loud(16_000));
        assert_eq!(siren.windows[0].dangerous, 0.7);
    }

    #[test]
    fn crying_is_told_and_is_no_danger() {
        let heard = hear(&[("Baby cry, infant cry", 0.9)], 0, loud(32_000));
        assert!(heard.windows.iter().all(|w| w.dangerous == 0.0));
        let events = heard.events.finish("m@1");
        assert_eq!(events[0].sound, "crying");
        assert_eq!(events[0].label, "Baby cry, infant cry");
    }
}
