//! Which URLs may be watched, and how they are shown.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use url::{Host, Url};

use crate::config::WatchSettings;
use crate::error::{ApiError, ErrorCode};

/// Who asks for a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The person at this machine's command line: files are theirs to read.
    Local,
    /// A caller of the service.
    Remote,
}

/// Checks a URL against the settings and gives what libav is to open.
///
/// Names are resolved here; libav resolves them again. Where callers are not trusted, deny the
/// service's network what it must not reach as well: this check alone cannot see redirects or the
/// addresses inside a playlist.
///
/// # Errors
/// `watch_url_invalid`, `watch_url_forbidden`.
pub async fn check(text: &str, w: &WatchSettings, asker: Asker) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 2048 || text.chars().any(char::is_control) {
        return Err(invalid(
            "it must have 1 to 2048 characters and no control characters",
        ));
    }
    let files = asker == Asker::Local || w.allow_files;
    let url = match Url::parse(text) {
        Ok(url) if url.scheme().len() > 1 => url,
        // A plain path; one letter before a colon is a drive.
        _ if files && Path::new(text).exists() => return Ok(text.to_owned()),
        Ok(_) => return Err(invalid("it has no scheme")),
        Err(e) => return Err(invalid(&e.to_string())),
    };
    if url.scheme() == "file" {
        if !files {
            return Err(forbidden("watch.allow_files is off"));
        }
        let path = url
            .to_file_path()
            .map_err(|()| invalid("it names no file here"))?;
        return Ok(path.display().to_string());
    }
    if !w.schemes.iter().any(|s| s == url.scheme()) {
        let allowed = w.schemes.join(", ");
        return Err(forbidden(&format!(
            "`{}` is not among {allowed}",
            url.scheme()
        )));
    }
    let Some(host) = url.host_str().filter(|h| !h.is_empty()) else {
        return Err(invalid("it has no host"));
    };
    if !w.allow_private_hosts && asker == Asker::Remote {
        public(host, url.port_or_known_default().unwrap_or(1935)).await?;
    }
    Ok(text.to_owned())
}

/// The addresses of a host, none of them private. Whoever connects should connect to these: a name
/// that is resolved a second time may lead elsewhere.
///
/// # Errors
/// `watch_url_invalid`, `watch_url_forbidden`.
pub async fn public(host: &str, port: u16) -> Result<Vec<SocketAddr>, ApiError> {
    let addresses = resolve(host, port).await?;
    match addresses.iter().find(|a| is_private(a.ip())) {
        Some(a) => Err(forbidden(&format!(
            "`{host}` is {}, a private address",
            a.ip()
        ))),
        None => Ok(addresses),
    }
}

/// The addresses of a host.
///
/// # Errors
/// `watch_url_invalid`.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ApiError> {
    // Schemes that the URL standard does not know keep addresses as plain text.
    Ok(match Host::parse(host) {
        Ok(Host::Ipv4(ip)) => vec![SocketAddr::new(ip.into(), port)],
        Ok(Host::Ipv6(ip)) => vec![SocketAddr::new(ip.into(), port)],
        _ => tokio::net::lookup_host((host, port))
            .await
            .map_err(|e| invalid(&format!("the host `{host}` cannot be resolved: {e}")))?
            .collect(),
    })
}

/// Loopback, link-local, private, shared, multicast, reserved and unspecified addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(v6) => match mapped(v6) {
            Some(v4) => is_private(v4),
            None => {
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_multicast()
                    || v6.is_unique_local()
                    || v6.is_unicast_link_local()
            }
        },
    }
}

/// The IPv4 address inside `::ffff:a.b.c.d`, `::a.b.c.d` or the NAT64 prefix `64:ff9b::/96`.
fn mapped(v6: Ipv6Addr) -> Option<IpAddr> {
    let s = v6.segments();
    let nat64 = s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible = s[..6] == [0; 6] && !v6.is_loopback() && !v6.is_unspecified();
    if let Some(v4) = v6.to_ipv4_mapped() {
        return Some(IpAddr::V4(v4));
    }
    let [.., a, b] = s;
    let v4 = std::net::Ipv4Addr::from((u32::from(a) << 16) | u32::from(b));
    (nat64 || compatible).then_some(IpAddr::V4(v4))
}

