//! Voice or not: Silero VAD over windows of 32 ms, the state carried from window to window.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Samples of a window, 32 ms at 16 kHz.
pub(crate) const VAD_WINDOW: usize = 512;
/// Samples of the window before that the network sees as well.
const CONTEXT: usize = 64;
/// Numbers of each of its two states.
const STATE: usize = 128;
/// Windows per call; bounds memory on long uploads.
const BLOCK: usize = 512;
/// From this probability on somebody speaks; the package's default.
const BEGINS: f32 = 0.5;
/// Below this nobody does any more; the package's default.
const ENDS: f32 = BEGINS - 0.15;
/// Windows of quiet that end a stretch of speech (96 ms).
const QUIET: usize = 3;
/// Windows that a stretch of speech must have (256 ms).
const SHORTEST: usize = 8;

/// What the network remembers of the sound so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VadState {
    hidden: Vec<f32>,
    cell: Vec<f32>,
    context: Vec<f32>,
}

impl Default for VadState {
    fn default() -> Self {
        Self {
            hidden: vec![0.0; STATE],
            cell: vec![0.0; STATE],
            context: vec![0.0; CONTEXT],
        }
    }
}

/// The detector.
pub(crate) struct VadModel {
    session: Arc<dyn Session>,
}

impl VadModel {
    pub(crate) fn new(session: Arc<dyn Session>) -> Self {
        Self { session }
    }

    /// The probability of a voice in each window of [`VAD_WINDOW`] samples (16 kHz mono); the last
    /// one is filled up with silence. `state` goes on from call to call as long as the calls are
    /// whole windows of one recording.
    pub(crate) fn probabilities(
        &self,
        samples: &[f32],
        state: &mut VadState,
    ) -> Result<Vec<f32>, BackendError> {
        let mut all = Vec::with_capacity(samples.len().div_ceil(VAD_WINDOW));
        for block in samples.chunks(BLOCK * VAD_WINDOW) {
            let windows = block.len().div_ceil(VAD_WINDOW);
            let mut input = Vec::with_capacity(windows * (CONTEXT + VAD_WINDOW));
            for window in block.chunks(VAD_WINDOW) {
                input.extend_from_slice(&state.context);
                let from = input.len();
                input.extend(window.iter().map(|s| if s.is_finite() { *s } else { 0.0 }));
                input.resize(from + VAD_WINDOW, 0.0);
                let end = input.len();
                state.context.copy_from_slice(&input[end - CONTEXT..]);
            }
            let shape = || vec![1, 1, STATE];
            let inputs = vec![
                NamedTensor::f32("input", vec![windows, CONTEXT + VAD_WINDOW], input)?,
                NamedTensor::f32("h", shape(), std::mem::take(&mut state.hidden))?,
                NamedTensor::f32("c", shape(), std::mem::take(&mut state.cell))?,
            ];
            let mut outputs = self.session.run(inputs).inspect_err(|_| {
                *state = VadState::default();
            })?;
            let (_, values) = take_f32(&mut outputs, "speech_probs")?;
            let hidden = take_f32(&mut outputs, "hn")?.1;
            let cell = take_f32(&mut outputs, "cn")?.1;
            if values.len() != windows || hidden.len() != STATE || cell.len() != STATE {
                *state = VadState::default();
                return Err(BackendError::Tensor {
                    name: "speech_probs".to_owned(),
                    message: format!("{} values for {windows} windows", values.len()),
                });
            }
            (state.hidden, state.cell) = (hidden, cell);
            all.extend(values);
        }
        Ok(all)
    }

    /// Stretches of speech in samples: from the first window at or over one half to the last
    /// before three quiet ones, at least a quarter of a second.
    pub(crate) fn speech(&self, samples: &[f32]) -> Result<Vec<Range<usize>>, BackendError> {
        let probabilities = self.probabilities(samples, &mut VadState::default())?;
        let ends = stretches(&probabilities);
        Ok(ends
            .into_iter()
            .map(|r| r.start * VAD_WINDOW..(r.end * VAD_WINDOW).min(samples.len()))
            .collect())
    }
}

