//! The locks of the hand-off. Its model test compiles the same code with loom's in their place.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