/// A URL without what must not be read by others: user, password and the query's values.
pub fn redact(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return text.to_owned();
    };
    if !url.username().is_empty() || url.password().is_some() {
        // Only URLs without a host refuse, and those have no user.
        let _ = url.set_username("***");
        let _ = url.set_password(None);
    }
    if url.query().is_some() {
        let names: Vec<String> = url.query_pairs().map(|(k, _)| format!("{k}=***")).collect();
        url.set_query(Some(&names.join("&")));
    }
    url.to_string()
}

fn invalid(why: &str) -> ApiError {
    ApiError::new(
        ErrorCode::WatchUrlInvalid,
        format!("the URL is not usable: {why}"),
    )
}

fn forbidden(why: &str) -> ApiError {
    ApiError::new(
        ErrorCode::WatchUrlForbidden,
        format!("the URL is not allowed: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(text: &str, w: &WatchSettings, asker: Asker) -> Option<ErrorCode> {
        check(text, w, asker).await.err().map(|e| e.code)
    }

    #[tokio::test]
    async fn schemes_hosts_and_files_are_checked() {
        let w = WatchSettings::default();
        for good in [
            "http://127.0.0.1:9/live.m3u8",
            "rtmp://host.example/app/key",
            "srt://host.example:9000?streamid=#!::r=a",
        ] {
            assert_eq!(check(good, &w, Asker::Remote).await.unwrap(), good);
        }
        use ErrorCode::{WatchUrlForbidden as Forbidden, WatchUrlInvalid as Invalid};
        for (bad, expected) in [
            ("", Invalid),
            ("no url", Invalid),
            ("http://", Invalid),
            ("rtmp:///app", Invalid),
            ("gopher://host/x", Forbidden),
            ("concat:/etc/passwd", Forbidden),
            ("file:///etc/hostname", Forbidden),
            ("/etc/hostname", Invalid),
            ("http://a\nb/", Invalid),
        ] {
            assert_eq!(code(bad, &w, Asker::Remote).await, Some(expected), "{bad}");
        }
        assert_eq!(code("/etc/hostname", &w, Asker::Local).await, None);
        assert_eq!(code("file:///etc/hostname", &w, Asker::Local).await, None);
        let open = WatchSettings {
            allow_files: true,
            ..w
        };
        assert_eq!(
            code("file:///etc/hostname", &open, Asker::Remote).await,
            None
        );
    }

    #[tokio::test]
    async fn private_hosts_can_be_refused() {
        let w = WatchSettings {
            allow_private_hosts: false,
            ..WatchSettings::default()
        };
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "[::1]",
            "[::ffff:10.0.0.1]",
        ] {
            for scheme in ["http", "rtmp"] {
                let url = format!("{scheme}://{host}/x");
                let expected = Some(ErrorCode::WatchUrlForbidden);
                assert_eq!(code(&url, &w, Asker::Remote).await, expected, "{url}");
                assert_eq!(code(&url, &w, Asker::Local).await, None);
            }
        }
        // Other spellings of 127.0.0.1 are the same address.
        for url in ["http://2130706433/", "http://0x7f.1/", "rtmp://0x7f.1/a"] {
            let got = code(url, &w, Asker::Remote).await;
            assert_eq!(got, Some(ErrorCode::WatchUrlForbidden), "{url}");
        }
        assert_eq!(code("http://8.8.8.8/x", &w, Asker::Remote).await, None);
        assert!(is_private("100.64.0.1".parse().unwrap()));
        assert!(is_private("64:ff9b::a00:1".parse().unwrap()));
        assert!(!is_private("2001:4860:4860::8888".parse().unwrap()));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            redact("http://me:pw@h/x?token=abc&b=1"),
            "http://***@h/x?token=***&b=***"
        );
        assert_eq!(redact("rtmp://h/app/key"), "rtmp://h/app/key");
        assert_eq!(redact("clip.mp4"), "clip.mp4");
    }
}
