//! What goes to stdout and stderr.

use std::io::{self, Write as _};

/// Writes a line to stdout at once. A reader that went away (`| head`) ends the program quietly.
///
/// # Errors
/// stdout cannot be written.
pub fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Writes a line to stderr.
pub fn note(text: &str) {
    // Nowhere is left to say that stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
