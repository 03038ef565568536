//! Commands and their flags. Other programs rely on them: flags may be added, none taken away.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Moderation of live streams and their chat.
#[derive(Debug, Parser)]
#[command(name = "novastream", version, about, propagate_version = true)]
pub struct NovaStream {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    Serve(ServeArgs),
    /// Judge one text, file or URL in this process
    Moderate(ModerateArgs),
    /// Watch a live URL and print what is found
    Watch(WatchArgs),
    /// List, fetch and verify model artifacts
    Models(ModelsArgs),
    /// Print the OpenAPI document
    #[command(hide = true)]
    Openapi,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Settings; config/novastream.toml has all of them with their defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port; port 0 lets the system choose
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Write the URL to this file once requests are taken
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["text", "input"]))]
pub struct ModerateArgs {
    /// Judge this text
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// A picture, a recording, a .txt file, or a URL
    #[arg(value_name = "FILE|URL")]
    pub input: Option<String>,
    /// Decide by this policy
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Of a live URL, judge this much
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// HLS, RTMP, SRT or any other URL that libav opens; without --server also a file
    #[arg(value_name = "URL")]
    pub url: String,
    /// Print one JSON object a verdict, a line each, instead of the table
    #[arg(long)]
    pub json: bool,
    /// Let this service watch, and follow its verdicts (with those of the stream's chat)
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Name of the stream
    #[arg(long, value_name = "ID")]
    pub stream_id: Option<String>,
    /// End after this time
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Leave the service's watch running when this command ends
    #[arg(long, requires = "server")]
    pub keep: bool,
    /// Decide by this policy: a file, or with --server the name of one that is loaded there
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// Settings
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Show every known model and whether it is here
    List(ModelsListArgs),
    /// Fetch models and verify them; goes on when one fails
    Pull(ModelsPullArgs),
    /// Check the files of models against their recorded hashes
    Verify(ModelsPullArgs),
    /// Write the ONNX graph that serving runs to a file, for other programs
    Export(ModelsExportArgs),
    /// Make versions production, or put them on trial; a running service swaps them in
    Promote(ModelsPromoteArgs),
    /// Put the version back that was production before, or end a trial
    Rollback(ModelsRollbackArgs),
    /// Ask the model in a folder the golden questions and store its answers beside its manifest
    Golden(ModelsGoldenArgs),
}

#[derive(Debug, Args)]
pub struct ModelsPromoteArgs {
    /// Models of the zoo. Several change at once. Without a version: the candidate, else the highest
    #[arg(value_name = "NAME[@VERSION]", required = true)]
    pub models: Vec<String>,
    /// Put them on trial beside production
    #[arg(long)]
    pub candidate: bool,
    /// Percent of channels or users that the candidate judges
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "candidate",
        default_value_t = 0.0
    )]
    pub canary: f64,
    /// The candidate scores a sample of what production judges, to compare
    #[arg(long, requires = "candidate")]
    pub shadow: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsRollbackArgs {
    /// Models of the zoo. Several change at once
    #[arg(value_name = "NAME", required = true)]
    pub models: Vec<String>,
    /// End the trial of the candidate; production stays
    #[arg(long)]
    pub candidate: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsGoldenArgs {
    /// Folder of a model that we trained
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsExportArgs {
    /// Name of a model that is here
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsListArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsPullArgs {
    /// Names of models; all of them when none is given
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub names: Vec<String>,
    /// All models
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        NovaStream::command().debug_assert();
    }

    #[test]
    fn the_promised_forms_parse() {
        for line in [
            "novastream serve --config a.toml --listen 127.0.0.1:0",
            "novastream moderate --text hello --json",
            "novastream moderate clip.ts --policy p.toml",
            "novastream watch rtmp://h/a --json",
            "novastream watch http://h/a --server http://h --stream-id s --keep --seconds 3",
            "novastream models list --json",
            "novastream models pull --all",
            "novastream models pull yamnet onnxruntime --json",
            "novastream models verify",
            "novastream models promote chat-linear@0.2.0 chat-minilm",
            "novastream models promote chat-linear --candidate --canary 5 --shadow",
            "novastream models rollback chat-linear",
            "novastream models golden models/zoo/chat-linear/0.1.0",
        ] {
            NovaStream::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
        for line in [
            "novastream moderate",
            "novastream moderate --text a b",
            "novastream models promote chat-linear --canary 5",
            "novastream",
        ] {
            assert!(
                NovaStream::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
