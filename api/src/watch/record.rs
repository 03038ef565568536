//! What is known about a watch, as stored and as shown.

use std::fmt;

use novastream_features::media::MediaInfo;
use serde::{Deserialize, Serialize};

use super::address::redact;
use super::memory::Memory;
use super::timeline::Position;
use crate::clock;
use crate::store::{StoreError, StoreResult, WatchRow};

/// Where a watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchState {
    /// Connecting for the first time.
    Starting,
    /// Windows come in.
    Running,
    /// The source is lost; attempts go on.
    Reconnecting,
    /// The source came to its end.
    Ended,
    /// Given up; `error` says why.
    Failed,
    /// Ended by a caller.
    Stopped,
}

impl WatchState {
    /// Whether the watch still works, and is resumed when the service starts.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Reconnecting)
    }

    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reconnecting => "reconnecting",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for WatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a source was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WatchError {
    /// A code of docs/errors.md.
    #[schema(example = "source_stalled")]
    pub code: String,
    /// What happened.
    #[schema(example = "the source gave nothing for 10000 ms")]
    pub message: String,
}

/// What a watch has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Counts {
    /// Windows judged.
    pub windows: u64,
    /// Windows judged with another action than `allow`, or for review.
    pub notable: u64,
    /// Windows that could not be judged in time; each is a degraded verdict.
    pub shed: u64,
    /// Windows that came again after a reconnect and were left out.
    pub repeated: u64,
    /// Stretches that never arrived; each is a verdict of kind `gap`.
    pub gaps: u64,
    /// Times the source was lost.
    pub outages: u64,
}

/// A watch, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchRecord {
    /// UUID version 7.
    pub id: String,
    /// The stream that the verdicts belong to.
    pub stream_id: String,
    /// What is opened, with its secrets.
    pub url: String,
    /// The policy by name, when the caller named one.
    pub policy: Option<String>,
    /// Where the watch stands.
    pub state: WatchState,
    /// The last reason for losing the source; kept until it is back.
    pub error: Option<WatchError>,
    /// Unix milliseconds.
    pub created_unix_ms: i64,
    /// Unix milliseconds.
    pub updated_unix_ms: i64,
    /// The newest sequence number of the store when the watch began.
    pub verdicts_after: i64,
    /// What was done.
    pub counts: Counts,
    /// Milliseconds from the last window's arrival to its commit.
    pub last_latency_ms: Option<f64>,
    /// The source's container and codecs.
    pub media: Option<MediaInfo>,
    /// The stream's clock.
    pub position: Position,
    /// What the last minute looked and sounded like.
    #[serde(default)]
    pub memory: Memory,
    /// The next window's number.
    pub sequence: u64,
}

impl WatchRecord {
    /// A watch that is about to begin.
    pub fn new(stream_id: String, url: String, policy: Option<String>, after: i64) -> Self {
        let now = clock::unix_ms();
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            stream_id,
            url,
            policy,
            state: WatchState::Starting,
            error: None,
            created_unix_ms: now,
            updated_unix_ms: now,
            verdicts_after: after,
            counts: Counts::default(),
            last_latency_ms: None,
            media: None,
            position: Position::default(),
            memory: Memory::default(),
            sequence: 0,
        }
    }

    /// The row that holds it.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn to_row(&self) -> StoreResult<WatchRow> {
        let json = serde_json::to_string(self).map_err(|e| damaged(&e))?;
        Ok(WatchRow {
            id: self.id.clone(),
            stream_id: self.stream_id.clone(),
            active: self.state.is_active(),
            created_at: self.created_unix_ms,
            json,
        })
    }

    /// The record in a row.
    ///
    /// # Errors
    /// A row that another program wrote.
    pub fn from_row(row: &WatchRow) -> StoreResult<Self> {
        serde_json::from_str(&row.json).map_err(|e| damaged(&e))
    }
}

fn damaged(e: &serde_json::Error) -> StoreError {
    StoreError::Damaged {
        what: "watch",
        message: e.to_string(),
    }
}

/// A watch as callers see it: without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Watch {
    /// Names the watch in `/v1/watches/{id}`.
    #[schema(example = "0199f3a2-7a4e-7000-8000-000000000000")]
    pub id: String,
    /// The stream that the verdicts belong to.
    #[schema(example = "channel-7")]
    pub stream_id: String,
    /// The URL without user, password and the query's values.
    #[schema(example = "https://media.example/live.m3u8")]
    pub url: String,
    /// The policy that the caller named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "default")]
    pub policy: Option<String>,
    /// Where the watch stands.
    pub state: WatchState,
    /// Why the source was lost, or why the watch failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WatchError>,
    /// RFC 3339, UTC.
    #[schema(example = "2026-11-22T16:00:00.000Z")]
    pub created_at: String,
    /// RFC 3339, UTC.
    #[schema(example = "2026-11-22T16:00:42.000Z")]
    pub updated_at: String,
    /// Give this as `after` to `/v1/streams/{id}/verdicts` to get this watch's verdicts only.
    #[schema(example = 120)]
    pub verdicts_after: i64,
    /// What was done.
    pub counts: Counts,
    /// Milliseconds from the last window's arrival to its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 310.5)]
    pub last_latency_ms: Option<f64>,
    /// End of what was judged, milliseconds of stream time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 42_000)]
    pub judged_ms: Option<i64>,
    /// The source's container and codecs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub media: Option<MediaInfo>,
}

impl From<WatchRecord> for Watch {
    fn from(r: WatchRecord) -> Self {
        Self {
            id: r.id,
            stream_id: r.stream_id,
            url: redact(&r.url),
            policy: r.policy,
            state: r.state,
            error: r.error,
            created_at: clock::rfc3339(r.created_unix_ms),
            updated_at: clock::rfc3339(r.updated_unix_ms),
            verdicts_after: r.verdicts_after,
            counts: r.counts,
            last_latency_ms: r.last_latency_ms,
            judged_ms: r.position.judged_ms,
            media: r.media,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_store_and_show_no_secrets() {
        let mut record = WatchRecord::new(
            "s".into(),
            "http://u:p@h/x?t=1".into(),
            Some("strict".into()),
            7,
        );
        record.state = WatchState::Reconnecting;
        record.error = Some(WatchError {
            code: "source_stalled".into(),
            message: "x".into(),
        });
        record.position.judged_ms = Some(4000);
        let row = record.to_row().unwrap();
        assert!(row.active && row.stream_id == "s");
        assert_eq!(WatchRecord::from_row(&row).unwrap(), record);
        let shown = serde_json::to_string(&Watch::from(record)).unwrap();
        assert!(
            shown.contains("\"state\":\"reconnecting\"") && shown.contains("\"judged_ms\":4000")
        );
        assert!(!shown.contains("u:p") && !shown.contains("t=1"), "{shown}");
    }
}
