//! Spans of model calls: one for the call, and for each of its rows the wait in the queue and the run
//! of the batch that it was part of. They cost nothing unless somebody listens.

use std::sync::{Mutex, PoisonError};

use tracing::Span;

/// One call of a model.
pub(super) struct CallSpan(Span);

impl CallSpan {
    pub(super) fn new(model: &str, version: &str, rows: usize) -> Self {
        Self(tracing::debug_span!("model", model, version, rows))
    }

    /// The span of a row that is about to wait.
    pub(super) fn row(&self) -> RowSpan {
        if self.0.is_disabled() {
            return RowSpan::none();
        }
        let wait = tracing::debug_span!(parent: &self.0, "queue wait");
        RowSpan {
            call: self.0.clone(),
            wait: Mutex::new(Some(wait)),
        }
    }
}

/// One row on its way. Its call's span lives as long as it does.
pub(super) struct RowSpan {
    call: Span,
    wait: Mutex<Option<Span>>,
}

impl RowSpan {
    pub(super) fn none() -> Self {
        Self {
            call: Span::none(),
            wait: Mutex::new(None),
        }
    }

    /// The wait is over; the batch of `rows` rows runs for as long as the answer lives.
    pub(super) fn run(&self, rows: usize) -> Span {
        if self.call.is_disabled() {
            return Span::none();
        }
        let waited = self
            .wait
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(waited);
        tracing::debug_span!(parent: &self.call, "model run", batch = rows)
    }
}
