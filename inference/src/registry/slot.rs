//! What is loaded of one model, and who is served by which version.

use std::cell::Cell;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use metrics::Counter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::health::Health;
use super::shadow::Differences;
use super::{Versions, names};
use crate::backend::BackendError;

/// What a version must say of itself.
pub(crate) trait Version: Send + Sync + 'static {
    /// What it was loaded from.
    fn versions(&self) -> &Versions;

    /// Whether every part of it is there.
    fn complete(&self) -> bool {
        true
    }
}

/// One loaded version. Nothing in it changes but counts.
pub(crate) struct Loaded<T> {
    pub value: T,
    health: Health,
    answered: Counter,
    failed: Counter,
}

impl<T: Version> Loaded<T> {
    pub(crate) fn new(model: &str, value: T, window: Duration) -> Arc<Self> {
        let counter = |outcome: &'static str| {
            let labels = [
                ("model", model.to_owned()),
                ("version", value.versions().to_string()),
                ("outcome", outcome.to_owned()),
            ];
            metrics::counter!(names::REQUESTS, &labels)
        };
        Arc::new(Self {
            health: Health::new(window),
            answered: counter("answered"),
            failed: counter("failed"),
            value,
        })
    }

    /// Failures and requests of the last while.
    pub(crate) fn counts(&self, now: Instant) -> (u64, u64) {
        self.health.counts(now)
    }

    fn record(&self, failed: bool) {
        self.health.record(failed, Instant::now());
        if failed {
            self.failed.increment(1);
        } else {
            self.answered.increment(1);
        }
    }
}

/// A version on trial.
pub(crate) struct Trial<T> {
    pub loaded: Arc<Loaded<T>>,
    /// Percent of keys that it answers.
    pub canary: f64,
    /// Where it differs from production, if it is to be compared.
    pub shadow: Option<Arc<Differences>>,
}

impl<T> Clone for Trial<T> {
    fn clone(&self) -> Self {
        Self {
            loaded: Arc::clone(&self.loaded),
            canary: self.canary,
            shadow: self.shadow.clone(),
        }
    }
}

struct State<T> {
    production: Option<Arc<Loaded<T>>>,
    trial: Option<Trial<T>>,
    /// What was production, since when it is not.
    previous: Option<(Arc<Loaded<T>>, Instant)>,
}

/// The loaded versions of one model.
pub(crate) struct Slot<T> {
    seed: u64,
    /// Held for as long as it takes to clone or to exchange a pointer.
    state: RwLock<State<T>>,
}

