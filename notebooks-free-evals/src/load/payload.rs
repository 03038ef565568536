//! What is sent: request bodies, prepared before the clock runs.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, Url};

use crate::error::EvalError;

/// Largest file that is sent as a picture or segment.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most lines of a text file that are used; the others are left out.
const MAX_LINES: usize = 100_000;

/// Which endpoint the load goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Endpoint {
    /// `POST /v1/moderate/text`, one message a request.
    Text,
    /// `POST /v1/moderate/image`, one picture a request.
    Image,
    /// `POST /v1/moderate/segment`, one segment a request.
    Segment,
    /// `POST` of a file's bytes as they are to the path of `--at`, of any HTTP service.
    Raw,
}

impl Endpoint {
    /// The name used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Segment => "segment",
            Self::Raw => "raw",
        }
    }
}

/// Messages of everyday chat, some of which a moderator would stop.
const MESSAGES: [&str; 16] = [
    "gg wp everyone",
    "that was the cleanest clutch I have seen all week",
    "what headset are you using?",
    "first time here, love the stream",
    "you are an idiot",
    "lol no way",
    "can you turn the music down a bit please",
    "y o u  a r e  a n  i d i o t",
    "meet me at x=204 y=-1187 in the overworld",
    "GIVEAWAY!! send 0.1 and get 0.2 back, link in my profile",
    "the boss on floor 3 is impossible without the shield",
    "mods please, this guy again",
    "hello from Lisbon",
    "nobody asked you, get lost",
    "is this build still good after the patch?",
    "PogChamp PogChamp PogChamp",
];

/// One kind of requests of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where they go.
    pub endpoint: Endpoint,
    /// How many of them for one of a part of weight 1.
    pub weight: u32,
    /// What they carry; see [`super::LoadOptions::file`].
    pub files: Vec<PathBuf>,
}

impl FromStr for Part {
    type Err = String;

    /// `ENDPOINT=WEIGHT` or `ENDPOINT=WEIGHT:FILE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (endpoint, rest) = text.split_once('=').ok_or("give ENDPOINT=WEIGHT[:FILE]")?;
        let (weight, file) = rest
            .split_once(':')
            .map_or((rest, None), |(w, f)| (w, Some(f)));
        let weight = weight.parse().ok().filter(|w| (1..=1000).contains(w));
        Ok(Self {
            endpoint: Endpoint::from_str(endpoint, true)?,
            weight: weight.ok_or("the weight is a whole number, 1 to 1000")?,
            files: file.map(PathBuf::from).into_iter().collect(),
        })
    }
}

/// A prepared request.
#[derive(Debug)]
struct Prepared {
    request: Request,
    size: u64,
    segment: bool,
}

/// The requests of one part, in turn.
#[derive(Debug)]
struct Line {
    requests: Vec<Prepared>,
    next: AtomicU64,
}

/// Prepared requests that are handed out in turn, parts by their weights.
#[derive(Debug)]
pub struct Payloads {
    lines: Vec<Line>,
    /// Which line each turn takes, over and over.
    order: Vec<usize>,
    next: AtomicU64,
    segment_ms: u64,
    fresh_streams: bool,
    /// Tells the streams of this run from those of earlier ones, whose history the service may
    /// still hold.
    run: String,
}

/// The address of `endpoint` under `target`, which may carry a path prefix.
pub fn address(target: &str, endpoint: Endpoint, at: &str) -> Result<Url, EvalError> {
    let refuse = |reason: &str| EvalError::Target {
        target: target.to_owned(),
        reason: reason.to_owned(),
    };
    let mut url = Url::parse(target)
        .map_err(|e| refuse(&format!("not an address ({e}); give http://HOST:PORT")))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(refuse(
                "this program is built without TLS; measure the server's own http:// port, behind the proxy that speaks TLS",
            ));
        }
        other => {
            return Err(refuse(&format!(
                "`{other}:` is not http; give http://HOST:PORT"
            )));
        }
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(
            "give the server's address without a query; --path picks the endpoint",
        ));
    }
    let prefix = url.path().trim_end_matches('/').to_owned();
    let path = match endpoint {
        Endpoint::Raw => format!("/{}", at.trim_start_matches('/')),
        _ => format!("/v1/moderate/{}", endpoint.as_str()),
    };
    url.set_path(&format!("{prefix}{path}"));
    Ok(url)
}

