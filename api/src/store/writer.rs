//! The only task that writes. Requests that wait together share one commit, so that a hundred
//! verdicts cost one fsync instead of a hundred.

use std::time::Instant;

use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::clips;
use super::types::rank;
use super::{Committed, StoreError, StoreResult, Topics, Write, Written};
use crate::clock::unix_ms;
use crate::telemetry::names;

/// What the writer is asked to do.
pub enum Command {
    /// A change, and where its answer goes.
    Write(Box<Write>, oneshot::Sender<StoreResult<Written>>),
    /// One pruning statement with its two numbers; answers the number of rows that went.
    Delete(&'static str, [i64; 2], oneshot::Sender<StoreResult<u64>>),
    /// Nothing comes after this.
    Close(oneshot::Sender<()>),
}

struct Waiting {
    write: Box<Write>,
    answer: oneshot::Sender<StoreResult<Written>>,
}

/// Runs until [`Command::Close`] or until every sender is gone.
pub async fn run(
    mut connection: SqliteConnection,
    mut commands: mpsc::Receiver<Command>,
    topics: Topics,
    batch: usize,
) {
    let mut waiting: Vec<Waiting> = Vec::with_capacity(batch);
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = commands.recv().await else {
            break;
        };
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Write(write, answer) => waiting.push(Waiting { write, answer }),
                Command::Delete(sql, numbers, answer) => {
                    // Whoever waited before this goes first.
                    commit(&mut connection, &mut waiting, &topics).await;
                    let done = delete(&mut connection, sql, numbers).await;
                    let _ = answer.send(done);
                }
                Command::Close(answer) => {
                    commands.close();
                    closing = Some(answer);
                }
            }
            if waiting.len() < batch {
                next = commands.try_recv().ok();
            }
        }
        commit(&mut connection, &mut waiting, &topics).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database failed; its journal is replayed at the next start");
    }
    if let Some(answer) = closing {
        let _ = answer.send(());
    }
}

/// Commits everything that waits and answers each; empties `waiting`.
async fn commit(connection: &mut SqliteConnection, waiting: &mut Vec<Waiting>, topics: &Topics) {
    if waiting.is_empty() {
        return;
    }
    let begun = Instant::now();
    let together = apply(connection, waiting.iter().map(|w| &*w.write)).await;
    metrics::histogram!(names::STORE_COMMIT_SECONDS).record(begun.elapsed());
    metrics::histogram!(names::STORE_BATCH_WRITES).record(waiting.len() as f64);
    match together {
        Ok(answers) => {
            for (w, written) in waiting.drain(..).zip(answers) {
                acknowledge(w, Ok(written), topics);
            }
        }
        Err(error) if waiting.len() == 1 => {
            for w in waiting.drain(..) {
                acknowledge(w, Err(error.clone()), topics);
            }
        }
        Err(error) => {
            // One bad write must not take its neighbours with it.
            tracing::warn!(%error, writes = waiting.len(), "a shared commit failed; trying each alone");
            for w in waiting.drain(..) {
                let alone = apply(connection, std::iter::once(&*w.write)).await;
                let alone = alone.map(|mut a| a.pop().unwrap_or_default());
                acknowledge(w, alone, topics);
            }
        }
    }
}

fn acknowledge(w: Waiting, result: StoreResult<Written>, topics: &Topics) {
    let stored = result.is_ok();
    // A caller that went away no longer needs the answer; the row stays.
    let _ = w.answer.send(result);
    if !stored {
        return;
    }
    let watch = w.write.watch.iter().map(|row| row.stream_id.as_str());
    let streams = w
        .write
        .verdicts
        .iter()
        .filter_map(|v| v.verdict.stream_id.as_deref());
    let mut last = None;
    for stream in streams.chain(watch) {
        if last != Some(stream) {
            topics.wake(stream);
        }
        last = Some(stream);
    }
}

/// One transaction for all of `writes`.
async fn apply<'w>(
    connection: &mut SqliteConnection,
    writes: impl Iterator<Item = &'w Write>,
) -> StoreResult<Vec<Written>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = unix_ms();
    let mut answers = Vec::new();
    for write in writes {
        answers.push(apply_one(&mut transaction, write, now).await?);
    }
    transaction.commit().await?;
    Ok(answers)
}

async fn apply_one(
    connection: &mut SqliteConnection,
    write: &Write,
    now: i64,
) -> StoreResult<Written> {
    let mut written = Written::default();
    for new in &write.verdicts {
        let json = serde_json::to_string(&new.verdict).map_err(|e| StoreError::Damaged {
            what: "verdict",
            message: e.to_string(),
        })?;
        let latency_ms = new.arrived.map(|at| at.elapsed().as_secs_f64() * 1000.0);
        let row = sqlx::query(
            "INSERT INTO verdicts (id, stream_id, kind, action, review, latency_ms, stored_at, json)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
        )
        .bind(&new.verdict.id)
        .bind(new.verdict.stream_id.as_deref())
        .bind(new.verdict.kind.as_str())
        .bind(rank(new.verdict.action))
        .bind(new.verdict.review)
        .bind(latency_ms)
        .bind(now)
        .bind(json)
        .fetch_one(&mut *connection)
        .await?;
        written.verdicts.push(Committed {
            seq: row.try_get(0)?,
            latency_ms,
        });
    }
    if let (Some(key), Some(first)) = (&write.idempotency, written.verdicts.first()) {
        sqlx::query(
            "INSERT OR REPLACE INTO idempotency (key, stream_id, sequence, seq, stored_at)
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&key.key)
        .bind(&key.stream_id)
        .bind(&key.sequence)
        .bind(first.seq)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(history) = &write.history {
        sqlx::query(
            "INSERT OR REPLACE INTO stream_history (stream_id, updated_at, json) VALUES (?, ?, ?)",
        )
        .bind(&history.stream_id)
        .bind(now)
        .bind(&history.json)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(watch) = &write.watch {
        sqlx::query(
            "INSERT OR REPLACE INTO watches (id, stream_id, active, created_at, updated_at, json)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&watch.id)
        .bind(&watch.stream_id)
        .bind(watch.active)
        .bind(watch.created_at)
        .bind(now)
        .bind(&watch.json)
        .execute(&mut *connection)
        .await?;
    }
    for event in &write.events {
        let done = sqlx::query(
            "INSERT INTO behaviour_events (id, user_id, stream_id, kind, at, stored_at)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&event.id)
        .bind(&event.user_id)
        .bind(&event.stream_id)
        .bind(&event.kind)
        .bind(event.at_ms)
        .bind(now)
        .execute(&mut *connection)
        .await?;
        written.events.push(done.rows_affected() > 0);
    }
    if let Some(state) = &write.state {
        sqlx::query(
            "INSERT OR REPLACE INTO service_state (name, updated_at, json) VALUES (?, ?, ?)",
        )
        .bind(state.name)
        .bind(now)
        .bind(&state.json)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(clip) = &write.clip {
        written.clip_stored_at = Some(clips::insert(&mut *connection, clip, now).await?);
    }
    Ok(written)
}

async fn delete(
    connection: &mut SqliteConnection,
    sql: &'static str,
    numbers: [i64; 2],
) -> StoreResult<u64> {
    let done = sqlx::query(sql)
        .bind(numbers[0])
        .bind(numbers[1])
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
