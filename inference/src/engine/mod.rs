//! The engine: what stands between callers and sessions.
//!
//! - `queue` decides the order: bounds, priorities, tenants, buckets of lengths, deadlines. Pure.
//! - `handoff` puts locks around it: callers wait, workers take, every piece of work ends once.
//! - `batcher` puts threads and a clock around that: one thread a session takes a batch as soon as
//!   it is free (there is no delay to wait for more), sheds what cannot be done in time, and keeps
//!   panics apart.
//! - `batched` is the [`Session`](crate::backend::Session) in front of it all: rows of many calls,
//!   padded together, through one call of the graph.
//! - [`ServedModel`] is a model that other programs may call by its tensors.
//! - [`Call`] says on whose behalf a thread works.

mod batched;
mod batcher;
mod call;
mod handoff;
mod queue;
mod served;
mod shapes;
mod stats;
mod sync;
mod trace;

pub(crate) use self::{
    batched::{Batched, PACKED_TEXTS, Padded, Plan, SINGLES, TEXTS, WHOLES},
    queue::Limits,
    served::Counted,
    stats::Stats,
};
pub use self::{
    call::Call,
    queue::Priority,
    served::{DataType, ModelCard, ServedModel, TensorSpec},
    stats::{SizeStats, Snapshot, names},
};
