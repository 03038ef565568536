//! The live source: ffmpeg pushing in real time into an HLS playlist that is served over HTTP.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

/// Starts ffmpeg, reading `clip` at its own speed and writing a live playlist into `dir`.
pub fn push(clip: &Path, dir: &Path) -> Result<Child> {
    Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-re", "-i"])
        .arg(clip)
        .args(["-c", "copy", "-f", "hls", "-hls_time", "2"])
        .args(["-hls_list_size", "6", "-hls_flags", "delete_segments"])
        .arg(dir.join("live.m3u8"))
        .spawn()
        .context("starting ffmpeg; `make setup` installs it")
}

/// Serves the files of `dir` on a free loopback port until the process ends; gives the address.
pub async fn serve(dir: PathBuf) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new().route("/{name}", get(file)).with_state(dir);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn file(State(dir): State<PathBuf>, UrlPath(name): UrlPath<String>) -> impl IntoResponse {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    if !plain || name.starts_with('.') {
        return Err(StatusCode::NOT_FOUND);
    }
    let kind = if Path::new(&name)
        .extension()
        .is_some_and(|ending| ending == "m3u8")
    {
        "application/vnd.apple.mpegurl"
    } else {
        "video/mp2t"
    };
    let bytes = tokio::fs::read(dir.join(name))
        .await
        .map_err(|_| StatusCode::NOT_FOUND)?;
    Ok((
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        bytes,
    ))
}
