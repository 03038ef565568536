//! The store on SQLite: write-ahead log, one writer, several readers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use novastream_inference::Action;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::types::rank;
use super::writer::{self, Command};
use super::{
    BehaviourEvent, ClipRow, IdempotencyKey, PageQuery, Pruned, Store, StoreError, StoreResult,
    StoredVerdict, Topics, WatchRow, Write, Written,
};
use crate::config::{RetentionSettings, StoreSettings};

/// Schema changes, oldest first; their number is kept in `PRAGMA user_version`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_verdicts.sql"),
    include_str!("../../migrations/0002_recommendations.sql"),
    include_str!("../../migrations/0003_evidence_clips.sql"),
];

/// A store in one SQLite file.
pub struct SqliteStore {
    readers: SqlitePool,
    commands: mpsc::Sender<Command>,
    topics: Topics,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens or creates the file, brings its schema up to date and starts the writer.
    ///
    /// # Errors
    /// A folder or file that cannot be made, a damaged file, a schema from a newer program.
    pub async fn open(path: &Path, settings: &StoreSettings) -> StoreResult<Self> {
        let failed = |message: String| StoreError::Open {
            path: path.to_owned(),
            message,
        };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| failed(e.to_string()))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode FULL makes every commit wait for the disk; NORMAL would let a power cut
            // take back what was acknowledged.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        let mut connection = options
            .clone()
            .create_if_missing(true)
            .connect()
            .await
            .map_err(|e| failed(e.to_string()))?;
        migrate(&mut connection, path).await?;

        let readers = SqlitePoolOptions::new()
            .max_connections(settings.readers)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(|e| failed(e.to_string()))?;
        let topics = Topics::default();
        let (commands, receiver) = mpsc::channel(settings.waiting);
        let task = writer::run(connection, receiver, topics.clone(), settings.batch);
        let writer = Mutex::new(Some(tokio::spawn(task)));
        Ok(Self {
            readers,
            commands,
            topics,
            writer,
        })
    }

    pub(super) async fn delete(&self, sql: &'static str, numbers: [i64; 2]) -> StoreResult<u64> {
        let (answer, wait) = oneshot::channel();
        self.send(Command::Delete(sql, numbers, answer)).await?;
        wait.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) async fn newest(&self) -> StoreResult<i64> {
        // sqlite_sequence keeps the number even when the row itself was pruned.
        let row = sqlx::query("SELECT seq FROM sqlite_sequence WHERE name = 'verdicts'")
            .fetch_optional(&self.readers)
            .await?;
        row.map_or(Ok(0), |r| Ok(r.try_get(0)?))
    }

    async fn send(&self, command: Command) -> StoreResult<()> {
        self.commands
            .send(command)
            .await
            .map_err(|_| StoreError::Closed)
    }

    async fn read_page(&self, q: PageQuery) -> StoreResult<Vec<StoredVerdict>> {
        let all = "SELECT seq, kind, latency_ms, json FROM verdicts
                   WHERE stream_id = ? AND seq > ? ORDER BY seq LIMIT ?";
        // `action > 0` lets SQLite take the partial index.
        let acted = "SELECT seq, kind, latency_ms, json FROM verdicts
                     WHERE stream_id = ? AND seq > ? AND action > 0 AND action >= ?
                     ORDER BY seq LIMIT ?";
        let rows = if q.action_at_least == Action::Allow {
            sqlx::query(all)
                .bind(q.stream_id)
                .bind(q.after)
                .bind(q.limit)
        } else {
            let query = sqlx::query(acted).bind(q.stream_id).bind(q.after);
            query.bind(rank(q.action_at_least)).bind(q.limit)
        };
        rows.fetch_all(&self.readers)
            .await?
            .iter()
            .map(verdict_row)
            .collect()
    }
}

/// Applies what is missing, each step in its own transaction.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> StoreResult<()> {
    let failed = |e: sqlx::Error| open_error(path, e);
    let row = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let found: i64 = row.try_get(0).map_err(failed)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (index, sql) in MIGRATIONS
        .iter()
        .enumerate()
        .skip(usize::try_from(found).unwrap_or(0))
    {
        let mut step = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        sqlx::raw_sql(*sql)
            .execute(&mut *step)
            .await
            .map_err(failed)?;
        // A PRAGMA takes no parameters, and the number is ours.
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", index + 1));
        sqlx::raw_sql(version)
            .execute(&mut *step)
            .await
            .map_err(failed)?;
        step.commit().await.map_err(failed)?;
    }
    Ok(())
}

fn open_error(path: &Path, e: sqlx::Error) -> StoreError {
    StoreError::Open {
        path: PathBuf::from(path),
        message: e.to_string(),
    }
}

fn verdict_row(row: &SqliteRow) -> StoreResult<StoredVerdict> {
    Ok(StoredVerdict {
        seq: row.try_get(0)?,
        kind: row.try_get(1)?,
        latency_ms: row.try_get(2)?,
        json: row.try_get(3)?,
    })
}

fn watch_row(row: &SqliteRow) -> StoreResult<WatchRow> {
    Ok(WatchRow {
        id: row.try_get(0)?,
        stream_id: row.try_get(1)?,
        active: row.try_get(2)?,
        created_at: row.try_get(3)?,
        json: row.try_get(4)?,
    })
}

fn event_row(row: &SqliteRow) -> StoreResult<(i64, BehaviourEvent)> {
    let event = BehaviourEvent {
        id: row.try_get(1)?,
        user_id: row.try_get(2)?,
        stream_id: row.try_get(3)?,
        kind: row.try_get(4)?,
        at_ms: row.try_get(5)?,
    };
    Ok((row.try_get(0)?, event))
}

