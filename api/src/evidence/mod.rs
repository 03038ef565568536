//! Evidence clips: kept beside the verdicts, outside their way.
//!
//! The models hand a clip to a bounded queue and go on; tasks encode it, note it in the database and
//! put it into an object store, a folder or a bucket. When the queue is full the verdict names no
//! clip; when storing fails the clip is missing. A counter says so, and no verdict ever waits.

mod access;
mod blur;
mod connector;
mod encode;
mod filler;
mod queue;
mod retention;
mod storage;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use novastream_inference::Category;
use novastream_inference::evidence::{Clip, ClipSink};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::access::Tokens;
use self::filler::Filler;
use self::queue::Queue;
use crate::config::EvidenceSettings;
use crate::store::{Store, StoreError};
use crate::telemetry::names;

pub use storage::StorageError;

/// Where clips lie, in folders by day.
const FOLDER: &str = "clips";
const PREVIEW: &str = "preview.jpg";
/// Digits of a clip's name.
const DIGITS: usize = 32;
/// Time for one clip to come from the store.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A round of pruning comes early when this part of the most bytes has come.
const EARLY_PART: u64 = 32;

/// What a clip can be asked for as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A picture that shows no more than shapes and colours, or how loud a sound is.
    Preview,
    /// As it was judged.
    Original,
}

/// A clip as it is answered.
#[derive(Debug)]
pub struct Found {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub content_type: &'static str,
}

/// Why a clip cannot be stored, answered or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The database.
    #[error(transparent)]
    Index(#[from] StoreError),
    /// The folder or the bucket.
    #[error("evidence clips: {0}")]
    Objects(#[from] object_store::Error),
    /// It took too long.
    #[error("evidence clips: no answer within {ANSWER_TIMEOUT:?}")]
    Late,
    /// The picture cannot be encoded.
    #[error("evidence clips: {0}")]
    Encode(String),
}

/// Who may see originals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The token is good.
    Granted,
    /// No token, or a wrong one.
    Denied,
    /// Nobody may.
    Off,
}

/// Where clips are kept. Clones share it.
#[derive(Clone)]
pub struct Clips {
    objects: Arc<dyn ObjectStore>,
    index: Arc<dyn Store>,
    settings: Arc<EvidenceSettings>,
    tokens: Option<Tokens>,
    queue: Queue,
    /// Much has come since the last round.
    early: Arc<Notify>,
}

impl Clips {
    /// The place that the settings name and the task that fills it; `None` where they name none.
    /// `index` knows what is there.
    ///
    /// # Errors
    /// The folder cannot be made, the bucket's address or credentials make no sense, or the file of
    /// tokens holds none.
    pub fn open(
        settings: &EvidenceSettings,
        index: Arc<dyn Store>,
    ) -> Result<Option<Self>, StorageError> {
        let Some(objects) = storage::open(settings)? else {
            return Ok(None);
        };
        let tokens = settings.original_tokens.as_deref().map(Tokens::read);
        let (queue, waiting) = Queue::new(settings.queue, settings.queue_bytes);
        let clips = Self {
            objects,
            index,
            settings: Arc::new(settings.clone()),
            tokens: tokens.transpose()?,
            queue,
            early: Arc::default(),
        };
        let filler = Filler {
            objects: Arc::clone(&clips.objects),
            index: Arc::clone(&clips.index),
            early: Arc::clone(&clips.early),
            enough: (settings.max_bytes / EARLY_PART).max(1),
        };
        tokio::spawn(filler.fill(waiting));
        Ok(Some(clips))
    }

    /// Whether a caller with this token gets originals.
    pub fn access(&self, token: Option<&str>) -> Access {
        match (&self.tokens, token) {
            (None, _) => Access::Off,
            (Some(tokens), Some(token)) if tokens.allow(token) => Access::Granted,
            (Some(_), _) => Access::Denied,
        }
    }

    /// A clip of a stream; `None` when it has none of that name, or no longer.
    ///
    /// # Errors
    /// The database or the place of the clips failed.
    pub async fn get(
        &self,
        stream_id: &str,
        id: &str,
        view: View,
    ) -> Result<Option<Found>, ClipError> {
        if !valid(id) {
            return Ok(None);
        }
        let row = self.index.clip(stream_id.to_owned(), id.to_owned()).await?;
        let too_old = |at: i64| retention::oldest(&self.settings).is_some_and(|bound| at < bound);
        let Some(row) = row.filter(|row| !too_old(row.stored_at)) else {
            return Ok(None);
        };
        let (suffix, content_type) = match (view, row.sound) {
            (View::Preview, _) => (PREVIEW, "image/jpeg"),
            (View::Original, false) => (original(false), "image/jpeg"),
            (View::Original, true) => (original(true), "audio/wav"),
        };
        let path = place(id, row.stored_at, suffix);
        let found = async { self.objects.get(&path).await?.bytes().await };
        match timeout(ANSWER_TIMEOUT, found).await {
            Ok(Ok(bytes)) => Ok(Some(Found {
                bytes: bytes.to_vec(),
                content_type,
            })),
            // Noted and not stored yet, or never.
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ClipError::Late),
        }
    }

    /// Deletes what is too old or too much; answers how many clips went.
    ///
    /// # Errors
    /// The database or the place of the clips failed.
    pub async fn prune(&self) -> Result<u64, ClipError> {
        let objects = self.objects.as_ref();
        let (gone, left) = retention::prune(objects, self.index.as_ref(), &self.settings).await?;
        metrics::counter!(names::CLIPS, "outcome" => "pruned").increment(gone);
        metrics::gauge!(names::CLIP_BYTES).set(left as f64);
        Ok(gone)
    }

    /// Prunes every `interval` and whenever much has come, and once a day looks for files that
    /// nobody knows of; never returns.
    pub async fn keep_within_bounds(self, interval: Duration) {
        let mut swept = String::new();
        loop {
            match self.prune().await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(gone, "evidence clips pruned"),
                Err(error) => tracing::warn!(%error, "pruning clips failed; it is tried again"),
            }
            let today = retention::day(crate::clock::unix_ms());
            if swept != today {
                match retention::sweep(self.objects.as_ref(), &self.settings).await {
                    Ok(0) => swept = today,
                    Ok(files) => {
                        tracing::info!(files, "files of clips that were long forgotten are gone");
                        swept = today;
                    }
                    Err(error) => tracing::warn!(%error, "old clips were not looked for"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.early.notified() => {}
            }
        }
    }

    /// Waits until what was taken is stored, for a while at most; answers whether it is.
    pub async fn flush(&self, limit: Duration) -> bool {
        self.queue.flush(limit).await
    }
}

impl ClipSink for Clips {
    fn keeps(&self, category: Category) -> bool {
        self.settings.blocklisted || category != Category::BlocklistedMedia
    }

    fn offer(&self, clip: Clip<'_>) -> bool {
        let taken = self.queue.offer(clip);
        if !taken {
            count("dropped");
        }
        taken
    }
}

/// Whether a name can be a clip's: nothing else ever becomes part of a path.
fn valid(id: &str) -> bool {
    id.len() == DIGITS && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// How the file of an original ends.
const fn original(sound: bool) -> &'static str {
    if sound {
        "original.wav"
    } else {
        "original.jpg"
    }
}

/// Where a file of a clip lies.
fn place(id: &str, stored_at: i64, suffix: &str) -> Path {
    let day = retention::day(stored_at);
    Path::from(format!("{FOLDER}/{day}/{id}.{suffix}"))
}

fn count(outcome: &'static str) {
    metrics::counter!(names::CLIPS, "outcome" => outcome).increment(1);
}
