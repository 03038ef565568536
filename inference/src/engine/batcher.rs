//! Threads around the hand-off: each takes a batch as soon as it is free and runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::call::Call;
use super::handoff::{Handoff, Job, Next, Pending, Refused};
use super::queue::{Label, Limits, Micros, Taken};
use super::stats::{Snapshot, Stats};
use crate::backend::{BackendError, guarded};

/// How fast the estimate of a batch's cost follows: the newest batch counts one eighth.
const FOLLOW: u64 = 8;

/// Runs batches.
pub(crate) trait Runner<I, O>: Send + Sync + 'static {
    /// One answer an input, in order. What is in a single input may be taken; of several, each may be
    /// tried again alone.
    fn run(&self, inputs: &mut [I]) -> Result<Vec<O>, BackendError>;
}

/// What a caller gets.
type Outcome<O> = Result<O, BackendError>;

/// Work of many callers for one model, in batches.
pub(crate) struct Batcher<I, O> {
    handoff: Arc<Handoff<I, Outcome<O>>>,
    clock: Clock,
    stats: Arc<Stats>,
    pace: Arc<Pace>,
    workers: u64,
}

/// Time since the batcher began.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Micros {
        self.at(Instant::now())
    }

    fn at(self, time: Instant) -> Micros {
        time.saturating_duration_since(self.0).as_micros() as Micros
    }
}

/// Nanoseconds a unit of padded length costs, as the last batches had it.
#[derive(Default)]
struct Pace(AtomicU64);

impl Pace {
    fn learn(&self, length: usize, took: Duration) {
        let new = took.as_nanos() as u64 / length.max(1) as u64;
        let old = self.0.load(Ordering::Relaxed);
        let next = if old == 0 {
            new
        } else {
            old - old / FOLLOW + new / FOLLOW
        };
        self.0.store(next, Ordering::Relaxed);
    }

    fn micros(&self, length: usize) -> Micros {
        self.0.load(Ordering::Relaxed).saturating_mul(length as u64) / 1_000
    }
}

impl<I: Send + Sync + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts `workers` threads that run batches with `runner`. `length` tells an input's length
    /// in units of `limits.batch_length`.
    ///
    /// # Errors
    /// [`BackendError::Load`]: a thread could not be started.
    pub(crate) fn start(
        stats: Arc<Stats>,
        name: &str,
        limits: Limits,
        workers: usize,
        runner: Arc<dyn Runner<I, O>>,
        length: fn(&I) -> usize,
    ) -> Result<Self, BackendError> {
        let workers = workers.max(1);
        let batcher = Self {
            handoff: Arc::new(Handoff::new(limits)),
            clock: Clock(Instant::now()),
            stats,
            pace: Arc::default(),
            workers: workers as u64,
        };
        // Threads of the runner's own: those who wait for a batch may be the threads that a model
        // would otherwise share its work among, and all would wait for each other.
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name({
                let name = name.to_owned();
                move |at| format!("{name}-run-{at}")
            })
            .build()
            .map_err(|error| BackendError::Load {
                backend: "engine",
                message: format!("no threads for {name}: {error}"),
            })?;
        let threads = Arc::new(threads);
        for at in 0..workers {
            let worker = Worker {
                threads: Arc::clone(&threads),
                handoff: Arc::clone(&batcher.handoff),
                clock: batcher.clock,
                stats: Arc::clone(&batcher.stats),
                pace: Arc::clone(&batcher.pace),
                runner: Arc::clone(&runner),
                length,
            };
            thread::Builder::new()
                .name(format!("{name}-{at}"))
                .spawn(move || worker.work())
                .map_err(|error| BackendError::Load {
                    backend: "engine",
                    message: format!("no thread for {name}: {error}"),
                })?;
        }
        Ok(batcher)
    }

    /// Takes one input in on behalf of this thread's [`Call`], or refuses it at once.
    ///
    /// # Errors
    /// [`BackendError::Overloaded`]: no place, or what waits before it takes longer than it may.
    /// [`BackendError::Late`]: its deadline has passed already.
    pub(crate) fn submit(&self, length: usize, input: I) -> Result<Waiting<I, O>, BackendError> {
        let call = Call::current();
        let now = self.clock.now();
        let deadline = call.deadline.map(|d| self.clock.at(d));
        if let Some(deadline) = deadline {
            if deadline <= now {
                self.stats.late(1);
                return Err(BackendError::Late);
            }
            let ahead = self.handoff.depth(now).length;
            if self.pace.micros(ahead) / self.workers > deadline - now {
                self.stats.shed();
                return Err(BackendError::Overloaded);
            }
        }
        let label = Label {
            tenant: call.tenant,
            priority: call.priority,
            length,
            deadline,
        };
        match self.handoff.submit(now, label, input) {
            Ok(pending) => Ok(Waiting {
                pending,
                deadline: call.deadline,
            }),
            Err(Refused::Full(_)) => {
                self.stats.shed();
                Err(BackendError::Overloaded)
            }
            Err(Refused::Closed(_)) => Err(BackendError::Unloaded),
        }
    }

    /// Entries that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.handoff.depth(self.clock.now()).entries
    }

    pub(crate) fn stats(&self) -> Snapshot {
        self.stats.snapshot()
    }
}

