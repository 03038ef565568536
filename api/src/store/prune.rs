//! Keeps the tables from growing without bound, a few hundred rows at a time so that nobody waits.

use super::StoreResult;
use super::sqlite::SqliteStore;
use crate::clock::unix_ms;
use crate::config::RetentionSettings;

/// Rows that one statement may delete; some milliseconds of the writer's time.
const STEP: i64 = 500;
const HOUR_MS: i64 = 3_600_000;

/// How many rows went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Verdicts.
    pub verdicts: u64,
    /// Idempotency keys, stream histories, finished watches and behaviour events.
    pub others: u64,
}

const BY_AGE: &str = "DELETE FROM verdicts WHERE seq IN
    (SELECT seq FROM verdicts WHERE stored_at < ? AND review = 0 ORDER BY stored_at LIMIT ?)";
const REVIEWS_BY_AGE: &str = "DELETE FROM verdicts WHERE seq IN
    (SELECT seq FROM verdicts WHERE review = 1 AND stored_at < ? ORDER BY seq LIMIT ?)";
const BY_NUMBER: &str = "DELETE FROM verdicts WHERE seq IN
    (SELECT seq FROM verdicts WHERE seq <= ? ORDER BY seq LIMIT ?)";
const KEYS: &str = "DELETE FROM idempotency WHERE (key, stream_id, sequence) IN
    (SELECT key, stream_id, sequence FROM idempotency WHERE stored_at < ? LIMIT ?)";
const HISTORIES: &str = "DELETE FROM stream_history WHERE stream_id IN
    (SELECT stream_id FROM stream_history WHERE updated_at < ? LIMIT ?)";
const WATCHES: &str = "DELETE FROM watches WHERE id IN
    (SELECT id FROM watches WHERE active = 0 AND updated_at < ? LIMIT ?)";
const EVENTS: &str = "DELETE FROM behaviour_events WHERE seq IN
    (SELECT seq FROM behaviour_events WHERE stored_at < ? ORDER BY stored_at LIMIT ?)";

impl SqliteStore {
    pub(super) async fn prune_all(&self, settings: &RetentionSettings) -> StoreResult<Pruned> {
        let mut gone = Pruned::default();
        if settings.max_rows > 0 {
            let newest = self.newest().await?;
            let last = newest.saturating_sub(i64::try_from(settings.max_rows).unwrap_or(i64::MAX));
            if last > 0 {
                gone.verdicts += self.in_steps(BY_NUMBER, last).await?;
            }
        }
        gone.verdicts += self.older(BY_AGE, settings.max_age_h).await?;
        gone.verdicts += self
            .older(REVIEWS_BY_AGE, settings.review_max_age_h)
            .await?;
        gone.others += self.older(KEYS, settings.idempotency_max_age_h).await?;
        gone.others += self.older(HISTORIES, settings.stream_max_age_h).await?;
        gone.others += self.older(WATCHES, settings.stream_max_age_h).await?;
        gone.others += self.older(EVENTS, settings.event_max_age_h).await?;
        Ok(gone)
    }

    async fn older(&self, sql: &'static str, hours: u64) -> StoreResult<u64> {
        if hours == 0 {
            return Ok(0);
        }
        let age = i64::try_from(hours)
            .unwrap_or(i64::MAX)
            .saturating_mul(HOUR_MS);
        self.in_steps(sql, unix_ms().saturating_sub(age)).await
    }

    async fn in_steps(&self, sql: &'static str, bound: i64) -> StoreResult<u64> {
        let mut total = 0;
        loop {
            let rows = self.delete(sql, [bound, STEP]).await?;
            total += rows;
            if rows < STEP as u64 {
                return Ok(total);
            }
        }
    }
}
