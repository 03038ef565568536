//! Pictures that are named by a URL.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use url::Url;

use super::request::Content;
use crate::config::Settings;
use crate::error::{ApiError, ErrorCode};
use crate::watch::address;

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
                    fetch(&url, settings, deadline)
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

/// The bytes at `url`. Redirects are not followed, and the connection goes to the addresses that
/// were checked: both would otherwise lead around the check.
async fn fetch(url: &str, settings: &Settings, deadline: Instant) -> Result<Vec<u8>, ApiError> {
    let parsed = Url::parse(url).map_err(|e| forbidden(&format!("it is no URL: {e}")))?;
    if !["http", "https"].contains(&parsed.scheme()) {
        return Err(forbidden("only data:, http: and https: URLs are fetched"));
    }
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        return Err(forbidden("it has no host"));
    };
    let addresses = if settings.image_urls.allow_private_hosts {
        address::resolve(host, port).await
    } else {
        address::public(host, port).await
    };
    let addresses = addresses.map_err(|e| match e.code {
        ErrorCode::WatchUrlForbidden => forbidden(&e.detail),
        _ => ApiError::new(ErrorCode::ImageUrlFailed, e.detail),
    })?;
    let addresses = Pinned(addresses);
    let left = deadline.saturating_duration_since(Instant::now());
    let most = settings.limits.image_bytes;
    tokio::task::spawn_blocking(move || get(parsed.as_str(), addresses, most, left))
        .await
        .map_err(ApiError::internal)?
}

/// Answers the same addresses for whatever it is asked.
#[derive(Debug)]
struct Pinned(Vec<SocketAddr>);

impl Resolver for Pinned {
    fn resolve(
        &self,
        _uri: &ureq::http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut out = self.empty();
        for address in self.0.iter().take(MOST_ADDRESSES) {
            out.push(*address);
        }
        if self.0.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(out)
    }
}

/// Addresses of a host that are tried.
const MOST_ADDRESSES: usize = 4;

fn get(url: &str, addresses: Pinned, most: usize, within: Duration) -> Result<Vec<u8>, ApiError> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::new(), addresses);
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