/// Windows of speech, by hysteresis between [`BEGINS`] and [`ENDS`].
fn stretches(probabilities: &[f32]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for (i, p) in probabilities.iter().enumerate() {
        open = match open {
            None => (*p >= BEGINS).then_some(i..i + 1),
            Some(range) if *p >= ENDS => Some(range.start..i + 1),
            Some(range) if i - range.end + 1 >= QUIET => {
                found.push(range);
                None
            }
            still => still,
        };
    }
    found.extend(open);
    found.retain(|r| r.len() >= SHORTEST);
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Hears a voice in every window as far as its own samples are loud, and counts windows in its
    /// state.
    pub(crate) struct Loudness;

    impl Session for Loudness {
        fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
            let values = |i: usize| match &inputs[i].tensor.data {
                crate::backend::TensorData::F32(v) => v.clone(),
                _ => panic!("floats expected"),
            };
            let (x, mut hidden, cell) = (values(0), values(1), values(2));
            let windows = inputs[0].tensor.shape[0];
            let probs: Vec<f32> = x
                .chunks_exact(CONTEXT + VAD_WINDOW)
                .map(|w| w[CONTEXT..].iter().map(|s| s.abs()).fold(0.0, f32::max))
                .collect();
            hidden[0] += windows as f32;
            Ok(vec![
                NamedTensor::f32("speech_probs", vec![windows], probs)?,
                NamedTensor::f32("hn", vec![1, 1, STATE], hidden)?,
                NamedTensor::f32("cn", vec![1, 1, STATE], cell)?,
            ])
        }

        fn backend(&self) -> &'static str {
            "fixed"
        }
    }

    #[test]
    fn state_and_context_go_on_from_call_to_call() {
        let vad = VadModel::new(Arc::new(Loudness));
        let samples: Vec<f32> = (0..VAD_WINDOW * 3 + 10).map(|i| i as f32 * 1e-4).collect();
        let mut state = VadState::default();
        let all = vad.probabilities(&samples, &mut state).unwrap();
        assert_eq!((all.len(), state.hidden[0]), (4, 4.0));
        let mut parts = VadState::default();
        let mut again = vad
            .probabilities(&samples[..VAD_WINDOW], &mut parts)
            .unwrap();
        assert_eq!(parts.context, samples[VAD_WINDOW - CONTEXT..VAD_WINDOW]);
        again.extend(
            vad.probabilities(&samples[VAD_WINDOW..], &mut parts)
                .unwrap(),
        );
        assert_eq!((again, parts), (all, state));
    }

    #[test]
    fn speech_has_a_beginning_an_end_and_a_least_length() {
        let mut p = vec![0.1; 60];
        p[5..20].fill(0.9);
        p[12] = 0.4;
        p[14..16].fill(0.1);
        p[40..44].fill(0.9);
        assert_eq!(stretches(&p), std::slice::from_ref(&(5..20)));
        p[50..60].fill(0.6);
        assert_eq!(stretches(&p), [5..20, 50..60]);
        assert!(stretches(&[]).is_empty());
    }
}

#[cfg(test)]
mod parity {
    use novastream_models::{catalog::catalog_entry, import::MODEL_FILE, store::ArtifactStore};

    use super::*;

    /// Sound that `scripts/silero-reference.py` synthesised: 16-bit, 16 kHz.
    const SOUND: &[u8] = include_bytes!("../../tests/data/vad-sound.s16");
    /// What the Python package's sequence front end answers for it: 32-bit floats.
    const EXPECTED: &[u8] = include_bytes!("../../tests/data/vad-probabilities.f32");

    #[test]
    fn probabilities_are_the_python_packages() {
        let store = ArtifactStore::from_env();
        let manifest = catalog_entry("silero-vad").unwrap();
        let Ok(graph) = store.read(&manifest, MODEL_FILE) else {
            println!("skipped: silero-vad not present");
            return;
        };
        let Ok(runtime) = crate::moderator::runtime(None, &store) else {
            println!("skipped: onnxruntime not present");
            return;
        };
        let vad = VadModel::new(Arc::new(runtime.session(&graph, 1, 1).unwrap()));
        let samples: Vec<f32> = SOUND
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0)
            .collect();
        let expected: Vec<f32> = EXPECTED
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        assert!(expected.iter().any(|p| *p > 0.5) && expected.iter().any(|p| *p < 0.05));
        // In one call, and in pieces that end with whole windows.
        for piece in [samples.len(), 7 * VAD_WINDOW] {
            let mut state = VadState::default();
            let mut found = Vec::new();
            for part in samples.chunks(piece) {
                found.extend(vad.probabilities(part, &mut state).unwrap());
            }
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "window {i}: {found} is not {expected}"
                );
            }
        }
    }
}
