//! `load` against a small server of known behaviour.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here fails the test"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use novastream_evals::load::{self, LoadOptions, LoadReport};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: LoadOptions,
}

/// Answers HTTP/1.1 on loopback, one thread a connection, until the test ends.
struct Server {
    url: String,
    posts: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

/// What the server does with the n-th POST: waits, then answers with this status.
type Behaviour = fn(u64) -> (Duration, &'static str);

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (posts, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (p, c) = (Arc::clone(&posts), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, p, c) = (stream.unwrap(), Arc::clone(&p), Arc::clone(&c));
                std::thread::spawn(move || {
                    // The client closes when it is done, which ends the thread.
                    let _ = serve(stream, behaviour, &p, &c);
                });
            }
        });
        Self {
            url,
            posts,
            connections,
        }
    }

    fn load(&self, arguments: &str) -> Result<LoadReport, novastream_evals::error::EvalError> {
        let arguments = ["load", "--target", &self.url]
            .into_iter()
            .chain(arguments.split_ascii_whitespace());
        load::run(&Cli::parse_from(arguments).options)
    }
}

fn serve(
    stream: TcpStream,
    behaviour: Behaviour,
    posts: &AtomicU64,
    connections: &AtomicU64,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut first_post = true;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim().to_ascii_lowercase().split_once(':') {
                Some(("content-length", n)) => length = n.trim().parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let text = request.starts_with("POST /v1/moderate/text ");
        let (wait, status, answer) = if text || request.starts_with("POST /anything ") {
            assert!(!text || String::from_utf8(body).unwrap().contains("\"text\":"));
            connections.fetch_add(u64::from(std::mem::take(&mut first_post)), Ordering::SeqCst);
            let (wait, status) = behaviour(posts.fetch_add(1, Ordering::SeqCst));
            (wait, status, r#"{"results":[]}"#)
        } else if request.starts_with("GET /v1/models ") {
            let models = r#"{"models":[{"name":"chat","version":"1.0.0","state":"ready"}]}"#;
            (Duration::ZERO, "200 OK", models)
        } else {
            (Duration::ZERO, "404 Not Found", "")
        };
        std::thread::sleep(wait);
        write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

#[test]
fn a_closed_loop_counts_everything_and_keeps_429_apart() {
    let server = Server::start(|n| {
        let status = match n % 4 {
            0 => "429 Too Many Requests",
            1 => "500 Internal Server Error",
            _ => "200 OK",
        };
        (Duration::from_millis(2), status)
    });
    let report = server
        .load("--connections 3 --duration 0.5 --warmup 0")
        .unwrap();
    let posts = server.posts.load(Ordering::SeqCst);
    assert!(posts >= 8, "{posts}");
    assert_eq!(report.requests, posts);
    assert_eq!(report.rejected, posts.div_ceil(4));
    assert_eq!(report.status["500"], (posts + 2) / 4);
    assert_eq!(
        report.accepted,
        posts - report.rejected - report.status["500"]
    );
    assert!(!report.status.contains_key("429"));
    assert_eq!(report.latency_ms.unwrap().count, report.accepted);
    assert_eq!(report.rejected_latency_ms.unwrap().count, report.rejected);
    assert_eq!(report.errors.total() + report.unsent, 0);
    assert!(report.latency_ms.unwrap().p50 >= 2.0);
    assert_eq!(report.head.models, ["chat@1.0.0"]);
    assert_eq!(report.payload.received_bytes, posts * 14);
    assert!(report.throughput_per_s * report.elapsed_s - (report.accepted as f64) < 1e-6);
    // Kept alive: a connection is now and then not back in the pool when the next request is due,
    // but most requests find one.
    let connections = server.connections.load(Ordering::SeqCst);
    assert!(
        connections * 4 <= posts,
        "{connections} connections for {posts} requests"
    );
}

#[test]
fn the_warm_up_is_sent_but_not_counted() {
    let server = Server::start(|_| (Duration::from_millis(5), "200 OK"));
    let report = server
        .load("--connections 1 --duration 0.3 --warmup 0.3")
        .unwrap();
    let posts = server.posts.load(Ordering::SeqCst);
    assert!(report.requests < posts, "{} of {posts}", report.requests);
    assert!(
        report.elapsed_s >= 0.3 && report.elapsed_s < 0.6 + 5.0,
        "{}",
        report.elapsed_s
    );
}

#[test]
fn open_loop_latency_contains_the_wait_for_a_connection() {
    // One connection, 50 ms an answer: 20 requests a second at most. 40 a second are due for one
    // second, so the last of them is due at 975 ms and answered at 2,000 ms or later.
    let behaviour: Behaviour = |_| (Duration::from_millis(50), "200 OK");
    let server = Server::start(behaviour);
    let open = server
        .load("--connections 1 --duration 1 --warmup 0 --rate 40")
        .unwrap();
    assert_eq!((open.mode, open.requests, open.unsent), ("open", 40, 0));
    let latency = open.latency_ms.unwrap();
    assert!(latency.max >= 1_020.0, "{latency:?}");
    assert!(latency.p50 >= 500.0, "{latency:?}");
    assert!(open.elapsed_s >= 1.99, "{}", open.elapsed_s);

    let closed = Server::start(behaviour)
        .load("--connections 1 --duration 1 --warmup 0")
        .unwrap();
    assert_eq!(closed.mode, "closed");
    assert!(closed.latency_ms.unwrap().p50 < latency.p50 / 2.0);
}

#[test]
fn an_open_loop_below_capacity_keeps_its_rate() {
    let server = Server::start(|_| (Duration::from_millis(1), "200 OK"));
    let report = server
        .load("--connections 4 --duration 1 --warmup 0 --rate 100")
        .unwrap();
    assert_eq!(report.requests, 100);
    assert!(report.throughput_per_s <= 100.0);
}

#[test]
fn overdue_requests_that_were_never_sent_are_reported() {
    let server = Server::start(|_| (Duration::from_millis(100), "200 OK"));
    let report = server
        .load("--connections 1 --duration 0.5 --warmup 0 --rate 100 --drain 0")
        .unwrap();
    assert_eq!(report.requests + report.unsent, 50);
    assert!(report.unsent >= 40, "{}", report.unsent);
    assert_eq!(report.latency_ms.unwrap().count, 50);
}

#[test]
fn a_ramp_sends_what_lies_below_its_line() {
    let server = Server::start(|_| (Duration::from_millis(1), "200 OK"));
    let report = server
        .load("--connections 4 --duration 1 --warmup 0 --rate 20 --ramp-to 180")
        .unwrap();
    assert_eq!((report.requests, report.ramp_to), (100, Some(180.0)));
    assert_eq!(report.drop_rate, 0.0);
}

#[test]
fn mixed_traffic_and_the_service_s_own_use_are_reported() {
    let server = Server::start(|n| {
        let status = if n % 5 == 4 {
            "429 Too Many Requests"
        } else {
            "200 OK"
        };
        (Duration::from_millis(1), status)
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    std::fs::write(&file, "{}").unwrap();
    // The server is a thread of this very process.
    let arguments = format!(
        "--mix text=2 --mix raw=1:{} --at /anything --header x-one:1 --connections 2 --duration 0.3 \
         --warmup 0 --pid {}",
        file.display(),
        std::process::id()
    );
    let report = server.load(&arguments).unwrap();
    assert!((report.drop_rate - 0.2).abs() < 0.1, "{}", report.drop_rate);
    assert_eq!(report.payload.distinct, 17);
    let server_use = report.server.unwrap();
    assert!(server_use.rss_last_mib > 1.0 && server_use.cpu_s >= 0.0);
    for wrong in [
        "--header nonsense",
        "--mix video=1",
        "--ramp-to 5",
        "--pid 4294967295",
    ] {
        let arguments = ["load", "--target", &server.url, "--duration", "0.1"];
        let arguments = arguments.into_iter().chain(wrong.split_ascii_whitespace());
        let parsed = Cli::try_parse_from(arguments);
        assert!(
            parsed.is_err() || load::run(&parsed.unwrap().options).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn slow_answers_time_out() {
    let server = Server::start(|n| {
        (
            Duration::from_millis(if n == 0 { 3_000 } else { 0 }),
            "200 OK",
        )
    });
    let report = server
        .load("--connections 1 --duration 1 --warmup 0 --timeout 0.5")
        .unwrap();
    assert!(report.errors.timeout >= 1);
    assert!(report.accepted >= 1);
}

#[test]
fn a_silent_target_is_an_error() {
    // Bound, then closed: nobody listens there.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{address}");
    let arguments = [
        "load",
        "--target",
        &url,
        "--duration",
        "0.2",
        "--warmup",
        "0",
    ];
    let error = load::run(&Cli::parse_from(arguments).options).unwrap_err();
    assert_eq!(error.code(), "target_unanswered");
    let message = error.to_string();
    assert!(message.contains(&url), "{message}");
}

#[test]
fn options_out_of_range_are_refused() {
    let server = Server::start(|_| (Duration::ZERO, "200 OK"));
    for arguments in [
        "--connections 0",
        "--duration 0",
        "--rate 0",
        "--rate 1e12",
        "--warmup NaN",
    ] {
        assert_eq!(
            server.load(arguments).unwrap_err().code(),
            "usage",
            "{arguments}"
        );
    }
    assert_eq!(server.posts.load(Ordering::SeqCst), 0);
}
