//! Behaviour events: who took which item when.
//!
//! A file is CSV, JSONL or Parquet, plain or gzipped, with any column names ([`EventColumns`]).
//! It is read batch by batch with only the columns that are needed, ids are numbered as they
//! appear, and the result is one [`EventLog`] in the order of time. The same readers serve the
//! lists of available items ([`Availability`]) and of sampled negatives ([`load_negatives`]).

mod availability;
mod columns;
mod csv;
mod interner;
mod item_texts;
mod log;
mod negatives;
mod parquet;
mod table;
mod time;

pub use availability::{Availability, LIVE_HOURS};
pub use columns::EventColumns;
pub use interner::Interner;
pub use item_texts::{ItemWords, load_item_words};
pub use log::{Event, EventLog};
pub use negatives::load_negatives;
pub use table::{Choose, Row, for_each_row};
pub use time::{Clock, DEFAULT_STEP_SECONDS, parse_time};

#[cfg(test)]
mod tests;
