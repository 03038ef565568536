//! `novastream-eval`: evaluations and load tests on the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use novastream_evals::error::EvalError;
use novastream_evals::{
    audio, chat, classified, evasion, frames, hashes, load, recommender, report, streams, verdicts,
};

/// Evaluations and load tests; each prints a report on stdout.
#[derive(Debug, Parser)]
#[command(name = "novastream-eval", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Figures of the chat model on labelled messages
    Chat(chat::ChatOptions),
    /// Figures of the whole text path, as the service runs it, on labelled messages
    Verdicts(verdicts::VerdictOptions),
    /// What is still seen of disguised words, and who is flagged for writing that way
    Evasion(evasion::EvasionOptions),
    /// Scores and false positives of pictures in labelled folders
    Frames(frames::FramesOptions),
    /// Speed, memory and exactness of the search in picture blocklists
    Hashes(hashes::HashesOptions),
    /// Scores and false alarms of sound in labelled folders
    Audio(audio::AudioOptions),
    /// A recommender on live lists, left-out items or whole rankings
    Recommender(Box<recommender::RecommenderOptions>),
    /// Throughput and latency of a running service
    Load(load::LoadOptions),
    /// How many live streams a service keeps up with, and whether its memory stays flat
    Streams(streams::StreamOptions),
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error[{}]: {error}", error.code());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), EvalError> {
    match command {
        Command::Chat(options) => report::print(&chat::run(&options)?, options.json),
        Command::Verdicts(options) => report::print(&verdicts::run(&options)?, options.json),
        Command::Evasion(options) => report::print(&evasion::run(&options)?, options.json),
        Command::Frames(options) => report::print(&frames::run(&options)?, options.folder.json),
        Command::Hashes(options) => report::print(&hashes::run(&options)?, options.json),
        Command::Audio(options) => match options.trained()? {
            Some(model) => {
                let report = classified::run(&options.folder, &model, &options.fold)?;
                report::print(&report, options.folder.json)
            }
            None => report::print(&audio::run(&options.folder)?, options.folder.json),
        },
        Command::Recommender(options) => report::print(&recommender::run(&options)?, options.json),
        Command::Load(options) => report::print(&load::run(&options)?, options.json),
        Command::Streams(options) => report::print(&streams::run(&options)?, options.json),
    }
}
