//! The order of waiting work: no threads, no locks and no clock, so that every property of it can
//! be tested.
//!
//! Work has a priority, a tenant, a length and perhaps a deadline. A batch holds work of one bucket
//! of lengths, so that little padding is computed. Its lead comes from the highest priority that
//! waits, by deficit round robin over the tenants (Shreedhar and Varghese 1995; the deficit counts
//! padded length); the rest of the batch is whatever else fits the lead's bucket, in the same order.
//! Every [`AGED`]th batch is led by the work that waited longest, whatever its priority and tenant:
//! work with `n` older ones before it is served by batch `AGED * (n + 1)` at the latest.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Microseconds on the caller's clock.
pub type Micros = u64;

/// One batch in this many goes to what waited longest.
pub const AGED: u64 = 8;

/// What is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody's message is held until the answer is there.
    Urgent,
    /// A live stream or a caller who waits.
    #[default]
    Normal,
    /// Nobody waits: back-fill, evaluation. May use half of the places only.
    Bulk,
}

impl Priority {
    const COUNT: usize = 3;

    const fn index(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }
}

/// Bounds of a queue and of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most entries that wait.
    pub waiting: usize,
    /// Most entries of one tenant that wait.
    pub waiting_of_tenant: usize,
    /// Most entries of a batch.
    pub batch_items: usize,
    /// Most padded length of a batch: entries times the bucket's length. One entry always fits.
    pub batch_length: usize,
    /// Width of a bucket of lengths.
    pub bucket: usize,
}

/// What the queue knows of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// On whose behalf.
    pub tenant: u64,
    /// What is served first.
    pub priority: Priority,
    /// Tokens of a text; 1 for things of one size.
    pub length: usize,
    /// When the answer is worth nothing any more.
    pub deadline: Option<Micros>,
}

/// An entry that left the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<T> {
    /// How long it waited.
    pub waited: Micros,
    /// The work.
    pub value: T,
}

struct Entry<T> {
    label: Label,
    bucket: usize,
    since: Micros,
    value: T,
}

/// One tenant's entries of one priority.
#[derive(Default)]
struct Tenant {
    /// Sequence numbers by bucket, ascending.
    buckets: BTreeMap<usize, VecDeque<u64>>,
    deficit: i64,
}

impl Tenant {
    fn oldest(&self) -> Option<(u64, usize)> {
        let fronts = self.buckets.iter();
        fronts
            .filter_map(|(bucket, q)| Some((*q.front()?, *bucket)))
            .min()
    }
}

#[derive(Default)]
struct Class {
    tenants: HashMap<u64, Tenant>,
    /// Tenants with entries, the next to be served first.
    ring: VecDeque<u64>,
}

/// Waiting work in fair order.
pub struct FairQueue<T> {
    limits: Limits,
    entries: BTreeMap<u64, Entry<T>>,
    deadlines: BTreeSet<(Micros, u64)>,
    classes: [Class; Priority::COUNT],
    of_tenant: HashMap<u64, usize>,
    length: usize,
    next: u64,
    batches: u64,
}

impl<T> FairQueue<T> {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits {
                bucket: limits.bucket.max(1),
                ..limits
            },
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            classes: std::array::from_fn(|_| Class::default()),
            of_tenant: HashMap::new(),
            length: 0,
            next: 0,
            batches: 0,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Padded length of everything that waits.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How long the oldest entry has waited.
    pub fn age(&self, now: Micros) -> Micros {
        let oldest = self.entries.first_key_value();
        oldest.map_or(0, |(_, entry)| now.saturating_sub(entry.since))
    }

    /// Adds an entry and answers its ticket.
    ///
    /// # Errors
    /// The value comes back when there is no place for it.
    pub fn push(&mut self, now: Micros, label: Label, value: T) -> Result<u64, T> {
        let places = match label.priority {
            Priority::Bulk => self.limits.waiting.div_ceil(2),
            Priority::Urgent | Priority::Normal => self.limits.waiting,
        };
        let own = self.of_tenant.get(&label.tenant).copied().unwrap_or(0);
        if self.entries.len() >= places || own >= self.limits.waiting_of_tenant {
            return Err(value);
        }
        let bucket = label.length.max(1).div_ceil(self.limits.bucket);
        let ticket = self.next;
        self.next += 1;
        self.length += bucket * self.limits.bucket;
        *self.of_tenant.entry(label.tenant).or_default() += 1;
        let class = &mut self.classes[label.priority.index()];
        let tenant = class.tenants.entry(label.tenant).or_insert_with(|| {
            class.ring.push_back(label.tenant);
            Tenant::default()
        });
        tenant.buckets.entry(bucket).or_default().push_back(ticket);
        if let Some(deadline) = label.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        let since = now;
        let entry = Entry {
            label,
            bucket,
            since,
            value,
        };
        self.entries.insert(ticket, entry);
        Ok(ticket)
    }

