//! Events in the order of time.

use std::cell::OnceCell;
use std::path::Path;

use super::columns::Resolved;
use super::time::{Clock, parse_time};
use super::{EventColumns, Interner, for_each_row};
use crate::DatasetError;

/// One event; ids are numbers of the log's interners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Who.
    pub user: u32,
    /// What.
    pub item: u32,
    /// When, in steps of the log's clock.
    pub time: i64,
    /// How much, above 0; 1 without a weight column.
    pub weight: f32,
    /// Category or community, where the file has one.
    pub group: Option<u32>,
}

/// All events of a file, sorted by time; equal times keep the order of the file.
#[derive(Clone, Debug)]
pub struct EventLog {
    /// Users by number.
    pub users: Interner,
    /// Items by number.
    pub items: Interner,
    /// Groups by number; empty without a group column.
    pub groups: Interner,
    /// The events.
    pub events: Vec<Event>,
    /// What a step of time is.
    pub clock: Clock,
    /// Whether the file has a weight column that was asked for.
    pub weighted: bool,
    /// Rows left out: no user, no item, or a weight of 0 or less.
    pub skipped: usize,
}

impl EventLog {
    /// Reads a file. `clock` overrides the guess of what a step of time is.
    pub fn load(
        path: &Path,
        columns: &EventColumns,
        clock: Option<Clock>,
    ) -> Result<Self, DatasetError> {
        Self::load_with(
            path,
            columns,
            clock,
            Interner::default(),
            Interner::default(),
        )
    }

    /// Reads a file whose users and items continue the given numbering, as a test file does
    /// beside its training file.
    pub fn load_with(
        path: &Path,
        columns: &EventColumns,
        clock: Option<Clock>,
        users: Interner,
        items: Interner,
    ) -> Result<Self, DatasetError> {
        let mut log = Self {
            users,
            items,
            groups: Interner::default(),
            events: Vec::new(),
            clock: Clock::Order,
            weighted: false,
            skipped: 0,
        };
        let found: OnceCell<Resolved> = OnceCell::new();
        for_each_row(
            path,
            &mut |names| {
                let resolved = columns.resolve(path, names)?;
                Ok(found.get_or_init(|| resolved).wanted())
            },
            &mut |number, cells| {
                let places = found.get().map(Resolved::places).unwrap_or_default();
                log.push(path, places, number, cells)
            },
        )?;
        let Some(found) = found.get() else {
            return Err(DatasetError::malformed(path, "no rows"));
        };
        log.weighted = found.weight.is_some();
        if found.time.is_some() {
            log.events.sort_by_key(|event| event.time);
            let latest = log.events.last().map_or(0, |event| event.time);
            log.clock = clock.unwrap_or(Clock::guess(latest));
        }
        Ok(log)
    }

    /// The events before a time.
    pub fn until(&self, time: i64) -> &[Event] {
        &self.events[..self.events.partition_point(|event| event.time < time)]
    }

    /// The events from a time on.
    pub fn since(&self, time: i64) -> &[Event] {
        &self.events[self.events.partition_point(|event| event.time < time)..]
    }

    fn push(
        &mut self,
        path: &Path,
        [time_at, weight_at, group_at]: [Option<usize>; 3],
        number: usize,
        cells: &[Option<&str>],
    ) -> Result<(), DatasetError> {
        let cell = |at: usize| cells.get(at).copied().flatten().map(str::trim);
        let (Some(user), Some(item)) = (
            cell(0).filter(|id| !id.is_empty()),
            cell(1).filter(|id| !id.is_empty()),
        ) else {
            self.skipped += 1;
            return Ok(());
        };
        let bad = |what: &str, text: &str| {
            DatasetError::malformed(path, format!("row {number}: {text:?} is not a {what}"))
        };
        let time = match time_at {
            Some(at) => {
                let text = cell(at).unwrap_or_default();
                parse_time(text).ok_or_else(|| bad("time", text))?
            }
            None => number as i64,
        };
        let weight = match weight_at.map(cell) {
            Some(Some(text)) => match text.parse::<f32>() {
                Ok(weight) if weight.is_finite() => weight,
                _ => return Err(bad("weight", text)),
            },
            Some(None) => 0.0,
            None => 1.0,
        };
        if weight <= 0.0 {
            self.skipped += 1;
            return Ok(());
        }
        let full = || DatasetError::malformed(path, format!("row {number}: too many distinct ids"));
        let group = match group_at.and_then(cell).filter(|group| !group.is_empty()) {
            Some(group) => Some(self.groups.intern(group).ok_or_else(full)?),
            None => None,
        };
        self.events.push(Event {
            user: self.users.intern(user).ok_or_else(full)?,
            item: self.items.intern(item).ok_or_else(full)?,
            time,
            weight,
            group,
        });
        Ok(())
    }
}
