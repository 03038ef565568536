//! Loading: whatever is present is verified, warmed up and used; the rest is reported.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use novastream_features::{media::Audio, picture::RgbImage};
use novastream_models::{
    catalog::{catalog_entry, zoo_in},
    encoder::pack,
    frame_heads::{FrameHeads, JOINT_BASE, SCREEN_BASE},
    import::MODEL_FILE,
    linear::{self, LinearChatModel},
    manifest::{Manifest, Task},
    onnx,
    sound::{CNN_FILE, SoundCnn},
    store::{ArtifactStore, read_verified},
};
use serde::{Deserialize, Serialize};

use super::offered::{card, serve_chat};
use super::{LoadError, ModeratorConfig};
use crate::{
    backend::{BackendChoice, CandleSession, OnnxRuntime, Session},
    chat::{ChatModel, FastChat, load_encoder},
    engine::{Batched, Counted, Plan, ServedModel, WHOLES},
    sound::{Ears, Gate, SmallEars, SoundMemory, SoundModel, VadModel},
    vision::{FrameModel, Graph, LoadedHead, Network, OcrEngine},
};

/// Names the shared library for programs that have no configuration file.
pub const ONNXRUNTIME_VARIABLE: &str = "NOVASTREAM_ONNXRUNTIME";

/// Whether a model is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// Loaded, verified and warmed up.
    Ready,
    /// Not in use; the reason says why.
    NotLoaded,
}

/// One model of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelStatus {
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// What it is for, such as `chat` or `audio-events`.
    pub task: String,
    /// Whether it is in use.
    pub state: ModelState,
    /// The engine that runs it: `onnxruntime`, `candle` or `linear`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Why it is not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A part of the pipeline, or why it is missing.
pub(super) type Part<T> = Result<T, String>;

/// Everything that comes out of model files.
pub(super) struct Parts {
    pub nsfw: Part<FrameModel>,
    pub sound: Part<Ears>,
    pub ocr: Part<OcrEngine>,
    pub chat: Part<Arc<ChatModel>>,
    pub statuses: Vec<ModelStatus>,
    pub served: Vec<Arc<ServedModel>>,
}

/// The engines that graphs are given to.
struct Engines {
    runtime: Part<OnnxRuntime>,
    candle: bool,
    threads: usize,
}

pub(super) fn load_parts(config: &ModeratorConfig) -> Result<Parts, LoadError> {
    let runtime = match config.backend {
        BackendChoice::Candle => Err("ONNX Runtime is turned off by the configuration".to_owned()),
        BackendChoice::Auto | BackendChoice::Onnx => find_runtime(config),
    };
    if let (BackendChoice::Onnx, Err(message)) = (config.backend, &runtime) {
        return Err(LoadError::Backend(crate::backend::BackendError::Library {
            path: config.onnxruntime.clone().unwrap_or_default(),
            message: message.clone(),
        }));
    }
    let mut statuses = Vec::new();
    if let Some(manifest) = catalog_entry("onnxruntime") {
        let status = runtime
            .as_ref()
            .map(|_| "shared library")
            .map_err(Clone::clone);
        statuses.push(status_of(&manifest, status));
    }
    let engines = Engines {
        runtime,
        candle: config.backend != BackendChoice::Onnx,
        threads: config.threads.max(1),
    };
    let store = &config.store;
    let mut served = Vec::new();
    let chat = load_chat(&config.zoo, &engines, &mut statuses, &mut served);
    let nsfw = load_frames(config, &engines, &mut statuses, &mut served);
    let sound = load_ears(&config.zoo, store, &engines, &mut statuses, &mut served);
    let ocr = load_ocr(store, &engines, &mut statuses);
    for status in statuses.iter().filter(|s| s.state == ModelState::NotLoaded) {
        let reason = status.reason.as_deref().unwrap_or_default();
        tracing::warn!(model = %status.name, reason, "model not loaded");
    }
    Ok(Parts {
        nsfw,
        sound,
        ocr,
        chat,
        statuses,
        served: served.into_iter().map(Arc::new).collect(),
    })
}

/// The configured library, `$NOVASTREAM_ONNXRUNTIME`, or the pulled one: the first that loads.
fn find_runtime(config: &ModeratorConfig) -> Part<OnnxRuntime> {
    runtime(config.onnxruntime.as_deref(), &config.store)
}

