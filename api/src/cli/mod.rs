//! The command line.

mod args;
mod follow;
mod local;
mod models;
mod moderate;
mod output;
mod remote;
mod stop;
mod table;
mod versions;
mod watch;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use args::{Command, NovaStream};

use crate::config::Settings;
use crate::traces::Traces;
use crate::{http, serve, telemetry};

/// Runs the program with this process's arguments.
pub fn main() -> ExitCode {
    match run(NovaStream::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: NovaStream) -> anyhow::Result<ExitCode> {
    match program.command {
        Command::Serve(args) => {
            let mut settings = Settings::load(args.config.as_deref())?;
            if let Some(listen) = args.listen {
                settings.listen = listen;
            }
            // Dropped last: it sends what is left.
            let traces = Traces::new(&settings.telemetry)?;
            telemetry::logging(&settings.log, traces.as_ref())?;
            runtime()?.block_on(serve::run(settings, args.ready_file))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Moderate(args) => moderate::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Models(args) => models::run(args),
        Command::Openapi => {
            output::line(&http::document().to_pretty_json()?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")
}

/// Settings for a command that works in this process; its log stays quiet unless asked.
fn local_settings(config: Option<&std::path::Path>) -> anyhow::Result<Settings> {
    let settings = Settings::load(config)?;
    let mut log = settings.log.clone();
    if log == crate::config::LogSettings::default() && std::env::var_os("RUST_LOG").is_none() {
        log.filter = "error".into();
    }
    telemetry::logging(&log, None)?;
    Ok(settings)
}
