//! Which version of a model is `production` and which is `candidate`: one small file for all models.
//!
//! Operators' commands and the running service both write it, under a lock and by rename, so that a
//! reader sees the old file or the new one. A model without an entry has its highest version as
//! production and no candidate.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::{is_slug, is_version};

/// Name of the file in the folder that the service keeps its state in.
pub const ALIASES_FILE: &str = "aliases.toml";

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

const HEADER: &str = "# Which versions run. Written by `novastream models promote` and `rollback`, and by the\n\
                      # service when it takes a version back; docs/models-live.md explains the keys.\n\n";

/// What one model's versions are called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alias {
    /// The version that answers; the highest one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<String>,
    /// The version that was production before: where a roll-back goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// A version on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Percent of channels or users that the candidate answers, 0 to 100.
    #[serde(skip_serializing_if = "is_zero")]
    pub canary: f64,
    /// Whether the candidate also scores a sample of what production answers, for comparison only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The last version that was taken back, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
}

/// A version that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolledBack {
    /// The version.
    pub version: String,
    /// A stable code, a colon, and what happened.
    pub reason: String,
    /// When, RFC 3339.
    pub at: String,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives it a reference"
)]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// The aliases of all models, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Aliases {
    models: BTreeMap<String, Alias>,
}

/// An alias file that can't be used, or a change that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// There is nothing to go back to.
    #[error("{name} has no {what} to take back")]
    Nothing {
        /// The model.
        name: String,
        /// `previous version` or `candidate`.
        what: &'static str,
    },
}

impl AliasError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "aliases_unreadable",
            Self::Malformed { .. } => "aliases_malformed",
            Self::Nothing { .. } => "rollback_impossible",
        }
    }
}

impl Aliases {
    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// [`AliasError::Io`], [`AliasError::Malformed`].
    pub fn load(path: &Path) -> Result<Self, AliasError> {
        let io = |source| AliasError::Io {
            path: path.to_owned(),
            source,
        };
        let malformed = |message: String| AliasError::Malformed {
            path: path.to_owned(),
            message,
        };
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(io(e)),
            Ok(m) if m.len() > MAX_BYTES => {
                return Err(malformed(format!("{} bytes are too many", m.len())));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        let aliases: Self =
            toml::from_str(&text).map_err(|e| malformed(e.to_string().trim_end().to_owned()))?;
        aliases.check().map_err(malformed)?;
        Ok(aliases)
    }

    /// Changes the file: reads it, applies `change` and writes it, with no other writer between. A
    /// change that fails leaves the file as it is.
    ///
    /// # Errors
    /// As [`Aliases::load`], or what `change` answers.
    pub fn update<T, E: From<AliasError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let _guard = lock(path)?;
        let mut aliases = Self::load(path)?;
        let before = aliases.clone();
        let answer = change(&mut aliases)?;
        aliases.check().map_err(|message| AliasError::Malformed {
            path: path.to_owned(),
            message,
        })?;
        if aliases != before {
            aliases.write(path)?;
        }
        Ok(answer)
    }