/// How requests are made, beside what they carry.
#[derive(Debug, Clone)]
pub struct Making {
    /// The service.
    pub target: String,
    /// Path of raw requests.
    pub at: String,
    /// More headers of raw requests.
    pub headers: HeaderMap,
    /// Milliseconds that a segment's start time advances by.
    pub segment_ms: u64,
    /// Whether every segment is its own stream; else each connection is one.
    pub fresh_streams: bool,
}

impl Payloads {
    /// Reads the files of `parts` and prepares one request for each (`text`: for each line, or for
    /// each of a small built-in list when there is no file).
    pub fn new(client: &Client, making: &Making, parts: &[Part]) -> Result<Self, EvalError> {
        let lines = parts
            .iter()
            .map(|part| {
                Ok(Line {
                    requests: prepare(client, making, part)?,
                    next: AtomicU64::new(0),
                })
            })
            .collect::<Result<_, EvalError>>()?;
        let weights: Vec<u32> = parts.iter().map(|part| part.weight).collect();
        Ok(Self {
            lines,
            order: spread(&weights),
            next: AtomicU64::new(0),
            segment_ms: making.segment_ms,
            fresh_streams: making.fresh_streams,
            run: run_name(),
        })
    }

    /// The next request for `connection`, its `turn`-th, and the size of its body.
    pub fn next(&self, connection: usize, turn: u64) -> Result<(Request, u64), EvalError> {
        let at = |count: &AtomicU64, of: usize| {
            let serial = count.fetch_add(1, Ordering::Relaxed);
            (serial, (serial % of as u64) as usize)
        };
        let (serial, place) = at(&self.next, self.order.len());
        let line = &self.lines[self.order[place]];
        let (_, place) = at(&line.next, line.requests.len());
        let prepared = &line.requests[place];
        let mut request = prepared
            .request
            .try_clone()
            .ok_or_else(|| EvalError::internal("a prepared request can't be repeated"))?;
        if prepared.segment {
            let (stream, sequence) = if self.fresh_streams {
                (serial, 0)
            } else {
                (connection as u64, turn)
            };
            let stream = format!("load-{}-{stream}", self.run);
            request
                .url_mut()
                .query_pairs_mut()
                .append_pair("stream_id", &stream)
                .append_pair("sequence", &sequence.to_string())
                .append_pair("start_ms", &(sequence * self.segment_ms).to_string());
        }
        Ok((request, prepared.size))
    }

    /// How many different bodies there are.
    pub fn distinct(&self) -> usize {
        self.lines.iter().map(|line| line.requests.len()).sum()
    }

    /// Mean bytes of a body, over one round of all parts by their weights.
    pub fn mean_bytes(&self) -> f64 {
        let mean = |line: &Line| {
            let total: u64 = line.requests.iter().map(|p| p.size).sum();
            total as f64 / line.requests.len() as f64
        };
        let means = self.order.iter().map(|at| mean(&self.lines[*at]));
        means.sum::<f64>() / self.order.len() as f64
    }
}

