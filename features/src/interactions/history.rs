//! The rolling state of all users and channels.

use std::collections::VecDeque;

use super::channel::{Channel, LIVE_SLOTS};
use super::person::Person;
use super::vectors::{ItemVectors, dot};
use super::{HourClock, Interaction};

/// How much a [`History`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Latest events, and own items, of one user; at least 1.
    pub events_per_user: usize,
    /// Latest events of everybody that are compared with the asking user.
    pub recent_events: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            events_per_user: 512,
            recent_events: 2048,
        }
    }
}

/// Hours that events of others stay in the short memory.
pub(super) const RECENT_HOURS: f64 = 6.0;

/// An event of the short memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recent {
    pub user: u32,
    pub item: u32,
    pub time: i64,
    /// Whether the item was new to the user.
    pub first: bool,
}

/// What is known at a moment. Memory is bounded per user and per item.
#[derive(Clone, Debug)]
pub struct History {
    pub(super) clock: HourClock,
    limits: HistoryLimits,
    pub(super) vectors: ItemVectors,
    pub(super) people: Vec<Person>,
    pub(super) channels: Vec<Channel>,
    pub(super) recent: VecDeque<Recent>,
    /// Events whose exposures are not settled yet, because what was live around them may still
    /// show.
    unsettled: VecDeque<(u32, i64)>,
    /// Events that no query has the right to see yet.
    pending: Vec<Interaction>,
}

impl History {
    /// An empty history. `vectors` places items, so that users can be compared; without them
    /// those features stay 0.
    pub fn new(clock: HourClock, limits: HistoryLimits, vectors: ItemVectors) -> Self {
        Self {
            clock,
            limits,
            vectors,
            people: Vec::new(),
            channels: Vec::new(),
            recent: VecDeque::new(),
            unsettled: VecDeque::new(),
            pending: Vec::new(),
        }
    }

    /// The clock that times are read by.
    pub fn clock(&self) -> HourClock {
        self.clock
    }

    /// Takes an event. It becomes visible when [`History::advance`] reaches a later moment, so
    /// events of one step never see each other.
    pub fn observe(&mut self, event: Interaction) {
        if self
            .pending
            .first()
            .is_some_and(|earlier| earlier.time < event.time)
        {
            self.advance(event.time);
        }
        self.pending.push(event);
    }

    /// Makes every observed event before `time` visible, and forgets what is too old.
    pub fn advance(&mut self, time: i64) {
        let mut due: Vec<Interaction> = Vec::new();
        self.pending.retain(|event| {
            let is_due = event.time < time;
            if is_due {
                due.push(*event);
            }
            !is_due
        });
        due.sort_by_key(|event| event.time);
        for event in due {
            self.settle(event.time);
            self.apply(event);
        }
        self.settle(time);
        let oldest = self.clock.before(time, RECENT_HOURS);
        while self.recent.front().is_some_and(|event| event.time < oldest)
            || self.recent.len() > self.limits.recent_events
        {
            self.recent.pop_front();
        }
    }

    /// Sets the group of an item, known from elsewhere than its events. Items beyond those that
    /// have events need memory up to their number, which the caller bounds.
    pub fn set_group(&mut self, item: u32, group: Option<u32>) {
        let item = item as usize;
        if self.channels.len() <= item {
            if group.is_none() {
                return;
            }
            self.channels.resize_with(item + 1, Channel::default);
        }
        let channel = &mut self.channels[item];
        channel.group = group.or(channel.group);
    }

    /// The own items of a user with how often each was started, for base models.
    pub fn counts(&self, user: u32) -> impl Iterator<Item = (u32, u32)> {
        let own = self.people.get(user as usize);
        own.into_iter()
            .flat_map(|person| person.own.iter().map(|own| (own.item, own.count)))
    }

    /// The latest visible (item, time) starts of a user, the oldest first.
    pub fn events(&self, user: u32) -> impl Iterator<Item = (u32, i64)> {
        let person = self.people.get(user as usize);
        person
            .into_iter()
            .flat_map(|person| person.events.iter().copied())
    }

    /// How often a user started an item.
    pub fn count(&self, user: u32, item: u32) -> u32 {
        self.people
            .get(user as usize)
            .map_or(0, |person| person.count(item))
    }

    /// All visible starts of a user.
    pub fn total(&self, user: u32) -> u32 {
        self.people
            .get(user as usize)
            .map_or(0, |person| person.total)
    }

    /// How busy an item was lately: its starts before `time`, fading with a half-life of two hours.
    pub fn trend(&self, item: u32, time: i64) -> f32 {
        self.channels
            .get(item as usize)
            .map_or(0.0, |channel| channel.counts_at(time, self.clock).0[1])
    }

    /// All visible starts of an item.
    pub fn starts(&self, item: u32) -> u32 {
        self.channels
            .get(item as usize)
            .map_or(0, |channel| channel.total)
    }

    fn apply(&mut self, event: Interaction) {
        let (user, item) = (event.user as usize, event.item as usize);
        if self.people.len() <= user {
            self.people.resize_with(user + 1, Person::default);
        }
        if self.channels.len() <= item {
            self.channels.resize_with(item + 1, Channel::default);
        }
        let person = &mut self.people[user];
        let before = person.events.last().filter(|last| last.1 <= event.time);
        if let Some(before) = before.and_then(|(item, _)| self.channels.get_mut(*item as usize)) {
            before.lead_to(event.item, event.time, self.clock);
        }
        let first = person.add(event.item, event.time, self.limits.events_per_user.max(1));
        if let Some(vector) = self.vectors.of(event.item) {
            let count = person.count(event.item) as f32;
            let weight = count.ln_1p() - (count - 1.0).max(0.0).ln_1p();
            person.vector.resize(vector.len(), 0.0);
            for (sum, value) in person.vector.iter_mut().zip(vector) {
                *sum += weight * value;
            }
            person.length = dot(&person.vector, &person.vector).sqrt();
        }
        let channel = &mut self.channels[item];
        channel.add(event.time, first, self.clock);
        channel.group = event.group.or(channel.group);
        self.recent.push_back(Recent {
            user: event.user,
            item: event.item,
            time: event.time,
            first,
        });
        self.unsettled.push_back((event.user, event.time));
    }

    /// Counts exposures of choices whose surroundings are fully known at `time`.
    fn settle(&mut self, time: i64) {
        let now = self.clock.slot(time);
        while let Some(&(user, chosen)) = self.unsettled.front() {
            let slot = self.clock.slot(chosen);
            if slot + LIVE_SLOTS >= now {
                break;
            }
            self.unsettled.pop_front();
            let person = &mut self.people[user as usize];
            for own in &mut person.own {
                let live = own.first < chosen
                    && self.channels.get(own.item as usize).is_some_and(|channel| {
                        channel.active_within(slot - LIVE_SLOTS, slot + LIVE_SLOTS)
                    });
                if live {
                    own.expose(chosen, self.clock);
                }
            }
        }
    }

    /// Whether a choice at `chosen` still waits for [`History::settle`] at `time`.
    pub(super) fn is_unsettled(&self, chosen: i64, time: i64) -> bool {
        self.clock.slot(chosen) + LIVE_SLOTS >= self.clock.slot(time)
    }

    /// Whether an item was live around a choice at `chosen`, as far as is visible.
    pub(super) fn live_around(&self, item: u32, chosen: i64) -> bool {
        let slot = self.clock.slot(chosen);
        self.channels
            .get(item as usize)
            .is_some_and(|channel| channel.active_within(slot - LIVE_SLOTS, slot + LIVE_SLOTS))
    }
}
