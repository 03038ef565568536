//! Loading: whatever is present is verified, warmed up and used; the rest is reported.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use novastream_features::{media::Audio, picture::RgbImage};
use novastream_models::{
    aliases::Aliases,
    catalog::{catalog_entry, sound_zoo_in},
    encoder::pack,
    frame_heads::{FrameHeads, JOINT_BASE, SCREEN_BASE},
    golden::{Golden, Question},
    import::MODEL_FILE,
    linear,
    manifest::{Manifest, Task},
    onnx,
    sound::{CNN_FILE, SoundCnn},
    store::{ArtifactStore, read_verified},
    whisper::DecodeOptions,
};

use super::engines::Engines;
use super::offered::card;
use super::{LoadError, ModeratorConfig};
use crate::{
    backend::{BackendChoice, Session as _},
    engine::{Counted, ServedModel},
    registry::{ANY, ChatLoader, ChatSlot, Keeper, Kept, ModelState, ModelStatus, status_of},
    sound::{Ears, Gate, SmallEars, SoundMemory, SoundModel, VadModel},
    speech::{Speech, SpeechToText as _, WhisperSpeech, speech_name},
    vision::{FrameModel, Graph, LoadedHead, Network, OcrEngine, Turn},
};

/// A part of the pipeline, or why it is missing.
pub(super) type Part<T> = Result<T, String>;

/// Everything that comes out of model files.
pub(super) struct Parts {
    pub nsfw: Part<FrameModel>,
    pub sound: Part<Ears>,
    pub speech: Option<Part<Speech>>,
    pub ocr: Part<OcrEngine>,
    pub chat: Part<Arc<ChatSlot>>,
    pub keeper: Keeper,
    pub statuses: Vec<ModelStatus>,
    pub served: Vec<Arc<ServedModel>>,
}

pub(super) fn load_parts(config: &ModeratorConfig) -> Result<Parts, LoadError> {
    let engines = Arc::new(Engines::find(
        config.backend,
        config.onnxruntime.as_deref(),
        &config.store,
        config.threads,
    ));
    if let (BackendChoice::Onnx, Err(message)) = (config.backend, &engines.runtime) {
        return Err(LoadError::Backend(crate::backend::BackendError::Library {
            path: config.onnxruntime.clone().unwrap_or_default(),
            message: message.clone(),
        }));
    }
    let mut statuses = Vec::new();
    if let Some(manifest) = catalog_entry("onnxruntime") {
        let status = engines
            .runtime
            .as_ref()
            .map(|_| "shared library")
            .map_err(Clone::clone);
        statuses.push(status_of(&manifest, status));
    }
    let store = &config.store;
    let mut served = Vec::new();
    // Before it is read: a change in between is seen later rather than never.
    let seen = Keeper::stamp(config.registry.aliases.as_deref());
    let aliases = read_aliases(config);
    let chat = load_chat(config, &engines, &aliases);
    let nsfw = load_frames(config, &engines, &aliases, &mut statuses, &mut served);
    let sound = load_ears(config, &engines, &aliases, &mut statuses, &mut served);
    let speech = config
        .speech
        .as_ref()
        .map(|dir| load_speech(dir, store, &engines, &mut statuses));
    let ocr = load_ocr(store, &engines, &mut statuses);
    let kept = chat.iter().map(|c| Arc::clone(&c.managed) as Arc<dyn Kept>);
    let keeper = Keeper::start(&config.registry, kept.collect(), seen);
    let of_chat = chat.as_ref().map_or_else(|_| Vec::new(), |c| c.statuses());
    for status in statuses
        .iter()
        .chain(&of_chat)
        .filter(|s| s.state == ModelState::NotLoaded)
    {
        let reason = status.reason.as_deref().unwrap_or_default();
        tracing::warn!(model = %status.name, reason, "model not loaded");
    }
    Ok(Parts {
        nsfw,
        sound,
        speech,
        ocr,
        chat,
        keeper,
        statuses,
        served: served.into_iter().map(Arc::new).collect(),
    })
}

/// The alias file. One that can't be used is told of; the highest versions run then.
fn read_aliases(config: &ModeratorConfig) -> Aliases {
    let loaded = config.registry.aliases.as_deref().map(Aliases::load);
    loaded.transpose().map_or_else(
        |error| {
            tracing::error!(%error, "the alias file can't be used; the highest versions run");
            Aliases::default()
        },
        Option::unwrap_or_default,
    )
}

/// The version of a model that is production, and its folder.
fn production<'a>(
    models: &'a [(Manifest, PathBuf)],
    aliases: &Aliases,
    name: &str,
) -> Option<&'a (Manifest, PathBuf)> {
    let of_name = || models.iter().filter(|(m, _)| m.name == name);
    let versions: Vec<String> = of_name().map(|(m, _)| m.version.clone()).collect();
    let wanted = aliases.production(name, &versions);
    let found = of_name().find(|(m, _)| Some(m.version.as_str()) == wanted);
    if let (None, Some(wanted)) = (&found, wanted) {
        tracing::error!(
            model = name,
            version = wanted,
            "the alias names a version that is not there; the highest one runs"
        );
    }
    found.or_else(|| of_name().next_back())
}

