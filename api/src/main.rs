//! The moderation service and its operator commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    novastream_api::cli::main()
}
