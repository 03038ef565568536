//! A service on a free port of this machine, with a judge that tests can slow down.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(missing_docs, reason = "helpers of tests")]

pub mod process;
pub mod speech;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use novastream_api::app::App;
use novastream_api::config::Settings;
use novastream_api::error::{ApiError, ErrorCode};
use novastream_api::evidence::Clips;
use novastream_api::judge::{Context, Judge};
use novastream_api::lifecycle::Phase;
use novastream_api::policies::Policies;
use novastream_api::store::{SqliteStore, Store};
use novastream_api::{http, loading, recommend, telemetry};
use novastream_features::media::{CancelToken, MediaInfo, Window};
use novastream_inference::{
    Action, Kind, ModelState, ModelStatus, Policy, StreamHistory, TextItem, Timings, Verdict,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A judge of few words: whatever holds "idiot" is flagged. Waits at a gate when that is shut.
#[derive(Default)]
pub struct FakeJudge {
    gate: Mutex<bool>,
    opened: Condvar,
    pub calls: AtomicUsize,
}

impl FakeJudge {
    pub fn shut(&self) {
        *self.gate.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.gate.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let shut = self.gate.lock().unwrap();
        drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
    }

    fn verdict(kind: Kind, content: &[u8], policy: &Policy) -> Verdict {
        let bad = content.windows(5).any(|w| w == b"idiot");
        Verdict {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            stream_id: None,
            item_id: None,
            sequence: None,
            start_ms: None,
            end_ms: None,
            action: if bad { Action::Hold } else { Action::Allow },
            review: bad,
            categories: BTreeMap::new(),
            evidence: Vec::new(),
            sounds: Vec::new(),
            policy: policy.label(),
            sampling: None,
            degraded: Vec::new(),
            notices: Vec::new(),
            media: None,
            language: None,
            timings: Timings::default(),
            created_at: "2026-11-22T16:00:00.000Z".into(),
            content_sha256: hex::encode(Sha256::digest(content)),
        }
    }
}

impl Judge for FakeJudge {
    fn models(&self) -> Vec<ModelStatus> {
        vec![ModelStatus {
            name: "fake".into(),
            version: "1.0.0".into(),
            task: "chat".into(),
            state: ModelState::Ready,
            backend: None,
            reason: None,
            kernels: None,
            alias: None,
            canary_percent: None,
            shadow: None,
            trouble: None,
        }]
    }

    fn text(&self, items: &[TextItem], policy: &Policy) -> Vec<Verdict> {
        self.pass();
        items
            .iter()
            .map(|item| {
                assert!(!item.text.contains("[panic]"), "on purpose");
                let mut verdict = Self::verdict(Kind::Text, item.text.as_bytes(), policy);
                verdict.item_id = Some(item.id.clone());
                verdict.stream_id.clone_from(&item.channel_id);
                verdict
            })
            .collect()
    }

    fn image(
        &self,
        bytes: &[u8],
        item_id: Option<&str>,
        context: &Context,
    ) -> Result<Verdict, ApiError> {
        self.pass();
        let mut verdict = Self::verdict(Kind::Image, bytes, &context.policy);
        verdict.item_id = item_id.map(str::to_owned);
        verdict.stream_id.clone_from(&context.stream_id);
        Ok(verdict)
    }

    fn segment(
        &self,
        bytes: Arc<[u8]>,
        context: &Context,
        _: &mut StreamHistory,
        cancel: &CancelToken,
    ) -> Result<Verdict, ApiError> {
        self.pass();
        if cancel.is_cancelled() {
            return Err(ApiError::new(ErrorCode::MediaCancelled, "nobody waits"));
        }
        let mut verdict = Self::verdict(Kind::Segment, &bytes, &context.policy);
        verdict.stream_id.clone_from(&context.stream_id);
        verdict.sequence = context.sequence;
        verdict.start_ms = context.start_ms;
        Ok(verdict)
    }

    fn window(
        &self,
        window: Window,
        media: &MediaInfo,
        context: &Context,
        _: &mut StreamHistory,
    ) -> Verdict {
        self.pass();
        let mut verdict = Self::verdict(Kind::Window, b"", &context.policy);
        verdict.stream_id.clone_from(&context.stream_id);
        verdict.sequence = context.sequence;
        verdict.start_ms = Some(window.start_ms);
        verdict.end_ms = Some(window.end_ms);
        verdict.media = Some(media.clone());
        verdict
    }
}

/// The service in this process.
pub struct Service {
    pub url: String,
    pub app: App,
    pub judge: Arc<FakeJudge>,
    pub client: reqwest::Client,
    _dir: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.judge.open();
        self.app.lifecycle.advance(Phase::Stopping);
    }
}

pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.queue.workers = 2;
    settings.watch.backoff_min_ms = 20;
    settings.watch.backoff_max_ms = 100;
    settings.watch.end_grace_s = 1;
    settings.watch.start_timeout_s = 2;
    settings.watch.max_outage_s = 3;
    settings
}

