//! The real clients of other services against this one. They are installed below the target folder
//! by `pip` and `npm`; where those can't reach their registry, the test says what it skips.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Service, real_service, service, settings};
use tokio::process::Command;

const INSTALL: Duration = Duration::from_mins(4);

/// Runs a program; `None` when it is not there, failed, or took too long.
async fn quietly(program: &Path, arguments: &[&str], dir: &Path) -> Option<()> {
    let running = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(INSTALL, running).await.ok()?.ok()?;
    output.status.success().then_some(())
}

/// The interpreter of a virtual environment that has `package`, installed once for `name`.
async fn python(name: &str, package: &str) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-{name}"));
    let python = home.join("bin/python");
    let done = home.join("installed");
    if done.exists() {
        return Some(python);
    }
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(base).unwrap();
    let folder = home.display().to_string();
    quietly(
        Path::new("python3"),
        &["-m", "venv", "--clear", &folder],
        base,
    )
    .await?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        package,
    ];
    quietly(&python, &install, base).await?;
    std::fs::write(done, package).unwrap();
    Some(python)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

async fn must_pass(program: &Path, script: &Path, arguments: &[&str]) {
    let running = Command::new(program)
        .arg(script)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(1), running)
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}{}",
        script.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn picture(dir: &Path) -> String {
    let pixels = (0..64 * 48 * 3).map(|n| (n % 251) as u8).collect();
    let picture = novastream_features::picture::RgbImage::new(64, 48, pixels).unwrap();
    let path = dir.join("picture.jpg");
    std::fs::write(&path, picture.encode_jpeg(90).unwrap()).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_for_python() {
    let Some(python) = python("openai", "openai").await else {
        eprintln!("skipped: the Python package openai cannot be installed here");
        return;
    };
    let s: Service = real_service(settings()).await;
    let dir = tempfile::tempdir().unwrap();
    let picture = picture(dir.path());
    must_pass(&python, &script("openai_client.py"), &[&s.url, &picture]).await;
    // Every verdict behind those answers is stored.
    let stored = s.get("/v1/reviews?status=open").await;
    assert!(!stored["verdicts"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_waits_when_told_to() {
    let Some(python) = python("openai-busy", "openai").await else {
        eprintln!("skipped: the Python package openai cannot be installed here");
        return;
    };
    let mut settings = settings();
    settings.queue.text_workers = 1;
    settings.queue.waiting = 0;
    let s = service(settings).await;
    s.judge.shut();
    let held = tokio::spawn({
        let body = serde_json::json!({"items": [{"text": "hello"}]});
        s.post_text(&body).send()
    });
    while s.judge.calls.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A door for the script: any request to it opens the gate.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = format!("http://{}/", listener.local_addr().unwrap());
    let judge = std::sync::Arc::clone(&s.judge);
    let open = axum::Router::new().fallback(move || {
        judge.open();
        async { "open" }
    });
    tokio::spawn(async move { axum::serve(listener, open).await });
    must_pass(&python, &script("openai_busy.py"), &[&s.url, &door]).await;
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_for_node() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-openai");
    std::fs::create_dir_all(&home).unwrap();
    let installed = home.join("node_modules/openai/package.json");
    if !installed.exists() {
        std::fs::write(home.join("package.json"), "{\"private\": true}").unwrap();
        let install = ["install", "--silent", "--no-audit", "--no-fund", "openai"];
        let _ = quietly(Path::new("npm"), &install, &home).await;
    }
    if !installed.exists() {
        eprintln!("skipped: the Node package openai cannot be installed here");
        return;
    }
    // Node looks for packages from the script's own folder upwards.
    let copy = home.join("client.mjs");
    std::fs::copy(script("openai_client.mjs"), &copy).unwrap();
    let s = real_service(settings()).await;
    must_pass(Path::new("node"), &copy, &[&s.url]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_google_api_package_for_python() {
    let Some(python) = python("google", "google-api-python-client").await else {
        eprintln!("skipped: google-api-python-client cannot be installed here");
        return;
    };
    let s = real_service(settings()).await;
    must_pass(&python, &script("perspective_client.py"), &[&s.url]).await;
    // doNotStore kept the first comment out of the store, although it is one for review.
    let hash = |text: &str| {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(text.as_bytes()))
    };
    let stored = s.get("/v1/reviews?status=open").await.to_string();
    assert!(!stored.contains(&hash(
        "Good morning \u{1F600} everyone. You are a worthless idiot, shut up!"
    )));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_triton_client_for_python() {
    let Some(python) = python("triton", "tritonclient[http,grpc]").await else {
        eprintln!("skipped: the Python package tritonclient cannot be installed here");
        return;
    };
    let mut settings = settings();
    settings.oip.control = true;
    let s = real_service(settings).await;
    let address = s.url.trim_start_matches("http://");
    must_pass(&python, &script("triton_client.py"), &[address]).await;
    // What was counted for it is in the metrics, under the model's name.
    let metrics = s.client.get(s.at("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("novastream_model_compute_seconds_count{model=\"chat\""),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_unloads_a_model_unless_the_operator_allows_it() {
    let s = real_service(settings()).await;
    let url = s.at("/v2/repository/models/chat/unload");
    let answer = s.client.post(url).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let body: serde_json::Value = answer.json().await.unwrap();
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("model_control_disabled"), "{error}");
    let ready = s.client.get(s.at("/v2/models/chat/ready")).send().await;
    assert_eq!(ready.unwrap().status(), 200);
}
