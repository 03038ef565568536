//! Offline training and export.
//!
//! - [`chat`]: multi-head linear models over hashed n-grams, from labelled chat;
//! - [`recommender`]: item-to-item, factor and ranking models, from behaviour events;
//! - [`sound`]: sound models, from folders of labelled clips;
//! - [`metrics`]: how good scores are;
//! - [`data`]: the `data` subcommands.

pub mod chat;
pub mod data;
mod disguise;
pub mod encoder;
pub mod metrics;
pub mod recommender;
pub mod sound;
