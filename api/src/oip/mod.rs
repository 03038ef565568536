//! Models as other inference servers' clients call them: the Open Inference Protocol, version 2,
//! with Triton's extensions for binary tensors, model configuration, model repository and
//! statistics. This part is the same for HTTP and gRPC.

pub mod describe;
pub mod json;
pub mod tensors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use novastream_inference::BackendError;
use novastream_inference::backend::NamedTensor;
use novastream_inference::engine::{Call, Priority, ServedModel};
use novastream_inference::registry::Trouble;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::judge::Judge;
use crate::pool::Ticket;

/// The name that the server answers with.
pub const SERVER: &str = "novastream";
/// Extensions that it speaks.
pub const EXTENSIONS: [&str; 4] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
];

/// Times beside one version of a model.
#[derive(Debug, Default)]
pub struct Counts {
    /// Nanoseconds of reading tensors out of requests.
    pub read_ns: AtomicU64,
    /// Nanoseconds of writing tensors into answers.
    pub written_ns: AtomicU64,
}

/// One version of a model of the repository, as it is at this moment. It stays loaded for as long as
/// this is held.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The model.
    pub model: Arc<ServedModel>,
    /// Times beside it.
    pub counts: Arc<Counts>,
    offered: bool,
}

impl Entry {
    /// Whether it may be called.
    pub fn offered(&self) -> bool {
        self.offered
    }

    /// Counts the time that requests and answers took beside the model.
    pub fn count(&self, reading: Duration, writing: Duration) {
        let add = |to: &AtomicU64, time: Duration| {
            to.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        };
        add(&self.counts.read_ns, reading);
        add(&self.counts.written_ns, writing);
    }
}

/// Name and version.
type Key = (String, String);

#[derive(Debug, Default)]
struct State {
    /// Names that a caller took off the surface.
    withdrawn: BTreeSet<String>,
    counts: BTreeMap<Key, Arc<Counts>>,
}

/// The models that are offered to clients of the protocol: what the judge has loaded, now.
#[derive(Clone)]
pub struct Repository {
    judge: Arc<dyn Judge>,
    state: Arc<Mutex<State>>,
    control: bool,
}

impl Repository {
    /// `control` says whether callers may take models off the surface and put them back.
    pub fn new(judge: Arc<dyn Judge>, control: bool) -> Self {
        Self {
            judge,
            state: Arc::default(),
            control,
        }
    }

    /// Every version of every model, by name; of one name production comes first.
    pub fn all(&self) -> Vec<Entry> {
        let mut models = self.judge.served();
        models.sort_by(|a, b| a.card().name.cmp(&b.card().name));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |m: &Arc<ServedModel>| (m.card().name.clone(), m.card().version.clone());
        // Versions come and go; their times go with them.
        if state.counts.len() > models.len() {
            let keys: BTreeSet<Key> = models.iter().map(key).collect();
            state.counts.retain(|k, _| keys.contains(k));
        }
        models
            .into_iter()
            .map(|model| Entry {
                counts: Arc::clone(state.counts.entry(key(&model)).or_default()),
                offered: !state.withdrawn.contains(&model.card().name),
                model,
            })
            .collect()
    }

    /// The versions of the model called `name`, production first.
    pub fn versions(&self, name: &str) -> Vec<String> {
        let all = self.judge.served();
        let of_name = all.iter().filter(|m| m.card().name == name);
        of_name.map(|m| m.card().version.clone()).collect()
    }

    /// The model called `name`, whether or not it is offered. An empty version means production.
    ///
    /// # Errors
    /// `model_unknown`.
    pub fn known(&self, name: &str, version: &str) -> Result<Entry, ApiError> {
        let mut all = self.all();
        let has = |e: &Entry| {
            let card = e.model.card();
            card.name == name && (version.is_empty() || version == card.version)
        };
        if let Some(at) = all.iter().position(has) {
            return Ok(all.swap_remove(at));
        }
        let mut names: Vec<&str> = all.iter().map(|e| e.model.card().name.as_str()).collect();
        names.dedup();
        Err(unknown(if names.contains(&name) {
            let versions = self.versions(name).join(", ");
            format!("`{name}` has the version {versions}, not {version}")
        } else {
            format!("there is no model `{name}`; there are {names:?}")
        }))
    }

