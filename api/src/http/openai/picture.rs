//! Pictures that are named by a URL.

use std::io::Read as _;
use std::time::{Duration, Instant};

use super::request::Content;
use crate::config::{Settings, WatchSettings};
use crate::error::{ApiError, ErrorCode};
use crate::watch::address::{self, Asker};

/// Fetches what has to be fetched, one after another.
///
/// # Errors
/// `image_url_forbidden`, `image_url_failed`.
pub async fn fetch_all(
    contents: Vec<Vec<Content>>,
    settings: &Settings,
    deadline: Instant,
) -> Result<Vec<Vec<Content>>, ApiError> {
    let mut out = Vec::with_capacity(contents.len());
    for parts in contents {
        let mut ready = Vec::with_capacity(parts.len());
        for part in parts {
            ready.push(match part {
                Content::Url(url) => Content::Picture(
                    fetch(&url, &settings.watch, settings.limits.image_bytes, deadline)
                        .await
                        .map_err(|e| e.about("input"))?,
                ),
                other => other,
            });
        }
        out.push(ready);
    }
    Ok(out)
}

/// The bytes at `url`, under the rules for URLs that are watched. Redirects are not followed: they
/// would lead around those rules.
async fn fetch(
    url: &str,
    rules: &WatchSettings,
    most: usize,
    deadline: Instant,
) -> Result<Vec<u8>, ApiError> {
    let web = ["http://", "https://"].iter().any(|s| {
        url.get(..s.len())
            .is_some_and(|u| u.eq_ignore_ascii_case(s))
    });
    if !web {
        return Err(forbidden("only data:, http: and https: URLs are fetched"));
    }
    let url = address::check(url, rules, Asker::Remote)
        .await
        .map_err(|e| forbidden(&e.detail))?;
    let left = deadline.saturating_duration_since(Instant::now());
    tokio::task::spawn_blocking(move || get(&url, most, left))
        .await
        .map_err(ApiError::internal)?
}

fn get(url: &str, most: usize, within: Duration) -> Result<Vec<u8>, ApiError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let failed = |why: String| {
        let shown = address::redact(url);
        ApiError::new(ErrorCode::ImageUrlFailed, format!("{shown}: {why}"))
    };
    let response = agent.get(url).call().map_err(|e| failed(e.to_string()))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(failed(format!("the host answered {status}")));
    }
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| failed(e.to_string()))?;
    if bytes.len() > most {
        return Err(failed(format!(
            "more than the {most} bytes that limits.image_bytes allows"
        )));
    }
    Ok(bytes)
}

fn forbidden(why: &str) -> ApiError {
    ApiError::new(ErrorCode::ImageUrlForbidden, why)
}