/// The requests of one part.
fn prepare(client: &Client, making: &Making, part: &Part) -> Result<Vec<Prepared>, EvalError> {
    let endpoint = part.endpoint;
    let url = address(&making.target, endpoint, &making.at)?;
    let bodies = if endpoint == Endpoint::Text {
        text_bodies(&part.files)?
    } else {
        if part.files.is_empty() {
            return Err(EvalError::usage(format!(
                "{} needs --file FILE (repeat it to rotate over several)",
                endpoint.as_str()
            )));
        }
        let read = part.files.iter().map(|f| read_file(f));
        read.collect::<Result<_, _>>()?
    };
    let media_type = match endpoint {
        Endpoint::Text => "application/json",
        Endpoint::Image | Endpoint::Segment | Endpoint::Raw => "application/octet-stream",
    };
    bodies
        .into_iter()
        .map(|body| {
            let size = body.len() as u64;
            let mut request = client
                .request(Method::POST, url.clone())
                .header(CONTENT_TYPE, HeaderValue::from_static(media_type))
                .body(body)
                .build()
                .map_err(|e| EvalError::internal(format!("can't prepare a request: {e}")))?;
            if endpoint == Endpoint::Raw {
                for (name, value) in &making.headers {
                    request.headers_mut().insert(name, value.clone());
                }
            }
            Ok(Prepared {
                request,
                size,
                segment: endpoint == Endpoint::Segment,
            })
        })
        .collect()
}

/// Places in proportion to weights, each spread as evenly as it goes.
fn spread(weights: &[u32]) -> Vec<usize> {
    let mut places: Vec<(f64, usize)> = weights
        .iter()
        .enumerate()
        .flat_map(|(at, weight)| {
            (0..*weight).map(move |n| ((f64::from(n) + 0.5) / f64::from(*weight), at))
        })
        .collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    places.into_iter().map(|(_, at)| at).collect()
}

/// The process and the moment of its start, which differ between runs on one machine.
fn run_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = now.map_or(0, |since| since.as_millis());
    format!("{}-{ms}", std::process::id())
}

fn read_file(path: &Path) -> Result<Vec<u8>, EvalError> {
    let size = std::fs::metadata(path)
        .map_err(EvalError::io("read", path))?
        .len();
    if size == 0 || size > MAX_FILE_BYTES {
        return Err(EvalError::usage(format!(
            "{} has {size} bytes; a payload has 1 to {MAX_FILE_BYTES}",
            path.display()
        )));
    }
    std::fs::read(path).map_err(EvalError::io("read", path))
}

