//! Our own sound network in the pipeline, where YAMNet is missing.

use std::sync::Arc;

use novastream_features::{
    audio::{
        LogMel, NET_FRAMES, NET_STEP, NET_WINDOW, SILENT_DBFS, YAMNET_BANDS, net_window, rms_dbfs,
        spans,
    },
    media::Audio,
};
use novastream_models::sound::{GRAPH_INPUT, GRAPH_OUTPUT, SoundCnn};

use super::{BATCH, Heard, SoundEvents, SoundGroup, SoundMemory, judge, silence};
use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// A trained network whose labels are groups by name. A label that is no group is told as it is; a
/// dangerous group is judged only where a label stands for one, so that nothing is taken for safe
/// that the network never learned.
pub(crate) struct SmallEars {
    session: Arc<dyn Session>,
    mel: LogMel,
    labels: Vec<String>,
    groups: Vec<Option<SoundGroup>>,
    id: String,
    /// Why YAMNet does not listen.
    missing: String,
}

impl SmallEars {
    /// `session` runs the graph of `cnn`; `missing` says why YAMNet does not listen.
    pub(crate) fn new(
        session: Arc<dyn Session>,
        cnn: &SoundCnn,
        id: String,
        missing: String,
    ) -> Self {
        let labels = cnn.labels().to_vec();
        Self {
            session,
            mel: LogMel::yamnet(),
            groups: labels.iter().map(|l| SoundGroup::of_label(l)).collect(),
            labels,
            id,
            missing,
        }
    }

    /// `name@version`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What is not judged, and why; `None` where a dangerous sound is known.
    pub(crate) fn unjudged(&self) -> Option<String> {
        let known = || format!("{} knows no dangerous sound; {}", self.id, self.missing);
        (!self.knows_danger()).then(known)
    }

    /// Whether a label stands for a dangerous sound.
    pub(crate) fn knows_danger(&self) -> bool {
        self.groups.iter().flatten().any(|g| g.is_dangerous())
    }

    /// Listens to every window that is not silent.
    pub(crate) fn hear(
        &self,
        audio: &Audio,
        offset_ms: i64,
        memory: &mut SoundMemory,
    ) -> Result<Heard, BackendError> {
        let from = audio.start_ms + offset_ms;
        let spans = spans(audio.samples.len(), NET_WINDOW, NET_STEP);
        let mut heard = Heard::default();
        let mut windows: Vec<_> = spans.iter().map(|span| silence(from, span)).collect();
        let loud: Vec<usize> = (0..spans.len())
            .filter(|i| rms_dbfs(&audio.samples[spans[*i].clone()]) >= SILENT_DBFS)
            .collect();
        for batch in loud.chunks(BATCH) {
            let mut values = Vec::with_capacity(batch.len() * NET_FRAMES * YAMNET_BANDS);
            for i in batch {
                net_window(&self.mel, &audio.samples[spans[*i].clone()], &mut values);
            }
            let shape = vec![batch.len(), NET_FRAMES, YAMNET_BANDS];
            let input = NamedTensor::f32(GRAPH_INPUT, shape, values)?;
            let mut outputs = self.session.run(vec![input])?;
            let (shape, scores) = take_f32(&mut outputs, GRAPH_OUTPUT)?;
            if shape != [batch.len(), self.labels.len()] {
                return Err(BackendError::Tensor {
                    name: GRAPH_OUTPUT.to_owned(),
                    message: format!("has the shape {shape:?} for {} windows", batch.len()),
                });
            }
            for (i, scores) in batch.iter().zip(scores.chunks_exact(self.labels.len())) {
                self.window(&mut windows[*i], scores, memory, &mut heard.events);
            }
        }
        if self.knows_danger() {
            heard.windows = windows;
        }
        Ok(heard)
    }

    /// The scores of one window of [`NET_WINDOW`] samples, a value a label.
    pub(crate) fn window_scores(&self, samples: &[f32]) -> Result<Vec<f32>, BackendError> {
        let mut window = samples.to_vec();
        window.resize(NET_WINDOW, 0.0);
        let mut values = Vec::with_capacity(NET_FRAMES * YAMNET_BANDS);
        net_window(&self.mel, &window, &mut values);
        let input = NamedTensor::f32(GRAPH_INPUT, vec![1, NET_FRAMES, YAMNET_BANDS], values)?;
        let mut outputs = self.session.run(vec![input])?;
        Ok(take_f32(&mut outputs, GRAPH_OUTPUT)?.1)
    }

    fn window(
        &self,
        window: &mut super::SoundScore,
        scores: &[f32],
        memory: &mut SoundMemory,
        events: &mut SoundEvents,
    ) {
        let named = || self.groups.iter().zip(scores).zip(&self.labels);
        for ((_, score), label) in named().filter(|((g, _), _)| g.is_none()) {
            events.add(label, label, *score, window.start_ms, window.end_ms);
        }
        let groups =
            named().filter_map(|((g, score), label)| Some(((*g)?, *score, label.as_str())));
        judge(window, groups, memory, events);
    }
}

#[cfg(test)]
mod tests {
    use novastream_models::sound::{SoundNet, SoundShape};

    use super::*;
    use crate::backend::CandleSession;

    fn ears(labels: &[&str]) -> SmallEars {
        let shape = SoundShape {
            frames: NET_FRAMES,
            bands: YAMNET_BANDS,
            channels: vec![2, 3],
            labels: labels.len(),
            mean: -4.0,
            deviation: 2.0,
            heights: false,
        };
        let mut state = 1_u32;
        let net = SoundNet::new(shape, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .unwrap();
        let mut statistics = Vec::new();
        net.observe(&vec![-3.0; 2 * NET_FRAMES * YAMNET_BANDS], &mut statistics)
            .unwrap();
        let labels = labels.iter().map(|l| (*l).to_owned()).collect();
        let cnn = SoundCnn::fold(&net, &statistics, labels).unwrap();
        let session = CandleSession::load(&cnn.to_onnx()).unwrap();
        SmallEars::new(
            Arc::new(session),
            &cnn,
            "small@1".into(),
            "no yamnet".into(),
        )
    }

    fn hear(ears: &SmallEars) -> Heard {
        let samples = (0..64_000).map(|i| (i as f32 * 0.2).sin() * 0.3).collect();
        let audio = Audio {
            start_ms: 0,
            samples,
        };
        ears.hear(&audio, 0, &mut SoundMemory::default()).unwrap()
    }

    #[test]
    fn what_it_never_learned_is_not_judged() {
        let ears = ears(&["001_Dog_bark", "004_Baby_cry"]);
        assert!(!ears.knows_danger());
        assert!(ears.unjudged().unwrap().ends_with("no yamnet"));
        let heard = hear(&ears);
        assert!(heard.windows.is_empty());
        // Two labels: one of them has at least one half.
        assert!(!heard.events.finish(ears.id()).is_empty());
    }

    #[test]
    fn a_label_of_a_dangerous_group_is_judged() {
        let ears = ears(&["rain", "gunshot"]);
        assert!(ears.knows_danger());
        let heard = hear(&ears);
        assert_eq!(heard.windows.len(), 3);
        let first = heard.windows[0].heard.as_ref().unwrap();
        assert_eq!((first.group, first.label.as_str()), ("gunshot", "gunshot"));
        assert!((0.0..=1.0).contains(&heard.windows[0].dangerous));
    }
}
