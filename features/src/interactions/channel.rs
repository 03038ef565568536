//! What is remembered of a channel: counters that fade, and a short memory of when it was active.

use super::clock::{HourClock, fade};

/// Half-lives of the activity counters in hours: this hour, this stream, this day, this week.
pub(super) const HALF_LIVES: [f32; 4] = [0.7, 2.0, 16.0, 110.0];

/// A quiet stretch longer than this ends a run of activity: the channel was off in between.
const RUN_GAP_HOURS: f32 = 3.0;
/// A channel counts as live in a slot when it was active within this many slots of it.
pub(super) const LIVE_SLOTS: i64 = 18;
/// Half-life of the daily rhythm in hours.
const RHYTHM_HALF_LIFE: f32 = 336.0;
/// Half-life in hours of what people start next.
const NEXT_HALF_LIFE: f32 = 336.0;
/// Most channels that are remembered as next ones.
const MOST_NEXT: usize = 64;

/// A channel that people started right after this one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Next {
    item: u32,
    /// Fading count at `at`.
    count: f32,
    at: i64,
}

/// A channel's state; at most about a kilobyte, however busy it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Channel {
    /// Fading counts at `last`, one for each half-life.
    counts: [f32; 4],
    /// Starts by hour of the day, fading.
    rhythm: [f32; 24],
    /// Fading count (a day) of people who came for the first time.
    first_timers: f32,
    /// All starts.
    pub total: u32,
    /// People who came at least once.
    pub people: u32,
    /// Latest start; `i64::MIN` before the first.
    pub last: i64,
    /// First start of the current run.
    pub run_start: i64,
    /// Starts in the current run.
    pub run_count: u32,
    /// Bit `i`: active in slot `slot − i`.
    active: u64,
    slot: i64,
    /// Latest known group.
    pub group: Option<u32>,
    /// What people started next.
    next: Vec<Next>,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            counts: [0.0; 4],
            rhythm: [0.0; 24],
            first_timers: 0.0,
            total: 0,
            people: 0,
            last: i64::MIN,
            run_start: i64::MIN,
            run_count: 0,
            active: 0,
            slot: 0,
            group: None,
            next: Vec::new(),
        }
    }
}

impl Channel {
    /// Counts a start at `time`, by somebody who came for the first time or again.
    pub fn add(&mut self, time: i64, first: bool, clock: HourClock) {
        if self.total == 0 {
            self.last = time;
            self.run_start = time;
            self.slot = clock.slot(time);
        }
        let hours = clock.hours(self.last, time);
        let late = clock.hours(time, self.last);
        for (count, half_life) in self.counts.iter_mut().zip(HALF_LIVES) {
            *count = *count * fade(hours, half_life) + fade(late, half_life);
        }
        let keep = fade(hours, RHYTHM_HALF_LIFE);
        for count in &mut self.rhythm {
            *count *= keep;
        }
        self.rhythm[clock.hour_of_day(time) as usize % 24] += fade(late, RHYTHM_HALF_LIFE);
        self.first_timers *= fade(hours, HALF_LIVES[2]);
        if first {
            self.first_timers += fade(late, HALF_LIVES[2]);
            self.people += 1;
        }
        if hours > RUN_GAP_HOURS {
            self.run_start = time;
            self.run_count = 0;
        }
        self.run_count += 1;
        self.total += 1;
        self.last = self.last.max(time);
        self.mark(clock.slot(time));
    }

    /// Counts that somebody whose latest start was this channel started `item` at `time`.
    pub fn lead_to(&mut self, item: u32, time: i64, clock: HourClock) {
        let late = |next: &Next| fade(clock.hours(next.at, time), NEXT_HALF_LIFE);
        if let Some(next) = self.next.iter_mut().find(|next| next.item == item) {
            next.count = next.count * late(next) + 1.0;
            next.at = next.at.max(time);
            return;
        }
        if self.next.len() >= MOST_NEXT {
            let left = |next: &Next| next.count * late(next);
            let least = (0..self.next.len())
                .min_by(|a, b| left(&self.next[*a]).total_cmp(&left(&self.next[*b])));
            if let Some(at) = least {
                self.next.swap_remove(at);
            }
        }
        self.next.push(Next {
            item,
            count: 1.0,
            at: time,
        });
    }

    /// The channels that people started next, each with its fading count at `time`.
    pub fn next_at(&self, time: i64, clock: HourClock) -> impl Iterator<Item = (u32, f32)> {
        self.next.iter().map(move |next| {
            let hours = clock.hours(next.at, time);
            (next.item, next.count * fade(hours, NEXT_HALF_LIFE))
        })
    }

    fn mark(&mut self, slot: i64) {
        let ahead = slot - self.slot;
        if ahead > 0 {
            self.active = self.active.checked_shl(ahead.min(64) as u32).unwrap_or(0);
            self.slot = slot;
        }
        if let Ok(behind) = u32::try_from(self.slot - slot) {
            self.active |= 1_u64.checked_shl(behind).unwrap_or(0);
        }
    }

    /// Whether the channel was active in any slot of `from..=to`, as far as 64 slots back.
    pub fn active_within(&self, from: i64, to: i64) -> bool {
        let low = (self.slot - to).max(0);
        let high = (self.slot - from).min(63);
        if high < low || self.total == 0 {
            return false;
        }
        let ones = (high - low + 1) as u32;
        let mask = if ones >= 64 {
            u64::MAX
        } else {
            ((1_u64 << ones) - 1) << low
        };
        self.active & mask != 0
    }

    /// The fading counts and that of first-timers, as they are at `time`.
    pub fn counts_at(&self, time: i64, clock: HourClock) -> ([f32; 4], f32) {
        if self.total == 0 {
            return ([0.0; 4], 0.0);
        }
        let hours = clock.hours(self.last, time);
        let mut counts = self.counts;
        for (count, half_life) in counts.iter_mut().zip(HALF_LIVES) {
            *count *= fade(hours, half_life);
        }
        let first = self.first_timers * fade(hours, HALF_LIVES[2]);
        (counts, first)
    }

    /// How much of the channel's rhythm falls near an hour of the day, 1 for an even rhythm.
    pub fn rhythm_at(&self, hour: f32) -> f32 {
        let at = hour as usize % 24;
        let near =
            self.rhythm[at] + 0.5 * (self.rhythm[(at + 23) % 24] + self.rhythm[(at + 1) % 24]);
        let all: f32 = self.rhythm.iter().sum();
        // As if two starts had been spread evenly over the day.
        (near + 2.0 / 12.0) / (all + 2.0) * 12.0
    }
}
