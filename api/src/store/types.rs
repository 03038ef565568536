//! Rows, as the rest of the service sees them.

use std::time::Instant;

use novastream_inference::{Action, Verdict};

use super::NewClip;

/// A verdict that is to be stored.
#[derive(Debug, Clone)]
pub struct NewVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// When the last byte of what was judged arrived; gives the row its latency.
    pub arrived: Option<Instant>,
}

impl From<Verdict> for NewVerdict {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            arrived: None,
        }
    }
}

/// A key under which a segment's answer can be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The caller's `Idempotency-Key`.
    pub key: String,
    /// Stream id, empty when the request had none.
    pub stream_id: String,
    /// Sequence number in decimal, empty when the request had none.
    pub sequence: String,
}

/// What the smoothing remembers about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHistoryRow {
    /// The stream.
    pub stream_id: String,
    /// The history, serialised.
    pub json: String,
}

/// A watch as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRow {
    /// The watch's id.
    pub id: String,
    /// The stream its verdicts belong to.
    pub stream_id: String,
    /// Whether it is resumed when the service starts.
    pub active: bool,
    /// Unix milliseconds.
    pub created_at: i64,
    /// The whole record.
    pub json: String,
}

/// Something that a user did, as the product reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BehaviourEvent {
    /// The caller's name for it: the same id counts once.
    pub id: String,
    /// Who.
    pub user_id: String,
    /// With which stream.
    pub stream_id: String,
    /// What, such as `watch`.
    pub kind: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

/// A single value that is kept under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// The name.
    pub name: &'static str,
    /// The value, serialised.
    pub json: String,
}

/// One atomic change.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// Verdicts, stored in this order.
    pub verdicts: Vec<NewVerdict>,
    /// Replaces the stream's history.
    pub history: Option<StreamHistoryRow>,
    /// Remembers the key for the first of `verdicts`.
    pub idempotency: Option<IdempotencyKey>,
    /// Inserts or replaces the watch.
    pub watch: Option<WatchRow>,
    /// Behaviour events; those whose id is known are left out.
    pub events: Vec<BehaviourEvent>,
    /// Replaces the value.
    pub state: Option<StateRow>,
    /// Remembers an evidence clip; one that is known keeps its age.
    pub clip: Option<NewClip>,
}

/// What became of one verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Committed {
    /// Its place in the order of commits.
    pub seq: i64,
    /// Milliseconds from arrival to the commit, without the commit's own fsync.
    pub latency_ms: Option<f64>,
}

/// The answer to a [`Write`], in the order of its verdicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// One entry a verdict.
    pub verdicts: Vec<Committed>,
    /// One entry a behaviour event: whether it is new.
    pub events: Vec<bool>,
    /// When the evidence clip was stored first, Unix milliseconds.
    pub clip_stored_at: Option<i64>,
}

/// Which verdicts of a stream to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    /// The stream.
    pub stream_id: String,
    /// Only verdicts with a greater sequence number.
    pub after: i64,
    /// At most this many.
    pub limit: u32,
    /// Only verdicts with this action or a stronger one.
    pub action_at_least: Action,
}

/// A verdict as it lies in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVerdict {
    /// Its place in the order of commits.
    pub seq: i64,
    /// `text`, `image`, `segment`, `window` or `gap`.
    pub kind: String,
    /// Milliseconds from arrival to the commit, where that was measured.
    pub latency_ms: Option<f64>,
    /// The [`Verdict`], serialised.
    pub json: String,
}

impl StoredVerdict {
    /// The verdict's JSON object with `seq` and, where known, `latency_ms` in front.
    ///
    /// The stored text is used as it is: a page of verdicts costs no parsing.
    pub fn to_json(&self) -> String {
        with_place(
            Committed {
                seq: self.seq,
                latency_ms: self.latency_ms,
            },
            &self.json,
        )
    }
}

/// Puts `seq` and `latency_ms` in front of a serialised verdict.
pub fn with_place(place: Committed, json: &str) -> String {
    let body = json.strip_prefix('{').unwrap_or(json);
    match place.latency_ms {
        Some(ms) => format!("{{\"seq\":{},\"latency_ms\":{ms:.1},{body}", place.seq),
        None => format!("{{\"seq\":{},{body}", place.seq),
    }
}

/// The number an action is stored as; the order is the order of severity.
pub fn rank(action: Action) -> i64 {
    match action {
        Action::Allow => 0,
        Action::Flag => 1,
        Action::Hold => 2,
        Action::Remove => 3,
        Action::Suspend => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_goes_in_front() {
        let row = StoredVerdict {
            seq: 7,
            kind: "text".into(),
            latency_ms: Some(12.345),
            json: r#"{"id":"a"}"#.into(),
        };
        assert_eq!(row.to_json(), r#"{"seq":7,"latency_ms":12.3,"id":"a"}"#);
        let row = StoredVerdict {
            latency_ms: None,
            ..row
        };
        assert_eq!(row.to_json(), r#"{"seq":7,"id":"a"}"#);
    }

    #[test]
    fn ranks_keep_the_order_of_actions() {
        let all = [
            Action::Allow,
            Action::Flag,
            Action::Hold,
            Action::Remove,
            Action::Suspend,
        ];
        for pair in all.windows(2) {
            assert!(pair[0] < pair[1] && rank(pair[0]) < rank(pair[1]));
        }
    }
}