/// The service with the fake judge.
pub async fn service(mut settings: Settings) -> Service {
    let fake = Arc::new(FakeJudge::default());
    let dir = tempfile::tempdir().unwrap();
    settings.data_dir = dir.path().join("data");
    let store = open(&settings).await;
    let judge = Arc::clone(&fake) as Arc<dyn Judge>;
    start(dir, settings, store, judge, fake, None).await
}

/// The service with the models that are here: at least those of the zoo.
pub async fn real_service(mut settings: Settings) -> Service {
    if settings.models.dir.is_none() {
        settings.models.dir = std::env::var_os("NOVASTREAM_MODELS").map(Into::into);
    }
    let dir = tempfile::tempdir().unwrap();
    if settings.models.dir.is_none() {
        settings.models.dir = Some(dir.path().join("none"));
    }
    // Before the models, which keep hold of their counters.
    telemetry::metrics().unwrap();
    let loaded = settings.clone();
    let load = move || loading::moderator(&loaded, b"test".to_vec()).unwrap();
    let mut moderator = tokio::task::spawn_blocking(load).await.unwrap();
    settings.data_dir = dir.path().join("data");
    let store = open(&settings).await;
    let clips = Clips::open(&settings.evidence, Arc::clone(&store)).unwrap();
    if let Some(clips) = &clips {
        moderator = moderator.with_clips(Arc::new(clips.clone()));
    }
    let (judge, fake) = (Arc::new(moderator), Arc::default());
    start(dir, settings, store, judge, fake, clips).await
}

async fn open(settings: &Settings) -> Arc<dyn Store> {
    let store = SqliteStore::open(&settings.database(), &settings.store).await;
    Arc::new(store.unwrap())
}

async fn start(
    dir: TempDir,
    settings: Settings,
    store: Arc<dyn Store>,
    judge: Arc<dyn Judge>,
    fake: Arc<FakeJudge>,
    clips: Option<Clips>,
) -> Service {
    let policies = Policies::load(settings.policy.as_ref(), &settings.policies).unwrap();
    let opener = Arc::new(loading::opener(&settings, b"test".to_vec()));
    let metrics = telemetry::metrics().unwrap();
    let recommender = Arc::new(loading::recommender(&settings).unwrap());
    recommend::refill(&store, &recommender).await.unwrap();
    let mut app = App::new(
        settings,
        judge,
        policies,
        store,
        opener,
        recommender,
        metrics,
    );
    app.clips = clips;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let router = http::router(app.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap();
    Service {
        url: format!("http://{address}"),
        app,
        judge: fake,
        client,
        _dir: dir,
    }
}

/// A problem: status and body.
pub struct Refusal {
    pub status: u16,
    pub body: serde_json::Value,
    pub retry_after: Option<String>,
}

impl Refusal {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }
}

impl Service {
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn get(&self, path: &str) -> serde_json::Value {
        let response = self.client.get(self.at(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub async fn text(&self, text: &str, channel: Option<&str>) -> serde_json::Value {
        let body = serde_json::json!({"items": [{"text": text, "channel_id": channel}]});
        let response = self.post_text(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json::<serde_json::Value>().await.unwrap()["results"][0].take()
    }

    pub fn post_text(&self, body: &serde_json::Value) -> reqwest::RequestBuilder {
        self.client.post(self.at("/v1/moderate/text")).json(body)
    }

    pub fn post_segment(&self, query: &str, bytes: impl Into<Vec<u8>>) -> reqwest::RequestBuilder {
        let url = self.at(&format!("/v1/moderate/segment?{query}"));
        self.client.post(url).body(bytes.into())
    }
}

/// Sends and expects a problem with every member in place.
pub async fn refused(request: reqwest::RequestBuilder) -> Refusal {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    assert_eq!(
        header("content-type").as_deref(),
        Some("application/problem+json"),
        "{status}"
    );
    let (id, retry_after) = (header("x-request-id").unwrap(), header("retry-after"));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], id.as_str());
    let code = body["code"].as_str().unwrap();
    assert!(
        ErrorCode::named(code).is_some(),
        "{code} is not a known code"
    );
    assert_eq!(body["type"], format!("urn:novastream:error:{code}"));
    for member in ["title", "detail", "hint", "instance"] {
        assert!(
            !body[member].as_str().unwrap().is_empty(),
            "{code} without {member}"
        );
    }
    Refusal {
        status,
        body,
        retry_after,
    }
}

/// Whether the `ffmpeg` program is here; says so when it is not.
pub fn have_ffmpeg() -> bool {
    let here = std::process::Command::new("ffmpeg")
        .arg("-version")
        .output()
        .is_ok();
    if !here {
        println!("skipped: ffmpeg not present");
    }
    here
}

/// A short clip with moving picture and a tone, made by ffmpeg.
pub fn clip(path: &std::path::Path, seconds: u32, more: &[&str]) {
    let video = format!("testsrc2=size=320x180:rate=15:duration={seconds}");
    let audio = format!("sine=frequency=440:duration={seconds}");
    let status = std::process::Command::new("ffmpeg")
        .args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            &video,
        ])
        .args([
            "-f",
            "lavfi",
            "-i",
            &audio,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
        ])
        .args(["-g", "30", "-c:a", "aac", "-shortest"])
        .args(more)
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}