/// The library at `named`, else the environment's, else the store's.
pub(crate) fn runtime(named: Option<&Path>, store: &ArtifactStore) -> Part<OnnxRuntime> {
    let mut tried = Vec::new();
    let mut attempt = |path: &Path| match OnnxRuntime::load(path) {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            tried.push(error.to_string());
            None
        }
    };
    let variable = std::env::var_os(ONNXRUNTIME_VARIABLE).filter(|v| !v.is_empty());
    let named = named.map(Path::to_owned).into_iter();
    for path in named.chain(variable.map(PathBuf::from)) {
        if let Some(runtime) = attempt(&path) {
            return Ok(runtime);
        }
    }
    let manifest = catalog_entry("onnxruntime").ok_or("the catalogue has no onnxruntime")?;
    match store.file(&manifest, "libonnxruntime.so") {
        Ok(path) => {
            if let Some(runtime) = attempt(&path) {
                return Ok(runtime);
            }
        }
        Err(error) => tried.push(error.to_string()),
    }
    Err(tried.join("; "))
}

fn status_of(manifest: &Manifest, backend: Result<&str, String>) -> ModelStatus {
    ModelStatus {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        task: manifest.task.to_string(),
        state: if backend.is_ok() {
            ModelState::Ready
        } else {
            ModelState::NotLoaded
        },
        backend: backend.as_ref().ok().map(|b| (*b).to_owned()),
        reason: backend.err(),
    }
}

/// Loads one catalogue entry with `load`, which answers the part and its engine.
fn load_part<T>(
    name: &str,
    statuses: &mut Vec<ModelStatus>,
    load: impl FnOnce(&Manifest) -> Result<(T, &'static str), String>,
) -> Part<T> {
    let manifest = catalog_entry(name).ok_or_else(|| format!("the catalogue has no {name}"))?;
    let loaded = load(&manifest);
    statuses.push(status_of(
        &manifest,
        loaded.as_ref().map(|(_, b)| *b).map_err(Clone::clone),
    ));
    loaded.map(|(part, _)| part)
}

impl Engines {
    /// A session for a verified graph: `width` calls at once, `threads` threads each.
    fn session(
        &self,
        graph: &[u8],
        threads: usize,
        width: usize,
    ) -> Result<Arc<dyn Session>, String> {
        match &self.runtime {
            Ok(runtime) => runtime
                .session(graph, threads, width)
                .map(|s| Arc::new(s) as Arc<dyn Session>)
                .map_err(|e| e.to_string()),
            Err(reason) if !self.candle => Err(reason.clone()),
            Err(_) => CandleSession::load(graph)
                .map(|s| Arc::new(s) as Arc<dyn Session>)
                .map_err(|e| e.to_string()),
        }
    }
}

impl Engines {
    /// A session whose rows share batches with those of other calls.
    fn batched(&self, manifest: &Manifest, graph: &[u8]) -> Result<Arc<Batched>, String> {
        let plan = Plan {
            model: &manifest.name,
            version: &manifest.version,
            workers: self.threads,
            limits: WHOLES,
            padded: None,
        };
        let session = self.session(graph, 1, self.threads)?;
        Batched::start(plan, session)
            .map(Arc::new)
            .map_err(|e| e.to_string())
    }
}

/// The graph's only input, and the output called `output` or the only one.
fn names(manifest: &Manifest, output: Option<&str>) -> Result<(String, String), String> {
    let contract = &manifest.contract;
    let input = contract.inputs.first().map(|t| t.name.clone());
    let output = contract
        .outputs
        .iter()
        .find(|t| output.is_none_or(|o| o == t.name));
    input
        .zip(output.map(|t| t.name.clone()))
        .ok_or_else(|| format!("{} has no contract for its input and output", manifest.id()))
}

fn read(store: &ArtifactStore, manifest: &Manifest) -> Result<Vec<u8>, String> {
    store.read(manifest, MODEL_FILE).map_err(|e| e.to_string())
}

/// Both picture networks and every head of the zoo and the configuration that was trained on them.
fn load_frames(
    config: &ModeratorConfig,
    engines: &Engines,
    statuses: &mut Vec<ModelStatus>,
    served: &mut Vec<ServedModel>,
) -> Part<FrameModel> {
    let mut load = |name: &str| {
        load_part(name, statuses, |m| {
            load_network(&config.store, engines, m, served)
        })
    };
    let (screen, confirm) = (load(SCREEN_BASE), load(JOINT_BASE));
    let heads = load_heads(&config.zoo, &config.frame_heads, screen.is_ok(), statuses);
    let model = FrameModel {
        screen: screen?,
        confirm,
        heads,
    };
    // Everything once, so that a head that does not fit is known now.
    model
        .score(&grey(64, 64), |_| true)
        .map_err(|e| e.to_string())?;
    Ok(model)
}

fn load_network(
    store: &ArtifactStore,
    engines: &Engines,
    manifest: &Manifest,
    served: &mut Vec<ServedModel>,
) -> Result<(Network, &'static str), String> {
    // One thread a frame and as many frames at once as there are cores beats the other way round.
    let session = engines.batched(manifest, &read(store, manifest)?)?;
    let (backend, (input, output)) = (session.backend(), names(manifest, Some("probabilities"))?);
    let offered = ServedModel::new(
        card(manifest, backend)?,
        Arc::clone(&session) as Arc<dyn Counted>,
    );
    let network = Network::new(session, input, output, &manifest.labels, manifest.id())
        .map_err(|e| e.to_string())?;
    served.push(offered);
    Ok((network, backend))
}

/// The newest version of every model of heads. Of two heads with one name the first counts; models
/// named in the configuration come before those of the zoo.
fn load_heads(
    zoo: &Path,
    extra: &[PathBuf],
    usable: bool,
    statuses: &mut Vec<ModelStatus>,
) -> Vec<LoadedHead> {
    let mut dirs: Vec<PathBuf> = extra.to_vec();
    match zoo_in(zoo) {
        Ok(models) => {
            let heads: Vec<_> = models
                .into_iter()
                .filter(|(m, _)| m.task == Task::FrameHeads)
                .collect();
            let newest = |i: usize| heads.get(i + 1).is_none_or(|n| n.0.name != heads[i].0.name);
            let newest = (0..heads.len()).filter(|i| newest(*i));
            dirs.extend(newest.map(|i| heads[i].1.clone()));
        }
        Err(error) => tracing::warn!(%error, "no heads for frames"),
    }
    let mut loaded: Vec<LoadedHead> = Vec::new();
    for dir in dirs {
        match FrameHeads::load(&dir) {
            Ok((heads, manifest)) => {
                let state = if usable {
                    Ok("linear")
                } else {
                    Err(format!("needs {SCREEN_BASE}"))
                };
                statuses.push(status_of(&manifest, state));
                for head in heads.heads {
                    if loaded.iter().any(|l| l.head.name == head.name) {
                        tracing::warn!(head = %head.name, model = %manifest.id(), "a second head of this name is left out");
                        continue;
                    }
                    let model = manifest.id();
                    loaded.push(LoadedHead { head, model });
                }
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "heads for frames not loaded");
            }
        }
    }
    loaded
}