    fn write(&self, path: &Path) -> Result<(), AliasError> {
        let io = |source| AliasError::Io {
            path: path.to_owned(),
            source,
        };
        let text = toml::to_string_pretty(self).map_err(|e| AliasError::Malformed {
            path: path.to_owned(),
            message: e.to_string(),
        })?;
        // The lock makes this name ours.
        let fresh = path.with_extension("toml.new");
        let mut file = File::create(&fresh).map_err(io)?;
        file.write_all(HEADER.as_bytes()).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&fresh, path).map_err(io)
    }

    fn check(&self) -> Result<(), String> {
        for (name, alias) in &self.models {
            if !is_slug(name) {
                return Err(format!("{name:?} is no model's name"));
            }
            let versions = [&alias.production, &alias.previous, &alias.candidate];
            if let Some(odd) = versions.into_iter().flatten().find(|v| !is_version(v)) {
                return Err(format!("{name}: {odd:?} is no version"));
            }
            if !(0.0..=100.0).contains(&alias.canary) {
                return Err(format!("{name}: canary takes 0 to 100 percent"));
            }
        }
        Ok(())
    }

    /// What is said of one model.
    pub fn get(&self, name: &str) -> Option<&Alias> {
        self.models.get(name)
    }

    /// The version that is production: the one named, else the highest of `versions` (lowest first).
    pub fn production<'a>(&'a self, name: &str, versions: &'a [String]) -> Option<&'a str> {
        let named = self.models.get(name).and_then(|a| a.production.as_deref());
        named.or_else(|| versions.last().map(String::as_str))
    }

    /// Makes `version` production. `now` is the version that is.
    pub fn promote(&mut self, name: &str, version: &str, now: Option<&str>) {
        let alias = self.models.entry(name.to_owned()).or_default();
        if now != Some(version) {
            alias.previous = now.map(str::to_owned);
        }
        alias.production = Some(version.to_owned());
        if alias.candidate.as_deref() == Some(version) {
            alias.clear_candidate();
        }
    }

    /// Puts `version` on trial. `now` is the version that is production.
    pub fn try_out(
        &mut self,
        name: &str,
        version: &str,
        now: Option<&str>,
        canary: f64,
        shadow: bool,
    ) {
        let alias = self.models.entry(name.to_owned()).or_default();
        if alias.production.is_none() {
            // A candidate is often the highest version, which must not become production by that.
            alias.production = now.map(str::to_owned);
        }
        alias.candidate = Some(version.to_owned());
        alias.canary = canary;
        alias.shadow = shadow;
    }

    /// Puts the version back that was production before; answers it. The candidate goes as well if
    /// it is that version.
    ///
    /// # Errors
    /// [`AliasError::Nothing`].
    pub fn roll_back(&mut self, name: &str) -> Result<String, AliasError> {
        let alias = self.models.get_mut(name);
        let previous = alias.and_then(|a| {
            let previous = a.previous.take()?;
            a.production = Some(previous.clone());
            if a.candidate.as_deref() == Some(previous.as_str()) {
                a.clear_candidate();
            }
            Some(previous)
        });
        previous.ok_or_else(|| AliasError::Nothing {
            name: name.to_owned(),
            what: "previous version",
        })
    }

    /// Ends the trial of the candidate; answers its version.
    ///
    /// # Errors
    /// [`AliasError::Nothing`].
    pub fn end_trial(&mut self, name: &str) -> Result<String, AliasError> {
        let candidate = self.models.get_mut(name).and_then(Alias::clear_candidate);
        candidate.ok_or_else(|| AliasError::Nothing {
            name: name.to_owned(),
            what: "candidate",
        })
    }

    /// What the service does when `version` does not hold: `kept` stays or becomes production, a
    /// trial of `version` ends, and the reason is kept. Does nothing when the file no longer names
    /// `version`: somebody was faster.
    pub fn take_back(&mut self, name: &str, version: &str, kept: Option<&str>, reason: RolledBack) {
        let Some(alias) = self.models.get_mut(name) else {
            return;
        };
        let mut changed = false;
        if alias.candidate.as_deref() == Some(version) {
            alias.clear_candidate();
            changed = true;
        }
        if alias.production.as_deref() == Some(version)
            && let Some(kept) = kept.filter(|k| *k != version)
        {
            alias.production = Some(kept.to_owned());
            alias.previous = None;
            changed = true;
        }
        if changed {
            alias.rolled_back = Some(reason);
        }
    }
}

impl Alias {
    fn clear_candidate(&mut self) -> Option<String> {
        self.canary = 0.0;
        self.shadow = false;
        self.candidate.take()
    }
}

