//! The bounded queue in front of the models, and the bound on bytes held for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use novastream_inference::engine::Call;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::error::{ApiError, ErrorCode};
use crate::telemetry::{Count, names};

/// Waiting requests a worker that are no backlog.
const BACKLOG: usize = 3;

/// Workers for blocking work, with a bounded number of requests in front of them.
#[derive(Debug, Clone)]
pub struct Pool {
    places: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    /// Workers, and places, when all are free.
    sizes: (usize, usize),
}

/// A place in the queue. Given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    _place: OwnedSemaphorePermit,
    _count: Count,
    admitted: Instant,
}

impl Ticket {
    /// The same place, as if it were taken now.
    #[must_use]
    pub fn renewed(self) -> Self {
        Self {
            admitted: Instant::now(),
            ..self
        }
    }
}

impl Pool {
    /// `workers` run at once, `waiting` more may wait.
    pub fn new(workers: usize, waiting: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(workers + waiting)),
            workers: Arc::new(Semaphore::new(workers)),
            sizes: (workers, workers + waiting),
        }
    }

    /// Refuses when the queue is full, without taking a place.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.places.available_permits() == 0 {
            Err(full())
        } else {
            Ok(())
        }
    }

    /// Share of the workers that are busy; above 1 by what waits beyond [`BACKLOG`] for each of them.
    /// A few that wait belong to a busy server: requests come when they want.
    pub fn load(&self) -> f64 {
        let (workers, places) = self.sizes;
        let busy = workers - self.workers.available_permits().min(workers);
        let asked = places - self.places.available_permits().min(places);
        let backlog = asked.saturating_sub(busy + BACKLOG * workers);
        (busy + backlog) as f64 / workers.max(1) as f64
    }

    /// Takes a place or refuses at once.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn admit(&self) -> Result<Ticket, ApiError> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Ticket {
                _place: place,
                _count: Count::up(names::QUEUE_DEPTH),
                admitted: Instant::now(),
            }),
            Err(TryAcquireError::NoPermits) => Err(full()),
            Err(TryAcquireError::Closed) => Err(ApiError::internal("the work queue is closed")),
        }
    }

    /// Runs `job` on a worker, as a [`Call`] with this deadline. The place is held until the job has ended, even when the caller
    /// stops waiting: a job that nobody waits for still uses a worker.
    ///
    /// # Errors
    /// `deadline_exceeded` when no worker was free or the job was not done in time; `internal`
    /// when the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        ticket: Ticket,
        deadline: Instant,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let free = Arc::clone(&self.workers).acquire_owned();
        let queued = timeout_at(deadline.into(), free);
        let worker = match queued.instrument(tracing::debug_span!("worker wait")).await {
            Ok(Ok(worker)) => worker,
            Ok(Err(closed)) => return Err(ApiError::internal(closed)),
            Err(_) => return Err(late("in the queue")),
        };
        metrics::histogram!(names::QUEUE_SECONDS).record(ticket.admitted.elapsed());
        let span = tracing::debug_span!("judge");
        let running = tokio::task::spawn_blocking(move || {
            let _held = (ticket, worker);
            let call = Call {
                deadline: Some(deadline),
                ..Call::default()
            };
            span.in_scope(|| call.enter(job))
        });
        match timeout_at(deadline.into(), running).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panicked)) => Err(ApiError::internal(panicked)),
            Err(_) => Err(late("in the models")),
        }
    }

    /// Runs `job` on a worker without a place in the queue and without a deadline. For watches:
    /// they are bounded by their own queues, and the workers serve both in turn.
    ///
    /// # Errors
    /// `internal` when the job panicked.
    pub async fn run_patiently<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let worker = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(ApiError::internal)?;
        let running = tokio::task::spawn_blocking(move || {
            let _held = worker;
            job()
        });
        running.await.map_err(ApiError::internal)
    }
}

fn full() -> ApiError {
    metrics::counter!(names::QUEUE_REFUSED).increment(1);
    ApiError::new(
        ErrorCode::Overloaded,
        "every worker is busy and no more requests may wait",
    )
}

fn late(place: &str) -> ApiError {
    ApiError::new(
        ErrorCode::DeadlineExceeded,
        format!("the deadline passed {place}"),
    )
}

/// A bound on the bytes of request bodies in memory.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    kib: Arc<Semaphore>,
}

/// Bytes taken from a [`ByteBudget`]. Given back when dropped.
#[derive(Debug, Default)]
pub struct Reservation {
    kib: u32,
    permit: Option<OwnedSemaphorePermit>,
}

