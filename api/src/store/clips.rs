//! What is known of evidence clips; their bytes lie elsewhere.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::StoreResult;
use super::sqlite::SqliteStore;

/// A clip whose bytes are about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClip {
    /// The clip's name.
    pub id: String,
    /// The stream that it was taken from.
    pub stream_id: String,
    /// Whether the original is sound; else it is a picture.
    pub sound: bool,
    /// Bytes of original and preview.
    pub bytes: i64,
}

/// A clip as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipRow {
    /// Its place in the order of commits.
    pub seq: i64,
    /// The clip's name.
    pub id: String,
    /// Whether the original is sound; else it is a picture.
    pub sound: bool,
    /// Bytes of original and preview.
    pub bytes: i64,
    /// Unix milliseconds.
    pub stored_at: i64,
}

/// Inserts a clip; answers when it was stored first.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    clip: &NewClip,
    now: i64,
) -> StoreResult<i64> {
    // A clip that comes again has the same content and keeps its age.
    let row = sqlx::query(
        "INSERT INTO evidence_clips (id, stream_id, sound, bytes, stored_at)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes RETURNING stored_at",
    )
    .bind(&clip.id)
    .bind(&clip.stream_id)
    .bind(clip.sound)
    .bind(clip.bytes)
    .bind(now)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get(0)?)
}

fn clip_row(row: &SqliteRow) -> StoreResult<ClipRow> {
    Ok(ClipRow {
        seq: row.try_get(0)?,
        id: row.try_get(1)?,
        sound: row.try_get(2)?,
        bytes: row.try_get(3)?,
        stored_at: row.try_get(4)?,
    })
}

/// The oldest rows, up to a number.
const FORGET: &str = "DELETE FROM evidence_clips WHERE seq IN
    (SELECT seq FROM evidence_clips WHERE seq <= ? ORDER BY seq LIMIT ?)";

impl SqliteStore {
    pub(super) async fn find_clip(
        &self,
        stream_id: &str,
        id: &str,
    ) -> StoreResult<Option<ClipRow>> {
        let row = sqlx::query(
            "SELECT seq, id, sound, bytes, stored_at FROM evidence_clips
             WHERE id = ? AND stream_id = ?",
        )
        .bind(id)
        .bind(stream_id)
        .fetch_optional(self.readers())
        .await?;
        row.as_ref().map(clip_row).transpose()
    }

    pub(super) async fn oldest(&self, limit: u32) -> StoreResult<Vec<ClipRow>> {
        let rows = sqlx::query(
            "SELECT seq, id, sound, bytes, stored_at FROM evidence_clips ORDER BY seq LIMIT ?",
        )
        .bind(limit)
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(clip_row).collect()
    }

    pub(super) async fn held(&self) -> StoreResult<i64> {
        let row = sqlx::query("SELECT bytes FROM evidence_held")
            .fetch_one(self.readers())
            .await?;
        Ok(row.try_get(0)?)
    }

    pub(super) async fn forget(&self, through: i64, limit: u32) -> StoreResult<u64> {
        self.delete(FORGET, [through, i64::from(limit)]).await
    }
}
