//! Sending: in a closed loop (each connection sends its next request when it has its answer) or in
//! an open loop (requests are due at fixed times, whatever the answers do).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, Request};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::payload::Payloads;
use super::recorder::{Outcome, Recorder};
use crate::error::EvalError;

/// A server that refuses connections must not turn a closed loop into a busy one.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(10);

/// How to send.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Requests in flight at most, one a connection.
    pub connections: usize,
    /// Sent before measuring starts.
    pub warmup: Duration,
    /// Measured for this long.
    pub duration: Duration,
    /// Requests per second of an open loop; closed without.
    pub rate: Option<f64>,
    /// What that rate grows (or falls) to, evenly, until the end.
    pub ramp_to: Option<f64>,
    /// How long after the end an open loop still sends what is overdue.
    pub drain: Duration,
}

/// What a run measured.
#[derive(Debug)]
pub struct Measured {
    /// Outcomes of everything due after the warm-up.
    pub recorder: Recorder,
    /// From the end of the warm-up to the end of the plan or of the last answer, the later one.
    pub elapsed: Duration,
}

/// When requests of an open loop are due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: f64,
    /// By how much the rate grows, each second.
    growth: f64,
    total: u64,
}

impl Schedule {
    fn new(start: Instant, rate: f64, to: Option<f64>, seconds: f64) -> Self {
        let to = to.unwrap_or(rate);
        Self {
            start,
            rate,
            growth: (to - rate) / seconds,
            total: ((seconds * (rate + to) / 2.0) as u64).max(1),
        }
    }

    fn due(&self, index: u64) -> Instant {
        let (n, rate) = (index as f64, self.rate);
        // From n = rate·t + growth·t²/2, in the form that keeps its digits for a small growth.
        let root = (rate * rate + 2.0 * self.growth * n).max(0.0).sqrt();
        self.start + Duration::from_secs_f64(2.0 * n / (rate + root))
    }

    /// How many are due at `now`.
    fn due_by(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        let due = elapsed * self.rate + self.growth * elapsed * elapsed / 2.0;
        (due as u64 + 1).min(self.total)
    }

    /// Adds a permit for each request at the moment it is due; returns early on `stop`. A thread of
    /// its own: the runtime's timer only has steps of a millisecond.
    fn pace(&self, permits: &Semaphore, stop: &AtomicBool) {
        let mut issued = 0;
        while issued < self.total && !stop.load(Ordering::Relaxed) {
            let due = self.due_by(Instant::now());
            permits.add_permits(due.saturating_sub(issued) as usize);
            issued = due.max(issued);
            let wait = self.due(issued).saturating_duration_since(Instant::now());
            std::thread::sleep(wait.min(Duration::from_millis(100)));
        }
    }
}

struct Shared {
    client: Client,
    payloads: Payloads,
    recorder: Mutex<Recorder>,
    measure_from: Instant,
    end: Instant,
}

impl Shared {
    /// Sends one request that was due at `due` and records it if that was after the warm-up.
    /// Returns whether a connection was there.
    async fn send(&self, connection: usize, turn: u64, due: Instant) -> Result<bool, EvalError> {
        let (request, size) = self.payloads.next(connection, turn)?;
        let outcome = exchange(&self.client, request).await;
        let end = Instant::now();
        let connected = !matches!(outcome, Outcome::NotConnected(_));
        if due >= self.measure_from {
            let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.add(outcome, size, end.saturating_duration_since(due), end);
        }
        Ok(connected)
    }
}

/// Runs `plan` and returns when the last answer is in.
pub async fn run(client: Client, payloads: Payloads, plan: Plan) -> Result<Measured, EvalError> {
    let start = Instant::now();
    let shared = Arc::new(Shared {
        client,
        payloads,
        recorder: Mutex::new(Recorder::new()?),
        measure_from: start + plan.warmup,
        end: start + plan.warmup + plan.duration,
    });
    let sent = match plan.rate {
        None => closed(&shared, plan.connections).await,
        Some(rate) => open(&shared, plan, start, rate).await,
    };
    sent?;
    let elapsed_to = |end: Instant| end.saturating_duration_since(shared.measure_from);
    let last_end = shared
        .recorder
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .last_end();
    let elapsed = last_end
        .map_or(plan.duration, elapsed_to)
        .max(plan.duration);
    let shared = Arc::into_inner(shared)
        .ok_or_else(|| EvalError::internal("a connection outlived the run"))?;
    let recorder = shared
        .recorder
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Measured { recorder, elapsed })
}

async fn closed(shared: &Arc<Shared>, connections: usize) -> Result<(), EvalError> {
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            for turn in 0.. {
                let begun = Instant::now();
                if begun >= shared.end {
                    break;
                }
                if !shared.send(connection, turn, begun).await? {
                    tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
                }
            }
            Ok(())
        });
    }
    join(tasks).await
}

