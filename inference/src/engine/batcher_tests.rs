use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use std::sync::{Mutex, PoisonError};

use super::super::queue::Priority;
use super::*;

const LIMITS: Limits = Limits {
    waiting: 16,
    waiting_of_tenant: 16,
    batch_items: 4,
    batch_length: 64,
    bucket: 1,
};

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Doubles numbers; waits at a gate where there is one; fails on 13 and panics on 99.
struct Double {
    gate: Option<Mutex<Receiver<()>>>,
    batches: Mutex<Vec<usize>>,
    runs: AtomicUsize,
}

impl Runner<u64, u64> for Double {
    fn run(&self, inputs: &mut [u64]) -> Result<Vec<u64>, BackendError> {
        if let Some(gate) = &self.gate {
            let _ = lock(gate).recv();
        }
        self.runs.fetch_add(1, Ordering::SeqCst);
        lock(&self.batches).push(inputs.len());
        assert!(!inputs.contains(&99), "on purpose");
        if inputs.contains(&13) {
            return Err(BackendError::Run {
                backend: "double",
                message: "thirteen".to_owned(),
            });
        }
        Ok(inputs.iter().map(|n| n * 2).collect())
    }
}

fn start(gated: bool, workers: usize) -> (Batcher<u64, u64>, Arc<Double>, Sender<()>) {
    let (open, gate) = channel();
    let double = Arc::new(Double {
        gate: gated.then(|| Mutex::new(gate)),
        batches: Mutex::default(),
        runs: AtomicUsize::new(0),
    });
    let stats = Arc::new(Stats::new("double", "1"));
    let runner = Arc::clone(&double);
    let batcher = Batcher::start(stats, "double", LIMITS, workers, runner, |_| 1).unwrap();
    (batcher, double, open)
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end, "it did not happen in time");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn callers_share_batches_and_get_their_own_answers() {
    let (batcher, double, open) = start(true, 1);
    let first = batcher.submit(1, 0).unwrap();
    // The worker is at the gate with the first; the others gather behind it.
    until(|| batcher.handoff.depth(0).entries == 0);
    let waiting: Vec<_> = (1..=6).map(|n| batcher.submit(1, n).unwrap()).collect();
    for _ in 0..3 {
        open.send(()).unwrap();
    }
    assert_eq!(first.wait().unwrap(), 0);
    for (n, waiting) in (1..=6).zip(waiting) {
        assert_eq!(waiting.wait().unwrap(), n * 2);
    }
    assert_eq!(*lock(&double.batches), [1, 4, 2]);
    let stats = batcher.stats();
    assert_eq!((stats.answered, stats.failed, stats.shed), (7, 0, 0));
    assert_eq!(stats.by_size[&4].batches, 1);
}

#[test]
fn one_bad_input_harms_no_other() {
    let (batcher, _, open) = start(true, 1);
    let first = batcher.submit(1, 0).unwrap();
    until(|| batcher.handoff.depth(0).entries == 0);
    let waiting: Vec<_> = [5, 13, 99, 7]
        .map(|n| batcher.submit(1, n).unwrap())
        .into_iter()
        .collect();
    drop(open);
    assert_eq!(first.wait().unwrap(), 0);
    let answers: Vec<_> = waiting.into_iter().map(Waiting::wait).collect();
    assert_eq!(*answers[0].as_ref().unwrap(), 10);
    assert_eq!(answers[1].as_ref().unwrap_err().code(), "model_run");
    assert_eq!(answers[2].as_ref().unwrap_err().code(), "model_panicked");
    assert_eq!(*answers[3].as_ref().unwrap(), 14);
    // The thread lives on.
    assert_eq!(batcher.submit(1, 21).unwrap().wait().unwrap(), 42);
    assert_eq!(batcher.stats().failed, 2);
}

#[test]
fn a_full_queue_sheds_at_once_and_what_is_late_is_never_run() {
    let (batcher, double, open) = start(true, 1);
    let first = batcher.submit(1, 0).unwrap();
    until(|| batcher.handoff.depth(0).entries == 0);
    let soon = Call {
        deadline: Some(Instant::now() + Duration::from_millis(20)),
        ..Call::default()
    };
    let late = soon.enter(|| batcher.submit(1, 1)).unwrap();
    let rest: Vec<_> = (0..15).map(|_| batcher.submit(1, 2).unwrap()).collect();
    assert_eq!(batcher.submit(1, 3).err().unwrap().code(), "overloaded");
    assert_eq!(late.wait().unwrap_err().code(), "deadline_exceeded");
    assert_eq!(batcher.handoff.depth(0).entries, 15, "its place is free");
    let past = soon.enter(|| batcher.submit(1, 1)).err().unwrap();
    assert_eq!(past.code(), "deadline_exceeded");
    drop(rest);
    assert_eq!(batcher.handoff.depth(0).entries, 0, "nobody waits any more");
    drop(open);
    assert_eq!(first.wait().unwrap(), 0);
    assert_eq!(batcher.submit(1, 4).unwrap().wait().unwrap(), 8);
    assert_eq!(double.runs.load(Ordering::SeqCst), 2);
    assert_eq!(batcher.stats().shed, 1);
}

#[test]
fn work_that_cannot_be_done_in_time_is_refused_at_once() {
    let (batcher, _, open) = start(true, 1);
    batcher.pace.learn(1, Duration::from_millis(100));
    let _first = batcher.submit(1, 0).unwrap();
    until(|| batcher.handoff.depth(0).entries == 0);
    let _rest: Vec<_> = (0..10).map(|_| batcher.submit(1, 2).unwrap()).collect();
    let call = |ms| Call {
        deadline: Some(Instant::now() + Duration::from_millis(ms)),
        priority: Priority::Urgent,
        ..Call::default()
    };
    let refused = call(500).enter(|| batcher.submit(1, 3));
    assert_eq!(refused.err().unwrap().code(), "overloaded");
    assert!(call(60_000).enter(|| batcher.submit(1, 3)).is_ok());
    drop(open);
}

#[test]
fn what_waits_when_the_model_goes_is_still_answered() {
    let (batcher, _, open) = start(true, 2);
    let waiting: Vec<_> = (1..=8).map(|n| batcher.submit(1, n).unwrap()).collect();
    drop(batcher);
    drop(open);
    for (n, waiting) in (1..=8).zip(waiting) {
        assert_eq!(waiting.wait().unwrap(), n * 2);
    }
}

#[test]
fn many_threads_get_what_they_asked_for() {
    let (batcher, double, _open) = start(false, 2);
    let shed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for caller in 0..8u64 {
            let (batcher, shed) = (&batcher, &shed);
            scope.spawn(move || {
                let call = Call {
                    tenant: caller % 3,
                    ..Call::default()
                };
                for n in 0..200 {
                    let input = 1_000 * (caller + 1) + n;
                    match call.enter(|| batcher.submit(1, input)) {
                        Ok(waiting) if n % 7 == 0 => drop(waiting),
                        Ok(waiting) => assert_eq!(waiting.wait().unwrap(), input * 2),
                        Err(error) => {
                            assert_eq!(error.code(), "overloaded");
                            shed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    assert!(lock(&double.batches).iter().all(|n| *n <= 4));
    assert_eq!(batcher.stats().shed, shed.load(Ordering::SeqCst) as u64);
}
