//! Follows the alias file for one model: loads, swaps, tries out and takes back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use novastream_models::aliases::{Aliases, RolledBack};

use super::shadow::Differences;
use super::slot::{Loaded, Permit, Slot, Trial, Version};
use super::{LoadFailure, RegistryConfig, Trouble, Versions, names};

/// Refused versions that are remembered, so that they are not loaded again and again.
const GIVEN_UP: usize = 32;

/// Makes versions of a model out of files.
pub(crate) trait Load<T>: Send + Sync {
    /// The models that together are one to callers.
    fn names(&self) -> &[String];

    /// The versions of one of them that have a folder, oldest first.
    fn available(&self, name: &str) -> Result<Vec<String>, LoadFailure>;

    /// Loads, verifies, warms up and checks. Parts of `loaded` that are the same are used again. A
    /// lenient load may leave out what a model can do without.
    fn load(
        &self,
        wanted: &Versions,
        loaded: &[Arc<Loaded<T>>],
        lenient: bool,
    ) -> Result<T, LoadFailure>;
}

/// What the keeper knows of a model.
pub(crate) trait Kept: Send + Sync {
    /// Makes what is loaded what the file says. `anew`: versions without an alias are looked for
    /// again. Answers what did not work.
    fn follow(&self, aliases: &Aliases, anew: bool) -> Vec<Trouble>;

    /// Somebody changed the file: refused versions get another chance.
    fn forgive(&self);

    /// Takes back what fails, and lets go of what is no longer needed.
    fn look(&self, now: Instant);

    /// The alias file can't be used; everything stays.
    fn unreadable(&self, trouble: &Trouble);
}

