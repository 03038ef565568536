//! Verdicts are committed before they are answered.

use std::time::Instant;

use novastream_inference::Verdict;
use tokio::time::timeout_at;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::judge::Tally;
use crate::store::{NewVerdict, Write, Written};

/// Commits verdicts and counts them.
///
/// # Errors
/// `deadline_exceeded`, `store_unavailable`, `shutting_down`.
pub async fn verdicts(
    app: &App,
    verdicts: Vec<Verdict>,
    deadline: Instant,
) -> Result<Written, ApiError> {
    let tallies: Vec<Tally> = verdicts.iter().map(Tally::of).collect();
    let write = Write {
        verdicts: verdicts.into_iter().map(NewVerdict::from).collect(),
        ..Write::default()
    };
    let written = timeout_at(deadline.into(), app.store.write(write))
        .await
        .map_err(|_| {
            ApiError::new(
                ErrorCode::DeadlineExceeded,
                "the deadline passed before the commit",
            )
        })??;
    tallies.into_iter().for_each(Tally::count);
    Ok(written)
}