/// Waits for other writers. The lock is a file of its own: the alias file is replaced each time.
fn lock(path: &Path) -> Result<File, AliasError> {
    let path = path.with_extension("lock");
    let io = |source| AliasError::Io {
        path: path.clone(),
        source,
    };
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state").join(ALIASES_FILE);
        (dir, path)
    }

    fn change(path: &Path, change: impl FnOnce(&mut Aliases)) -> Aliases {
        Aliases::update(path, |a| {
            change(a);
            Ok::<_, AliasError>(())
        })
        .unwrap();
        Aliases::load(path).unwrap()
    }

    #[test]
    fn without_a_file_the_highest_version_is_production() {
        let (_dir, path) = file();
        let aliases = Aliases::load(&path).unwrap();
        let versions = ["0.9.0".to_owned(), "0.10.0".to_owned()];
        assert_eq!(aliases.production("chat", &versions), Some("0.10.0"));
        assert_eq!(aliases.production("chat", &[]), None);
    }

    #[test]
    fn promoting_and_rolling_back_are_inverse() {
        let (_dir, path) = file();
        let aliases = change(&path, |a| a.promote("chat", "2.0.0", Some("1.0.0")));
        assert_eq!(aliases.production("chat", &[]), Some("2.0.0"));
        let aliases = change(&path, |a| {
            assert_eq!(a.roll_back("chat").unwrap(), "1.0.0");
        });
        assert_eq!(aliases.production("chat", &[]), Some("1.0.0"));
        let again = Aliases::update(&path, |a| a.roll_back("chat"));
        assert_eq!(again.unwrap_err().code(), "rollback_impossible");
    }

    #[test]
    fn a_trial_pins_production_and_ends_with_its_promotion() {
        let (_dir, path) = file();
        let aliases = change(&path, |a| {
            a.try_out("chat", "2.0.0", Some("1.0.0"), 5.0, true);
        });
        let versions = ["1.0.0".to_owned(), "2.0.0".to_owned()];
        assert_eq!(aliases.production("chat", &versions), Some("1.0.0"));
        let alias = aliases.get("chat").unwrap();
        assert_eq!((alias.canary, alias.shadow), (5.0, true));
        let aliases = change(&path, |a| a.promote("chat", "2.0.0", Some("1.0.0")));
        let alias = aliases.get("chat").unwrap();
        assert_eq!((&alias.candidate, alias.canary), (&None, 0.0));
        assert_eq!(alias.previous.as_deref(), Some("1.0.0"));
    }

    #[test]
    fn taking_back_says_why_and_never_undoes_what_somebody_changed_meanwhile() {
        let (_dir, path) = file();
        change(&path, |a| a.promote("chat", "2.0.0", Some("1.0.0")));
        let reason = || RolledBack {
            version: "2.0.0".into(),
            reason: "golden_failed: x".into(),
            at: "2026-01-01T00:00:00Z".into(),
        };
        let aliases = change(&path, |a| {
            a.take_back("chat", "3.0.0", Some("1.0.0"), reason());
        });
        assert_eq!(aliases.production("chat", &[]), Some("2.0.0"));
        let aliases = change(&path, |a| {
            a.take_back("chat", "2.0.0", Some("1.0.0"), reason());
        });
        let alias = aliases.get("chat").unwrap();
        assert_eq!(alias.production.as_deref(), Some("1.0.0"));
        assert_eq!(alias.previous, None);
        assert_eq!(alias.rolled_back, Some(reason()));
    }

    #[test]
    fn a_malformed_file_is_an_error_and_stays_as_it_is() {
        let (_dir, path) = file();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for text in [
            "[chat]\nproduction = \"../../etc\"\n",
            "[chat]\ncanary = 101.0\n",
            "[chat]\nproductoin = \"1\"\n",
            "[\"../x\"]\n",
            "not toml",
        ] {
            std::fs::write(&path, text).unwrap();
            let failed = Aliases::update(&path, |a| {
                a.promote("chat", "1.0.0", None);
                Ok::<_, AliasError>(())
            });
            assert_eq!(failed.unwrap_err().code(), "aliases_malformed", "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn writers_do_not_lose_each_others_changes() {
        let (_dir, path) = file();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    change(path, |a| a.promote(&format!("model-{n}"), "1.0.0", None));
                });
            }
        });
        let aliases = Aliases::load(&path).unwrap();
        assert_eq!(aliases.models.len(), 8);
    }
}
