//! What the ranker knows when somebody asks for a list: the one definition, offline and online.
//!
//! A [`History`] rolls along with the events: [`History::observe`] takes each one,
//! [`History::advance`] makes everything before a moment visible, and [`History::features`]
//! answers one row of numbers ([`FEATURES`]) for each candidate. Training replays the past through
//! it and serving feeds it live, so the numbers can't differ. An event is visible only to moments
//! strictly after it.
//!
//! Nothing here looks at the list of candidates beyond who is on it: how long a channel has been
//! there, or will be, says when somebody is about to watch it.

mod channel;
mod clock;
mod fill;
mod history;
mod names;
mod person;
mod rows;
mod scores;
mod terms;
mod vectors;

pub use clock::HourClock;
pub use history::{History, HistoryLimits};
pub use names::{FEATURES, FeatureNames};
pub use rows::Rows;
pub use scores::BaseScores;
pub use terms::{ItemText, item_terms};
pub use vectors::ItemVectors;

/// One event: somebody started watching something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interaction {
    /// Number of the user.
    pub user: u32,
    /// Number of the item.
    pub item: u32,
    /// When, in steps of the clock.
    pub time: i64,
    /// Category or community of the event, where known.
    pub group: Option<u32>,
}

#[cfg(test)]
mod tests;
