//! Where verdicts, watches, stream histories, idempotency keys and the list of evidence clips live.
//!
//! A write is acknowledged only after its commit: what a caller was told, a crash cannot take back.

mod clips;
mod prune;
mod sqlite;
mod topics;
mod types;
mod writer;

use std::path::PathBuf;

use futures_util::future::BoxFuture;

pub use clips::{ClipRow, NewClip};
pub use prune::Pruned;
pub use sqlite::SqliteStore;
pub use topics::{Subscription, Topics};
pub use types::{
    BehaviourEvent, Committed, IdempotencyKey, NewVerdict, PageQuery, StateRow, StoredVerdict,
    StreamHistoryRow, WatchRow, Write, Written, with_place,
};

use crate::config::RetentionSettings;

/// Why the store could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database could not be opened or migrated.
    #[error("cannot open the database {path}: {message}")]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        message: String,
    },
    /// A newer version of the program wrote the database.
    #[error(
        "the database {path} has schema version {found}, this program knows {known}: run the newer program"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// A read or write failed: disk full, input or output error, lock held too long.
    #[error("the database did not answer: {message}")]
    Unavailable {
        /// SQLite's words.
        message: String,
    },
    /// A stored row cannot be understood.
    #[error("the stored {what} is damaged: {message}")]
    Damaged {
        /// Which kind of row.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// A stable name for the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "store_unopenable",
            Self::NewerSchema { .. } => "store_newer_schema",
            Self::Unavailable { .. } => "store_unavailable",
            Self::Damaged { .. } => "store_damaged",
            Self::Closed => "store_closed",
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> Self {
        Self::Unavailable {
            message: e.to_string(),
        }
    }
}

/// Result of a store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// What the service needs from a database.
pub trait Store: Send + Sync + 'static {
    /// Applies `write` as a whole or not at all; answers after the commit.
    fn write(&self, write: Write) -> BoxFuture<'_, StoreResult<Written>>;

    /// Verdicts of one stream in the order of their commits.
    fn page(&self, query: PageQuery) -> BoxFuture<'_, StoreResult<Vec<StoredVerdict>>>;

    /// Verdicts that wait for a person, `limit` of them with `seq > after`, oldest first.
    fn reviews(&self, after: i64, limit: u32) -> BoxFuture<'_, StoreResult<Vec<StoredVerdict>>>;

    /// The verdict that answered an earlier request with the same key.
    fn answered(&self, key: IdempotencyKey) -> BoxFuture<'_, StoreResult<Option<StoredVerdict>>>;

    /// The newest sequence number that was given out, 0 when none was.
    fn last_seq(&self) -> BoxFuture<'_, StoreResult<i64>>;

    /// What the smoothing remembers about a stream, as JSON.
    fn history(&self, stream_id: String) -> BoxFuture<'_, StoreResult<Option<String>>>;

    /// Watches, newest first; `active_only` leaves out those that ended.
    fn watches(&self, active_only: bool, limit: u32) -> BoxFuture<'_, StoreResult<Vec<WatchRow>>>;

    /// One watch.
    fn watch(&self, id: String) -> BoxFuture<'_, StoreResult<Option<WatchRow>>>;

    /// The newest watch of a stream.
    fn watch_of(&self, stream_id: String) -> BoxFuture<'_, StoreResult<Option<WatchRow>>>;

    /// Behaviour events in the order of their commits, `limit` of them with `seq > after`, each
    /// with its `seq`.
    fn events(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, StoreResult<Vec<(i64, BehaviourEvent)>>>;

    /// The value that is kept under a name.
    fn state(&self, name: &'static str) -> BoxFuture<'_, StoreResult<Option<String>>>;

    /// An evidence clip of a stream.
    fn clip(&self, stream_id: String, id: String) -> BoxFuture<'_, StoreResult<Option<ClipRow>>>;

    /// The `limit` oldest evidence clips, oldest first.
    fn oldest_clips(&self, limit: u32) -> BoxFuture<'_, StoreResult<Vec<ClipRow>>>;

    /// Bytes of all evidence clips.
    fn clip_bytes(&self) -> BoxFuture<'_, StoreResult<i64>>;

    /// Forgets the oldest evidence clips with `seq <= through`, at most `limit`; answers how many.
    fn forget_clips(&self, through: i64, limit: u32) -> BoxFuture<'_, StoreResult<u64>>;

    /// Deletes what is older or more than the settings allow, in small steps.
    fn prune(&self, settings: RetentionSettings) -> BoxFuture<'_, StoreResult<Pruned>>;

    /// Answers when the database can be read.
    fn ping(&self) -> BoxFuture<'_, StoreResult<()>>;

    /// Wakes whoever follows a stream.
    fn topics(&self) -> &Topics;

    /// Finishes the writes that were accepted and closes the files.
    fn close(&self) -> BoxFuture<'_, ()>;
}
