//! docs/errors.md and the codes keep each other true, and an answer reaches a client that still sends.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use novastream_api::error::ErrorCode;

#[test]
fn every_code_is_documented_with_its_status_and_hint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in page.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|c| c.trim().to_owned())
            .collect();
        let code = cells[0].trim_matches('`').to_owned();
        assert!(
            rows.insert(code.clone(), cells).is_none(),
            "`{code}` has two rows"
        );
    }
    for code in ErrorCode::ALL {
        let name = code.as_str();
        let row = rows
            .remove(name)
            .unwrap_or_else(|| panic!("`{name}` is not in docs/errors.md"));
        assert_eq!(row[1], code.status().as_u16().to_string(), "{name}");
        assert!(row[2].len() > 10, "{name} is not explained");
        assert_eq!(row[3], code.hint(), "{name}");
    }
    assert!(
        rows.is_empty(),
        "codes that do not exist: {:?}",
        rows.keys()
    );
}

/// A client that sends a large body slowly must get the answer to it, and may go on with the same
/// connection: nothing is reset.
#[test]
fn a_refusal_before_the_body_reaches_a_client_that_still_sends() {
    use std::io::{Read as _, Write as _};

    let dir = tempfile::tempdir().unwrap();
    let server = common::process::serve(dir.path(), &[]);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    let mut answers = connection.try_clone().unwrap();
    let timeout = Some(std::time::Duration::from_secs(20));
    answers.set_read_timeout(timeout).unwrap();
    let body = vec![b'x'; 6 << 20];
    for _ in 0..2 {
        let head = format!(
            "POST /v2/models/nothing/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        for part in body.chunks(1 << 20) {
            connection.write_all(part).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut some = [0; 4096];
            let n = answers.read(&mut some).unwrap();
            assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&some[..n]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
}
