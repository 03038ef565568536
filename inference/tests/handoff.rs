//! The hand-off between callers and workers under every interleaving of few threads with at most two
//! preemptions, by loom: the same source as the engine's, compiled with loom's locks.

#![allow(dead_code, missing_docs, reason = "the source is the library's")]

#[path = "../src/engine"]
mod engine {
    pub mod handoff;
    pub mod queue;

    pub mod sync {
        pub use loom::sync::{Condvar, Mutex, MutexGuard};
        pub use std::sync::{Arc, PoisonError};
    }
}

use std::sync::Arc;

use engine::handoff::{Handoff, Next, Pending, Refused};
use engine::queue::{Label, Limits};
use loom::thread;

const LIMITS: Limits = Limits {
    waiting: 2,
    waiting_of_tenant: 2,
    batch_items: 2,
    batch_length: 16,
    bucket: 8,
};

type Place = Arc<Handoff<u64, u64>>;

fn walk(model: impl Fn() + Send + Sync + 'static) {
    let mut walk = loom::model::Builder::new();
    walk.preemption_bound = Some(2);
    walk.check(model);
}

/// Doubles numbers until the place is closed; dies on 13 as a panicking worker would. Answers how
/// many it worked on.
fn worker(place: &Place) -> thread::JoinHandle<usize> {
    let place = Arc::clone(place);
    thread::spawn(move || {
        let mut worked = 0;
        while let Next::Work { late, batch } = place.next(|| 0) {
            assert!(late.is_empty() && batch.len() <= 2);
            for job in batch {
                worked += 1;
                if job.value.input != 13 {
                    job.value.reply.send(job.value.input * 2);
                }
            }
        }
        worked
    })
}

fn submit(place: &Place, tenant: u64, input: u64) -> Option<Pending<u64, u64>> {
    let label = Label {
        tenant,
        length: 1,
        ..Label::default()
    };
    match place.submit(0, label, input) {
        Ok(pending) => Some(pending),
        Err(Refused::Full(back) | Refused::Closed(back)) => {
            assert_eq!(back, input);
            None
        }
    }
}

#[test]
fn every_caller_gets_its_own_answer_and_no_worker_sleeps_on_work() {
    walk(|| {
        let place: Place = Arc::new(Handoff::new(LIMITS));
        let workers = [worker(&place), worker(&place)];
        let first = submit(&place, 1, 1).unwrap();
        let second = submit(&place, 2, 2);
        assert_eq!(first.wait(), Some(2));
        if let Some(second) = second {
            assert_eq!(second.wait(), Some(4));
        }
        place.close();
        let worked: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();
        assert_eq!(worked, 2);
    });
}

#[test]
fn closing_answers_what_waits_and_refuses_the_rest() {
    walk(|| {
        let place: Place = Arc::new(Handoff::new(LIMITS));
        let worker = worker(&place);
        let caller = {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                let answer = submit(&place, 1, 1).map(Pending::wait);
                assert!(matches!(answer, None | Some(Some(2))));
                usize::from(answer.is_some())
            })
        };
        place.close();
        assert_eq!(caller.join().unwrap(), worker.join().unwrap());
        assert!(submit(&place, 1, 1).is_none());
    });
}

#[test]
fn a_caller_that_leaves_takes_its_work_along_or_leaves_it_with_a_worker() {
    walk(|| {
        let place: Place = Arc::new(Handoff::new(LIMITS));
        let worker = worker(&place);
        let gone = submit(&place, 1, 1).unwrap();
        let next = submit(&place, 1, 5).unwrap();
        drop(gone);
        assert_eq!(next.wait(), Some(10));
        place.close();
        let worked = worker.join().unwrap();
        assert!((1..=2).contains(&worked));
        assert_eq!(place.depth(0).entries, 0);
    });
}

#[test]
fn a_worker_that_dies_leaves_nobody_waiting() {
    walk(|| {
        let place: Place = Arc::new(Handoff::new(LIMITS));
        let worker = worker(&place);
        let lost = submit(&place, 1, 13).unwrap();
        let next = submit(&place, 1, 5).unwrap();
        assert_eq!(lost.wait(), None);
        assert_eq!(next.wait(), Some(10));
        place.close();
        assert_eq!(worker.join().unwrap(), 2);
    });
}
