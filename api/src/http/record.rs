//! Shapes that several routes share.

use novastream_inference::Verdict;
use serde::Deserialize;
use utoipa::ToSchema;

/// A verdict with its place in the store.
#[derive(Debug, Deserialize, ToSchema)]
pub struct VerdictRecord {
    /// Place in the order of commits; also the cursor of pages and the id of events.
    #[schema(example = 121)]
    pub seq: i64,
    /// Milliseconds from the arrival of a window's last packet to the commit.
    #[serde(default)]
    #[schema(example = 310.5)]
    pub latency_ms: Option<f64>,
    /// The verdict itself; its fields stand beside `seq`.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Verdicts of a batch.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Results {
    /// In the order of the items.
    pub results: Vec<VerdictRecord>,
}

/// Stored verdicts, oldest first.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Page {
    /// The verdicts.
    pub verdicts: Vec<VerdictRecord>,
    /// Give this as `after` to read on; the same as was given when nothing came after it.
    #[schema(example = 121)]
    pub next_after: i64,
    /// Whether there is more already.
    #[schema(example = false)]
    pub has_more: bool,
}

/// The header with which a caller shortens the deadline.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only describes the header")]
pub struct DeadlineHeader {
    /// Milliseconds after which the caller no longer needs the answer; counts while the request
    /// waits in the queue. At most limits.deadline_ms.
    #[param(
        rename = "x-deadline-ms",
        required = false,
        example = 2000,
        minimum = 1
    )]
    pub deadline_ms: u64,
}
