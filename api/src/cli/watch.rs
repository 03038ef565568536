//! `novastream watch`

use std::process::ExitCode;

use super::args::WatchArgs;
use super::output;
use super::table::Table;
use super::{local, remote};
use crate::http::VerdictRecord;
use crate::watch::{Watch, WatchState};

/// Prints verdicts as rows or as JSON lines.
pub struct Printer {
    json: bool,
    table: Table,
    begun: bool,
}

impl Printer {
    /// A printer for one run of the command.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            table: Table::new(),
            begun: false,
        }
    }

    /// Prints a verdict, given as the service sends it.
    ///
    /// # Errors
    /// stdout cannot be written, or `text` is no verdict.
    pub fn verdict(&mut self, text: &str) -> anyhow::Result<()> {
        let record: VerdictRecord = serde_json::from_str(text)?;
        let rows = self.table.rows(&record);
        if self.json {
            return output::line(text);
        }
        if !self.begun {
            self.begun = true;
            output::line(&Table::header())?;
        }
        rows.iter().try_for_each(|row| output::line(row))
    }

    /// Tells of the watch's state; on stderr, so that stdout holds verdicts only.
    pub fn state(watch: &Watch) {
        let why = watch
            .error
            .as_ref()
            .map(|e| format!(" ({}: {})", e.code, e.message));
        output::note(&format!(
            "watch {}: {}{}",
            watch.stream_id,
            watch.state,
            why.unwrap_or_default()
        ));
    }

    /// The last line, and whether the command did its work.
    pub fn finish(&self, state: WatchState) -> ExitCode {
        output::note(&format!("{state}: {}", self.table.tally()));
        if state == WatchState::Failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The service or a policy cannot be reached or loaded.
pub fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    match &args.server {
        Some(server) => remote::run(&args, server.trim_end_matches('/')),
        None => local::run(&args),
    }
}
