//! Watches through the API, over files and a playlist that grows.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use common::{Service, refused, service, settings};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

fn watching() -> novastream_api::config::Settings {
    let mut settings = settings();
    settings.watch.allow_files = true;
    settings
}

async fn begin(s: &Service, body: &Value) -> (u16, Value) {
    let response = s
        .client
        .post(s.at("/v1/watches"))
        .json(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let location = response
        .headers()
        .get("location")
        .map(|v| v.to_str().unwrap().to_owned());
    let watch: Value = response.json().await.unwrap();
    assert_eq!(
        location.unwrap(),
        format!("/v1/watches/{}", watch["id"].as_str().unwrap())
    );
    (status, watch)
}

async fn until(s: &Service, id: &str, state: &str) -> Value {
    for _ in 0..400 {
        let watch = s.get(&format!("/v1/watches/{id}")).await;
        if watch["state"] == state {
            return watch;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "never {state}: {}",
        s.get(&format!("/v1/watches/{id}")).await
    );
}

#[tokio::test]
async fn a_file_is_watched_to_its_end_and_events_end_with_it() {
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clip.mp4");
    common::clip(&file, 10, &[]);
    let s = service(watching()).await;
    let body = json!({"url": file.to_str().unwrap(), "stream_id": "s"});
    let (status, watch) = begin(&s, &body).await;
    assert_eq!(status, 201);
    let id = watch["id"].as_str().unwrap();

    let request = s.client.get(s.at("/v1/streams/s/verdicts?stream=1"));
    let mut bytes = request.send().await.unwrap().bytes_stream();
    let mut text = String::new();
    let reading = async {
        while let Some(more) = bytes.next().await {
            text.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("the events did not end");
    let windows = text.matches("event: verdict").count();
    // Five of two seconds, and a short one where the sound is a little longer.
    assert!((5..=6).contains(&windows), "{text}");
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(
        last.contains("event: watch") && last.contains("\"state\":\"ended\""),
        "{last}"
    );
    assert!(!last.contains("id:"));

    let watch = until(&s, id, "ended").await;
    assert_eq!(watch["counts"]["windows"], windows);
    assert!(watch["last_latency_ms"].as_f64().unwrap() >= 0.0);
    let page = s.get("/v1/streams/s/verdicts").await;
    let stored = page["verdicts"].as_array().unwrap();
    assert_eq!(stored.len(), windows);
    assert!(
        stored
            .iter()
            .all(|v| v["kind"] == "window" && v["latency_ms"].is_f64())
    );
    let spans: Vec<(i64, i64)> = stored
        .iter()
        .map(|v| {
            (
                v["start_ms"].as_i64().unwrap(),
                v["end_ms"].as_i64().unwrap(),
            )
        })
        .collect();
    assert!(spans.windows(2).all(|w| w[0].1 == w[1].0), "{spans:?}");
    let list = s.get("/v1/watches").await;
    assert_eq!(list["watches"].as_array().unwrap().len(), 1);
    assert_eq!(s.get("/v1/watches?active=true").await["watches"], json!([]));
    // Ending what has ended is no error and changes nothing.
    let deleted = s
        .client
        .delete(s.at(&format!("/v1/watches/{id}")))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.json::<Value>().await.unwrap()["state"], "ended");
}

#[tokio::test]
async fn the_same_watch_twice_is_one_and_another_url_is_a_conflict() {
    let mut settings = watching();
    settings.watch.max = 2;
    settings.watch.start_timeout_s = 60;
    let s = service(settings).await;
    // Nothing listens there: the watch keeps trying.
    let body = json!({"url": "http://127.0.0.1:9/live.m3u8?token=secret", "stream_id": "s"});
    let (status, first) = begin(&s, &body).await;
    assert_eq!((status, &first["state"]), (201, &json!("starting")));
    assert_eq!(first["url"], "http://127.0.0.1:9/live.m3u8?token=***");
    let (status, second) = begin(&s, &body).await;
    assert_eq!((status, &second["id"]), (200, &first["id"]));
    let post = |body: Value| s.client.post(s.at("/v1/watches")).json(&body);
    let other = post(json!({"url": "http://127.0.0.1:9/other", "stream_id": "s"}));
    let r = refused(other).await;
    assert_eq!((r.status, r.code()), (409, "watch_conflict"));
    begin(&s, &json!({"url": "http://127.0.0.1:9/b"})).await;
    let r = refused(post(json!({"url": "http://127.0.0.1:9/c"}))).await;
    assert_eq!((r.status, r.code()), (429, "too_many_watches"));

    let id = first["id"].as_str().unwrap();
    // The state says why there is nothing yet.
    for _ in 0..200 {
        if s.get(&format!("/v1/watches/{id}")).await["error"]["code"] == "source_failed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        s.get(&format!("/v1/watches/{id}")).await["error"]["code"],
        "source_failed"
    );
    let ended = s
        .client
        .delete(s.at(&format!("/v1/watches/{id}")))
        .send()
        .await
        .unwrap();
    assert_eq!(ended.json::<Value>().await.unwrap()["state"], "stopped");
    let (status, third) = begin(&s, &body).await;
    assert_eq!(status, 201);
    assert_ne!(third["id"], first["id"]);
    s.app.watches.suspend_all().await;
}

#[tokio::test]
async fn urls_that_may_not_be_watched_are_refused() {
    let mut settings = settings();
    settings.watch.allow_private_hosts = false;
    let s = service(settings).await;
    for (url, status, code) in [
        ("file:///etc/hostname", 403, "watch_url_forbidden"),
        ("/etc/hostname", 422, "watch_url_invalid"),
        ("gopher://example.org/", 403, "watch_url_forbidden"),
        ("http://169.254.169.254/latest", 403, "watch_url_forbidden"),
        ("rtmp://localhost/app", 403, "watch_url_forbidden"),
        ("", 422, "watch_url_invalid"),
    ] {
        let r = refused(
            s.client
                .post(s.at("/v1/watches"))
                .json(&json!({"url": url})),
        )
        .await;
        assert_eq!((r.status, r.code()), (status, code), "{url}");
    }
    let body = json!({"url": "http://8.8.8.8/x", "policy": "nope"});
    let r = refused(s.client.post(s.at("/v1/watches")).json(&body)).await;
    assert_eq!(r.code(), "policy_unknown");
    assert_eq!(
        refused(s.client.get(s.at("/v1/watches/none"))).await.code(),
        "watch_not_found"
    );
    assert_eq!(
        refused(s.client.delete(s.at("/v1/watches/none")))
            .await
            .code(),
        "watch_not_found"
    );
}

/// A live playlist that goes away in the middle and comes back: the outage is a gap, and nothing is
/// judged twice or left out otherwise.
#[tokio::test]
async fn a_live_playlist_survives_an_outage_of_its_server() {
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-f", "lavfi"])
        .args(["-i", "testsrc2=size=320x180:rate=15:duration=40"])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            "15",
            "-f",
            "hls",
        ])
        .args(["-hls_time", "1", "-hls_list_size", "0"])
        .arg(dir.path().join("all.m3u8"))
        .status()
        .unwrap();
    assert!(status.success());
    let mut settings = watching();
    settings.watch.window_ms = 1000;
    settings.watch.read_timeout_ms = 1500;
    settings.watch.open_timeout_ms = 2000;
    settings.watch.max_outage_s = 30;
    settings.watch.end_grace_s = 20;
    let s = service(settings).await;
    let playlist = Playlist::serve(dir.path()).await;
    let (_, watch) = begin(&s, &json!({"url": playlist.url, "stream_id": "s"})).await;
    let id = watch["id"].as_str().unwrap();

    playlist.show(3, false);
    until(&s, id, "running").await;
    for last in 4..8 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        playlist.show(last, false);
    }
    playlist.down(true);
    until(&s, id, "reconnecting").await;
    // Eight segments go by while nobody can fetch them.
    playlist.show(18, false);
    playlist.down(false);
    for last in 19..22 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        playlist.show(last, false);
    }
    playlist.show(22, true);
    let watch = until(&s, id, "ended").await;
    assert_eq!(watch["counts"]["gaps"], 1, "{watch}");

    let page = s.get("/v1/streams/s/verdicts").await;
    let verdicts = page["verdicts"].as_array().unwrap();
    let mut end = verdicts[0]["start_ms"].as_i64().unwrap();
    for v in verdicts {
        let start = v["start_ms"].as_i64().unwrap();
        assert!(
            (start - end).abs() <= 1000,
            "a hole without a gap before {v}"
        );
        end = v["end_ms"].as_i64().unwrap();
    }
    let gap: Vec<&Value> = verdicts.iter().filter(|v| v["kind"] == "gap").collect();
    assert_eq!(gap.len(), 1);
    let length = gap[0]["end_ms"].as_i64().unwrap() - gap[0]["start_ms"].as_i64().unwrap();
    assert!((4000..=12_000).contains(&length), "{length}");
    assert_eq!(
        (&gap[0]["review"], &gap[0]["action"]),
        (&json!(true), &json!("flag"))
    );
    assert!(!gap[0]["degraded"][0]["reason"].as_str().unwrap().is_empty());
    assert!(end >= 21_000, "{end}");
}

