//! All watches of the service: begin, look up, end, resume after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use super::address::{self, Asker};
use super::record::{WatchRecord, WatchState};
use super::session::{Session, Stop, Tools};
use super::sink::Sink;
use super::source::Opener;
use crate::clock;
use crate::config::WatchSettings;
use crate::error::{ApiError, ErrorCode};
use crate::governor::Governor;
use crate::judge::Judge;
use crate::policies::Policies;
use crate::pool::Pool;
use crate::store::{Store, StoreResult, Write};

/// How long the end of a session is waited for; its window may be in the models.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What to open.
    pub url: String,
    /// The stream that the verdicts belong to; a new id when absent.
    pub stream_id: Option<String>,
    /// The policy by name.
    pub policy: Option<String>,
}

struct Running {
    stop: watch::Sender<Option<Stop>>,
    task: JoinHandle<()>,
}

/// What the manager is made of.
pub struct Parts {
    /// Keeps watches and verdicts.
    pub store: Arc<dyn Store>,
    /// Where sessions put their steps.
    pub sink: Arc<dyn Sink>,
    /// Judges windows.
    pub judge: Arc<dyn Judge>,
    /// Runs the judge.
    pub pool: Pool,
    /// Opens sources.
    pub opener: Arc<dyn Opener>,
    /// Policies by name.
    pub policies: Policies,
    /// Limits and times.
    pub settings: WatchSettings,
    /// How much pictures are spread out.
    pub governor: Governor,
}

/// Begins and ends sessions.
#[derive(Clone)]
pub struct WatchManager {
    parts: Arc<Parts>,
    running: Arc<Mutex<HashMap<String, Running>>>,
}

impl WatchManager {
    /// A manager without any watch yet; see [`Self::resume`].
    pub fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
            running: Arc::default(),
        }
    }

    /// Begins a watch. `true` when it is new, `false` when the same one runs already.
    ///
    /// # Errors
    /// The URL or policy is not acceptable, too many watches run, the stream is watched from
    /// another URL, or the store failed.
    pub async fn begin(&self, wish: Wish) -> Result<(WatchRecord, bool), ApiError> {
        let parts = &self.parts;
        let url = address::check(&wish.url, &parts.settings, Asker::Remote).await?;
        parts.policies.get(wish.policy.as_deref())?;
        // Held to the end, so that two callers cannot begin the same watch.
        let mut running = self.running.lock().await;
        if let Some(stream_id) = &wish.stream_id
            && let Some(row) = parts.store.watch_of(stream_id.clone()).await?
        {
            let record = WatchRecord::from_row(&row)?;
            if record.state.is_active() && running.contains_key(&record.id) {
                if record.url == url && record.policy == wish.policy {
                    return Ok((record, false));
                }
                let detail = format!("watch {} has another URL or policy", record.id);
                return Err(ApiError::new(ErrorCode::WatchConflict, detail));
            }
        }
        running.retain(|_, r| !r.task.is_finished());
        if running.len() >= parts.settings.max {
            let detail = format!("{} watches run; watch.max allows no more", running.len());
            return Err(ApiError::new(ErrorCode::TooManyWatches, detail));
        }
        let after = parts.store.last_seq().await?;
        let stream_id = wish
            .stream_id
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let record = WatchRecord::new(stream_id, url, wish.policy, after);
        let write = Write {
            watch: Some(record.to_row()?),
            ..Write::default()
        };
        parts.store.write(write).await?;
        let session = self.session(&record)?;
        running.insert(record.id.clone(), session);
        Ok((record, true))
    }

    /// Ends a watch. Gives its record; one that ended before is given as it is.
    ///
    /// # Errors
    /// `watch_not_found`, or the store failed.
    pub async fn end(&self, id: &str) -> Result<WatchRecord, ApiError> {
        let running = self.running.lock().await.remove(id);
        if let Some(running) = running {
            let _ = running.stop.send(Some(Stop::Caller));
            if timeout(STOP_WAIT, running.task).await.is_err() {
                tracing::warn!(watch = id, "still busy with its last window");
            }
            return self.get(id).await;
        }
        let mut record = self.get(id).await?;
        if record.state.is_active() {
            // It could not be resumed, so no session is there to write this.
            record.state = WatchState::Stopped;
            record.updated_unix_ms = clock::unix_ms();
            let write = Write {
                watch: Some(record.to_row()?),
                ..Write::default()
            };
            self.parts.store.write(write).await?;
        }
        Ok(record)
    }

    /// One watch as it was kept last.
    ///
    /// # Errors
    /// `watch_not_found`, or the store failed.
    pub async fn get(&self, id: &str) -> Result<WatchRecord, ApiError> {
        match self.parts.store.watch(id.to_owned()).await? {
            Some(row) => Ok(WatchRecord::from_row(&row)?),
            None => Err(ApiError::new(
                ErrorCode::WatchNotFound,
                format!("no watch has the id {id}"),
            )),
        }
    }

    /// Goes on with every watch that was active when the process ended.
    ///
    /// # Errors
    /// The store failed. A watch that cannot go on is logged and left out.
    pub async fn resume(&self) -> StoreResult<usize> {
        let rows = self.parts.store.watches(true, u32::MAX).await?;
        let mut running = self.running.lock().await;
        let mut resumed = 0;
        for row in rows {
            let begun = WatchRecord::from_row(&row)
                .map_err(ApiError::from)
                .and_then(|record| self.session(&record));
            match begun {
                Ok(session) => {
                    running.insert(row.id, session);
                    resumed += 1;
                }
                Err(error) => tracing::error!(watch = row.id, %error, "cannot be resumed"),
            }
        }
        Ok(resumed)
    }

    /// Ends every session without ending its watch: the next start goes on with it.
    pub async fn suspend_all(&self) {
        let all: Vec<Running> = self.running.lock().await.drain().map(|(_, r)| r).collect();
        for running in &all {
            let _ = running.stop.send(Some(Stop::Shutdown));
        }
        for running in all {
            if timeout(STOP_WAIT, running.task).await.is_err() {
                tracing::warn!("a watch is still busy; its last window will be read again");
            }
        }
    }

    fn session(&self, record: &WatchRecord) -> Result<Running, ApiError> {
        let parts = &self.parts;
        let tools = Tools {
            opener: Arc::clone(&parts.opener),
            judge: Arc::clone(&parts.judge),
            pool: parts.pool.clone(),
            sink: Arc::clone(&parts.sink),
            settings: parts.settings.clone(),
            policy: Arc::clone(parts.policies.get(record.policy.as_deref())?),
            governor: parts.governor.clone(),
        };
        let (stop, stopped) = watch::channel(None);
        let session = Session::new(tools, record.clone(), stopped);
        let task = tokio::spawn(async move {
            session.run().await;
        });
        Ok(Running { stop, task })
    }
}