impl Store for SqliteStore {
    fn write(&self, write: Write) -> BoxFuture<'_, StoreResult<Written>> {
        async move {
            let (answer, wait) = oneshot::channel();
            self.send(Command::Write(Box::new(write), answer)).await?;
            wait.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }

    fn page(&self, query: PageQuery) -> BoxFuture<'_, StoreResult<Vec<StoredVerdict>>> {
        self.read_page(query).boxed()
    }

    fn reviews(&self, after: i64, limit: u32) -> BoxFuture<'_, StoreResult<Vec<StoredVerdict>>> {
        async move {
            let rows = sqlx::query(
                "SELECT seq, kind, latency_ms, json FROM verdicts
                 WHERE review = 1 AND seq > ? ORDER BY seq LIMIT ?",
            );
            let rows = rows
                .bind(after)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(verdict_row).collect()
        }
        .boxed()
    }

    fn answered(&self, key: IdempotencyKey) -> BoxFuture<'_, StoreResult<Option<StoredVerdict>>> {
        async move {
            let row = sqlx::query(
                "SELECT v.seq, v.kind, v.latency_ms, v.json FROM idempotency i
                 JOIN verdicts v ON v.seq = i.seq
                 WHERE i.key = ? AND i.stream_id = ? AND i.sequence = ?",
            )
            .bind(key.key)
            .bind(key.stream_id)
            .bind(key.sequence)
            .fetch_optional(&self.readers)
            .await?;
            row.as_ref().map(verdict_row).transpose()
        }
        .boxed()
    }

    fn last_seq(&self) -> BoxFuture<'_, StoreResult<i64>> {
        self.newest().boxed()
    }

    fn history(&self, stream_id: String) -> BoxFuture<'_, StoreResult<Option<String>>> {
        async move {
            let row = sqlx::query("SELECT json FROM stream_history WHERE stream_id = ?")
                .bind(stream_id)
                .fetch_optional(&self.readers)
                .await?;
            row.map(|r| Ok(r.try_get(0)?)).transpose()
        }
        .boxed()
    }

    fn watches(&self, active_only: bool, limit: u32) -> BoxFuture<'_, StoreResult<Vec<WatchRow>>> {
        async move {
            let rows = sqlx::query(
                "SELECT id, stream_id, active, created_at, json FROM watches
                 WHERE active >= ? ORDER BY created_at DESC, id DESC LIMIT ?",
            );
            let rows = rows
                .bind(active_only)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(watch_row).collect()
        }
        .boxed()
    }

    fn watch(&self, id: String) -> BoxFuture<'_, StoreResult<Option<WatchRow>>> {
        async move {
            let row = sqlx::query(
                "SELECT id, stream_id, active, created_at, json FROM watches WHERE id = ?",
            );
            let row = row.bind(id).fetch_optional(&self.readers).await?;
            row.as_ref().map(watch_row).transpose()
        }
        .boxed()
    }

    fn watch_of(&self, stream_id: String) -> BoxFuture<'_, StoreResult<Option<WatchRow>>> {
        async move {
            let row = sqlx::query(
                "SELECT id, stream_id, active, created_at, json FROM watches
                 WHERE stream_id = ? ORDER BY created_at DESC, id DESC LIMIT 1",
            );
            let row = row.bind(stream_id).fetch_optional(&self.readers).await?;
            row.as_ref().map(watch_row).transpose()
        }
        .boxed()
    }

    fn events(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, StoreResult<Vec<(i64, BehaviourEvent)>>> {
        async move {
            let rows = sqlx::query(
                "SELECT seq, id, user_id, stream_id, kind, at FROM behaviour_events
                 WHERE seq > ? ORDER BY seq LIMIT ?",
            );
            let rows = rows
                .bind(after)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(event_row).collect()
        }
        .boxed()
    }

    fn state(&self, name: &'static str) -> BoxFuture<'_, StoreResult<Option<String>>> {
        async move {
            let row = sqlx::query("SELECT json FROM service_state WHERE name = ?")
                .bind(name)
                .fetch_optional(&self.readers)
                .await?;
            row.map(|r| Ok(r.try_get(0)?)).transpose()
        }
        .boxed()
    }

    fn clip(&self, stream_id: String, id: String) -> BoxFuture<'_, StoreResult<Option<ClipRow>>> {
        async move { self.find_clip(&stream_id, &id).await }.boxed()
    }

    fn oldest_clips(&self, limit: u32) -> BoxFuture<'_, StoreResult<Vec<ClipRow>>> {
        self.oldest(limit).boxed()
    }

    fn clip_bytes(&self) -> BoxFuture<'_, StoreResult<i64>> {
        self.held().boxed()
    }

    fn forget_clips(&self, through: i64, limit: u32) -> BoxFuture<'_, StoreResult<u64>> {
        self.forget(through, limit).boxed()
    }

    fn prune(&self, settings: RetentionSettings) -> BoxFuture<'_, StoreResult<Pruned>> {
        async move { self.prune_all(&settings).await }.boxed()
    }

    fn ping(&self) -> BoxFuture<'_, StoreResult<()>> {
        async move {
            sqlx::query("SELECT 1").fetch_one(&self.readers).await?;
            if self.commands.is_closed() {
                Err(StoreError::Closed)
            } else {
                Ok(())
            }
        }
        .boxed()
    }

    fn topics(&self) -> &Topics {
        &self.topics
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let (answer, wait) = oneshot::channel();
            if self.send(Command::Close(answer)).await.is_ok() {
                let _ = wait.await;
            }
            let task = self.writer.lock().ok().and_then(|mut slot| slot.take());
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(%error, "the database writer ended badly");
            }
            self.readers.close().await;
        }
        .boxed()
    }
}
