use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    waiting: 64,
    waiting_of_tenant: 48,
    batch_items: 8,
    batch_length: 128,
    bucket: 8,
};

fn label(tenant: u64, length: usize) -> Label {
    Label {
        tenant,
        length,
        ..Label::default()
    }
}

fn values(batch: Vec<Taken<u32>>) -> Vec<u32> {
    batch.into_iter().map(|t| t.value).collect()
}

#[test]
fn a_batch_holds_like_lengths_only_and_keeps_its_bounds() {
    let mut queue = FairQueue::new(LIMITS);
    for value in 0..12 {
        let length = if value % 2 == 0 { 5 } else { 30 };
        queue.push(0, label(1, length), value).unwrap();
    }
    assert_eq!(values(queue.take(0)), [0, 2, 4, 6, 8, 10]);
    // Thirty tokens are padded to 32, and four of those fill 128.
    assert_eq!(values(queue.take(0)), [1, 3, 5, 7]);
    assert_eq!(values(queue.take(0)), [9, 11]);
    assert_eq!((queue.len(), queue.length()), (0, 0));
    queue.push(0, label(1, 4_000), 12).unwrap();
    assert_eq!(values(queue.take(0)), [12]);
}

#[test]
fn one_loud_tenant_does_not_push_another_back() {
    let mut queue = FairQueue::new(LIMITS);
    for value in 0..40 {
        queue.push(0, label(1, 8), value).unwrap();
    }
    queue.push(0, label(2, 8), 100).unwrap();
    let first: Vec<u32> = values(queue.take(0));
    let second = values(queue.take(0));
    assert!(first.contains(&100) || second.contains(&100));
}

#[test]
fn tenants_share_by_length_and_not_by_entries() {
    let mut queue = FairQueue::new(Limits {
        batch_items: 1,
        ..LIMITS
    });
    for value in 0..30 {
        queue.push(0, label(1, 8), value).unwrap();
        queue.push(0, label(2, 64), 1000 + value).unwrap();
    }
    let mut lengths = [0_usize, 0];
    for _ in 0..27 {
        for value in values(queue.take(0)) {
            lengths[usize::from(value >= 1000)] += if value >= 1000 { 64 } else { 8 };
        }
    }
    let gap = lengths[0].abs_diff(lengths[1]);
    assert!(gap <= 4 * 64, "{lengths:?}");
}

#[test]
fn urgent_work_goes_first_and_bulk_still_moves() {
    let mut queue = FairQueue::new(Limits {
        batch_items: 1,
        ..LIMITS
    });
    let bulk = Label {
        priority: Priority::Bulk,
        ..label(1, 8)
    };
    let urgent = Label {
        priority: Priority::Urgent,
        ..label(2, 8)
    };
    queue.push(0, bulk, 0).unwrap();
    for value in 1..=20 {
        queue.push(0, urgent, value).unwrap();
    }
    let order: Vec<u32> = (0..8).flat_map(|_| values(queue.take(0))).collect();
    assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 0]);
}

#[test]
fn a_full_queue_gives_the_work_back() {
    let mut queue = FairQueue::new(Limits {
        waiting: 4,
        waiting_of_tenant: 3,
        ..LIMITS
    });
    for value in 0..3 {
        queue.push(0, label(1, 8), value).unwrap();
    }
    assert_eq!(queue.push(0, label(1, 8), 7), Err(7), "its tenant's share");
    let bulk = Label {
        priority: Priority::Bulk,
        ..label(2, 8)
    };
    assert_eq!(
        queue.push(0, bulk, 8),
        Err(8),
        "half is for work that waits"
    );
    queue.push(0, label(2, 8), 9).unwrap();
    assert_eq!(queue.push(0, label(3, 8), 10), Err(10));
    queue.cancel(0, 0).unwrap();
    assert!(queue.push(0, label(3, 8), 11).is_ok());
}

#[test]
fn what_is_late_or_cancelled_is_not_served() {
    let mut queue = FairQueue::new(LIMITS);
    let soon = Label {
        deadline: Some(50),
        ..label(1, 8)
    };
    queue.push(10, soon, 1).unwrap();
    let ticket = queue.push(10, label(1, 8), 2).unwrap();
    queue.push(10, label(1, 8), 3).unwrap();
    assert!(queue.expire(49).is_empty());
    assert_eq!(queue.age(49), 39);
    let late = queue.expire(50);
    assert_eq!((late[0].value, late[0].waited), (1, 40));
    assert_eq!(queue.cancel(60, ticket).unwrap().value, 2);
    assert!(queue.cancel(60, ticket).is_none());
    assert_eq!(values(queue.take(60)), [3]);
}