    /// The model called `name`, if it may be called.
    ///
    /// # Errors
    /// `model_unknown`, `model_not_loaded`.
    pub fn ready(&self, name: &str, version: &str) -> Result<Entry, ApiError> {
        let entry = self.known(name, version)?;
        if entry.offered() {
            return Ok(entry);
        }
        let detail = format!("`{name}` was unloaded by a caller");
        Err(ApiError::new(ErrorCode::ModelNotLoaded, detail))
    }

    /// Takes a model off the surface. What moderates goes on using it.
    ///
    /// # Errors
    /// `model_control_disabled`, `model_unknown`.
    pub fn unload(&self, name: &str) -> Result<(), ApiError> {
        self.controlled(name)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.withdrawn.insert(name.to_owned());
        tracing::info!(model = name, "a caller took a model off the surface");
        Ok(())
    }

    /// Puts a model on the surface, and makes the loaded versions of all what the alias file says.
    ///
    /// # Errors
    /// `model_control_disabled`, `model_unknown`, `model_load_failed`.
    pub async fn load(&self, name: &str) -> Result<(), ApiError> {
        self.controlled(name)?;
        let judge = Arc::clone(&self.judge);
        let reload = move || judge.reload_models();
        let troubles = tokio::task::spawn_blocking(reload).await;
        let troubles = troubles.map_err(ApiError::internal)?;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.withdrawn.remove(name);
        }
        tracing::info!(model = name, "a caller loaded a model");
        if troubles.is_empty() {
            return Ok(());
        }
        let told = |t: &Trouble| format!("{}: {} [{}]", t.version, t.message, t.code);
        let told: Vec<String> = troubles.iter().map(told).collect();
        Err(ApiError::new(ErrorCode::ModelLoadFailed, told.join("; ")))
    }

    fn controlled(&self, name: &str) -> Result<(), ApiError> {
        if !self.control {
            return Err(ApiError::new(
                ErrorCode::ModelControlDisabled,
                "the setting oip.control does not allow it",
            ));
        }
        self.known(name, "").map(drop)
    }
}

fn unknown(detail: String) -> ApiError {
    ApiError::new(ErrorCode::ModelUnknown, detail)
}

/// What a request asks for beside its tensors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Triton's priority: 1 is served first, 2 and 0 are ordinary, more waits for the others.
    pub priority: u64,
    /// Microseconds after which the answer is worth nothing; 0 for the service's limit.
    pub timeout_us: u64,
}

/// Runs a model on a worker, from a place in `app.texts`.
///
/// # Errors
/// `overloaded`, `deadline_exceeded`, `tensor_invalid`, `model_not_loaded`, `internal`.
pub async fn infer(
    app: &App,
    ticket: Ticket,
    model: &Arc<ServedModel>,
    inputs: Vec<NamedTensor>,
    wishes: Wishes,
    mut deadline: Instant,
) -> Result<Vec<NamedTensor>, ApiError> {
    if wishes.timeout_us > 0 {
        let wanted = Instant::now().checked_add(Duration::from_micros(wishes.timeout_us));
        deadline = wanted.map_or(deadline, |w| w.min(deadline));
    }
    let model = Arc::clone(model);
    let ran = app.texts.run(ticket, deadline, move || {
        let call = Call {
            priority: match wishes.priority {
                1 => Priority::Urgent,
                0 | 2 => Priority::Normal,
                _ => Priority::Bulk,
            },
            ..Call::current()
        };
        call.of_tenant("oip").enter(|| model.infer(inputs))
    });
    ran.await?.map_err(failed)
}

/// The error of a model call as callers are told it.
fn failed(error: BackendError) -> ApiError {
    match &error {
        BackendError::Overloaded => ApiError::new(ErrorCode::Overloaded, error.to_string()),
        BackendError::Late => ApiError::new(ErrorCode::DeadlineExceeded, error.to_string()),
        BackendError::Unloaded => ApiError::new(ErrorCode::ModelNotLoaded, error.to_string()),
        BackendError::Tensor { .. } => ApiError::new(ErrorCode::TensorInvalid, error.to_string()),
        _ => ApiError::internal(error),
    }
}

/// An error about the tensors of a request.
pub(crate) fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::TensorInvalid, detail)
}
