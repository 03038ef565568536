//! What data is: manifests, loaders into frames, and the samples that ship.
//!
//! - [`manifest`]: the TOML that names a data set, its files with hashes, licences and allowed use;
//! - [`store`]: the folder that holds data sets: list, fetch, verify;
//! - [`frame`]: CSV, JSONL and Parquet, plain or gzipped, into polars frames;
//! - [`chat`]: chat rows with masked labels;
//! - [`events`]: behaviour events of any column names, in the order of time;
//! - [`folder`]: labelled files laid out as `DIR/LABEL/file`;
//! - [`counterfactual`]: sentences that we wrote to teach what identity words do not mean;
//! - [`functional`]: test cases of hate detection, kind by kind, that we wrote;
//! - [`sample`]: small data that we wrote or made ourselves.

pub mod chat;
pub mod counterfactual;
mod error;
pub mod events;
pub mod folder;
pub mod frame;
pub mod functional;
mod hash;
mod jsonl;
pub mod manifest;
mod open;
pub mod sample;
pub mod store;

pub use error::DatasetError;
pub use hash::sha256_file;
pub use open::open;
