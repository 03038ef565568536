//! Failures over a sliding window.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of the window; the oldest one goes at a time.
const PARTS: usize = 12;

#[derive(Clone, Copy, Default)]
struct Part {
    /// Which part of time it counts.
    at: u64,
    requests: u64,
    failed: u64,
}

/// Requests and failures of the last while.
pub(crate) struct Health {
    begun: Instant,
    part: Duration,
    parts: Mutex<[Part; PARTS]>,
}

impl Health {
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            begun: Instant::now(),
            part: (window / PARTS as u32).max(Duration::from_millis(1)),
            parts: Mutex::default(),
        }
    }

    fn at(&self, now: Instant) -> u64 {
        let part = self.part.as_nanos().max(1);
        (now.saturating_duration_since(self.begun).as_nanos() / part) as u64
    }

    pub(crate) fn record(&self, failed: bool, now: Instant) {
        let at = self.at(now);
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = &mut parts[(at % PARTS as u64) as usize];
        if part.at != at {
            *part = Part {
                at,
                ..Part::default()
            };
        }
        part.requests += 1;
        part.failed += u64::from(failed);
    }

    /// Failures and requests within the window.
    pub(crate) fn counts(&self, now: Instant) -> (u64, u64) {
        let at = self.at(now);
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |p: &&Part| p.at + PARTS as u64 > at && p.at <= at;
        parts
            .iter()
            .filter(within)
            .fold((0, 0), |(f, n), p| (f + p.failed, n + p.requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let health = Health::new(Duration::from_secs(12));
        let at = |s| health.begun + Duration::from_secs(s);
        for _ in 0..10 {
            health.record(true, at(0));
        }
        health.record(false, at(5));
        assert_eq!(health.counts(at(5)), (10, 11));
        assert_eq!(health.counts(at(11)), (10, 11));
        assert_eq!(health.counts(at(12)), (0, 1));
        assert_eq!(health.counts(at(100)), (0, 0));
        health.record(true, at(100));
        assert_eq!(health.counts(at(100)), (1, 1));
    }
}
