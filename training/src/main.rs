//! `novastream-train`: offline training and the data behind it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use novastream_datasets::store::{DataStore, DatasetState};
use novastream_training::chat::{self, ChatArgs, ChatReport};
use novastream_training::data::{self, DataCommand, DataReport};
use novastream_training::recommender::{self, RecommenderCommand, RecommenderSubcommand};
use novastream_training::sound::{self, AudioArgs};

/// Train the models of NovaStream.
#[derive(Debug, Parser)]
#[command(name = "novastream-train", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Data sets: what there is, what is here, what is whole
    #[command(subcommand)]
    Data(DataCommand),
    /// The linear chat model
    Chat(Box<ChatArgs>),
    /// Sound models, from folders of labelled clips
    Audio(Box<AudioArgs>),
    /// The recommender
    Recommender(RecommenderCommand),
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Chat(args) => {
            let report = chat::run(&args)?;
            let text = if args.json {
                serde_json::to_string(&report)?
            } else {
                summary(&report)
            };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Audio(args) => {
            let report = sound::run(&args)?;
            let text = if args.json {
                serde_json::to_string(&report)?
            } else {
                report.summary()
            };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Recommender(RecommenderCommand::Other(RecommenderSubcommand::Schedule(args))) => {
            let mut tell = |decision: &recommender::schedule::Decision| {
                let text = if args.json {
                    serde_json::to_string(decision)?
                } else {
                    let reasons = decision.reasons.join("; ");
                    format!("{:?}: {reasons}", decision.outcome).to_lowercase()
                };
                writeln!(std::io::stdout().lock(), "{text}")
            };
            recommender::schedule::run(&args, &mut tell)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Recommender(RecommenderCommand::Run(args)) => {
            let report = recommender::run(&args)?;
            let text = if args.json {
                serde_json::to_string(&report)?
            } else {
                report.summary()
            };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Data(DataCommand::SampleViewers { out, seed }) => {
            for file in novastream_datasets::sample::write_viewers(&out, seed)? {
                print(&file.display().to_string())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Data(command) => {
            let report = data::run(&command, &DataStore::from_env())?;
            let text = if command.json() {
                serde_json::to_string(&report)?
            } else {
                table(&report)
            };
            print(&text)?;
            let listing = matches!(command, DataCommand::List { .. });
            let whole = listing || !report.is_incomplete();
            Ok(if whole {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

/// `println!` would panic when the reader has gone away.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("can't write to stdout")
}

fn summary(report: &ChatReport) -> String {
    let mut lines = vec![format!(
        "{}: {} bytes of weights",
        report.model, report.weights_bytes
    )];
    for head in &report.heads {
        let auc = head
            .auc_within_sources
            .map_or_else(|| "-".to_owned(), |auc| format!("{auc:.3}"));
        lines.push(match &head.reason {
            None => format!("  {:<24} held-out AUC {auc}  F1 {:.3}", head.head, head.f1),
            Some(reason) => format!("  {:<24} not shipped: {reason}", head.head),
        });
    }
    for file in &report.report {
        for (head, figures) in &file.heads {
            let auc = figures
                .auc
                .map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}"));
            lines.push(format!(
                "  {:<28} {head:<24} AUC {auc}  F1 {:.3}",
                file.file, figures.f1
            ));
        }
    }
    lines.join("\n")
}

fn table(report: &DataReport) -> String {
    let mut lines = vec![format!("data folder: {}", report.root)];
    for dataset in &report.datasets {
        let state = match &dataset.state {
            DatasetState::Ready => "ready".to_owned(),
            DatasetState::Missing { paths } => format!("missing: {}", paths.join(", ")),
            DatasetState::Corrupt { paths } => format!("corrupt: {}", paths.join(", ")),
        };
        lines.push(format!(
            "  {:<22} {:<26} {state}",
            dataset.name, dataset.licence
        ));
    }
    lines.join("\n")
}
