//! Where a session's verdicts go: the store when the service runs, the terminal for a local watch.

use futures_util::future::BoxFuture;
use novastream_inference::StreamHistory;
use tokio::sync::OwnedMutexGuard;

use super::record::WatchRecord;
use crate::store::{Committed, NewVerdict, StoreResult};

/// One step of a session, kept as a whole or not at all.
#[derive(Debug, Clone)]
pub struct Step {
    /// The verdict, when the step has one.
    pub verdict: Option<NewVerdict>,
    /// The stream's history after it, when it changed.
    pub history: Option<StreamHistory>,
    /// The watch after it.
    pub record: WatchRecord,
}

/// Keeps what a session does.
pub trait Sink: Send + Sync + 'static {
    /// The stream's history. Whoever holds it judges alone.
    fn history<'a>(
        &'a self,
        stream_id: &'a str,
    ) -> BoxFuture<'a, StoreResult<OwnedMutexGuard<StreamHistory>>>;

    /// Keeps a step; answers once it cannot be lost any more.
    fn keep(&self, step: Step) -> BoxFuture<'_, StoreResult<Option<Committed>>>;
}
