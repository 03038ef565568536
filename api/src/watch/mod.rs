//! Live watches: a source is read on its own thread, its windows wait in a bounded queue, workers
//! judge them, and every step is stored before it counts.

pub mod address;
mod backoff;
mod manager;
mod memory;
mod outage;
mod queue;
mod record;
mod session;
mod sink;
mod source;
mod store_sink;
mod timeline;
mod unjudged;

#[cfg(test)]
mod script;
#[cfg(test)]
mod session_tests;

pub use manager::{Parts, WatchManager, Wish};
pub use record::{Counts, Watch, WatchError, WatchRecord, WatchState};
pub use session::{Session, Stop, Tools};
pub use sink::{Sink, Step};
pub use source::{LibavOpener, Opener, Source};
pub use store_sink::StoreSink;
pub use timeline::Position;
pub use unjudged::notable;
