//! Both chat tiers in the registry. The encoder is joined with the linear model's scores, so a version
//! is a pair of them.

use std::path::PathBuf;
use std::sync::Arc;

use novastream_features::text::{NgramHasher, Normalizer};
use novastream_models::catalog::{load_manifest, versions_in};
use novastream_models::golden::{Golden, GoldenError, Question};
use novastream_models::linear::LinearChatModel;
use novastream_models::manifest::Manifest;

use super::managed::{Load, Managed};
use super::shadow::{Differences, Shadow};
use super::slot::{Loaded, Permit, Version};
use super::status::{ModelState, ModelStatus, status_of};
use super::{LoadFailure, RegistryConfig, Versions};
use crate::backend::BackendError;
use crate::chat::{
    ChatInput, ChatModel, ChatScores, ChatTier, Encoder, FastChat, FullChat, load_encoder,
    serve_chat,
};
use crate::engine::{Call, Priority, ServedModel};
use crate::moderator::Engines;

/// What callers know the pair by.
const NAME: &str = "chat";

/// A linear model and, where it is there, an encoder.
pub(crate) struct ChatVersion {
    versions: Versions,
    /// The two together.
    pub model: Arc<ChatModel>,
    /// What other programs may call.
    pub served: Vec<Arc<ServedModel>>,
    encoder: Option<Arc<Encoder>>,
    linear_status: ModelStatus,
    encoder_status: Option<ModelStatus>,
}

impl Version for ChatVersion {
    fn versions(&self) -> &Versions {
        &self.versions
    }

    fn complete(&self) -> bool {
        self.encoder.is_some() || self.encoder_status.is_none()
    }
}

impl ChatVersion {
    fn statuses(&self) -> impl Iterator<Item = &ModelStatus> {
        std::iter::once(&self.linear_status).chain(&self.encoder_status)
    }

    /// Whether anything waits for the encoder.
    fn busy(&self) -> bool {
        self.encoder.as_ref().is_some_and(|e| e.batched.busy())
    }
}

/// Loads pairs from the zoo.
pub(crate) struct ChatLoader {
    zoo: PathBuf,
    engines: Arc<Engines>,
    names: Vec<String>,
}

impl ChatLoader {
    /// `linear` and `encoder` are the names of the models.
    pub(crate) fn new(
        zoo: PathBuf,
        engines: Arc<Engines>,
        linear: String,
        encoder: Option<String>,
    ) -> Self {
        Self {
            zoo,
            engines,
            names: std::iter::once(linear).chain(encoder).collect(),
        }
    }

    fn manifest(&self, name: &str, version: &str) -> Result<(Manifest, PathBuf), LoadFailure> {
        let dir = self.zoo.join(name).join(version);
        if !dir.is_dir() {
            let message = format!("{} is not there", dir.display());
            return Err(LoadFailure::new("model_missing", name, message));
        }
        let manifest = load_manifest(&dir).map_err(|e| LoadFailure::new(e.code(), name, e))?;
        Ok((manifest, dir))
    }

    fn linear(&self, name: &str, version: &str) -> Result<(FastChat, ModelStatus), LoadFailure> {
        let (manifest, dir) = self.manifest(name, version)?;
        let fail = |code, message: &dyn std::fmt::Display| LoadFailure::new(code, name, message);
        // Verifies the weights' hash as well.
        let model = LinearChatModel::load(&dir).map_err(|e| fail(e.code(), &e))?;
        let golden = Golden::of(&manifest, &dir).map_err(|e| fail(e.code(), &e))?;
        let golden = golden.map_err(|e| fail(e.code(), &e))?;
        if let Some(golden) = golden {
            let largest = check_linear(&golden, &model).map_err(|e| fail(e.code(), &e))?;
            tracing::debug!(model = %manifest.id(), largest, "golden answers");
        } else {
            tracing::info!(model = %manifest.id(), "there are no golden answers");
        }
        let status = status_of(&manifest, Ok("linear"));
        Ok((FastChat::new(model, manifest.id()), status))
    }

    fn encoder(
        &self,
        name: &str,
        version: &str,
        shapes: &[(usize, usize)],
    ) -> Result<(Encoder, ModelStatus), LoadFailure> {
        let (manifest, dir) = self.manifest(name, version)?;
        let encoder = load_encoder(&manifest, &dir, &self.engines, shapes)?;
        let mut status = status_of(&manifest, Ok(encoder.served.card().platform.as_str()));
        status.kernels = encoder.kernels.map(|k| k.as_str().to_owned());
        Ok((encoder, status))
    }
}

