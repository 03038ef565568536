//! What a model has done, counted as it goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

/// Names of the metrics; each has the labels `model` and `version`.
pub mod names {
    /// Entries that wait.
    pub const DEPTH: &str = "novastream_model_queue_depth";
    /// Age of the oldest entry when a batch was taken.
    pub const AGE: &str = "novastream_model_queue_age_seconds";
    /// Time an entry waited.
    pub const QUEUE: &str = "novastream_model_queue_wait_seconds";
    /// Time of one batch in the engine.
    pub const COMPUTE: &str = "novastream_model_compute_seconds";
    /// Entries of one batch.
    pub const BATCH: &str = "novastream_model_batch_items";
    /// Entries refused because there was no place or no time for them.
    pub const SHED: &str = "novastream_model_shed_total";
    /// Entries dropped because their deadline passed while they waited.
    pub const LATE: &str = "novastream_model_late_total";
    /// Entries that failed.
    pub const FAILED: &str = "novastream_model_failures_total";
}

/// Batches of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeStats {
    /// How many.
    pub batches: u64,
    /// Time in the engine.
    pub compute: Duration,
}

/// A look at a model's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Entries answered.
    pub answered: u64,
    /// Entries that failed.
    pub failed: u64,
    /// Time that failed entries took in the engine.
    pub failed_time: Duration,
    /// Entries refused at once.
    pub shed: u64,
    /// Entries whose deadline passed while they waited.
    pub late: u64,
    /// Sum of the times that answered entries waited.
    pub queued: Duration,
    /// Sum of the times in the engine, counted for every answered entry of a batch.
    pub computed: Duration,
    /// Calls of the engine by entries of a batch.
    pub by_size: BTreeMap<usize, SizeStats>,
    /// Milliseconds since 1970 of the last batch; 0 before it.
    pub last_ms: i64,
}

/// Counts of one version of a model.
pub(crate) struct Stats {
    inner: Mutex<Snapshot>,
    depth: Gauge,
    age: Histogram,
    queue: Histogram,
    compute: Histogram,
    batch: Histogram,
    shed: Counter,
    late: Counter,
    failed: Counter,
}

impl Stats {
    pub(crate) fn new(model: &str, version: &str) -> Self {
        let labels = [("model", model.to_owned()), ("version", version.to_owned())];
        Self {
            inner: Mutex::default(),
            depth: metrics::gauge!(names::DEPTH, &labels),
            age: metrics::histogram!(names::AGE, &labels),
            queue: metrics::histogram!(names::QUEUE, &labels),
            compute: metrics::histogram!(names::COMPUTE, &labels),
            batch: metrics::histogram!(names::BATCH, &labels),
            shed: metrics::counter!(names::SHED, &labels),
            late: metrics::counter!(names::LATE, &labels),
            failed: metrics::counter!(names::FAILED, &labels),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn waiting(&self, entries: usize, age: Duration) {
        self.depth.set(entries as f64);
        self.age.record(age);
    }

    pub(crate) fn depth(&self, entries: usize) {
        self.depth.set(entries as f64);
    }

    pub(crate) fn shed(&self) {
        self.shed.increment(1);
        self.lock().shed += 1;
    }

    pub(crate) fn late(&self, entries: u64) {
        self.late.increment(entries);
        self.lock().late += entries;
    }

    /// A batch of entries that waited as long as `waited` says went through the engine.
    pub(crate) fn batch(&self, waited: &[Duration], compute: Duration, failed: u64) {
        let entries = waited.len() as u64;
        for time in waited {
            self.queue.record(*time);
        }
        self.compute.record(compute);
        self.batch.record(entries as f64);
        if failed > 0 {
            self.failed.increment(failed);
        }
        let mut inner = self.lock();
        inner.answered += entries - failed.min(entries);
        inner.failed += failed;
        if failed > 0 {
            inner.failed_time += compute;
        }
        inner.queued += waited.iter().sum::<Duration>();
        inner.computed += compute * u32::try_from(entries).unwrap_or(u32::MAX);
        let size = inner.by_size.entry(waited.len()).or_default();
        size.batches += 1;
        size.compute += compute;
        inner.last_ms = jiff::Timestamp::now().as_millisecond();
    }
}