/// One body a message: lines of the files that are not blank, or the built-in list.
fn text_bodies(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, EvalError> {
    let mut messages: Vec<String> = Vec::new();
    for path in files {
        let text = String::from_utf8_lossy(&read_file(path)?).into_owned();
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        messages.extend(lines.take(MAX_LINES - messages.len()).map(str::to_owned));
    }
    if files.is_empty() {
        messages.extend(MESSAGES.map(str::to_owned));
    }
    if messages.is_empty() {
        return Err(EvalError::usage("the text files hold no line with text"));
    }
    messages
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let body = serde_json::json!({"items": [{"id": format!("load-{i}"), "text": text}]});
            serde_json::to_vec(&body)
                .map_err(|e| EvalError::internal(format!("can't write a body: {e}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making(fresh_streams: bool) -> Making {
        Making {
            target: "http://127.0.0.1:9".into(),
            at: "/v2/models/chat/infer".into(),
            headers: [(CONTENT_TYPE, HeaderValue::from_static("x/y"))]
                .into_iter()
                .collect(),
            segment_ms: 2000,
            fresh_streams,
        }
    }

    #[test]
    fn parts_take_turns_by_their_weights_and_raw_requests_are_sent_as_they_are() {
        assert_eq!(spread(&[3, 1]), [0, 0, 1, 0]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("body");
        std::fs::write(&file, [1, 2, 3]).unwrap();
        let raw: Part = format!("raw=1:{}", file.display()).parse().unwrap();
        let parts = ["text=3".parse().unwrap(), raw];
        let payloads = Payloads::new(&Client::new(), &making(false), &parts).unwrap();
        let requests: Vec<Request> = (0..8).map(|n| payloads.next(0, n).unwrap().0).collect();
        let raw: Vec<&Request> = requests
            .iter()
            .filter(|r| r.url().path() == "/v2/models/chat/infer")
            .collect();
        assert_eq!(raw.len(), 2);
        assert_eq!(raw[0].headers()[CONTENT_TYPE], "x/y");
        assert_eq!(raw[0].body().unwrap().as_bytes().unwrap(), [1, 2, 3]);
        for bad in ["text", "text=0", "video=1", "text=x:f"] {
            assert!(bad.parse::<Part>().is_err(), "{bad}");
        }
    }

    fn payloads(endpoint: Endpoint, files: &[PathBuf], fresh: bool) -> Result<Payloads, EvalError> {
        let part = Part {
            endpoint,
            weight: 1,
            files: files.to_vec(),
        };
        Payloads::new(&Client::new(), &making(fresh), &[part])
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        let url = address("http://localhost:8080/base/", Endpoint::Image, "").unwrap();
        assert_eq!(url.as_str(), "http://localhost:8080/base/v1/moderate/image");
        for (target, word) in [
            ("https://localhost", "TLS"),
            ("localhost:8080", "not http"),
            ("ftp://localhost", "not http"),
            ("nonsense", "not an address"),
            ("http://localhost/?a=b", "query"),
        ] {
            let error = address(target, Endpoint::Text, "").unwrap_err();
            assert_eq!(error.code(), "target_invalid");
            assert!(error.to_string().contains(word), "{target}: {error}");
        }
    }

    #[test]
    fn built_in_messages_take_turns() {
        let payloads = payloads(Endpoint::Text, &[], false).unwrap();
        assert_eq!(payloads.distinct(), MESSAGES.len());
        let texts: Vec<String> = (0..=MESSAGES.len())
            .map(|turn| {
                let (request, size) = payloads.next(0, turn as u64).unwrap();
                let body = request.body().unwrap().as_bytes().unwrap();
                assert_eq!(body.len() as u64, size);
                let json: serde_json::Value = serde_json::from_slice(body).unwrap();
                json["items"][0]["text"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(texts[..MESSAGES.len()], MESSAGES);
        assert_eq!(texts[MESSAGES.len()], MESSAGES[0]);
    }

    #[test]
    fn lines_of_a_file_become_messages() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.txt");
        std::fs::write(&file, "one\n\n  two  \n").unwrap();
        assert_eq!(
            payloads(Endpoint::Text, std::slice::from_ref(&file), false)
                .unwrap()
                .distinct(),
            2
        );
        std::fs::write(&file, "\n \n").unwrap();
        assert_eq!(
            payloads(Endpoint::Text, &[file], false).unwrap_err().code(),
            "usage"
        );
    }

    #[test]
    fn segments_of_a_connection_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.ts");
        std::fs::write(&file, [1, 2, 3]).unwrap();
        let files = [file];
        let query =
            |p: &Payloads, turn| p.next(3, turn).unwrap().0.url().query().unwrap().to_owned();

        let continuous = payloads(Endpoint::Segment, &files, false).unwrap();
        let (first, second) = (query(&continuous, 0), query(&continuous, 1));
        assert!(first.ends_with("-3&sequence=0&start_ms=0"), "{first}");
        assert!(second.ends_with("-3&sequence=1&start_ms=2000"), "{second}");

        let fresh = payloads(Endpoint::Segment, &files, true).unwrap();
        let (first, second) = (query(&fresh, 0), query(&fresh, 1));
        assert!(first.ends_with("-0&sequence=0&start_ms=0"), "{first}");
        assert!(second.ends_with("-1&sequence=0&start_ms=0"), "{second}");
    }

    #[test]
    fn pictures_and_segments_need_a_file() {
        for endpoint in [Endpoint::Image, Endpoint::Segment] {
            let error = payloads(endpoint, &[], false).unwrap_err();
            assert!(error.to_string().contains("--file"), "{error}");
        }
        let missing = payloads(Endpoint::Image, &["does-not-exist.jpg".into()], false);
        assert_eq!(missing.unwrap_err().code(), "io");
    }
}
