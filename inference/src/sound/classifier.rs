//! Sound models that we trained, by their folder: a recording in, a score a label out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use novastream_features::audio::{
    LogMel, NET_FRAMES, NET_STEP, NET_WINDOW, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_HOP,
    YAMNET_WINDOW, loud_spans, net_window,
};
use novastream_models::catalog::catalog_entry;
use novastream_models::import::MODEL_FILE;
use novastream_models::manifest::{MANIFEST_FILE, Manifest};
use novastream_models::sound::{
    CNN_FILE, GRAPH_INPUT, GRAPH_OUTPUT, HEAD_FILE, SoundCnn, SoundHead, pool,
};
use novastream_models::store::{ArtifactStore, read_verified};

use super::BATCH;
use crate::backend::{BackendError, CandleSession, NamedTensor, Session, take_f32};
use crate::moderator::runtime;

/// A sound model that can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct SoundClassifierError {
    /// The model's folder.
    pub path: PathBuf,
    /// Why.
    pub message: String,
}

impl SoundClassifierError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        "model_unavailable"
    }
}

/// What turns a recording into scores.
enum Kind {
    /// YAMNet's embeddings, then a head.
    Head {
        session: Arc<dyn Session>,
        head: SoundHead,
    },
    /// The network alone.
    Net(Arc<dyn Session>),
}

/// A trained sound model: shares of its labels for a whole recording.
pub struct SoundClassifier {
    kind: Kind,
    mel: LogMel,
    labels: Vec<String>,
    id: String,
    /// YAMNet's `name@version`, where it takes part.
    base: Option<String>,
}

impl SoundClassifier {
    /// Loads the model in `dir`, a folder of any name with a manifest, as `novastream-train audio`
    /// writes it. A head needs YAMNet in `store`. ONNX Runtime runs the graphs where it is found,
    /// else Candle.
    ///
    /// # Errors
    /// [`SoundClassifierError`]: the folder has no such model, YAMNet is not pulled, or a graph
    /// cannot be run.
    pub fn load(dir: &Path, store: &ArtifactStore) -> Result<Self, SoundClassifierError> {
        Self::try_load(dir, store).map_err(|message| SoundClassifierError {
            path: dir.to_owned(),
            message,
        })
    }

    fn try_load(dir: &Path, store: &ArtifactStore) -> Result<Self, String> {
        let path = dir.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string());
        let manifest = manifest.map_err(|e| e.to_string())?;
        let read = |name| read_verified(&manifest, dir, name).map_err(|e| e.to_string());
        let (kind, labels, base) = if manifest.file(CNN_FILE).is_some() {
            let cnn = SoundCnn::from_bytes(&read(CNN_FILE)?).map_err(|e| e.to_string())?;
            let session = session(&cnn.to_onnx(), store)?;
            (Kind::Net(session), cnn.labels().to_vec(), None)
        } else if manifest.file(HEAD_FILE).is_some() {
            let head = SoundHead::from_bytes(&read(HEAD_FILE)?).map_err(|e| e.to_string())?;
            let yamnet = catalog_entry("yamnet").ok_or("the catalogue has no yamnet")?;
            let graph = store.read(&yamnet, MODEL_FILE).map_err(|e| e.to_string())?;
            let session = session(&graph, store)?;
            let labels = head.labels().to_vec();
            (Kind::Head { session, head }, labels, Some(yamnet.id()))
        } else {
            return Err(format!(
                "{} has neither {CNN_FILE} nor {HEAD_FILE}",
                manifest.id()
            ));
        };
        let model = Self {
            kind,
            mel: LogMel::yamnet(),
            labels,
            id: manifest.id(),
            base,
        };
        // A model that cannot judge a second of sound is no model.
        let tone: Vec<f32> = (0..16_000).map(|i| (i as f32 * 0.2).sin() * 0.2).collect();
        model.scores(&tone).map_err(|e| e.to_string())?;
        Ok(model)
    }

    /// Its labels in the order of the scores.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// `name@version`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `name@version` of every model that takes part, with its engine.
    pub fn parts(&self) -> Vec<(String, &'static str)> {
        match &self.kind {
            Kind::Net(session) => vec![(self.id.clone(), session.backend())],
            Kind::Head { session, .. } => {
                let base = self.base.clone().unwrap_or_default();
                vec![(self.id.clone(), "linear"), (base, session.backend())]
            }
        }
    }

    /// Shares of the labels, which sum to 1, for a recording (16 kHz mono): over the windows that
    /// are not silent, or the loudest where all are. No samples give zeros.
    ///
    /// # Errors
    /// [`BackendError`]: the engine failed.
    pub fn scores(&self, samples: &[f32]) -> Result<Vec<f32>, BackendError> {
        match &self.kind {
            Kind::Head { session, head } => {
                let spans = loud_spans(samples, YAMNET_WINDOW, YAMNET_HOP);
                if spans.is_empty() {
                    return Ok(vec![0.0; self.labels.len()]);
                }
                let mut embeddings = Vec::new();
                for batch in spans.chunks(BATCH) {
                    let mut values = Vec::with_capacity(batch.len() * YAMNET_FRAMES * YAMNET_BANDS);
                    for span in batch {
                        self.mel.window(&samples[span.clone()], &mut values);
                    }
                    let shape = vec![batch.len(), YAMNET_FRAMES, YAMNET_BANDS];
                    let input = NamedTensor::f32("log_mel", shape, values)?;
                    let mut outputs = session.run(vec![input])?;
                    embeddings.extend(take_f32(&mut outputs, "embeddings")?.1);
                }
                let width = embeddings.len() / spans.len();
                if 2 * width != head.features() {
                    return Err(BackendError::Tensor {
                        name: "embeddings".to_owned(),
                        message: format!("{width} values where the head learned from others"),
                    });
                }
                Ok(head.scores(&pool(&embeddings, width)))
            }
            Kind::Net(session) => {
                let spans = loud_spans(samples, NET_WINDOW, NET_STEP);
                let mut mean = vec![0.0; self.labels.len()];
                for batch in spans.chunks(BATCH) {
                    let mut values = Vec::with_capacity(batch.len() * NET_FRAMES * YAMNET_BANDS);
                    for span in batch {
                        net_window(&self.mel, &samples[span.clone()], &mut values);
                    }
                    let shape = vec![batch.len(), NET_FRAMES, YAMNET_BANDS];
                    let input = NamedTensor::f32(GRAPH_INPUT, shape, values)?;
                    let mut outputs = session.run(vec![input])?;
                    let (_, scores) = take_f32(&mut outputs, GRAPH_OUTPUT)?;
                    for window in scores.chunks_exact(self.labels.len()) {
                        for (mean, score) in mean.iter_mut().zip(window) {
                            *mean += score / spans.len() as f32;
                        }
                    }
                }
                Ok(mean)
            }
        }
    }
}

fn session(graph: &[u8], store: &ArtifactStore) -> Result<Arc<dyn Session>, String> {
    match runtime(None, store) {
        Ok(runtime) => runtime
            .session(graph, 1, 1)
            .map(|s| Arc::new(s) as Arc<dyn Session>)
            .map_err(|e| e.to_string()),
        Err(_) => CandleSession::load(graph)
            .map(|s| Arc::new(s) as Arc<dyn Session>)
            .map_err(|e| e.to_string()),
    }
}