/// YAMNet behind a gate; where it is missing the zoo's newest sound network, whose status is listed
/// only then.
fn load_ears(
    zoo: &Path,
    store: &ArtifactStore,
    engines: &Engines,
    statuses: &mut Vec<ModelStatus>,
    served: &mut Vec<ServedModel>,
) -> Part<Ears> {
    let sound = load_part("yamnet", statuses, |m| {
        load_sound(store, engines, m, served)
    });
    let vad = load_part("silero-vad", statuses, |m| load_vad(store, engines, m));
    let missing = match sound {
        Ok(model) => {
            let gate = vad.map_or_else(|_| Gate::default(), Gate::new);
            return Ok(Ears::Yamnet(Box::new(model.behind(gate))));
        }
        Err(missing) => missing,
    };
    let models = zoo_in(zoo).unwrap_or_default();
    let newest = models.iter().rfind(|(m, _)| m.file(CNN_FILE).is_some());
    let Some((manifest, dir)) = newest else {
        return Err(missing);
    };
    let loaded = load_small(manifest, dir, engines, missing.clone());
    let status = loaded.as_ref().map(|(_, b)| *b).map_err(Clone::clone);
    statuses.push(status_of(manifest, status));
    loaded
        .map(|(ears, _)| Ears::Small(ears))
        .map_err(|_| missing)
}

fn load_small(
    manifest: &Manifest,
    dir: &Path,
    engines: &Engines,
    missing: String,
) -> Result<(SmallEars, &'static str), String> {
    let bytes = read_verified(manifest, dir, CNN_FILE).map_err(|e| e.to_string())?;
    let cnn = SoundCnn::from_bytes(&bytes).map_err(|e| e.to_string())?;
    let session = engines.session(&cnn.to_onnx(), 1, engines.threads)?;
    let backend = session.backend();
    let ears = SmallEars::new(session, &cnn, manifest.id(), missing);
    ears.hear(&tone(), 0, &mut SoundMemory::default())
        .map_err(|e| e.to_string())?;
    Ok((ears, backend))
}

fn load_vad(
    store: &ArtifactStore,
    engines: &Engines,
    manifest: &Manifest,
) -> Result<(VadModel, &'static str), String> {
    if let Err(reason) = &engines.runtime {
        return Err(format!("voice detection needs ONNX Runtime: {reason}"));
    }
    let session = engines.session(&read(store, manifest)?, 1, engines.threads)?;
    let backend = session.backend();
    let vad = VadModel::new(session);
    vad.speech(&tone().samples).map_err(|e| e.to_string())?;
    Ok((vad, backend))
}

