//! Which items could be had when.

use std::collections::BTreeMap;
use std::path::Path;

use super::log::Event;
use super::time::{Clock, parse_time};
use super::{EventColumns, Interner, for_each_row};
use crate::DatasetError;

/// Without a list of what was live, a channel counts as live within this many hours of one of
/// its events, before or after: streams last hours, and viewers come throughout.
pub const LIVE_HOURS: f64 = 3.0;

/// Items available at each time, sorted and without repeats.
#[derive(Clone, Debug, Default)]
pub struct Availability {
    steps: BTreeMap<i64, Vec<u32>>,
}

impl Availability {
    /// Reads rows of (time, item). New items continue the numbering.
    pub fn load(
        path: &Path,
        columns: &EventColumns,
        items: &mut Interner,
    ) -> Result<Self, DatasetError> {
        let mut steps: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for_each_row(
            path,
            &mut |names| {
                let (time, item) = columns.resolve_availability(path, names)?;
                Ok(vec![time, item])
            },
            &mut |number, cells| {
                let bad = |message: &str| {
                    DatasetError::malformed(path, format!("row {number}: {message}"))
                };
                let time = cells[0]
                    .and_then(parse_time)
                    .ok_or_else(|| bad("no time"))?;
                let item = cells[1].map(str::trim).filter(|id| !id.is_empty());
                let item = item.ok_or_else(|| bad("no item"))?;
                let item = items.intern(item).ok_or_else(|| bad("too many items"))?;
                steps.entry(time).or_default().push(item);
                Ok(())
            },
        )?;
        for items in steps.values_mut() {
            items.sort_unstable();
            items.dedup();
        }
        Ok(Self { steps })
    }

    /// The items at a time, `None` where the list says nothing about it.
    pub fn at(&self, time: i64) -> Option<&[u32]> {
        self.steps.get(&time).map(Vec::as_slice)
    }

    /// Whether the list says anything.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The times that the list speaks of, in order.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        self.steps.keys().copied()
    }

    /// What counted as live at each of the given times by the rule of [`LIVE_HOURS`], from
    /// events in the order of time. Where time is only an order, everything seen is available
    /// and the answer is empty.
    pub fn from_events(events: &[Event], clock: Clock, times: impl Iterator<Item = i64>) -> Self {
        let Some(reach) = clock.steps_in_hours(LIVE_HOURS) else {
            return Self::default();
        };
        let mut steps = BTreeMap::new();
        for time in times {
            steps.entry(time).or_insert_with(|| {
                let from = events.partition_point(|event| event.time < time - reach);
                let to = events.partition_point(|event| event.time <= time + reach);
                let mut items: Vec<u32> = events[from..to].iter().map(|event| event.item).collect();
                items.sort_unstable();
                items.dedup();
                items
            });
        }
        Self { steps }
    }
}
