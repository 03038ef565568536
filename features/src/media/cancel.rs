//! Stopping libav from outside: cancellation and deadlines, through its interrupt callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Asks a reader to stop, from any thread; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops every reader that holds a clone, also inside a blocking network read. Final.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why a reader must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trip {
    Cancelled,
    Deadline,
    /// One blocking operation took longer than it may.
    Stalled,
}

/// What libav's interrupt callback asks, on every wait and every read.
#[derive(Debug)]
pub(super) struct Guard {
    cancel: CancelToken,
    started: Instant,
    /// Both in ms since `started`; `u64::MAX` = no bound.
    deadline_ms: u64,
    operation_ms: AtomicU64,
}

impl Guard {
    pub(super) fn new(cancel: &CancelToken, deadline: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            cancel: cancel.clone(),
            started: Instant::now(),
            deadline_ms: deadline.map_or(u64::MAX, as_ms),
            operation_ms: AtomicU64::new(u64::MAX),
        })
    }

    /// Bounds the operation that starts now; the next call replaces the bound.
    pub(super) fn allow(&self, time: Duration) {
        let until = self.elapsed_ms().saturating_add(as_ms(time));
        self.operation_ms.store(until, Ordering::Relaxed);
    }

    pub(super) fn trip(&self) -> Option<Trip> {
        if self.cancel.is_cancelled() {
            return Some(Trip::Cancelled);
        }
        let now = self.elapsed_ms();
        if now >= self.deadline_ms {
            Some(Trip::Deadline)
        } else if now >= self.operation_ms.load(Ordering::Relaxed) {
            Some(Trip::Stalled)
        } else {
            None
        }
    }

    fn elapsed_ms(&self) -> u64 {
        as_ms(self.started.elapsed())
    }
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_named() {
        let token = CancelToken::new();
        let guard = Guard::new(&token, None);
        assert_eq!(guard.trip(), None);
        guard.allow(Duration::ZERO);
        assert_eq!(guard.trip(), Some(Trip::Stalled));
        guard.allow(Duration::from_mins(1));
        assert_eq!(guard.trip(), None);
        token.clone().cancel();
        assert_eq!(guard.trip(), Some(Trip::Cancelled));
        let late = Guard::new(&CancelToken::new(), Some(Duration::ZERO));
        assert_eq!(late.trip(), Some(Trip::Deadline));
    }
}