/// A second of sound that is loud enough to pass every gate.
fn tone() -> Audio {
    Audio {
        start_ms: 0,
        samples: (0..16_000).map(|i| (i as f32 * 0.2).sin() * 0.2).collect(),
    }
}

fn load_sound(
    store: &ArtifactStore,
    engines: &Engines,
    manifest: &Manifest,
    served: &mut Vec<ServedModel>,
) -> Result<(SoundModel, &'static str), String> {
    let session = engines.batched(manifest, &read(store, manifest)?)?;
    let (backend, (input, output)) = (session.backend(), names(manifest, Some("scores"))?);
    let offered = ServedModel::new(
        card(manifest, backend)?,
        Arc::clone(&session) as Arc<dyn Counted>,
    );
    let labels = manifest.labels.clone();
    let model = SoundModel::new(session, input, output, labels, manifest.id())
        .map_err(|e| e.to_string())?;
    model
        .hear(&tone(), 0, &mut SoundMemory::default())
        .map_err(|e| e.to_string())?;
    served.push(offered);
    Ok((model, backend))
}

fn load_ocr(
    store: &ArtifactStore,
    engines: &Engines,
    statuses: &mut Vec<ModelStatus>,
) -> Part<OcrEngine> {
    let graph = |manifest: &Manifest, threads, width| -> Result<(Graph, Vec<u8>), String> {
        if let Err(reason) = &engines.runtime {
            return Err(format!("text on screen needs ONNX Runtime: {reason}"));
        }
        let bytes = read(store, manifest)?;
        let session = engines.session(&bytes, threads, width)?;
        let (input, output) = names(manifest, None)?;
        Ok((
            Graph {
                session,
                input,
                output,
            },
            bytes,
        ))
    };
    // One big picture uses all cores; the many small lines share them.
    let detect = load_part("ppocr-v4-det", statuses, |m| {
        let (graph, _) = graph(m, engines.threads, 1)?;
        let backend = graph.session.backend();
        Ok((graph, backend))
    });
    let recognise = load_part("ppocr-v4-rec", statuses, |m| {
        let (graph, bytes) = graph(m, 1, engines.threads)?;
        let model = onnx::decode(&bytes).map_err(|e| e.to_string())?;
        let dictionary = onnx::metadata(&model, "character")
            .ok_or_else(|| format!("{} has no `character` metadata", m.id()))?
            .to_owned();
        let backend = graph.session.backend();
        Ok(((graph, dictionary, m.id()), backend))
    });
    let (graph, dictionary, id) = recognise?;
    let engine = OcrEngine::new(detect?, graph, &dictionary, id);
    if let Err(error) = engine.read(&grey(320, 192), &mut None) {
        for status in statuses.iter_mut().filter(|s| s.task.starts_with("ocr-")) {
            status.state = ModelState::NotLoaded;
            status.backend = None;
            status.reason = Some(error.to_string());
        }
        return Err(error.to_string());
    }
    Ok(engine)
}

/// The newest linear model of the zoo, with the newest encoder beside it. Without the encoder the
/// linear model answers alone and the encoder's status says why.
fn load_chat(
    zoo: &Path,
    engines: &Engines,
    statuses: &mut Vec<ModelStatus>,
    served: &mut Vec<ServedModel>,
) -> Part<Arc<ChatModel>> {
    let models = zoo_in(zoo).map_err(|e| e.to_string())?;
    let newest = |file: &str| {
        let with = |(m, _): &&(Manifest, PathBuf)| m.task == Task::Chat && m.file(file).is_some();
        models.iter().rfind(with)
    };
    let (manifest, dir) = newest(linear::WEIGHTS_FILE)
        .ok_or_else(|| format!("no chat model under {}", zoo.display()))?;
    // Verifies the weights' hash as well.
    let fast = LinearChatModel::load(dir)
        .map(|model| FastChat::new(model, manifest.id()))
        .map_err(|e| e.to_string());
    statuses.push(status_of(
        manifest,
        fast.as_ref().map(|_| "linear").map_err(Clone::clone),
    ));
    let fast = fast?;
    let full = newest(pack::WEIGHTS_FILE).and_then(|(manifest, dir)| {
        let loaded = load_encoder(
            manifest,
            dir,
            engines.runtime.as_ref(),
            engines.candle,
            engines.threads,
        );
        let backend = loaded
            .as_ref()
            .map(|(_, served)| served.card().platform.as_str())
            .map_err(Clone::clone);
        statuses.push(status_of(manifest, backend));
        loaded.ok().map(|(full, encoder)| {
            served.push(encoder);
            full
        })
    });
    let model = Arc::new(ChatModel::new(fast, full));
    served.push(serve_chat(&model, &manifest.version));
    Ok(model)
}

fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage {
        width,
        height,
        data: vec![127; (width * height * 3) as usize],
    }
}
