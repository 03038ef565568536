//! From what was collected to a verdict.

use std::time::Instant;

use novastream_features::media::{MediaInfo, Notice};
use sha2::{Digest, Sha256};

use super::collect::Collected;
use crate::{
    history::StreamHistory,
    policy::{Policy, decide},
    verdict::{Kind, Sampled, Timings, Verdict},
};

/// A stopwatch over one call.
pub(super) struct Clock {
    start: Instant,
    lap: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            lap: now,
        }
    }

    /// Milliseconds since the start.
    pub(super) fn ms(&self) -> f32 {
        self.start.elapsed().as_secs_f32() * 1000.0
    }

    /// Milliseconds since the last lap.
    pub(super) fn lap(&mut self) -> f32 {
        let now = Instant::now();
        let ms = now.duration_since(self.lap).as_secs_f32() * 1000.0;
        self.lap = now;
        ms
    }
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What a verdict is about.
pub(super) struct Subject {
    pub kind: Kind,
    pub content_sha256: String,
    pub stream_id: Option<String>,
    pub item_id: Option<String>,
    pub sequence: Option<u64>,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub notices: Vec<Notice>,
    pub media: Option<MediaInfo>,
    pub language: Option<String>,
    pub sampling: Option<Sampled>,
}

impl Subject {
    pub(super) fn new(kind: Kind, content_sha256: String) -> Self {
        Self {
            kind,
            content_sha256,
            stream_id: None,
            item_id: None,
            sequence: None,
            start_ms: None,
            end_ms: None,
            notices: Vec::new(),
            media: None,
            language: None,
            sampling: None,
        }
    }

    /// Applies the policy and writes the verdict.
    pub(super) fn verdict(
        self,
        mut collected: Collected,
        policy: &Policy,
        strictness: u8,
        history: Option<&mut StreamHistory>,
        mut timings: Timings,
        clock: Clock,
    ) -> Verdict {
        let before = clock.ms();
        let decision = decide(
            policy,
            strictness,
            &collected.evaluated,
            &collected.observations,
            history,
        );
        let evidence = collected.strongest(|c| policy.thresholds(c, strictness).0);
        collected.degraded.sort();
        collected.degraded.dedup();
        timings.policy_ms = clock.ms() - before;
        timings.total_ms = clock.ms();
        Verdict {
            id: uuid::Uuid::now_v7().to_string(),
            kind: self.kind,
            stream_id: self.stream_id,
            item_id: self.item_id,
            sequence: self.sequence,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            action: decision.action,
            // What could not be judged is never silently allowed.
            review: decision.review || !collected.degraded.is_empty(),
            categories: decision.categories,
            evidence,
            sounds: collected.sounds,
            policy: policy.label(),
            sampling: self.sampling,
            degraded: collected.degraded,
            notices: self.notices,
            media: self.media,
            language: self.language,
            timings,
            created_at: jiff::Timestamp::now().to_string(),
            content_sha256: self.content_sha256,
        }
    }
}
