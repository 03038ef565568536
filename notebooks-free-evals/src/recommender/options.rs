//! Options of `novastream-eval recommender`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use novastream_datasets::events::parse_time;
use novastream_training::recommender::ColumnArgs;
use serde::Serialize;

use crate::error::EvalError;

/// How lists are made and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Each event among what was live at its moment
    Live,
    /// Each test row among all items that the user did not take
    LeaveOut,
    /// The ten best items against all test rows of the user
    Ranking,
}

/// Options of `novastream-eval recommender`.
#[derive(Debug, Clone, Args)]
pub struct RecommenderOptions {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Events: CSV, JSONL or Parquet, plain or .gz. Live: all of them, also those before the
    /// window. Else: what the users took before
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Live: what was available when. Without it a channel counts as live within three hours of
    /// its events
    #[arg(long, value_name = "FILE")]
    pub availability: Option<PathBuf>,
    /// Column names
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// How to judge
    #[arg(long, value_enum)]
    pub protocol: Protocol,
    /// Live: judge events from this time on; where the model's training ended when not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// Live: judge events before this time only
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// Leave-out and ranking: the held-out rows
    #[arg(long, value_name = "FILE")]
    pub test: Option<PathBuf>,
    /// Leave-out: rows of a user and sampled items, for a second figure over them alone
    #[arg(long, value_name = "FILE")]
    pub negatives: Option<PathBuf>,
    /// Judge this model on the same cases too and put it into the table; may be repeated
    #[arg(long, value_name = "DIR")]
    pub beside: Vec<PathBuf>,
    /// Judge this model on the same cases and decide between the two
    #[arg(long, value_name = "DIR")]
    pub compare: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Live: leave out the table of silenced features, which scores every list again
    #[arg(long)]
    pub no_ablation: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn time(text: &str) -> Result<i64, String> {
    parse_time(text).ok_or_else(|| "expected a number or a date".to_owned())
}

impl RecommenderOptions {
    /// Checks what the parser can't.
    pub fn validate(&self) -> Result<(), EvalError> {
        let live = self.protocol == Protocol::Live;
        if !live && self.test.is_none() {
            return Err(EvalError::usage("this protocol needs --test FILE"));
        }
        if live && self.test.is_some() {
            return Err(EvalError::usage(
                "--test is for leave-out and ranking; the live protocol takes its cases from --events",
            ));
        }
        if self.negatives.is_some() && self.protocol != Protocol::LeaveOut {
            return Err(EvalError::usage("--negatives is for --protocol leave-out"));
        }
        let step = self.columns.step_seconds;
        if step.is_some_and(|step| !(step.is_finite() && step > 0.0)) {
            return Err(EvalError::usage("--step-seconds must be above 0"));
        }
        Ok(())
    }
}
