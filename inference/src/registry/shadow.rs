//! A candidate beside production: the same questions, in the background, and where the answers differ.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::names;
use super::status::{HeadDifference, ShadowReport};

/// Requests that may wait for the shadow; more are not looked at.
const WAITING: usize = 64;
/// Calibrated scores from this on stand for a category.
const THRESHOLD: f32 = 0.5;

#[derive(Clone, Copy, Default)]
struct Head {
    n: u64,
    sum: f64,
    largest: f32,
    flips: u64,
}

/// Where one candidate differs from production.
pub(crate) struct Differences {
    model: String,
    heads: Mutex<BTreeMap<String, Head>>,
    scored: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Differences {
    pub(crate) fn new(model: &str) -> Arc<Self> {
        Arc::new(Self {
            model: model.to_owned(),
            heads: Mutex::default(),
            scored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    fn outcome(&self, of: &AtomicU64, outcome: &'static str) {
        of.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(names::SHADOWED, "model" => self.model.clone(), "outcome" => outcome)
            .increment(1);
    }

    /// One request could not be looked at.
    pub(crate) fn drop_one(&self) {
        self.outcome(&self.dropped, "dropped");
    }

    /// The candidate failed on a request.
    pub(crate) fn fail_one(&self) {
        self.outcome(&self.failed, "failed");
    }

    /// Both answered: name, production's score, the candidate's.
    pub(crate) fn compare(&self, answers: impl Iterator<Item = (String, f32, f32)>) {
        self.outcome(&self.scored, "scored");
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, production, candidate) in answers {
            let gap = (production - candidate).abs();
            let head = heads.entry(name.clone()).or_default();
            head.n += 1;
            head.sum += f64::from(gap);
            head.largest = head.largest.max(gap);
            let labels = [("model", self.model.clone()), ("head", name)];
            if (production >= THRESHOLD) != (candidate >= THRESHOLD) {
                head.flips += 1;
                metrics::counter!(names::FLIPS, &labels).increment(1);
            }
            metrics::gauge!(names::DIFFERENCE_MEAN, &labels).set(head.sum / head.n as f64);
            metrics::gauge!(names::DIFFERENCE_MAX, &labels).set(f64::from(head.largest));
        }
    }

    pub(crate) fn report(&self) -> ShadowReport {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let head = |(name, h): (&String, &Head)| {
            let difference = HeadDifference {
                mean: (h.sum / h.n.max(1) as f64) as f32,
                max: h.largest,
                flips: h.flips,
            };
            (name.clone(), difference)
        };
        ShadowReport {
            scored: self.scored.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            heads: heads.iter().map(head).collect(),
        }
    }
}

/// A thread that works off what requests leave for it, and never keeps one waiting.
pub(crate) struct Shadow<S> {
    queue: Mutex<Option<SyncSender<S>>>,
    work: fn(S),
    begun: Instant,
    per_second: u64,
    /// The second that is counted, and the requests of it: 40 and 24 bits.
    second: AtomicU64,
}

impl<S: Send + 'static> Shadow<S> {
    pub(crate) fn new(per_second: u32, work: fn(S)) -> Self {
        Self {
            queue: Mutex::new(None),
            work,
            begun: Instant::now(),
            per_second: u64::from(per_second.min(1 << 23)),
            second: AtomicU64::new(0),
        }
    }

    /// Whether one more request of this second is to be looked at.
    pub(crate) fn wants(&self) -> bool {
        let now = self.begun.elapsed().as_secs();
        let count = |was: u64| {
            let (second, taken) = (was >> 24, was & 0xFF_FFFF);
            let taken = if second == now { taken } else { 0 };
            (taken < self.per_second).then_some((now << 24) | (taken + 1))
        };
        let order = Ordering::Relaxed;
        self.second.fetch_update(order, order, count).is_ok()
    }

    /// Leaves a request for the thread, which is started by the first one. Answers whether there was
    /// a place for it.
    pub(crate) fn leave(&self, sample: S) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_none() {
            let (sender, receiver) = sync_channel(WAITING);
            let work = self.work;
            let spawned = thread::Builder::new()
                .name("shadow".to_owned())
                .spawn(move || work_off(&receiver, work));
            if let Err(error) = spawned {
                tracing::warn!(%error, "no thread for the shadow");
                return false;
            }
            *queue = Some(sender);
        }
        let Some(sender) = queue.as_ref() else {
            return false;
        };
        match sender.try_send(sample) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                // The thread died on a request; the next one gets a new thread.
                *queue = None;
                false
            }
        }
    }
}

fn work_off<S>(receiver: &Receiver<S>, work: fn(S)) {
    while let Ok(sample) = receiver.recv() {
        work(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_flips_are_counted_by_head() {
        let differences = Differences::new("chat");
        let scores = |a, b| [("toxicity".to_owned(), a, b), ("spam".to_owned(), 0.1, 0.1)];
        differences.compare(scores(0.4, 0.6).into_iter());
        differences.compare(scores(0.9, 0.8).into_iter());
        differences.fail_one();
        differences.drop_one();
        let report = differences.report();
        assert_eq!((report.scored, report.failed, report.dropped), (2, 1, 1));
        let toxicity = &report.heads["toxicity"];
        assert_eq!(toxicity.flips, 1);
        assert!((toxicity.mean - 0.15).abs() < 1e-6, "{toxicity:?}");
        assert!((toxicity.max - 0.2).abs() < 1e-6, "{toxicity:?}");
        assert_eq!(report.heads["spam"].flips, 0);
    }

    #[test]
    fn a_busy_shadow_refuses_and_keeps_nobody_waiting() {
        use std::sync::mpsc::{Receiver, channel};
        let (release, gate) = channel::<()>();
        let shadow = Shadow::new(3, |gate: Option<Receiver<()>>| {
            if let Some(gate) = gate {
                let _ = gate.recv();
            }
        });
        assert!(shadow.leave(Some(gate)));
        let begun = Instant::now();
        let left = (0..1000).filter(|_| shadow.leave(None)).count();
        assert!(left <= WAITING + 1, "{left}");
        assert!(begun.elapsed().as_millis() < 500);
        drop(release);
        let wanted = (0..1000).filter(|_| shadow.wants()).count();
        assert!((3..=6).contains(&wanted), "{wanted}");
    }
}
