//! The temporal state of streams: kept in memory while they are busy, in the store for ever after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use novastream_inference::StreamHistory;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::store::{Store, StoreResult, StreamHistoryRow};

/// Histories held in memory; the least recently used one goes when another comes. All of them are
/// in the store, so nothing is lost.
const CAPACITY: usize = 4096;

type Shared = Arc<Mutex<StreamHistory>>;

#[derive(Default)]
struct Cache {
    entries: HashMap<String, (u64, Shared)>,
    clock: u64,
}

/// Hands out one history at a time for each stream.
#[derive(Clone)]
pub struct Histories {
    store: Arc<dyn Store>,
    cache: Arc<StdMutex<Cache>>,
}

impl Histories {
    /// Histories kept in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            cache: Arc::default(),
        }
    }

    /// The stream's history, alone: segments of one stream are judged one after another. Put the
    /// new state into the guard once it is stored.
    ///
    /// # Errors
    /// The store did not answer. A history that another version wrote begins anew.
    pub async fn lock(&self, stream_id: &str) -> StoreResult<OwnedMutexGuard<StreamHistory>> {
        let shared = if let Some(shared) = self.cached(stream_id) {
            shared
        } else {
            let stored = self.store.history(stream_id.to_owned()).await?;
            self.insert(stream_id, stored.map(|json| restore(stream_id, &json)))
        };
        Ok(shared.lock_owned().await)
    }

    fn cached(&self, stream_id: &str) -> Option<Shared> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clock += 1;
        let now = cache.clock;
        let entry = cache.entries.get_mut(stream_id)?;
        entry.0 = now;
        Some(Arc::clone(&entry.1))
    }

    /// Inserts unless somebody else was faster.
    fn insert(&self, stream_id: &str, history: Option<StreamHistory>) -> Shared {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clock += 1;
        let now = cache.clock;
        if cache.entries.len() >= CAPACITY {
            // Those in use stay: a second copy of a history would let two requests judge at once.
            let idle = cache
                .entries
                .iter()
                .filter(|(_, (_, h))| Arc::strong_count(h) == 1);
            let oldest = idle
                .min_by_key(|(_, (used, _))| *used)
                .map(|(id, _)| id.clone());
            if let Some(id) = oldest {
                cache.entries.remove(&id);
            }
        }
        let fresh = || (now, Arc::new(Mutex::new(history.unwrap_or_default())));
        Arc::clone(
            &cache
                .entries
                .entry(stream_id.to_owned())
                .or_insert_with(fresh)
                .1,
        )
    }
}

fn restore(stream_id: &str, json: &str) -> StreamHistory {
    serde_json::from_str(json).unwrap_or_else(|error| {
        tracing::warn!(stream = stream_id, %error, "the stored history is not readable; beginning anew");
        StreamHistory::default()
    })
}

/// The row that keeps a history.
pub fn row(stream_id: &str, history: &StreamHistory) -> Option<StreamHistoryRow> {
    match serde_json::to_string(history) {
        Ok(json) => Some(StreamHistoryRow {
            stream_id: stream_id.to_owned(),
            json,
        }),
        Err(error) => {
            tracing::error!(stream = stream_id, %error, "a history has no JSON form");
            None
        }
    }
}
