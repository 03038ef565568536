//! Hands work from callers to workers and answers back. No threads of its own, so that
//! `tests/handoff.rs` can run this very file under the interleavings that loom walks.
//!
//! Every submitted piece of work ends in exactly one way: answered, late, cancelled by its caller,
//! or lost with a worker that died on it; whoever waits is told which.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::queue::{FairQueue, Label, Limits, Micros, Taken};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The lock that is behind both sides. Nothing panics while it is held, and what it guards is sound
/// between any two statements, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Answer<O> {
    Waiting(Option<Waker>),
    Here(O),
    /// The worker went away without an answer.
    Lost,
    /// Nobody waits any more.
    Done,
}

/// Where one answer goes.
struct Slot<O> {
    answer: Mutex<Answer<O>>,
    ready: Condvar,
}

impl<O> Slot<O> {
    fn put(&self, new: Answer<O>) {
        let waker = {
            let mut answer = lock(&self.answer);
            match std::mem::replace(&mut *answer, Answer::Done) {
                Answer::Waiting(waker) => {
                    *answer = new;
                    waker
                }
                // Nobody waits, or it is answered already.
                other => {
                    *answer = other;
                    None
                }
            }
        };
        self.ready.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A worker's side of one piece of work; dropped without an answer, the caller is told it is lost.
pub struct Reply<O>(Arc<Slot<O>>);

impl<O> Reply<O> {
    /// Answers.
    pub fn send(self, answer: O) {
        self.0.put(Answer::Here(answer));
    }
}

impl<O> Drop for Reply<O> {
    fn drop(&mut self) {
        self.0.put(Answer::Lost);
    }
}

/// One piece of work and the way back.
pub struct Job<I, O> {
    /// What to work on.
    pub input: I,
    /// Where the answer goes.
    pub reply: Reply<O>,
}

struct State<I, O> {
    queue: FairQueue<Job<I, O>>,
    closed: bool,
}

/// Why work was not taken in; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<I> {
    /// There is no place for it.
    Full(I),
    /// No more work is taken.
    Closed(I),
}

/// What a worker is to do next.
pub enum Next<I, O> {
    /// Tell `late` that they are, and work on `batch`; either may be empty, not both.
    Work {
        /// Entries whose deadline passed.
        late: Vec<Taken<Job<I, O>>>,
        /// One batch.
        batch: Vec<Taken<Job<I, O>>>,
    },
    /// Closed, and nothing is left.
    Closed,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Entries.
    pub entries: usize,
    /// Their padded length.
    pub length: usize,
    /// Age of the oldest.
    pub age: Micros,
}

/// The place between callers and workers.
pub struct Handoff<I, O> {
    state: Mutex<State<I, O>>,
    work: Condvar,
}

impl<I, O> Handoff<I, O> {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                queue: FairQueue::new(limits),
                closed: false,
            }),
            work: Condvar::new(),
        }
    }

    /// Takes work in, or refuses it at once.
    ///
    /// # Errors
    /// [`Refused`], with the work.
    pub fn submit(
        self: &Arc<Self>,
        now: Micros,
        label: Label,
        input: I,
    ) -> Result<Pending<I, O>, Refused<I>> {
        let slot = Arc::new(Slot {
            answer: Mutex::new(Answer::Waiting(None)),
            ready: Condvar::new(),
        });
        let job = Job {
            input,
            reply: Reply(Arc::clone(&slot)),
        };
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Refused::Closed(job.input));
        }
        let ticket = state
            .queue
            .push(now, label, job)
            .map_err(|job| Refused::Full(job.input))?;
        drop(state);
        self.work.notify_one();
        Ok(Pending {
            handoff: Arc::clone(self),
            slot,
            ticket,
            over: false,
        })
    }

    /// The next batch. Waits until there is one; `now` is asked whenever the queue is looked at.
    pub fn next(&self, now: impl Fn() -> Micros) -> Next<I, O> {
        let mut state = lock(&self.state);
        loop {
            let at = now();
            let late = state.queue.expire(at);
            let batch = state.queue.take(at);
            if !(late.is_empty() && batch.is_empty()) {
                let more = !state.queue.is_empty();
                drop(state);
                if more {
                    // The rest is for another worker, if one sleeps.
                    self.work.notify_one();
                }
                return Next::Work { late, batch };
            }
            if state.closed {
                return Next::Closed;
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more work; workers finish what waits and then learn that it is over.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.work.notify_all();
    }

    /// How much waits.
    pub fn depth(&self, now: Micros) -> Depth {
        let state = lock(&self.state);
        Depth {
            entries: state.queue.len(),
            length: state.queue.length(),
            age: state.queue.age(now),
        }
    }
}

/// A caller's side of one piece of work. Dropped before the answer is there, the work is taken back
/// if no worker has it yet.
pub struct Pending<I, O> {
    handoff: Arc<Handoff<I, O>>,
    slot: Arc<Slot<O>>,
    ticket: u64,
    over: bool,
}

impl<I, O> Pending<I, O> {
    /// Waits for the answer; `None` when the worker died on it.
    pub fn wait(mut self) -> Option<O> {
        let slot = Arc::clone(&self.slot);
        let mut answer = lock(&slot.answer);
        loop {
            if let Poll::Ready(over) = self.taken(&mut answer) {
                return over;
            }
            answer = slot
                .ready
                .wait(answer)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits no longer than `most`.
    ///
    /// # Errors
    /// Itself, when there was no answer in time.
    pub fn wait_for(mut self, most: Duration) -> Result<Option<O>, Self> {
        let slot = Arc::clone(&self.slot);
        let begun = Instant::now();
        let mut answer = lock(&slot.answer);
        let over = loop {
            let over = self.taken(&mut answer);
            let left = most.saturating_sub(begun.elapsed());
            if over.is_ready() || left.is_zero() {
                break over;
            }
            let woken = slot.ready.wait_timeout(answer, left);
            (answer, _) = woken.unwrap_or_else(PoisonError::into_inner);
        };
        drop(answer);
        match over {
            Poll::Ready(over) => Ok(over),
            Poll::Pending => Err(self),
        }
    }

    /// The answer if it is there.
    fn taken(&mut self, answer: &mut Answer<O>) -> Poll<Option<O>> {
        if matches!(answer, Answer::Waiting(_)) {
            return Poll::Pending;
        }
        self.over = true;
        Poll::Ready(match std::mem::replace(answer, Answer::Done) {
            Answer::Here(value) => Some(value),
            _ => None,
        })
    }
}

impl<I, O> Future for Pending<I, O> {
    type Output = Option<O>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<O>> {
        let slot = Arc::clone(&self.slot);
        let mut answer = lock(&slot.answer);
        let over = self.taken(&mut answer);
        if over.is_pending() {
            *answer = Answer::Waiting(Some(context.waker().clone()));
        }
        over
    }
}

impl<I, O> Drop for Pending<I, O> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // First, so that the reply of what is taken back finds nobody.
        *lock(&self.slot.answer) = Answer::Done;
        let back = lock(&self.handoff.state).queue.cancel(0, self.ticket);
        drop(back);
    }
}