/// Asks a linear model its golden questions.
pub(super) fn check_linear(golden: &Golden, model: &LinearChatModel) -> Result<f32, GoldenError> {
    let outputs: Vec<String> = model.heads().iter().map(|h| h.name.clone()).collect();
    golden.check("linear", &outputs, linear_answers(model))
}

/// The scores of a linear model, by question.
pub(super) fn linear_answers(
    model: &LinearChatModel,
) -> impl FnMut(&Question) -> Result<Vec<f32>, BackendError> {
    let normalizer = Normalizer::new();
    let hasher = NgramHasher::with_set(model.hash_bits(), model.ngram_set());
    let (mut features, mut scores) = (Vec::new(), Vec::new());
    move |question| {
        let Question::Text { text, .. } = question else {
            return Err(BackendError::Tensor {
                name: "text".to_owned(),
                message: "is asked for by no message".to_owned(),
            });
        };
        hasher.features(text, &normalizer.normalize(text), &mut features);
        model.score(&features, &mut scores);
        Ok(scores.clone())
    }
}

impl Load<ChatVersion> for ChatLoader {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn available(&self, name: &str) -> Result<Vec<String>, LoadFailure> {
        versions_in(&self.zoo, name).map_err(|e| LoadFailure::new(e.code(), name, e))
    }

