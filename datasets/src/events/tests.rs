use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::DatasetError;

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    let file = std::fs::File::create(&path).expect("creates");
    if path.extension().is_some_and(|end| end == "gz") {
        let mut gz = GzEncoder::new(file, Compression::fast());
        gz.write_all(text.as_bytes()).expect("writes");
        gz.finish().expect("ends");
    } else {
        let mut file = file;
        file.write_all(text.as_bytes()).expect("writes");
    }
    path
}

fn columns(user: &str, item: &str, time: &str) -> EventColumns {
    EventColumns {
        user: Some(user.into()),
        item: Some(item.into()),
        time: Some(time.into()),
        ..EventColumns::default()
    }
}

#[test]
fn recommender_events_are_sorted_and_numbered() {
    let dir = tempfile::tempdir().expect("folder");
    let text = "who,what,when,how,kind\nb,x,5,2.5,k\na,\"x,y\",3,1,\na,x,5,0,k\n,x,6,1,k\n";
    for name in ["e.csv", "e.csv.gz"] {
        let mut columns = columns("who", "what", "when");
        columns.weight = Some("how".into());
        columns.group = Some("kind".into());
        let log = EventLog::load(&write(dir.path(), name, text), &columns, None).expect("loads");
        assert_eq!((log.events.len(), log.skipped), (2, 2), "{name}");
        assert_eq!(log.items.name(log.events[0].item), Some("x,y"));
        assert_eq!(log.events[1].weight, 2.5);
        assert_eq!((log.events[0].group, log.events[1].group), (None, Some(0)));
        assert_eq!(log.until(5).len(), 1);
        assert_eq!(log.since(5).len(), 1);
        assert_eq!(log.clock, Clock::Seconds(600.0));
    }
}

#[test]
fn recommender_columns_are_guessed_and_named_when_missing() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(
        dir.path(),
        "a.csv",
        "userID,itemID,rating,timestamp\n7,9,3,874724710\n",
    );
    let log = EventLog::load(&path, &EventColumns::default(), None).expect("loads");
    assert_eq!(log.clock, Clock::Seconds(1.0));
    assert_eq!(
        log.events[0].weight, 1.0,
        "a rating is no weight unless told"
    );
    let error = EventLog::load(&path, &columns("viewer", "itemID", "timestamp"), None)
        .expect_err("no such column");
    assert_eq!(error.code(), "data_missing_column");
    let error = EventLog::load(
        &write(dir.path(), "b.csv", ""),
        &EventColumns::default(),
        None,
    )
    .expect_err("empty");
    assert_eq!(error.code(), "data_malformed");
}

#[test]
fn recommender_events_without_time_keep_the_order_of_the_file() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(
        dir.path(),
        "a.jsonl.gz",
        "{\"user\":1,\"item\":\"b\"}\n\n{\"user\":1,\"item\":\"a\"}\n",
    );
    let log = EventLog::load(&path, &EventColumns::default(), None).expect("loads");
    assert_eq!(log.clock, Clock::Order);
    let names: Vec<_> = log.events.iter().map(|e| log.items.name(e.item)).collect();
    assert_eq!(names, [Some("b"), Some("a")]);
}

#[test]
fn recommender_bad_cells_name_their_row() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.csv", "user,item,time\n1,2,3\n1,2,soon\n");
    let error = EventLog::load(&path, &EventColumns::default(), None).expect_err("bad time");
    assert!(matches!(error, DatasetError::Malformed { .. }));
    assert!(error.to_string().contains("row 2"), "{error}");
}

#[test]
fn recommender_availability_by_list_and_by_rule() {
    let dir = tempfile::tempdir().expect("folder");
    let events = write(
        dir.path(),
        "e.csv",
        "user,item,time\n1,a,100\n1,b,118\n1,c,119\n",
    );
    let mut log = EventLog::load(&events, &EventColumns::default(), None).expect("loads");
    let live = Availability::from_events(&log.events, log.clock, [100_i64, 101].into_iter());
    assert_eq!(live.at(100), Some(&[0, 1][..]));
    assert_eq!(live.at(101), Some(&[0, 1, 2][..]));
    assert_eq!(live.at(102), None);
    let list = write(dir.path(), "l.csv", "step,streamer\n5,z\n5,a\n5,a\n");
    let live = Availability::load(&list, &EventColumns::default(), &mut log.items).expect("loads");
    assert_eq!(live.at(5), Some(&[0, 3][..]));
}

#[test]
fn recommender_negatives_skip_the_unknown() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "n.csv", "user,n0,n1\n1,a,zz\n9,a,a\n");
    let users = ["1"].into_iter().collect();
    let items = ["a"].into_iter().collect();
    let (lists, unknown) =
        load_negatives(&path, &EventColumns::default(), &users, &items).expect("loads");
    assert_eq!(lists.get(&0).map(Vec::as_slice), Some(&[0][..]));
    assert_eq!(unknown, 2);
}

#[test]
fn recommender_parquet_reads_like_csv() {
    use polars::prelude::*;
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("e.parquet");
    let mut frame =
        df!("user" => [1_i64, 2], "item" => ["a", "b"], "time" => [2_i64, 1]).expect("frame");
    ParquetWriter::new(std::fs::File::create(&path).expect("creates"))
        .finish(&mut frame)
        .expect("writes");
    let log = EventLog::load(&path, &EventColumns::default(), None).expect("loads");
    assert_eq!(log.users.name(log.events[0].user), Some("2"));
    assert_eq!(log.events[1].time, 2);
}