#[derive(Clone, Debug)]
enum Step {
    Push(Label),
    Cancel(usize),
    Expire,
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![
        Just(Priority::Urgent),
        Just(Priority::Normal),
        Just(Priority::Bulk)
    ];
    let pushed = (0u64..5, priority, 0usize..200, prop::option::of(1u64..400));
    let pushed = pushed.prop_map(|(tenant, priority, length, deadline)| {
        Step::Push(Label {
            tenant,
            priority,
            length,
            deadline,
        })
    });
    prop_oneof![
        6 => pushed,
        1 => any::<prop::sample::Index>().prop_map(|i| Step::Cancel(i.index(1 << 16))),
        1 => Just(Step::Expire),
        2 => Just(Step::Take),
    ]
}

proptest! {
    /// Every entry leaves exactly once, by the door that it should, and none waits longer than the
    /// bound says.
    #[test]
    fn nothing_is_lost_doubled_or_starved(steps in prop::collection::vec(step(), 1..400)) {
        let mut queue = FairQueue::new(LIMITS);
        // Ticket → label, batches taken at the push, entries before it then.
        let mut inside: BTreeMap<u64, (Label, u64, u64)> = BTreeMap::new();
        let mut batches = 0u64;
        let mut serve = |queue: &mut FairQueue<u64>, inside: &mut BTreeMap<u64, (Label, u64, u64)>, now| {
            let batch = queue.take(now);
            let expected = inside.len();
            prop_assert_eq!(batch.is_empty(), expected == 0);
            batches += 1;
            prop_assert!(batch.len() <= LIMITS.batch_items);
            let mut buckets = Vec::new();
            for Taken { value, .. } in &batch {
                let (label, pushed, before) = inside.remove(value).expect("served twice or never pushed");
                buckets.push(label.length.max(1).div_ceil(LIMITS.bucket));
                prop_assert!(batches - pushed <= AGED * (before + 1), "starved: {} batches", batches - pushed);
            }
            buckets.dedup();
            prop_assert!(buckets.len() <= 1);
            let padded = batch.len() * buckets.first().map_or(0, |b| b * LIMITS.bucket);
            prop_assert!(batch.len() <= 1 || padded <= LIMITS.batch_length);
            Ok(batches)
        };
        let mut served = 0;
        for (at, step) in steps.iter().enumerate() {
            let now = at as u64;
            match step {
                Step::Push(label) => {
                    let next = inside.keys().next_back().copied();
                    match queue.push(now, *label, 0) {
                        Ok(ticket) => {
                            prop_assert!(next.is_none_or(|n| n < ticket));
                            // The value is the ticket, so that answers can be told apart.
                            queue.entries.get_mut(&ticket).unwrap().value = ticket;
                            inside.insert(ticket, (*label, served, inside.len() as u64));
                        }
                        Err(_) => prop_assert!(inside.len() >= LIMITS.waiting / 2
                            || inside.values().filter(|i| i.0.tenant == label.tenant).count() >= LIMITS.waiting_of_tenant),
                    }
                }
                Step::Cancel(which) => {
                    let ticket = inside.keys().nth(which % inside.len().max(1)).copied();
                    if let Some(ticket) = ticket {
                        prop_assert_eq!(queue.cancel(now, ticket).map(|t| t.value), Some(ticket));
                        inside.remove(&ticket);
                    }
                }
                Step::Expire => {
                    for late in queue.expire(now) {
                        let (label, ..) = inside.remove(&late.value).expect("late and not there");
                        prop_assert!(label.deadline.is_some_and(|d| d <= now));
                    }
                    prop_assert!(inside.values().all(|(l, ..)| l.deadline.is_none_or(|d| d > now)));
                }
                Step::Take => served = serve(&mut queue, &mut inside, now)?,
            }
            prop_assert_eq!(queue.len(), inside.len());
        }
        while !inside.is_empty() {
            serve(&mut queue, &mut inside, 1_000)?;
        }
        prop_assert_eq!((queue.len(), queue.length()), (0, 0));
        prop_assert!(queue.classes.iter().all(|c| c.tenants.is_empty() && c.ring.is_empty()));
        prop_assert!(queue.of_tenant.is_empty() && queue.deadlines.is_empty());
    }
}