async fn open(
    shared: &Arc<Shared>,
    plan: Plan,
    start: Instant,
    rate: f64,
) -> Result<(), EvalError> {
    let seconds = (plan.warmup + plan.duration).as_secs_f64();
    let schedule = Schedule::new(start, rate, plan.ramp_to, seconds);
    let permits = Arc::new(Semaphore::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let pacer = {
        let (permits, stop, connections) =
            (Arc::clone(&permits), Arc::clone(&stop), plan.connections);
        std::thread::Builder::new()
            .name("pacer".into())
            .spawn(move || {
                schedule.pace(&permits, &stop);
                // Wakes the connections that wait for more, so that they see that there is none.
                permits.add_permits(connections);
            })
    };
    let pacer = pacer.map_err(|e| EvalError::internal(format!("can't start a thread: {e}")))?;

    let taken = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for connection in 0..plan.connections {
        let (shared, permits, taken) =
            (Arc::clone(shared), Arc::clone(&permits), Arc::clone(&taken));
        tasks.spawn(async move {
            for turn in 0.. {
                let Ok(permit) = permits.acquire().await else {
                    break;
                };
                permit.forget();
                if Instant::now() >= shared.end + plan.drain {
                    break;
                }
                let index = taken.fetch_add(1, Ordering::Relaxed);
                if index >= schedule.total {
                    break;
                }
                // Latency counts from the moment the request was due, not from when a connection
                // was free to send it: the wait is what a client of a slow server feels.
                shared.send(connection, turn, schedule.due(index)).await?;
            }
            Ok(())
        });
    }
    let sent = join(tasks).await;
    stop.store(true, Ordering::Relaxed);
    let paced = tokio::task::spawn_blocking(move || pacer.join()).await;
    if !matches!(paced, Ok(Ok(()))) {
        return Err(EvalError::internal("the pacing thread failed"));
    }
    sent?;
    let now = Instant::now();
    let mut recorder = shared
        .recorder
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for index in taken.load(Ordering::Relaxed)..schedule.total {
        let due = schedule.due(index);
        if due >= shared.measure_from {
            recorder.add_unsent(now.saturating_duration_since(due));
        }
    }
    Ok(())
}

/// Waits for all connections; the first error wins.
async fn join(mut tasks: JoinSet<Result<(), EvalError>>) -> Result<(), EvalError> {
    let mut result = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let joined = joined
            .unwrap_or_else(|e| Err(EvalError::internal(format!("a connection failed: {e}"))));
        result = result.and(joined);
    }
    result
}

/// Sends `request` and reads the answer to its end without keeping it.
async fn exchange(client: &Client, request: Request) -> Outcome {
    let mut response = match client.execute(request).await {
        Ok(response) => response,
        Err(error) => return failure(&error),
    };
    let status = response.status().as_u16();
    let mut received = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len() as u64,
            Ok(None) => return Outcome::Answered { status, received },
            Err(error) => return failure(&error),
        }
    }
}

fn failure(error: &reqwest::Error) -> Outcome {
    // The outer message repeats the address; the innermost cause says what happened.
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match () {
        () if error.is_timeout() => Outcome::TimedOut,
        () if error.is_connect() => Outcome::NotConnected(cause.to_string()),
        () => Outcome::Broken(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_steps() {
        let schedule = Schedule::new(Instant::now(), 200.0, None, 0.25);
        let after = |ms| schedule.start + Duration::from_millis(ms);
        assert_eq!(schedule.due(10), after(50));
        assert_eq!(schedule.due_by(schedule.start), 1);
        assert_eq!(schedule.due_by(after(52)), 11);
        assert_eq!(schedule.due_by(after(10_000)), 50);
    }

    #[test]
    fn a_ramp_starts_slow_and_ends_fast() {
        let schedule = Schedule::new(Instant::now(), 100.0, Some(300.0), 10.0);
        assert_eq!(schedule.total, 2_000);
        let at = |n| schedule.due(n).duration_since(schedule.start).as_secs_f64();
        assert!((at(1) - 0.01).abs() < 1e-3 && (at(2_000) - 10.0).abs() < 1e-6);
        // 100·t + 10·t² requests are due after t seconds.
        assert!((at(750) - 5.0).abs() < 1e-6);
        let later = schedule.start + Duration::from_secs(5);
        assert_eq!(schedule.due_by(later), 751);
        let falling = Schedule::new(Instant::now(), 300.0, Some(100.0), 10.0);
        let gap = falling.due(1_999).duration_since(falling.due(1_998));
        assert!((gap.as_secs_f64() - 0.01).abs() < 1e-3, "{gap:?}");
    }

    #[test]
    fn the_pacer_issues_all_and_keeps_the_time() {
        let schedule = Schedule::new(Instant::now(), 2_000.0, None, 0.1);
        let permits = Semaphore::new(0);
        schedule.pace(&permits, &AtomicBool::new(false));
        assert_eq!(permits.available_permits(), 200);
        assert!(schedule.start.elapsed() >= Duration::from_millis(99));
        let stopped = Semaphore::new(0);
        schedule.pace(&stopped, &AtomicBool::new(true));
        assert_eq!(stopped.available_permits(), 0);
    }
}