impl<I, O> Drop for Batcher<I, O> {
    /// What waits is still answered; the threads end after it, by themselves.
    fn drop(&mut self) {
        self.handoff.close();
    }
}

/// One input on its way.
pub(crate) struct Waiting<I, O> {
    pending: Pending<I, Outcome<O>>,
    deadline: Option<Instant>,
}

impl<I, O> Waiting<I, O> {
    /// Waits for the answer, until the deadline at most.
    pub(crate) fn wait(self) -> Outcome<O> {
        let answer = match self.deadline {
            None => self.pending.wait(),
            Some(deadline) => {
                let most = deadline.saturating_duration_since(Instant::now());
                self.pending
                    .wait_for(most)
                    .map_err(|_| BackendError::Late)?
            }
        };
        answer.unwrap_or_else(|| {
            Err(BackendError::Panicked(
                "the worker went away without an answer".to_owned(),
            ))
        })
    }
}

struct Worker<I, O> {
    handoff: Arc<Handoff<I, Outcome<O>>>,
    clock: Clock,
    stats: Arc<Stats>,
    pace: Arc<Pace>,
    runner: Arc<dyn Runner<I, O>>,
    threads: Arc<rayon::ThreadPool>,
    length: fn(&I) -> usize,
}

impl<I: Send + Sync + 'static, O: Send + 'static> Worker<I, O> {
    fn work(self) {
        while let Next::Work { late, batch } = self.handoff.next(|| self.clock.now()) {
            if !late.is_empty() {
                self.stats.late(late.len() as u64);
            }
            for entry in late {
                entry.value.reply.send(Err(BackendError::Late));
            }
            if !batch.is_empty() {
                let depth = self.handoff.depth(self.clock.now());
                let age = Duration::from_micros(depth.age);
                self.stats.waiting(depth.entries, age);
                self.run(batch);
            }
        }
        self.stats.depth(0);
    }

    fn run(&self, batch: Vec<Taken<Job<I, Outcome<O>>>>) {
        let mut waited = Vec::with_capacity(batch.len());
        let (mut inputs, mut replies) = (Vec::new(), Vec::new());
        for Taken {
            waited: time,
            value,
        } in batch
        {
            waited.push(Duration::from_micros(time));
            inputs.push(value.input);
            replies.push(value.reply);
        }
        let begun = Instant::now();
        let outcomes = self.outcomes(&mut inputs);
        let took = begun.elapsed();
        let longest = inputs.iter().map(|i| (self.length)(i)).max().unwrap_or(1);
        self.pace.learn(longest * inputs.len(), took);
        let failed = outcomes.iter().filter(|o| o.is_err()).count() as u64;
        // Counted first: who has the answer may look at the counts.
        self.stats.batch(&waited, took, failed);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            reply.send(outcome);
        }
    }

    /// One outcome an input. Where a batch fails as a whole, each input is tried alone, so that one
    /// that the model cannot take harms no other.
    fn outcomes(&self, inputs: &mut [I]) -> Vec<Outcome<O>> {
        match self.guarded(inputs) {
            Ok(outputs) => outputs.into_iter().map(Ok).collect(),
            Err(error) if inputs.len() == 1 => vec![Err(error)],
            Err(error) => {
                let count = inputs.len();
                tracing::warn!(%error, inputs = count, "a batch failed; each is tried alone");
                let mut alone = |at: usize| {
                    let mut outputs = self.guarded(&mut inputs[at..=at])?;
                    outputs.pop().ok_or_else(|| wrong_count(0, 1))
                };
                (0..count).map(&mut alone).collect()
            }
        }
    }

    fn guarded(&self, inputs: &mut [I]) -> Result<Vec<O>, BackendError> {
        let count = inputs.len();
        let outputs = guarded(|| self.threads.install(|| self.runner.run(inputs)))?;
        if outputs.len() == count {
            Ok(outputs)
        } else {
            Err(wrong_count(outputs.len(), count))
        }
    }
}

fn wrong_count(outputs: usize, inputs: usize) -> BackendError {
    BackendError::Run {
        backend: "engine",
        message: format!("{outputs} answers for {inputs} inputs"),
    }
}

#[cfg(test)]
#[path = "batcher_tests.rs"]
mod tests;
