//! The SQLite store: order, atomicity, retention, schema versions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::path::Path;
use std::time::Instant;

use novastream_api::config::{RetentionSettings, StoreSettings};
use novastream_api::store::{
    IdempotencyKey, NewVerdict, PageQuery, SqliteStore, Store, StoreError, StreamHistoryRow,
    WatchRow, Write,
};
use novastream_inference::{Action, Verdict};
use serde_json::json;

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &StoreSettings::default())
        .await
        .unwrap()
}

fn verdict(stream: &str, action: &str, review: bool) -> Verdict {
    serde_json::from_value(json!({
        "id": uuid::Uuid::now_v7().to_string(), "kind": "text", "stream_id": stream,
        "action": action, "review": review, "categories": {}, "evidence": [], "policy": "p@1",
        "timings": {"decode_ms": 0.0, "frames_ms": 0.0, "ocr_ms": 0.0, "audio_ms": 0.0,
            "text_ms": 0.0, "policy_ms": 0.0, "total_ms": 0.0},
        "created_at": "2026-11-22T16:00:00.000Z", "content_sha256": "",
    }))
    .unwrap()
}

fn write(verdicts: Vec<Verdict>) -> Write {
    Write {
        verdicts: verdicts.into_iter().map(NewVerdict::from).collect(),
        ..Write::default()
    }
}

fn all(stream: &str) -> PageQuery {
    PageQuery {
        stream_id: stream.into(),
        after: 0,
        limit: 1000,
        action_at_least: Action::Allow,
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/a.db");
    let store = open(&path).await;
    let key = IdempotencyKey {
        key: "k".into(),
        stream_id: "s".into(),
        sequence: "1".into(),
    };
    let watch = WatchRow {
        id: "w".into(),
        stream_id: "s".into(),
        active: true,
        created_at: 5,
        json: "{}".into(),
    };
    let mut change = write(vec![
        verdict("s", "allow", false),
        verdict("s", "remove", true),
    ]);
    change.verdicts[1].arrived = Some(Instant::now());
    change.idempotency = Some(key.clone());
    change.history = Some(StreamHistoryRow {
        stream_id: "s".into(),
        json: "{\"a\":1}".into(),
    });
    change.watch = Some(watch.clone());
    let written = store.write(change).await.unwrap();
    assert_eq!(
        written.verdicts.iter().map(|v| v.seq).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(written.verdicts[1].latency_ms.is_some());
    store.close().await;
    assert!(matches!(
        store.write(Write::default()).await,
        Err(StoreError::Closed)
    ));

    let store = open(&path).await;
    let page = store.page(all("s")).await.unwrap();
    assert_eq!(page.iter().map(|v| v.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        (page[0].latency_ms, page[1].latency_ms),
        (None, written.verdicts[1].latency_ms)
    );
    assert_eq!(store.answered(key.clone()).await.unwrap().unwrap().seq, 1);
    let other = IdempotencyKey {
        sequence: "2".into(),
        ..key
    };
    assert!(store.answered(other).await.unwrap().is_none());
    assert_eq!(
        store.history("s".into()).await.unwrap().as_deref(),
        Some("{\"a\":1}")
    );
    assert_eq!(
        store.watch_of("s".into()).await.unwrap().as_ref(),
        Some(&watch)
    );
    assert_eq!(store.watches(true, 10).await.unwrap(), [watch]);
    assert_eq!(store.reviews(0, 10).await.unwrap()[0].seq, 2);
    assert_eq!(store.last_seq().await.unwrap(), 2);
}

#[tokio::test]
async fn writes_that_come_together_share_commits_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(&dir.path().join("a.db")).await);
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let pair = vec![verdict(&format!("s{n}"), "flag", false); 2];
                store.write(write(pair)).await.unwrap().verdicts
            })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        let pair = task.await.unwrap();
        assert_eq!(pair[1].seq, pair[0].seq + 1, "a write is not torn");
        seqs.extend(pair.iter().map(|v| v.seq));
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=400).collect::<Vec<i64>>());
}

#[tokio::test]
async fn followers_wake_after_the_commit_only_for_their_stream() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("a.db")).await;
    let mut mine = store.topics().subscribe("mine");
    let mut other = store.topics().subscribe("other");
    store
        .write(write(vec![verdict("mine", "allow", false)]))
        .await
        .unwrap();
    mine.changed().await;
    assert_eq!(store.page(all("mine")).await.unwrap().len(), 1);
    let quiet = std::time::Duration::from_millis(30);
    assert!(tokio::time::timeout(quiet, other.changed()).await.is_err());
}

#[tokio::test]
async fn pages_can_leave_out_mild_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("a.db")).await;
    let actions = ["allow", "flag", "hold", "remove", "suspend"];
    store
        .write(write(actions.map(|a| verdict("s", a, false)).to_vec()))
        .await
        .unwrap();
    for (action, expected) in [(Action::Allow, 5), (Action::Flag, 4), (Action::Suspend, 1)] {
        let query = PageQuery {
            action_at_least: action,
            ..all("s")
        };
        assert_eq!(store.page(query).await.unwrap().len(), expected);
    }
}

#[tokio::test]
async fn retention_bounds_rows_and_numbers_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let store = open(&path).await;
    for _ in 0..3 {
        store
            .write(write(vec![verdict("s", "allow", false); 500]))
            .await
            .unwrap();
    }
    let rules = RetentionSettings {
        max_rows: 100,
        ..RetentionSettings::default()
    };
    assert_eq!(store.prune(rules.clone()).await.unwrap().verdicts, 1400);
    assert_eq!(store.prune(rules).await.unwrap().verdicts, 0);
    assert_eq!(store.page(all("s")).await.unwrap()[0].seq, 1401);
    let none = RetentionSettings {
        max_rows: 1,
        ..RetentionSettings::default()
    };
    store.prune(none).await.unwrap();
    store.close().await;
    let store = open(&path).await;
    let next = store
        .write(write(vec![verdict("s", "allow", false)]))
        .await
        .unwrap();
    assert_eq!(next.verdicts[0].seq, 1501);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    open(&path).await.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let error = SqliteStore::open(&path, &StoreSettings::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), "store_newer_schema");

    std::fs::write(dir.path().join("b.db"), vec![7; 5000]).unwrap();
    let (junk, settings) = (dir.path().join("b.db"), StoreSettings::default());
    let error = SqliteStore::open(&junk, &settings).await.err().unwrap();
    assert_eq!(error.code(), "store_unopenable");
}