/// A web server that shows the last three segments of a playlist, up to a number.
struct Playlist {
    url: String,
    state: std::sync::Arc<std::sync::Mutex<(usize, bool, bool)>>,
}

impl Playlist {
    async fn serve(dir: &std::path::Path) -> Self {
        let state = std::sync::Arc::new(std::sync::Mutex::new((3usize, false, false)));
        let (shown, dir) = (std::sync::Arc::clone(&state), dir.to_owned());
        let answer = move |axum::extract::Path(name): axum::extract::Path<String>| {
            let (last, finished, down) = *shown.lock().unwrap();
            let body = if down {
                None
            } else if name == "live.m3u8" {
                let first = last.saturating_sub(2);
                let mut text = format!(
                    "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
                );
                for n in first..=last {
                    writeln!(text, "#EXTINF:1.0,\nall{n}.ts").unwrap();
                }
                if finished {
                    text.push_str("#EXT-X-ENDLIST\n");
                }
                Some(text.into_bytes())
            } else {
                std::fs::read(dir.join(name)).ok()
            };
            async move { body.ok_or(axum::http::StatusCode::SERVICE_UNAVAILABLE) }
        };
        let router = axum::Router::new().route("/{name}", axum::routing::get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/live.m3u8", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    fn show(&self, last: usize, finished: bool) {
        let mut state = self.state.lock().unwrap();
        (state.0, state.1) = (last, finished);
    }

    fn down(&self, down: bool) {
        self.state.lock().unwrap().2 = down;
    }
}
