//! The thread that looks at the alias file and at the health of what runs.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use novastream_models::aliases::Aliases;

use super::managed::Kept;
use super::{RegistryConfig, Trouble};

/// How often health is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A file's time, size and number: when they change, so did the file.
pub(crate) type Stamp = Option<(SystemTime, u64, u64)>;

struct Shared {
    aliases: Option<PathBuf>,
    models: Vec<Arc<dyn Kept>>,
    stamp: Mutex<Stamp>,
}

/// Keeps models up to date until it is dropped.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// Dropped, it ends the thread.
    _stop: Option<Sender<()>>,
}

impl Keeper {
    /// Follows the configured file; without one nothing is followed and no thread is started.
    /// `seen` is the file as it was before `models` were started.
    pub(crate) fn start(config: &RegistryConfig, models: Vec<Arc<dyn Kept>>, seen: Stamp) -> Self {
        let shared = Arc::new(Shared {
            aliases: config.aliases.clone(),
            models,
            stamp: Mutex::new(seen),
        });
        let stop = (config.aliases.is_some() && !shared.models.is_empty()).then(|| {
            let (stop, stopped) = channel::<()>();
            let (shared, poll) = (Arc::clone(&shared), config.poll);
            let thread = thread::Builder::new().name("registry".to_owned());
            let spawned = thread.spawn(move || {
                let mut looked = Instant::now();
                let pause = LOOK_EVERY.min(poll);
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                    if looked.elapsed() >= poll {
                        looked = Instant::now();
                        shared.file(false);
                    }
                    shared.models.iter().for_each(|m| m.look(Instant::now()));
                }
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "no thread for the registry: versions will not be swapped");
            }
            stop
        });
        Self {
            shared,
            _stop: stop,
        }
    }

    /// Follows the file now, whether it changed or not; answers what did not work.
    pub(crate) fn reload(&self) -> Vec<Trouble> {
        self.shared.file(true)
    }

    /// The file as it is.
    pub(crate) fn stamp(aliases: Option<&Path>) -> Stamp {
        use std::os::unix::fs::MetadataExt as _;
        let data = std::fs::metadata(aliases?).ok()?;
        Some((data.modified().ok()?, data.len(), data.ino()))
    }
}

impl Shared {
    fn file(&self, demanded: bool) -> Vec<Trouble> {
        let mut last = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        // Before reading: a change in between is seen later rather than never.
        let now = Keeper::stamp(self.aliases.as_deref());
        if now == *last && !demanded {
            return Vec::new();
        }
        *last = now;
        let loaded = self.aliases.as_deref().map(Aliases::load).transpose();
        match loaded {
            Ok(aliases) => {
                let aliases = aliases.unwrap_or_default();
                self.models.iter().for_each(|m| m.forgive());
                let follow = |m: &Arc<dyn Kept>| m.follow(&aliases, demanded);
                self.models.iter().flat_map(follow).collect()
            }
            Err(error) => {
                tracing::error!(%error, "the alias file can't be used; everything stays as it is");
                let trouble = Trouble {
                    version: String::new(),
                    code: error.code().to_owned(),
                    message: error.to_string(),
                    at: jiff::Timestamp::now().to_string(),
                };
                self.models.iter().for_each(|m| m.unreadable(&trouble));
                vec![trouble]
            }
        }
    }
}
