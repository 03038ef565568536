//! `make demo`: a real live stream, moderated live, and held against what it is known to contain.
//!
//! Renders a clip, pushes it in real time into an HLS playlist served on loopback, starts
//! `novastream serve`, follows the stream with `novastream watch`, replays chat beside it, and
//! exits 0 only when everything that must be flagged was, and nothing calm was. Then a viewer's
//! list of recommendations is followed while channels go live and end.

mod chat;
mod check;
mod clip;
mod hls;
mod viewer;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use novastream_features::pdq::pdq;
use serde_json::Value;

/// The stream's id in the demo.
const STREAM: &str = "demo";

/// A child process that is stopped when the demo ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the process has already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<bool> {
    let work = tempfile::tempdir().context("making a work folder")?;
    let novastream = sibling_binary()?;

    println!("demo: rendering a 40 s clip (calm, blocklisted picture, scam text, siren)");
    let clip_file = prepare_clip(work.path())?;

    let (mut server, url) = start_server(&novastream, work.path())?;
    println!("demo: service at {url} (docs at {url}/docs)");
    report_models(&url)?;

    let live = work.path().join("live");
    fs::create_dir_all(&live)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let address = runtime.block_on(hls::serve(live.clone()))?;
    let started = Instant::now();
    let pusher = Running(hls::push(&clip_file, &live)?);
    wait_for(&live.join("live.m3u8"), Duration::from_secs(20))?;

    let stream_url = format!("http://{address}/live.m3u8");
    println!("demo: live stream at {stream_url}; watching\n");
    let mut watch = Running(
        Command::new(&novastream)
            .args([
                "watch",
                &stream_url,
                "--server",
                &url,
                "--stream-id",
                STREAM,
            ])
            .spawn()
            .context("starting novastream watch")?,
    );
    let chat_url = url.clone();
    let chat = thread::spawn(move || chat::replay(&chat_url, STREAM, started));

    let limit = started + Duration::from_secs(u64::from(clip::LENGTH_S) + 45);
    let watched = wait_until(&mut watch.0, limit)?;
    let Ok(chat) = chat.join() else {
        bail!("the chat replay panicked");
    };
    let chat = chat?;
    drop(pusher);

    let all = stored_verdicts(&url)?;
    let windows: Vec<Value> = all.into_iter().filter(|v| v["kind"] == "window").collect();
    let mut findings = check::Findings::default();
    check::stream(&windows, &mut findings)?;
    check::chat(&chat, &mut findings);
    findings.note(watched, "the watch ended by itself".to_owned());
    match viewer::model() {
        Some(_) => viewer::play(&url, &mut findings)?,
        None => println!("\ndemo: {} is not here; no list is shown", viewer::MODEL),
    }
    summarise(&windows, &chat, &findings);
    stop_server(&mut server);
    Ok(findings.missed.is_empty())
}

/// The `novastream` binary of the same build: examples live one folder below it.
fn sibling_binary() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let path = exe
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("novastream"))
        .filter(|path| path.exists());
    path.context("the novastream binary is not beside this example; use `make demo`")
}

/// Draws the poster, puts it on the blocklist and renders the clip.
fn prepare_clip(work: &Path) -> Result<PathBuf> {
    let poster = clip::draw_poster()?;
    let picture = work.join("poster.jpg");
    fs::write(&picture, poster.encode_jpeg(92)?)?;
    let hash = pdq(&poster).hash;
    fs::write(
        work.join("blocklist.csv"),
        format!("{hash},forbidden poster\n"),
    )?;
    let out = work.join("clip.mp4");
    clip::render(&picture, &out)?;
    Ok(out)
}

/// Starts `novastream serve` on a free port and waits until it says where it listens.
fn start_server(novastream: &Path, work: &Path) -> Result<(Running, String)> {
    let config = work.join("novastream.toml");
    // TOML's basic strings and JSON's escape the same way.
    let quoted = |path: PathBuf| Value::from(path.display().to_string()).to_string();
    let mut toml = format!(
        "data_dir = {}\nblocklists = [{}]\n",
        quoted(work.join("data")),
        quoted(work.join("blocklist.csv"))
    );
    if let Some(model) = viewer::model() {
        toml.push_str(&format!("[recommend]\nmodel = {}\n", quoted(model)));
    }
    fs::write(&config, toml)?;
    let mut child = Command::new(novastream)
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .args(["--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .context("starting novastream serve")?;
    let stdout = child
        .stdout
        .take()
        .context("the server's output is piped")?;
    let server = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let Some(url) = line.trim().strip_prefix("listening on ") else {
        bail!("the server did not start; its first line was {line:?}");
    };
    Ok((server, url.to_owned()))
}

fn report_models(url: &str) -> Result<()> {
    let answer = get(&format!("{url}/v1/models"))?;
    for model in answer["models"].as_array().into_iter().flatten() {
        let text = |key: &str| model[key].as_str().unwrap_or("-").to_owned();
        println!(
            "demo: model {:<20} {:<12} {} {}",
            text("name"),
            text("state"),
            text("backend"),
            model["reason"].as_str().unwrap_or("")
        );
    }
    Ok(())
}

fn wait_for(path: &Path, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while !path.exists() {
        if start.elapsed() > limit {
            bail!("{} did not appear: ffmpeg is not pushing", path.display());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits for the child until `limit`; false when it did not end well or had to be stopped.
fn wait_until(child: &mut Child, limit: Instant) -> Result<bool> {
    while Instant::now() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}

fn get(url: &str) -> Result<Value> {
    let text = ureq::get(url)
        .call()
        .and_then(|mut response| response.body_mut().read_to_string())
        .with_context(|| format!("GET {url}"))?;
    Ok(serde_json::from_str(&text)?)
}

fn stored_verdicts(url: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = get(&format!(
            "{url}/v1/streams/{STREAM}/verdicts?after={after}&limit=100"
        ))?;
        let items = page["verdicts"].as_array().cloned().unwrap_or_default();
        let Some(last) = items.last().and_then(|v| v["seq"].as_i64()) else {
            return Ok(all);
        };
        after = last;
        all.extend(items);
    }
}

/// Prints the summary.
fn summarise(windows: &[Value], chat: &[Value], findings: &check::Findings) {
    let mut latency: Vec<f64> = windows
        .iter()
        .filter_map(|v| v["latency_ms"].as_f64())
        .collect();
    latency.sort_by(f64::total_cmp);
    println!("\nsummary");
    println!(
        "  {} window verdicts, {} chat verdicts stored",
        windows.len(),
        chat.len()
    );
    if let (Some(median), Some(worst)) = (latency.get(latency.len() / 2), latency.last()) {
        println!("  window latency: median {median:.0} ms, worst {worst:.0} ms");
    }
    for text in &findings.met {
        println!("  ✓ {text}");
    }
    for text in &findings.missed {
        println!("  ✗ {text}");
    }
    println!(
        "  {} of {} expectations met",
        findings.met.len(),
        findings.met.len() + findings.missed.len()
    );
}

/// Asks the server to end and gives it a moment before it is stopped by force.
fn stop_server(server: &mut Running) {
    let id = server.0.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &id]).status();
    if asked.is_ok_and(|status| status.success()) {
        for _ in 0..50 {
            if matches!(server.0.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
