//! What is remembered of a user.

use super::clock::{HourClock, fade};

/// Half-life of faded exposures, hours.
const EXPOSURE_HALF_LIFE: f32 = 168.0;

/// One of the user's own items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Own {
    pub item: u32,
    /// All starts, also those that the list of events has forgotten.
    pub count: u32,
    pub first: i64,
    pub last: i64,
    /// How often the user chose something while this item was live.
    pub exposed: f32,
    /// The same, fading, as it was at `exposed_at`.
    exposed_faded: f32,
    exposed_at: i64,
}

impl Own {
    /// Counts a choice made at `time` while this item was live.
    pub fn expose(&mut self, time: i64, clock: HourClock) {
        self.exposed += 1.0;
        self.exposed_faded = self.exposed_faded_at(time, clock) + 1.0;
        self.exposed_at = self.exposed_at.max(time);
    }

    pub fn exposed_faded_at(&self, time: i64, clock: HourClock) -> f32 {
        self.exposed_faded * fade(clock.hours(self.exposed_at, time), EXPOSURE_HALF_LIFE)
    }
}

/// A user's state: the latest events and the own items, both bounded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Person {
    /// (item, time), the oldest first.
    pub events: Vec<(u32, i64)>,
    /// In the order of the first start.
    pub own: Vec<Own>,
    /// All starts.
    pub total: u32,
    /// Sum of the own items' vectors, by log of the count.
    pub vector: Vec<f32>,
    /// Its length.
    pub length: f32,
}

impl Person {
    /// Adds an event and says whether the item is new to the user.
    pub fn add(&mut self, item: u32, time: i64, limit: usize) -> bool {
        let at = self.events.partition_point(|(_, other)| *other <= time);
        self.events.insert(at, (item, time));
        if self.events.len() > limit {
            self.events.remove(0);
        }
        self.total += 1;
        if let Some(own) = self.own.iter_mut().find(|own| own.item == item) {
            own.count += 1;
            own.first = own.first.min(time);
            own.last = own.last.max(time);
            return false;
        }
        if self.own.len() >= limit {
            let oldest = self.own.iter().enumerate().min_by_key(|(_, own)| own.last);
            if let Some((at, _)) = oldest {
                self.own.remove(at);
            }
        }
        self.own.push(Own {
            item,
            count: 1,
            first: time,
            last: time,
            exposed: 0.0,
            exposed_faded: 0.0,
            exposed_at: time,
        });
        true
    }

    /// The count of an item.
    pub fn count(&self, item: u32) -> u32 {
        self.own
            .iter()
            .find(|own| own.item == item)
            .map_or(0, |own| own.count)
    }
}