/// One model whose versions come and go.
pub(crate) struct Managed<T> {
    name: &'static str,
    slot: Slot<T>,
    loader: Box<dyn Load<T>>,
    config: RegistryConfig,
    /// One change at a time.
    turn: Mutex<()>,
    troubles: Mutex<BTreeMap<String, Trouble>>,
    given_up: Mutex<Vec<Versions>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Version> Managed<T> {
    /// `name` is what callers know the model by.
    pub(crate) fn new(
        name: &'static str,
        loader: Box<dyn Load<T>>,
        config: RegistryConfig,
    ) -> Self {
        Self {
            name,
            slot: Slot::new(name),
            loader,
            config,
            turn: Mutex::default(),
            troubles: Mutex::default(),
            given_up: Mutex::default(),
        }
    }

    /// The version that answers for `key`; see [`Slot::take`].
    pub(crate) fn take(&self, key: u64) -> Option<Permit<T>> {
        self.slot.take(key)
    }

    pub(crate) fn production(&self) -> Option<Arc<Loaded<T>>> {
        self.slot.production()
    }

    pub(crate) fn trial(&self) -> Option<Trial<T>> {
        self.slot.trial()
    }

    /// The last version of `name` that was refused or taken back.
    pub(crate) fn trouble(&self, name: &str) -> Option<Trouble> {
        lock(&self.troubles).get(name).cloned()
    }

    /// The first load. Where production does not load, the version before it does, and where that
    /// does not either, as much of production as can be had.
    ///
    /// # Errors
    /// [`LoadFailure`]: nothing loads.
    pub(crate) fn start(&self, aliases: &Aliases) -> Result<(), LoadFailure> {
        let first = {
            let _turn = lock(&self.turn);
            let wanted = self.wanted(aliases, None, true)?;
            let failure = match self.obtain(&wanted, false) {
                Ok(loaded) => {
                    self.slot.try_out(None);
                    self.slot.swap(loaded, Instant::now());
                    None
                }
                Err(failure) => Some((wanted, failure)),
            };
            if let Some((wanted, failure)) = &failure {
                self.start_otherwise(aliases, wanted, failure)?;
            }
            failure
        };
        if first.is_none() {
            self.follow(aliases, false);
        }
        Ok(())
    }

    fn start_otherwise(
        &self,
        aliases: &Aliases,
        wanted: &Versions,
        failure: &LoadFailure,
    ) -> Result<(), LoadFailure> {
        let mut earlier = wanted.clone();
        for (name, version) in &mut earlier.0 {
            let previous = aliases.get(name).and_then(|a| a.previous.clone());
            if let Some(previous) = previous {
                *version = previous;
            }
        }
        if earlier != *wanted
            && let Ok(loaded) = self.obtain(&earlier, false)
        {
            self.slot.swap(loaded, Instant::now());
            self.count(failure.code);
            self.take_back(wanted, Some(&earlier), failure.code, &failure.message);
            return Ok(());
        }
        match self.obtain(wanted, true) {
            Ok(loaded) => {
                self.slot.swap(loaded, Instant::now());
                Ok(())
            }
            Err(failure) => {
                self.tell(wanted, None, failure.code, &failure.message);
                Err(failure)
            }
        }
    }

    /// The versions that the aliases make production. Without an alias: what runs, or the highest.
    fn wanted(
        &self,
        aliases: &Aliases,
        running: Option<&Versions>,
        anew: bool,
    ) -> Result<Versions, LoadFailure> {
        let mut wanted = Versions::default();
        for name in self.loader.names() {
            let now = running.filter(|_| !anew).and_then(|r| r.get(name));
            let known: Vec<String> = match now {
                Some(now) => vec![now.to_owned()],
                None => self.loader.available(name)?,
            };
            if let Some(version) = aliases.production(name, &known) {
                wanted.0.insert(name.clone(), version.to_owned());
            }
        }
        if wanted.0.is_empty() {
            return Err(LoadFailure::new(
                "model_missing",
                "",
                format!("there is no version of {}", self.name),
            ));
        }
        Ok(wanted)
    }

    /// The versions on trial beside `running`, percent of keys, and whether in shadow. Where several
    /// of the models have candidates they are tried together, by the smallest share.
    fn on_trial(&self, aliases: &Aliases, running: &Versions) -> Option<(Versions, f64, bool)> {
        let mut versions = running.clone();
        let (mut canary, mut shadow) = (100.0_f64, false);
        for name in self.loader.names() {
            let Some(alias) = aliases.get(name) else {
                continue;
            };
            let Some(candidate) = &alias.candidate else {
                continue;
            };
            if running.get(name) != Some(candidate) {
                versions.0.insert(name.clone(), candidate.clone());
                canary = canary.min(alias.canary);
                shadow |= alias.shadow;
            }
        }
        (versions != *running).then_some((versions, canary, shadow))
    }

    /// The version out of memory, or loaded.
    fn obtain(&self, wanted: &Versions, lenient: bool) -> Result<Arc<Loaded<T>>, LoadFailure> {
        let loaded = self.slot.all();
        if let Some(known) = loaded.iter().find(|l| l.value.versions() == wanted) {
            return Ok(Arc::clone(known));
        }
        let begun = Instant::now();
        let value = self.loader.load(wanted, &loaded, lenient)?;
        let ms = begun.elapsed().as_millis();
        tracing::info!(model = self.name, versions = %wanted, ms, "loaded and checked");
        Ok(Loaded::new(self.name, value, self.config.error_window))
    }

    fn count(&self, outcome: &str) {
        let labels = [
            ("model", self.name.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        metrics::counter!(names::LOADS, &labels).increment(1);
    }

    /// Notes for every model whose version in `refused` is not the one in `kept` what happened.
    fn tell(
        &self,
        refused: &Versions,
        kept: Option<&Versions>,
        code: &str,
        message: &str,
    ) -> Vec<Trouble> {
        tracing::error!(
            model = self.name, refused = %refused, running = kept.map(ToString::to_string),
            code, message, "a version is not used",
        );
        let mut told = Vec::new();
        let mut troubles = lock(&self.troubles);
        for (name, version) in &refused.0 {
            if kept.and_then(|k| k.get(name)) == Some(version) {
                continue;
            }
            let trouble = Trouble {
                version: version.clone(),
                code: code.to_owned(),
                message: message.to_owned(),
                at: jiff::Timestamp::now().to_string(),
            };
            troubles.insert(name.clone(), trouble.clone());
            told.push(trouble);
        }
        told
    }

    /// The same, and the alias file says so too: `kept` is production there.
    fn take_back(
        &self,
        refused: &Versions,
        kept: Option<&Versions>,
        code: &'static str,
        message: &str,
    ) -> Vec<Trouble> {
        let told = self.tell(refused, kept, code, message);
        {
            let mut given_up = lock(&self.given_up);
            if given_up.len() == GIVEN_UP {
                given_up.remove(0);
            }
            given_up.push(refused.clone());
        }
        let Some(path) = &self.config.aliases else {
            return told;
        };
        let written = Aliases::update(path, |aliases| {
            for (name, version) in &refused.0 {
                let kept = kept.and_then(|k| k.get(name));
                if kept == Some(version.as_str()) {
                    continue;
                }
                let reason = RolledBack {
                    version: version.clone(),
                    reason: format!("{code}: {message}"),
                    at: jiff::Timestamp::now().to_string(),
                };
                aliases.take_back(name, version, kept, reason);
            }
            Ok::<_, novastream_models::aliases::AliasError>(())
        });
        if let Err(error) = written {
            self.warn(&error);
        }
        told
    }

    fn warn(&self, error: &dyn Display) {
        tracing::warn!(model = self.name, %error, "the alias file still names a version that is not used");
    }

    fn refused(&self, versions: &Versions) -> bool {
        lock(&self.given_up).contains(versions)
    }

    fn follow_production(&self, aliases: &Aliases, anew: bool) -> Vec<Trouble> {
        let running = self.slot.production();
        let running = running.as_ref().map(|r| r.value.versions());
        let wanted = match self.wanted(aliases, running, anew) {
            Ok(wanted) => wanted,
            Err(failure) => {
                let none = Versions::default();
                return self.tell(&none, running, failure.code, &failure.message);
            }
        };
        if running == Some(&wanted) || self.refused(&wanted) {
            return Vec::new();
        }
        let lenient = self.slot.production().is_none_or(|p| !p.value.complete());
        match self.obtain(&wanted, lenient) {
            Ok(next) => {
                let now = Instant::now();
                self.slot.swap(next, now);
                self.slot.expire(now, self.config.probation);
                self.count("swapped");
                tracing::info!(
                    model = self.name, from = running.map(ToString::to_string), to = %wanted,
                    "swapped",
                );
                let mut troubles = lock(&self.troubles);
                troubles.retain(|name, t| wanted.get(name) != Some(t.version.as_str()));
                Vec::new()
            }
            Err(failure) => {
                self.count(failure.code);
                self.take_back(&wanted, running, failure.code, &failure.message)
            }
        }
    }

    fn follow_trial(&self, aliases: &Aliases) -> Vec<Trouble> {
        let Some(running) = self.slot.production() else {
            return Vec::new();
        };
        let running = running.value.versions();
        let Some((versions, canary, shadow)) = self.on_trial(aliases, running) else {
            self.slot.try_out(None);
            return Vec::new();
        };
        if self.refused(&versions) {
            self.slot.try_out(None);
            return Vec::new();
        }
        let now = self.slot.trial();
        let known = now.filter(|t| t.loaded.value.versions() == &versions);
        let loaded = match &known {
            Some(trial) => Ok(Arc::clone(&trial.loaded)),
            None => self.obtain(&versions, false),
        };
        match loaded {
            Ok(loaded) => {
                if known.is_none() {
                    self.count("tried");
                    tracing::info!(model = self.name, %versions, canary, shadow, "on trial");
                }
                let before = known.and_then(|t| t.shadow);
                let shadow = shadow.then(|| before.unwrap_or_else(|| Differences::new(self.name)));
                self.slot.try_out(Some(Trial {
                    loaded,
                    canary,
                    shadow,
                }));
                Vec::new()
            }
            Err(failure) => {
                self.slot.try_out(None);
                self.count(failure.code);
                self.take_back(&versions, Some(running), failure.code, &failure.message)
            }
        }
    }

    /// What is wrong with a version's health, if anything is.
    fn ailing(&self, loaded: &Loaded<T>, now: Instant) -> Option<String> {
        let (failed, requests) = loaded.counts(now);
        let limit = self.config.max_error_rate * requests as f64;
        (requests >= self.config.min_requests && failed as f64 > limit).then(|| {
            let seconds = self.config.error_window.as_secs_f64();
            format!("{failed} of {requests} requests failed within {seconds} s")
        })
    }
}

impl<T: Version> Kept for Managed<T> {
    fn follow(&self, aliases: &Aliases, anew: bool) -> Vec<Trouble> {
        let _turn = lock(&self.turn);
        lock(&self.troubles).remove("");
        let mut told = self.follow_production(aliases, anew);
        told.extend(self.follow_trial(aliases));
        told
    }

    fn forgive(&self) {
        lock(&self.given_up).clear();
    }

    fn look(&self, now: Instant) {
        let _turn = lock(&self.turn);
        self.slot.expire(now, self.config.probation);
        let Some(running) = self.slot.production() else {
            return;
        };
        if let (Some(_), Some(why)) = (self.slot.previous(), self.ailing(&running, now))
            && let Some(failed) = self.slot.roll_back()
        {
            let back = self.slot.production();
            let back = back.as_ref().map(|b| b.value.versions());
            let labels = [("model", self.name), ("reason", "error_rate")];
            metrics::counter!(names::TAKEN_BACK, &labels).increment(1);
            self.take_back(failed.value.versions(), back, "error_rate", &why);
        }
        if let Some(trial) = self.slot.trial()
            && let Some(why) = self.ailing(&trial.loaded, now)
        {
            self.slot.try_out(None);
            let labels = [("model", self.name), ("reason", "error_rate")];
            metrics::counter!(names::TAKEN_BACK, &labels).increment(1);
            let kept = self.slot.production();
            let kept = kept.as_ref().map(|k| k.value.versions());
            self.take_back(trial.loaded.value.versions(), kept, "error_rate", &why);
        }
    }

    fn unreadable(&self, trouble: &Trouble) {
        lock(&self.troubles).insert(String::new(), trouble.clone());
    }
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;
