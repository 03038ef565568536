//! Every evaluation and benchmark as a program with a report.
//!
//! Each subcommand of `novastream-eval` is a module here: options in, a report out. Reports go to
//! stdout, as one JSON object or as text; progress and logs go to stderr.

pub mod audio;
pub mod chat;
pub mod classified;
pub mod cpu;
pub mod engine;
pub mod error;
pub mod evasion;
pub mod files;
pub mod folder_report;
pub mod frames;
pub mod hashes;
pub mod load;
pub mod moderated;
pub mod page;
pub mod recommender;
pub mod report;
pub mod score_file;
pub mod streams;
pub mod tally;
pub mod targets;
pub mod verdicts;