impl<T: Version> Slot<T> {
    pub(crate) fn new(model: &str) -> Self {
        Self {
            seed: xxh3_64_with_seed(model.as_bytes(), 0),
            state: RwLock::new(State {
                production: None,
                trial: None,
                previous: None,
            }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<T>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that answers for `key`, such as a channel's; the same key has the same version for
    /// as long as the trial is what it is. Key 0 stands for nobody in particular: production answers.
    /// `None` while nothing is loaded.
    pub(crate) fn take(&self, key: u64) -> Option<Permit<T>> {
        let state = self.read();
        let production = state.production.as_ref()?;
        let trial = state.trial.as_ref();
        let chosen = trial.filter(|t| key != 0 && self.percent(key) < t.canary);
        let (loaded, shadow) = if let Some(trial) = chosen {
            (&trial.loaded, None)
        } else {
            let shadow = trial.and_then(|t| {
                let differences = t.shadow.as_ref()?;
                Some((Arc::clone(&t.loaded), Arc::clone(differences)))
            });
            (production, shadow)
        };
        Some(Permit {
            loaded: Arc::clone(loaded),
            shadow,
            used: Cell::new(false),
            failed: Cell::new(false),
        })
    }

    /// A key's place, 0 to below 100; other for every model, so that it is not always the same
    /// channels that try what is new.
    fn percent(&self, key: u64) -> f64 {
        let hash = xxh3_64_with_seed(&key.to_le_bytes(), self.seed);
        (hash % 1_000_000) as f64 / 10_000.0
    }

    pub(crate) fn production(&self) -> Option<Arc<Loaded<T>>> {
        self.read().production.clone()
    }

    pub(crate) fn trial(&self) -> Option<Trial<T>> {
        self.read().trial.clone()
    }

    pub(crate) fn previous(&self) -> Option<Arc<Loaded<T>>> {
        self.read().previous.as_ref().map(|(p, _)| Arc::clone(p))
    }

    /// Everything that is loaded.
    pub(crate) fn all(&self) -> Vec<Arc<Loaded<T>>> {
        let state = self.read();
        let trial = state.trial.as_ref().map(|t| &t.loaded);
        let previous = state.previous.as_ref().map(|(p, _)| p);
        let all = state.production.iter().chain(trial).chain(previous);
        all.cloned().collect()
    }

    /// Makes `next` production; what was it is kept as the previous version. A trial of the same
    /// version has succeeded and ends.
    pub(crate) fn swap(&self, next: Arc<Loaded<T>>, now: Instant) {
        // What falls out is dropped after the lock.
        let _gone = {
            let mut state = self.write();
            let trial = state.trial.take_if(|t| Arc::ptr_eq(&t.loaded, &next));
            let old = state.production.replace(next);
            let previous = old.map(|old| (old, now));
            (trial, std::mem::replace(&mut state.previous, previous))
        };
    }

    pub(crate) fn try_out(&self, trial: Option<Trial<T>>) {
        let _gone = std::mem::replace(&mut self.write().trial, trial);
    }

    /// Puts the previous version back; answers what was production. Nothing is kept to go back to.
    pub(crate) fn roll_back(&self) -> Option<Arc<Loaded<T>>> {
        let mut state = self.write();
        let (previous, _) = state.previous.take()?;
        state.production.replace(previous)
    }

    /// Drops the previous version when its successor has held for `probation`.
    pub(crate) fn expire(&self, now: Instant, probation: Duration) {
        let _gone = {
            let mut state = self.write();
            let over =
                |(_, since): &mut (_, Instant)| now.saturating_duration_since(*since) >= probation;
            state.previous.take_if(over)
        };
    }
}

/// One request's hold on a version.
pub(crate) struct Permit<T: Version> {
    loaded: Arc<Loaded<T>>,
    shadow: Option<(Arc<Loaded<T>>, Arc<Differences>)>,
    used: Cell<bool>,
    failed: Cell<bool>,
}

impl<T: Version> Permit<T> {
    /// The version.
    pub(crate) fn value(&self) -> &T {
        &self.loaded.value
    }

    /// The version, to be held on to.
    pub(crate) fn loaded(&self) -> Arc<Loaded<T>> {
        Arc::clone(&self.loaded)
    }

    /// The candidate that is to be compared with the answer.
    pub(crate) fn shadow(&self) -> Option<&(Arc<Loaded<T>>, Arc<Differences>)> {
        self.shadow.as_ref()
    }

    /// Runs the version and notes whether it failed: an error of its own or a panic, not that there
    /// was no place or no time.
    pub(crate) fn run<R>(
        &self,
        run: impl FnOnce(&T) -> Result<R, BackendError>,
    ) -> Result<R, BackendError> {
        self.used.set(true);
        let before = self.failed.replace(true);
        let result = run(&self.loaded.value);
        let own = |error: &BackendError| {
            !matches!(
                error,
                BackendError::Overloaded | BackendError::Late | BackendError::Unloaded
            )
        };
        self.failed.set(before || result.as_ref().is_err_and(own));
        result
    }
}

impl<T: Version> Drop for Permit<T> {
    fn drop(&mut self) {
        if self.used.get() {
            self.loaded.record(self.failed.get());
        }
    }
}