/// The configured library, `$NOVASTREAM_ONNXRUNTIME`, or the pulled one: the first that loads.
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
    aliases: &Aliases,
    statuses: &mut Vec<ModelStatus>,
    served: &mut Vec<ServedModel>,
) -> Part<FrameModel> {
    let mut load = |name: &str| {
        load_part(name, statuses, |m| {
            load_network(&config.store, engines, m, served)
        })
    };
    let (screen, confirm) = (load(SCREEN_BASE), load(JOINT_BASE));
    let heads = load_heads(config, aliases, screen.is_ok(), statuses);
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
    let session = engines.pictures(manifest, &read(store, manifest)?)?;
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

/// The production version of every model of heads. Of two heads with one name the first counts; models
/// named in the configuration come before those of the zoo.
fn load_heads(
    config: &ModeratorConfig,
    aliases: &Aliases,
    usable: bool,
    statuses: &mut Vec<ModelStatus>,
) -> Vec<LoadedHead> {
    let mut dirs: Vec<PathBuf> = config.frame_heads.clone();
    match sound_zoo_in(&config.zoo) {
        Ok(mut models) => {
            models.retain(|(m, _)| m.task == Task::FrameHeads);
            let mut names: Vec<&str> = models.iter().map(|(m, _)| m.name.as_str()).collect();
            names.dedup();
            let found = names.iter().filter_map(|n| production(&models, aliases, n));
            dirs.extend(found.map(|(_, dir)| dir.clone()));
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

/// YAMNet behind a gate; where it is missing the zoo's sound network, whose status is listed
/// only then.
fn load_ears(
    config: &ModeratorConfig,
    engines: &Engines,
    aliases: &Aliases,
    statuses: &mut Vec<ModelStatus>,
    served: &mut Vec<ServedModel>,
) -> Part<Ears> {
    let store = &config.store;
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
    let models = sound_zoo_in(&config.zoo).unwrap_or_default();
    let newest = models.iter().rfind(|(m, _)| m.file(CNN_FILE).is_some());
    let chosen = newest.and_then(|(m, _)| production(&models, aliases, &m.name));
    let Some((manifest, dir)) = chosen else {
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
    let golden = Golden::of(manifest, dir).map_err(|e| e.to_string())?;
    if let Some(golden) = golden.map_err(|e| e.to_string())? {
        let answer = |q: &Question| ears.window_scores(&q.samples());
        let checked = golden.check(ANY, cnn.labels(), answer);
        checked.map_err(|e| e.to_string())?;
    }
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

/// The operator's transcriber behind a voice detector, if that is there.
fn load_speech(
    dir: &Path,
    store: &ArtifactStore,
    engines: &Engines,
    statuses: &mut Vec<ModelStatus>,
) -> Part<Speech> {
    let loaded = WhisperSpeech::load(dir, DecodeOptions::default())
        .map_err(|e| format!("{}: {e}", e.code()));
    let id = loaded.as_ref().map(|speech| speech.id().to_owned());
    let version = id
        .ok()
        .and_then(|id| Some(id.rsplit_once('@')?.1.to_owned()));
    statuses.push(ModelStatus {
        name: speech_name(dir),
        version: version.unwrap_or_else(|| "local".to_owned()),
        task: "speech-to-text".to_owned(),
        state: if loaded.is_ok() {
            ModelState::Ready
        } else {
            ModelState::NotLoaded
        },
        backend: loaded.is_ok().then(|| "candle".to_owned()),
        reason: loaded.as_ref().err().cloned(),
        kernels: None,
        alias: None,
        canary_percent: None,
        shadow: None,
        trouble: None,
    });
    let vad = catalog_entry("silero-vad")
        .and_then(|manifest| load_vad(store, engines, &manifest).ok())
        .map(|(vad, _)| vad);
    Ok(Speech::new(Arc::new(loaded?), vad))
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
    if let Err(error) = engine.read(&grey(320, 192), Turn::default(), &mut None) {
        for status in statuses.iter_mut().filter(|s| s.task.starts_with("ocr-")) {
            status.state = ModelState::NotLoaded;
            status.backend = None;
            status.reason = Some(error.to_string());
        }
        return Err(error.to_string());
    }
    Ok(engine)
}

/// The newest linear model of the zoo, with the newest encoder beside it, or those that the aliases
/// name. Without the encoder the linear model answers alone and the encoder's status says why.
fn load_chat(
    config: &ModeratorConfig,
    engines: &Arc<Engines>,
    aliases: &Aliases,
) -> Part<Arc<ChatSlot>> {
    let models = sound_zoo_in(&config.zoo).map_err(|e| e.to_string())?;
    let name = |file: &str| {
        let with = |(m, _): &&(Manifest, PathBuf)| m.task == Task::Chat && m.file(file).is_some();
        models.iter().rfind(with).map(|(m, _)| m.name.clone())
    };
    let linear = name(linear::WEIGHTS_FILE)
        .ok_or_else(|| format!("no chat model under {}", config.zoo.display()))?;
    let encoder = name(pack::WEIGHTS_FILE);
    let loader = ChatLoader::new(config.zoo.clone(), Arc::clone(engines), linear, encoder);
    let slot = ChatSlot::new(loader, config.registry.clone());
    // Where nothing loads now, a promotion may mend it later; until then the statuses say why.
    let _ = slot.managed.start(aliases);
    Ok(Arc::new(slot))
}

fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage {
        width,
        height,
        data: vec![127; (width * height * 3) as usize],
    }
}
