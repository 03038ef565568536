//! An HTTP server on loopback for a handful of files, and what reading from it needs.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of tests, of which each test binary uses a part"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use novastream_features::media::{LiveSource, MediaError, Sampling, SourceOptions, Window};

/// Gives the body by how often the file was asked for before; `None` leaves the client waiting.
pub type Answer = Box<dyn Fn(usize) -> Option<Vec<u8>> + Send + Sync>;

pub struct Server {
    address: String,
    /// Every path asked for, in order.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(files: Vec<(&'static str, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files: Arc<HashMap<_, _>> = Arc::new(
            files
                .into_iter()
                .map(|(path, answer)| (path, (answer, AtomicUsize::new(0))))
                .collect(),
        );
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log) = (Arc::clone(&files), Arc::clone(&log));
                std::thread::spawn(move || answer(&stream, &files, &log));
            }
        });
        Self { address, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

fn answer(
    stream: &TcpStream,
    files: &HashMap<&'static str, (Answer, AtomicUsize)>,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let path = request.split(' ').nth(1)?.to_owned();
    log.lock().ok()?.push(path.clone());
    let mut stream = stream;
    let Some((answer, count)) = files.get(path.as_str()) else {
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .ok()?;
        return Some(());
    };
    let Some(body) = answer(count.fetch_add(1, Ordering::SeqCst)) else {
        std::thread::sleep(Duration::from_secs(20));
        return None;
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()
}

pub fn fixed(body: impl Into<Vec<u8>>) -> Answer {
    let body = body.into();
    Box::new(move |_| Some(body.clone()))
}

/// Short timeouts.
pub fn quick() -> SourceOptions {
    SourceOptions {
        open_timeout: Duration::from_millis(1500),
        read_timeout: Duration::from_millis(1500),
        sampling: Sampling {
            seed: 11,
            ..Sampling::default()
        },
        ..SourceOptions::default()
    }
}

/// Path of a committed clip.
pub fn path(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(name).to_str().unwrap().to_owned()
}

/// All windows up to the end, or to the error that ended them.
pub fn all(source: &mut LiveSource) -> (Vec<Window>, Option<MediaError>) {
    let mut windows = Vec::new();
    loop {
        match source.next_window() {
            Ok(Some(window)) => windows.push(window),
            Ok(None) => return (windows, None),
            Err(error) => return (windows, Some(error)),
        }
    }
}
