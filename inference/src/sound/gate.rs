//! Which windows are worth a model's time.

use std::ops::Range;

use novastream_features::audio::{SILENT_DBFS, rms_dbfs};

use super::VadModel;
use crate::backend::BackendError;

/// Windows quieter than this are looked at only for a reason; dB relative to full scale. A quiet
/// room through a microphone lies about here.
const FAINT_DBFS: f32 = -45.0;
/// A faint window with a sample beyond this (-30 dBFS) holds something sudden, such as a bang far
/// away.
const SUDDEN: f32 = 0.031_6;

/// Loudness, and the voice detector where it is there.
#[derive(Default)]
pub(crate) struct Gate {
    vad: Option<VadModel>,
}

impl Gate {
    /// A gate that asks `vad` about faint windows.
    pub(crate) fn new(vad: VadModel) -> Self {
        Self { vad: Some(vad) }
    }

    /// The numbers of the `spans` to listen to, in order. Silent ones are never among them; faint
    /// ones are if there is something sudden or a voice in them, or nobody to ask.
    pub(crate) fn open(
        &self,
        samples: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<usize>, BackendError> {
        let sudden = |span: &Range<usize>| samples[span.clone()].iter().any(|s| s.abs() >= SUDDEN);
        let (mut open, mut unclear) = (Vec::new(), Vec::new());
        for (i, span) in spans.iter().enumerate() {
            let level = rms_dbfs(&samples[span.clone()]);
            if level < SILENT_DBFS {
                continue;
            }
            if level >= FAINT_DBFS || self.vad.is_none() || sudden(span) {
                open.push(i);
            } else {
                unclear.push(i);
            }
        }
        if let Some(vad) = self.vad.as_ref().filter(|_| !unclear.is_empty()) {
            for run in runs(&unclear, spans) {
                let voices = vad.speech(&samples[run.clone()])?;
                let voiced = |span: &Range<usize>| {
                    voices.iter().any(|v| {
                        let (from, to) = (run.start + v.start, run.start + v.end);
                        from < span.end && to > span.start
                    })
                };
                let inside =
                    |i: &&usize| spans[**i].start >= run.start && spans[**i].end <= run.end;
                open.extend(
                    unclear
                        .iter()
                        .filter(inside)
                        .filter(|i| voiced(&spans[**i])),
                );
            }
            open.sort_unstable();
            open.dedup();
        }
        Ok(open)
    }
}

/// The stretches that some spans cover together.
fn runs(which: &[usize], spans: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for i in which {
        let span = spans[*i].clone();
        match runs.last_mut() {
            Some(run) if span.start <= run.end => run.end = run.end.max(span.end),
            _ => runs.push(span),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::vad::tests::Loudness;
    use super::*;

    fn spans() -> Vec<Range<usize>> {
        (0..4).map(|i| i * 16_000..(i + 1) * 16_000).collect()
    }

    /// Silence, a faint hum, a faint hum with a bang, and something loud.
    fn sound() -> Vec<f32> {
        let mut samples = vec![0.0; 64_000];
        for (i, s) in samples.iter_mut().enumerate().skip(16_000) {
            *s = (i as f32 * 0.1).sin() * 0.004;
        }
        samples[40_000] = 0.4;
        for s in &mut samples[48_000..] {
            *s *= 50.0;
        }
        samples
    }

    #[test]
    fn faint_windows_need_a_reason_where_somebody_can_be_asked() {
        assert_eq!(Gate::default().open(&sound(), &spans()).unwrap(), [1, 2, 3]);
        // This one hears no voice in what is faint.
        let gate = Gate::new(VadModel::new(Arc::new(Loudness)));
        assert_eq!(gate.open(&sound(), &spans()).unwrap(), [2, 3]);
    }

    #[test]
    fn a_voice_opens_a_faint_window() {
        /// Hears a voice in whatever it is given.
        struct Voice;
        impl crate::backend::Session for Voice {
            fn run(
                &self,
                inputs: Vec<crate::backend::NamedTensor>,
            ) -> Result<Vec<crate::backend::NamedTensor>, BackendError> {
                let n = inputs[0].tensor.shape[0];
                let state = || vec![0.0; 128];
                Ok(vec![
                    crate::backend::NamedTensor::f32("speech_probs", vec![n], vec![0.9; n])?,
                    crate::backend::NamedTensor::f32("hn", vec![1, 1, 128], state())?,
                    crate::backend::NamedTensor::f32("cn", vec![1, 1, 128], state())?,
                ])
            }
            fn backend(&self) -> &'static str {
                "fixed"
            }
        }
        let gate = Gate::new(VadModel::new(Arc::new(Voice)));
        assert_eq!(gate.open(&sound(), &spans()).unwrap(), [1, 2, 3]);
    }
}
