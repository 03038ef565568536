//! Counting answers and their latencies in bounded memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::EvalError;

/// Latencies are kept in microseconds up to this; longer ones count as this long.
const LONGEST_US: u64 = 3_600_000_000;
/// Relative resolution of a kept latency: three decimal digits.
const DIGITS: u8 = 3;

/// A distribution of latencies, in milliseconds, resolved to 0.1 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half were at most this.
    pub p50: f64,
    /// 90 % were at most this.
    pub p90: f64,
    /// 95 % were at most this.
    pub p95: f64,
    /// 99 % were at most this.
    pub p99: f64,
    /// 99.9 % were at most this.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// No connection.
    pub connect: u64,
    /// Not answered within the time-out.
    pub timeout: u64,
    /// The connection broke, or the answer was no HTTP.
    pub broken: u64,
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.connect + self.timeout + self.broken
    }
}

/// What became of one request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer, read to its end.
    Answered {
        /// HTTP status.
        status: u16,
        /// Bytes of its body.
        received: u64,
    },
    /// No connection; the text says why.
    NotConnected(String),
    /// The time-out passed.
    TimedOut,
    /// The connection broke; the text says why.
    Broken(String),
}

/// Collects outcomes. Its size does not depend on how many there are.
#[derive(Debug)]
pub struct Recorder {
    accepted: Histogram<u64>,
    rejected: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    errors: Errors,
    last_error: Option<String>,
    unsent: u64,
    sent_bytes: u64,
    received_bytes: u64,
    last_end: Option<Instant>,
}

impl Recorder {
    /// An empty one.
    pub fn new() -> Result<Self, EvalError> {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST_US, DIGITS)
                .map_err(|e| EvalError::internal(format!("can't make a histogram: {e}")))
        };
        Ok(Self {
            accepted: histogram()?,
            rejected: histogram()?,
            statuses: BTreeMap::new(),
            errors: Errors::default(),
            last_error: None,
            unsent: 0,
            sent_bytes: 0,
            received_bytes: 0,
            last_end: None,
        })
    }

    /// Adds a request that had `sent` bytes of body, took `latency` and was over at `end`.
    pub fn add(&mut self, outcome: Outcome, sent: u64, latency: Duration, end: Instant) {
        self.sent_bytes += sent;
        self.last_end = self.last_end.max(Some(end));
        match outcome {
            Outcome::Answered { status, received } => {
                self.received_bytes += received;
                *self.statuses.entry(status).or_default() += 1;
                match status {
                    200..=299 => self.accepted.saturating_record(micros(latency)),
                    429 => self.rejected.saturating_record(micros(latency)),
                    _ => {}
                }
            }
            Outcome::NotConnected(why) => {
                self.errors.connect += 1;
                self.last_error = Some(why);
            }
            Outcome::TimedOut => {
                self.errors.timeout += 1;
                self.last_error = Some("no answer within the time-out".to_owned());
            }
            Outcome::Broken(why) => {
                self.errors.broken += 1;
                self.last_error = Some(why);
            }
        }
    }

    /// Adds a planned request that never found a free connection and had waited for `waited` when
    /// the run ended. Its latency counts with what is known of it: leaving it out would make a
    /// server look faster the more it falls behind.
    pub fn add_unsent(&mut self, waited: Duration) {
        self.unsent += 1;
        self.accepted.saturating_record(micros(waited));
    }

    /// Answers of any status.
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers with a 2xx status.
    pub fn accepted(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, n)| n).sum()
    }

    /// Answers with status 429.
    pub fn rejected(&self) -> u64 {
        self.statuses.get(&429).copied().unwrap_or(0)
    }

    /// Answers by status, without 429.
    pub fn statuses(&self) -> BTreeMap<String, u64> {
        let others = self.statuses.iter().filter(|(s, _)| **s != 429);
        others.map(|(s, n)| (s.to_string(), *n)).collect()
    }

    /// Requests without an answer, by reason.
    pub fn errors(&self) -> Errors {
        self.errors
    }

    /// The last reason for a missing answer.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Planned requests that were never sent.
    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Bytes of bodies: sent, received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent_bytes, self.received_bytes)
    }

    /// When the last request was over.
    pub fn last_end(&self) -> Option<Instant> {
        self.last_end
    }

    /// Latencies of 2xx answers, with the lower bounds of what was never sent.
    pub fn accepted_latency(&self) -> Option<Latency> {
        summarise(&self.accepted)
    }

    /// Latencies of 429 answers.
    pub fn rejected_latency(&self) -> Option<Latency> {
        summarise(&self.rejected)
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(LONGEST_US).max(1)
}

fn summarise(h: &Histogram<u64>) -> Option<Latency> {
    let ms = |us: u64| us as f64 / 1000.0;
    let at = |q: f64| ms(h.value_at_quantile(q));
    (!h.is_empty()).then(|| Latency {
        count: h.len(),
        mean: h.mean() / 1000.0,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p99_9: at(0.999),
        max: ms(h.max()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            received: 10,
        }
    }

    #[test]
    fn rejections_and_failures_stay_out_of_the_latency() {
        let mut recorder = Recorder::new().unwrap();
        let now = Instant::now();
        for ms in 1..=100 {
            recorder.add(answered(200), 5, Duration::from_millis(ms), now);
        }
        recorder.add(answered(429), 5, Duration::from_millis(900), now);
        recorder.add(answered(500), 5, Duration::from_millis(901), now);
        recorder.add(Outcome::TimedOut, 5, Duration::from_millis(902), now);
        let latency = recorder.accepted_latency().unwrap();
        assert_eq!(latency.count, 100);
        assert!((latency.p50 - 50.0).abs() < 0.1, "{latency:?}");
        assert!((latency.p99 - 99.0).abs() < 0.2, "{latency:?}");
        assert!((latency.max - 100.0).abs() < 0.2, "{latency:?}");
        assert_eq!(recorder.rejected_latency().unwrap().count, 1);
        assert_eq!(
            (
                recorder.accepted(),
                recorder.rejected(),
                recorder.answered()
            ),
            (100, 1, 102)
        );
        assert_eq!(
            recorder.errors(),
            Errors {
                timeout: 1,
                ..Errors::default()
            }
        );
        assert_eq!(
            recorder.statuses(),
            [("200".into(), 100), ("500".into(), 1)].into()
        );
        assert_eq!(recorder.bytes(), (103 * 5, 102 * 10));
    }

    #[test]
    fn what_was_never_sent_weighs_on_the_tail() {
        let mut recorder = Recorder::new().unwrap();
        let now = Instant::now();
        for _ in 0..90 {
            recorder.add(answered(200), 0, Duration::from_millis(1), now);
        }
        for _ in 0..10 {
            recorder.add_unsent(Duration::from_secs(2));
        }
        let latency = recorder.accepted_latency().unwrap();
        assert!(latency.p90 < 2.0 && latency.p95 > 1_900.0, "{latency:?}");
        assert_eq!(recorder.unsent(), 10);
    }

    #[test]
    fn absurd_latencies_are_capped_and_none_is_none() {
        let mut recorder = Recorder::new().unwrap();
        assert_eq!(recorder.accepted_latency(), None);
        recorder.add(
            answered(204),
            0,
            Duration::from_secs(1 << 40),
            Instant::now(),
        );
        assert!(recorder.accepted_latency().unwrap().max >= 3_590_000.0);
    }
}
