//! Keeps a session's steps in the service's store.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use novastream_inference::StreamHistory;
use tokio::sync::OwnedMutexGuard;

use super::sink::{Sink, Step};
use crate::histories::{self, Histories};
use crate::judge;
use crate::store::{Committed, Store, StoreResult, Write};

/// The sink of the service.
#[derive(Clone)]
pub struct StoreSink {
    store: Arc<dyn Store>,
    histories: Histories,
}

impl StoreSink {
    /// A sink into `store`, sharing histories with the segment route.
    pub fn new(store: Arc<dyn Store>, histories: Histories) -> Self {
        Self { store, histories }
    }
}

impl Sink for StoreSink {
    fn history<'a>(
        &'a self,
        stream_id: &'a str,
    ) -> BoxFuture<'a, StoreResult<OwnedMutexGuard<StreamHistory>>> {
        self.histories.lock(stream_id).boxed()
    }

    fn keep(&self, step: Step) -> BoxFuture<'_, StoreResult<Option<Committed>>> {
        async move {
            let stream_id = &step.record.stream_id;
            let counted = step.verdict.as_ref().map(|v| judge::Tally::of(&v.verdict));
            let write = Write {
                history: step
                    .history
                    .as_ref()
                    .and_then(|h| histories::row(stream_id, h)),
                watch: Some(step.record.to_row()?),
                verdicts: step.verdict.into_iter().collect(),
                ..Write::default()
            };
            let written = self.store.write(write).await?;
            if let Some(tally) = counted {
                tally.count();
            }
            Ok(written.verdicts.first().copied())
        }
        .boxed()
    }
}
