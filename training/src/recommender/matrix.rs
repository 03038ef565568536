//! Who took what, as compressed rows.

use novastream_datasets::events::Event;
use novastream_models::recommender::{Past, Weighting};

/// A sparse users × items matrix of weights above 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl Matrix {
    /// Weighs the events of every user at time `now`.
    pub fn from_events(
        events: &[Event],
        users: usize,
        items: usize,
        weighting: &Weighting,
        now: i64,
    ) -> Self {
        let by_user = PastByUser::new(events, users);
        let mut matrix = Self {
            starts: vec![0],
            width: items,
            ..Self::default()
        };
        let mut row = Vec::new();
        for user in 0..users {
            weighting.apply(by_user.of(user).iter().copied(), now, &mut row);
            matrix.push(&row);
        }
        matrix
    }

    /// Adds a row of (column, value) pairs, sorted by column.
    fn push(&mut self, row: &[(u32, f32)]) {
        self.columns.extend(row.iter().map(|(column, _)| *column));
        self.values.extend(row.iter().map(|(_, value)| *value));
        self.starts.push(self.columns.len());
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.columns.len()
    }

    /// Columns, ascending, and values of a row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// Entries in each column.
    pub fn column_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.width];
        for column in &self.columns {
            counts[*column as usize] += 1;
        }
        counts
    }

    /// Items × users.
    pub fn transpose(&self) -> Self {
        let mut starts = vec![0; self.width + 1];
        for column in &self.columns {
            starts[*column as usize + 1] += 1;
        }
        for at in 0..self.width {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut columns = vec![0; self.columns.len()];
        let mut values = vec![0.0; self.columns.len()];
        for row in 0..self.height() {
            let (from, weights) = self.row(row);
            for (column, value) in from.iter().zip(weights) {
                let at = &mut next[*column as usize];
                columns[*at] = row as u32;
                values[*at] = *value;
                *at += 1;
            }
        }
        Self {
            starts,
            columns,
            values,
            width: self.height(),
        }
    }

    /// Keeps the columns with a new number, `None` drops the column. Rows stay; new numbers must
    /// keep the order of the old ones and be below `width`.
    pub fn select(&self, new_number: &[Option<u32>], width: usize) -> Self {
        let mut chosen = Self {
            starts: vec![0],
            width,
            ..Self::default()
        };
        let mut kept = Vec::new();
        for row in 0..self.height() {
            let (columns, values) = self.row(row);
            kept.clear();
            kept.extend(
                columns
                    .iter()
                    .zip(values)
                    .filter_map(|(column, value)| Some((new_number[*column as usize]?, *value))),
            );
            chosen.push(&kept);
        }
        chosen
    }
}

/// Events regrouped by user, in the order of time.
#[derive(Clone, Debug)]
pub struct PastByUser {
    starts: Vec<usize>,
    past: Vec<Past>,
}

impl PastByUser {
    /// Regroups events of users below `users`, keeping their order.
    pub fn new(events: &[Event], users: usize) -> Self {
        let mut starts = vec![0; users + 1];
        for event in events {
            starts[event.user as usize + 1] += 1;
        }
        for at in 0..users {
            starts[at + 1] += starts[at];
        }
        let empty = Past {
            item: 0,
            time: 0,
            weight: 0.0,
        };
        let mut past = vec![empty; events.len()];
        let mut next = starts.clone();
        for event in events {
            let at = &mut next[event.user as usize];
            past[*at] = Past {
                item: event.item,
                time: event.time,
                weight: event.weight,
            };
            *at += 1;
        }
        Self { starts, past }
    }

    /// A user's events.
    pub fn of(&self, user: usize) -> &[Past] {
        &self.past[self.starts[user]..self.starts[user + 1]]
    }
}