    /// Takes an entry out whose answer nobody waits for; `None` when it is not here any more.
    pub fn cancel(&mut self, now: Micros, ticket: u64) -> Option<Taken<T>> {
        self.remove(now, ticket)
    }

    /// Takes out every entry whose deadline has passed.
    pub fn expire(&mut self, now: Micros) -> Vec<Taken<T>> {
        let mut late = Vec::new();
        while let Some((deadline, ticket)) = self.deadlines.first().copied()
            && deadline <= now
        {
            late.extend(self.remove(now, ticket));
        }
        late
    }

    /// The next batch; empty when nothing waits.
    pub fn take(&mut self, now: Micros) -> Vec<Taken<T>> {
        let mut batch = Vec::new();
        let Some((&oldest, entry)) = self.entries.first_key_value() else {
            return batch;
        };
        self.batches += 1;
        let (class, bucket) = if self.batches.is_multiple_of(AGED) {
            let (label, bucket) = (entry.label, entry.bucket);
            let class = label.priority.index();
            if let Some(tenant) = self.classes[class].tenants.get_mut(&label.tenant) {
                tenant.deficit -= (bucket * self.limits.bucket) as i64;
            }
            batch.extend(self.remove(now, oldest));
            (class, bucket)
        } else if let Some(lead) = self.lead() {
            lead
        } else {
            return batch;
        };
        self.fill(now, class, bucket, &mut batch);
        for other in 0..Priority::COUNT {
            if other != class {
                self.fill(now, other, bucket, &mut batch);
            }
        }
        batch
    }

    /// What one tenant may take before it is the next one's turn.
    fn quantum(&self) -> i64 {
        (8 * self.limits.bucket) as i64
    }

    /// Turns the ring of the first class that has work until its front may be served; answers the
    /// class and the bucket of the front's oldest entry.
    fn lead(&mut self) -> Option<(usize, usize)> {
        let quantum = self.quantum();
        let class = self.classes.iter().position(|c| !c.ring.is_empty())?;
        let Class { tenants, ring } = &mut self.classes[class];
        loop {
            let tenant = tenants.get_mut(ring.front()?)?;
            let (_, bucket) = tenant.oldest()?;
            if tenant.deficit >= (bucket * self.limits.bucket) as i64 {
                return Some((class, bucket));
            }
            tenant.deficit += quantum;
            ring.rotate_left(1);
        }
    }

    /// Adds entries of `bucket` to `batch` until it is full.
    fn fill(&mut self, now: Micros, class: usize, bucket: usize, batch: &mut Vec<Taken<T>>) {
        let (quantum, cost) = (self.quantum(), bucket * self.limits.bucket);
        let room = (self.limits.batch_length / cost)
            .min(self.limits.batch_items)
            .max(1);
        let mut at = 0;
        while batch.len() < room {
            let ring = &mut self.classes[class];
            let Some(id) = ring.ring.get(at).copied() else {
                break;
            };
            let Some(tenant) = ring.tenants.get_mut(&id) else {
                break;
            };
            let Some(ticket) = tenant.buckets.get(&bucket).and_then(VecDeque::front) else {
                at += 1;
                continue;
            };
            if tenant.deficit >= cost as i64 {
                tenant.deficit -= cost as i64;
                let ticket = *ticket;
                batch.extend(self.remove(now, ticket));
            } else {
                tenant.deficit += quantum;
                ring.ring.remove(at);
                ring.ring.push_back(id);
            }
        }
    }

    fn remove(&mut self, now: Micros, ticket: u64) -> Option<Taken<T>> {
        let entry = self.entries.remove(&ticket)?;
        let Label {
            tenant: id,
            priority,
            deadline,
            ..
        } = entry.label;
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        self.length -= entry.bucket * self.limits.bucket;
        if let Some(own) = self.of_tenant.get_mut(&id) {
            *own -= 1;
            if *own == 0 {
                self.of_tenant.remove(&id);
            }
        }
        let class = &mut self.classes[priority.index()];
        if let Some(tenant) = class.tenants.get_mut(&id) {
            if let Some(line) = tenant.buckets.get_mut(&entry.bucket) {
                if let Ok(at) = line.binary_search(&ticket) {
                    line.remove(at);
                }
                if line.is_empty() {
                    tenant.buckets.remove(&entry.bucket);
                }
            }
            if tenant.buckets.is_empty() {
                class.tenants.remove(&id);
                class.ring.retain(|t| *t != id);
            }
        }
        Some(Taken {
            waited: now.saturating_sub(entry.since),
            value: entry.value,
        })
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
