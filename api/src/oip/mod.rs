//! Models as other inference servers' clients call them: the Open Inference Protocol, version 2,
//! with Triton's extensions for binary tensors, model configuration, model repository and
//! statistics. This part is the same for HTTP and gRPC.

pub mod describe;
pub mod json;
pub mod tensors;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use novastream_inference::BackendError;
use novastream_inference::backend::NamedTensor;
use novastream_inference::engine::{Call, Priority, ServedModel};

use crate::app::App;
use crate::error::{ApiError, ErrorCode};

/// The name that the server answers with.
pub const SERVER: &str = "novastream";
/// Extensions that it speaks.
pub const EXTENSIONS: [&str; 4] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
];

/// One model of the repository.
#[derive(Debug)]
pub struct Entry {
    /// The model.
    pub model: Arc<ServedModel>,
    offered: AtomicBool,
    /// Nanoseconds of reading tensors out of requests.
    pub read_ns: AtomicU64,
    /// Nanoseconds of writing tensors into answers.
    pub written_ns: AtomicU64,
}

impl Entry {
    /// Whether it may be called.
    pub fn offered(&self) -> bool {
        self.offered.load(Ordering::Relaxed)
    }

    /// Counts the time that requests and answers took beside the model.
    pub fn count(&self, reading: Duration, writing: Duration) {
        let add = |to: &AtomicU64, time: Duration| {
            to.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        };
        add(&self.read_ns, reading);
        add(&self.written_ns, writing);
    }
}

/// The models that are offered to clients of the protocol.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    models: Arc<BTreeMap<String, Entry>>,
    control: bool,
}

impl Repository {
    /// `control` says whether callers may take models off the surface and put them back.
    pub fn new(models: Vec<Arc<ServedModel>>, control: bool) -> Self {
        let entry = |model: Arc<ServedModel>| {
            let entry = Entry {
                offered: AtomicBool::new(true),
                read_ns: AtomicU64::new(0),
                written_ns: AtomicU64::new(0),
                model,
            };
            (entry.model.card().name.clone(), entry)
        };
        Self {
            models: Arc::new(models.into_iter().map(entry).collect()),
            control,
        }
    }

    /// Every model, by name.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.models.values()
    }

    /// The model called `name`, whether or not it is offered. An empty version means the one that
    /// there is.
    ///
    /// # Errors
    /// `model_unknown`.
    pub fn known(&self, name: &str, version: &str) -> Result<&Entry, ApiError> {
        let entry = self.models.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
            unknown(format!("there is no model `{name}`; there are {names:?}"))
        })?;
        let has = &entry.model.card().version;
        if version.is_empty() || version == has {
            Ok(entry)
        } else {
            Err(unknown(format!(
                "`{name}` has the version {has}, not {version}"
            )))
        }
    }

    /// The model called `name`, if it may be called.
    ///
    /// # Errors
    /// `model_unknown`, `model_not_loaded`.
    pub fn ready(&self, name: &str, version: &str) -> Result<&Entry, ApiError> {
        let entry = self.known(name, version)?;
        if entry.offered() {
            return Ok(entry);
        }
        let detail = format!("`{name}` was unloaded by a caller");
        Err(ApiError::new(ErrorCode::ModelNotLoaded, detail))
    }

    /// Puts a model on the surface, or takes it off. What moderates goes on using it.
    ///
    /// # Errors
    /// `model_control_disabled`, `model_unknown`.
    pub fn offer(&self, name: &str, offered: bool) -> Result<(), ApiError> {
        if !self.control {
            return Err(ApiError::new(
                ErrorCode::ModelControlDisabled,
                "the setting oip.control does not allow it",
            ));
        }
        self.known(name, "")?
            .offered
            .store(offered, Ordering::Relaxed);
        tracing::info!(
            model = name,
            offered,
            "a caller changed the model repository"
        );
        Ok(())
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

/// Runs a model on a worker.
///
/// # Errors
/// `overloaded`, `deadline_exceeded`, `tensor_invalid`, `model_not_loaded`, `internal`.
pub async fn infer(
    app: &App,
    model: &Arc<ServedModel>,
    inputs: Vec<NamedTensor>,
    wishes: Wishes,
    mut deadline: Instant,
) -> Result<Vec<NamedTensor>, ApiError> {
    if wishes.timeout_us > 0 {
        let wanted = Instant::now().checked_add(Duration::from_micros(wishes.timeout_us));
        deadline = wanted.map_or(deadline, |w| w.min(deadline));
    }
    let ticket = app.texts.admit()?;
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
