//! Offline training and export.
//!
//! - [`chat`]: multi-head linear models over hashed n-grams, from labelled chat;
//! - [`metrics`]: how good scores are;
//! - [`data`]: the `data` subcommands.

pub mod chat;
pub mod data;
pub mod metrics;