impl ByteBudget {
    /// A budget of `bytes`, counted in KiB.
    pub fn new(bytes: usize) -> Self {
        Self {
            kib: Arc::new(Semaphore::new((bytes >> 10).min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Makes `held` cover `bytes`.
    ///
    /// # Errors
    /// `overloaded` when the budget has not enough left.
    pub fn cover(&self, held: &mut Reservation, bytes: usize) -> Result<(), ApiError> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        if wanted <= held.kib {
            return Ok(());
        }
        let more = wanted - held.kib;
        match Arc::clone(&self.kib).try_acquire_many_owned(more) {
            Ok(permit) => {
                held.kib = wanted;
                match &mut held.permit {
                    Some(first) => first.merge(permit),
                    none => *none = Some(permit),
                }
                Ok(())
            }
            Err(_) => Err(ApiError::new(
                ErrorCode::Overloaded,
                "other requests hold as many bytes as limits.in_flight_bytes allows",
            )),
        }
    }
}

/// [`deadline`] by a request's `x-deadline-ms`.
///
/// # Errors
/// As [`deadline`].
pub fn wanted_deadline(headers: &HeaderMap, limit_ms: u64) -> Result<Instant, ApiError> {
    let wanted = headers.get("x-deadline-ms");
    deadline(wanted.and_then(|v| v.to_str().ok()), limit_ms)
}

/// How long a request may take: what the caller asked for, but no longer than the setting.
///
/// # Errors
/// `invalid_header` for an `x-deadline-ms` that is not a positive whole number.
pub fn deadline(header: Option<&str>, limit_ms: u64) -> Result<Instant, ApiError> {
    let ms = match header {
        None => limit_ms,
        Some(text) => match text.trim().parse::<u64>() {
            Ok(ms) if ms > 0 => ms.min(limit_ms),
            _ => {
                return Err(ApiError::new(
                    ErrorCode::InvalidHeader,
                    "x-deadline-ms must be a whole number of milliseconds, 1 or more",
                ));
            }
        },
    };
    Ok(Instant::now() + Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let pool = Pool::new(1, 1);
        let (first, second) = (pool.admit().unwrap(), pool.admit().unwrap());
        let e = pool.admit().unwrap_err();
        assert_eq!((e.code, e.retry_after_s), (ErrorCode::Overloaded, Some(1)));
        assert!(pool.check().is_err());
        drop(second);
        pool.check().unwrap();
        assert_eq!(pool.run(first, soon(1000), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_deadline_counts_in_the_queue_and_in_the_job() {
        let pool = Pool::new(1, 4);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let slow = pool.admit().unwrap();
        let p = pool.clone();
        let busy =
            tokio::spawn(async move { p.run(slow, soon(60), move || wait.recv().is_ok()).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let queued = pool
            .run(pool.admit().unwrap(), soon(10), || ())
            .await
            .unwrap_err();
        assert_eq!(queued.code, ErrorCode::DeadlineExceeded);
        assert!(queued.detail.contains("queue"), "{}", queued.detail);
        let running = busy.await.unwrap().unwrap_err();
        assert!(running.detail.contains("models"), "{}", running.detail);
        // The job still runs, so its place and its worker are still taken.
        assert_eq!(pool.workers.available_permits(), 0);
        drop(release);
        pool.run(pool.admit().unwrap(), soon(1000), || ())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_panic_in_a_job_is_an_error_and_frees_the_worker() {
        let pool = Pool::new(1, 0);
        let ticket = pool.admit().unwrap();
        let e = pool
            .run(ticket, soon(1000), || panic!("on purpose"))
            .await
            .unwrap_err();
        assert_eq!(e.code, ErrorCode::Internal);
        pool.run_patiently(|| ()).await.unwrap();
    }

    #[test]
    fn bytes_are_counted_and_given_back() {
        let budget = ByteBudget::new(10 << 10);
        let mut a = Reservation::default();
        budget.cover(&mut a, 1).unwrap();
        budget.cover(&mut a, 4096).unwrap();
        let mut b = Reservation::default();
        assert_eq!(
            budget.cover(&mut b, 7 << 10).unwrap_err().code,
            ErrorCode::Overloaded
        );
        budget.cover(&mut b, 6 << 10).unwrap();
        drop(a);
        budget.cover(&mut b, 10 << 10).unwrap();
    }

    #[test]
    fn callers_may_only_shorten_the_deadline() {
        let far = deadline(Some("999999999"), 1000).unwrap();
        assert!(far <= soon(1000));
        assert!(deadline(Some("5"), 1000).unwrap() <= soon(5));
        for bad in ["0", "-1", "soon", ""] {
            assert_eq!(
                deadline(Some(bad), 1000).unwrap_err().code,
                ErrorCode::InvalidHeader
            );
        }
    }
}
