use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use polars::prelude::ParquetWriter;

use super::*;

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("write");
    (dir, path)
}

const JSONL: &str = r#"{"src": "a", "text": "one", "toxic": 1, "self_harm": -1}
{"text": "two", "toxic": 0, "threat": true, "harassment_threatening": 0, "weak": 1}

{"text": "three", "cls": "O", "hate/threatening": 1}
"#;

fn check(rows: &[ChatRow], fallback: &str) {
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (rows[0].text.as_str(), rows[0].source.as_str()),
        ("one", "a")
    );
    assert_eq!(rows[1].source, fallback);
    assert_eq!(rows[0].label("toxicity"), Some(true));
    assert_eq!(rows[0].label("self-harm"), None);
    assert_eq!(rows[1].label("toxicity"), Some(false));
    assert_eq!(rows[1].label("harassment/threatening"), Some(true));
    assert_eq!(rows[2].label("hate/threatening"), Some(true));
    assert_eq!(rows[2].label("toxicity"), None);
    assert_eq!(rows[2].label("no such head"), None);
    assert_eq!(
        [rows[0].weak, rows[1].weak, rows[2].weak],
        [false, true, false]
    );
}

#[test]
fn reads_jsonl_plain_and_gzipped() {
    let (_dir, path) = file("rows.jsonl", JSONL.as_bytes());
    check(&load_chat(&path).expect("rows"), "rows");
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(JSONL.as_bytes()).expect("gz");
    let (_dir, path) = file("rows.jsonl.gz", &gz.finish().expect("gz"));
    check(&load_chat(&path).expect("rows"), "rows");
}

#[test]
fn reads_csv() {
    let csv = "src,text,toxic,self_harm,threat,hate/threatening,weak\n\
               a,one,1,-1,,,\n,two,0,,1,,1\n,\"three\",,,,1,\n";
    let (_dir, path) = file("chat.csv", csv.as_bytes());
    check(&load_chat(&path).expect("rows"), "chat");
}

#[test]
fn reads_parquet() {
    let (_dir, path) = file("rows.jsonl", JSONL.as_bytes());
    let mut frame = frame::load(&path).expect("frame");
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .finish(&mut frame)
        .expect("parquet");
    let (_dir, path) = file("rows.parquet", &bytes);
    check(&load_chat(&path).expect("rows"), "rows");
}

#[test]
fn empty_files_have_no_rows() {
    for name in ["e.csv", "e.jsonl"] {
        let (_dir, path) = file(name, b"\n");
        assert_eq!(load_chat(&path).expect("rows"), []);
    }
}

#[test]
fn says_what_is_wrong() {
    let (_dir, path) = file("rows.jsonl", b"{\"text\": \"a\"}\n{\"text\": oops}\n");
    let error = load_chat(&path).expect_err("malformed");
    assert_eq!(error.code(), "data_malformed");
    assert!(error.to_string().contains("line 2"), "{error}");
    let (_dir, path) = file("rows.jsonl", b"{\"message\": \"a\"}\n");
    let error = load_chat(&path).expect_err("no text");
    assert_eq!(error.code(), "data_missing_column");
    assert!(error.to_string().contains("message"), "{error}");
    assert_eq!(
        load_chat(Path::new("rows.xml")).expect_err("format").code(),
        "data_unknown_format"
    );
    assert_eq!(
        load_chat(Path::new("no.csv")).expect_err("missing").code(),
        "data_unreadable"
    );
}

#[test]
fn every_column_alias_names_a_head() {
    for (column, _) in COLUMNS {
        assert!(head_of_column(column).is_some(), "{column}");
    }
    assert_eq!(head_of_column("cls"), None);
}