    fn load(
        &self,
        wanted: &Versions,
        loaded: &[Arc<Loaded<ChatVersion>>],
        lenient: bool,
    ) -> Result<ChatVersion, LoadFailure> {
        let linear = self.names.first().map_or("", String::as_str);
        let Some(version) = wanted.get(linear) else {
            let message = format!("there is no version of {linear}");
            return Err(LoadFailure::new("model_missing", linear, message));
        };
        let same = |name: &str| {
            let has = |l: &&Arc<Loaded<ChatVersion>>| {
                l.value
                    .versions
                    .get(name)
                    .is_some_and(|v| Some(v) == wanted.get(name))
            };
            loaded.iter().find(has).map(|l| &l.value)
        };
        let (fast, linear_status) = if let Some(known) = same(linear) {
            (known.model.fast(), known.linear_status.clone())
        } else {
            let (fast, status) = self.linear(linear, version)?;
            (Arc::new(fast), status)
        };
        let mut encoder_status = None;
        let mut encoder: Option<Arc<Encoder>> = None;
        if let Some(name) = self.names.get(1)
            && let Some(version) = wanted.get(name)
        {
            let known =
                same(name).and_then(|k| Some((k.encoder.clone()?, k.encoder_status.clone())));
            if let Some((known, status)) = known {
                (encoder, encoder_status) = (Some(known), status);
            } else {
                let with = |l: &Arc<Loaded<ChatVersion>>| l.value.encoder.clone();
                let shapes = loaded.iter().find_map(with);
                let shapes = shapes.map_or_else(Vec::new, |e| e.batched.shapes());
                match self.encoder(name, version, &shapes) {
                    Ok((made, status)) => {
                        (encoder, encoder_status) = (Some(Arc::new(made)), Some(status));
                    }
                    // The linear model answers alone and the encoder's status says why.
                    Err(failure) if lenient => {
                        encoder_status = Some(missing(name, version, &failure.message));
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        let full: Option<Arc<FullChat>> = encoder.as_ref().map(|e| Arc::clone(&e.full));
        let model = Arc::new(ChatModel::new(fast, full));
        let label = match (encoder.is_some(), encoder_status.as_ref()) {
            (true, Some(status)) => format!("{version}+{}", status.version),
            _ => version.to_owned(),
        };
        let encoder_served = encoder.iter().map(|e| Arc::clone(&e.served));
        let served = encoder_served.chain([Arc::new(serve_chat(&model, &label))]);
        Ok(ChatVersion {
            versions: wanted.clone(),
            served: served.collect(),
            model,
            encoder,
            linear_status,
            encoder_status,
        })
    }
}

fn missing(name: &str, version: &str, reason: &str) -> ModelStatus {
    ModelStatus {
        name: name.to_owned(),
        version: version.to_owned(),
        task: "chat".to_owned(),
        state: ModelState::NotLoaded,
        backend: None,
        reason: Some(reason.to_owned()),
        kernels: None,
        alias: None,
        canary_percent: None,
        shadow: None,
        trouble: None,
    }
}

/// A request for the candidate, to be held against what production answered.
struct Sample {
    production: Arc<Loaded<ChatVersion>>,
    candidate: Arc<Loaded<ChatVersion>>,
    differences: Arc<Differences>,
    raw: String,
    previous: Vec<String>,
    tier: ChatTier,
    scores: ChatScores,
}

fn compare(sample: Sample) {
    // What moderation waits for goes first.
    if sample.production.value.busy() {
        sample.differences.drop_one();
        return;
    }
    let call = Call {
        priority: Priority::Bulk,
        ..Call::default()
    };
    let normalized = Normalizer::new().normalize(&sample.raw);
    let previous: Vec<&str> = sample.previous.iter().map(String::as_str).collect();
    let input = ChatInput {
        raw: &sample.raw,
        normalized: &normalized,
        previous: &previous,
    };
    let model = &sample.candidate.value.model;
    let scored = crate::backend::guarded(|| call.enter(|| model.score(&[input], sample.tier)));
    let Some(scored) = scored.ok().and_then(|s| s.into_iter().next()) else {
        sample.differences.fail_one();
        return;
    };
    let both = sample
        .scores
        .scores
        .iter()
        .filter_map(|(category, before)| {
            let after = scored.scores.iter().find(|(c, _)| c == category)?.1;
            Some((category.to_string(), *before, after))
        });
    sample.differences.compare(both);
}

/// The chat models with their shadow.
pub(crate) struct ChatSlot {
    /// What is loaded.
    pub managed: Arc<Managed<ChatVersion>>,
    shadow: Shadow<Sample>,
    names: Vec<String>,
}

impl ChatSlot {
    pub(crate) fn new(loader: ChatLoader, config: RegistryConfig) -> Self {
        Self {
            names: loader.names.clone(),
            shadow: Shadow::new(config.shadow_per_second, compare),
            managed: Arc::new(Managed::new(NAME, Box::new(loader), config)),
        }
    }

    /// Scores one message with the version that `permit` holds; a candidate in shadow is left the
    /// same message.
    pub(crate) fn score(
        &self,
        permit: &Permit<ChatVersion>,
        input: ChatInput<'_>,
        tier: ChatTier,
    ) -> Result<ChatScores, BackendError> {
        let scored = permit.run(|version| version.model.score(&[input], tier))?;
        let scored = scored.into_iter().next().unwrap_or_default();
        if let Some((candidate, differences)) = permit.shadow()
            && self.shadow.wants()
        {
            let sample = Sample {
                production: permit.loaded(),
                candidate: Arc::clone(candidate),
                differences: Arc::clone(differences),
                raw: input.raw.to_owned(),
                previous: input.previous.iter().map(|p| (*p).to_owned()).collect(),
                tier,
                scores: scored.clone(),
            };
            if !self.shadow.leave(sample) {
                differences.drop_one();
            }
        }
        Ok(scored)
    }

    /// Why no version is loaded; `None` while one is.
    pub(crate) fn missing(&self) -> Option<String> {
        if self.managed.production().is_some() {
            return None;
        }
        let told = self.names.iter().find_map(|n| self.managed.trouble(n));
        Some(told.map_or_else(|| "no chat model".to_owned(), |t| t.message))
    }

    /// Every version that is loaded, and what became of those that are not.
    pub(crate) fn statuses(&self) -> Vec<ModelStatus> {
        let trouble = |name: &str| {
            let own = self.managed.trouble(name);
            own.or_else(|| self.managed.trouble(""))
        };
        let Some(production) = self.managed.production() else {
            let none = self.names.iter().filter_map(|name| {
                let trouble = trouble(name)?;
                let mut status = missing(name, &trouble.version, &trouble.message);
                status.trouble = Some(trouble);
                Some(status)
            });
            return none.collect();
        };
        let mut all: Vec<ModelStatus> = production.value.statuses().cloned().collect();
        for status in &mut all {
            status.alias = Some("production".to_owned());
            status.trouble = trouble(&status.name);
        }
        if let Some(trial) = self.managed.trial() {
            for status in trial.loaded.value.statuses() {
                let runs = production.value.versions.get(&status.name);
                if runs != Some(status.version.as_str()) {
                    all.push(ModelStatus {
                        alias: Some("candidate".to_owned()),
                        canary_percent: Some(trial.canary),
                        shadow: trial.shadow.as_ref().map(|s| s.report()),
                        ..status.clone()
                    });
                }
            }
        }
        all
    }

    /// What other programs may call: production's, then what the candidate has beside it.
    pub(crate) fn served(&self) -> Vec<Arc<ServedModel>> {
        let production = self.managed.production();
        let mut served = production.map_or_else(Vec::new, |p| p.value.served.clone());
        if let Some(trial) = self.managed.trial() {
            for model in &trial.loaded.value.served {
                let same = |s: &Arc<ServedModel>| {
                    s.card().name == model.card().name && s.card().version == model.card().version
                };
                if !served.iter().any(same) {
                    served.push(Arc::clone(model));
                }
            }
        }
        served
    }
}
