//! What an input may open: containers that hold everything themselves, and the protocols that a
//! URL's own scheme needs. Nothing here touches the network.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::MediaError;
use super::cancel::Guard;

/// Demuxers that read one self-contained stream of bytes. Everything else stays closed, above all
/// the formats that open further files or URLs (`hls`, `dash`, `concat`, `image2`, `sdp`, `imf`,
/// `vobsub`, …): posted bytes must never make the server read something.
const CONTAINERS: &str = "mpegts,mpeg,mpegvideo,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,live_flv,\
kux,avi,asf,asf_o,ogg,wav,w64,mp3,aac,loas,ac3,eac3,flac,amr,caf,aiff,au,dts,truehd,tta,ape,wv,\
h264,hevc,m4v,vc1,av1,obu,ivf,mxf,gxf,nut,nuv,dv,rm,wtv,mjpeg,gif,apng,yuv4mpegpipe";

/// A protocol of this name does not exist, so a demuxer can open nothing by itself.
const NO_PROTOCOL: &str = "none";

/// A scheme that may be watched, and the protocols that libav then may use. A playlist fetched over
/// the network can thereby not name a local file.
const SCHEMES: [(&str, &str); 8] = [
    ("file", "file,crypto,data,http,https,tcp,tls,httpproxy"),
    ("http", "http,https,tcp,tls,httpproxy,crypto,data"),
    ("https", "http,https,tcp,tls,httpproxy,crypto,data"),
    ("tcp", "tcp"),
    ("tls", "tls,tcp"),
    ("rtmp", "rtmp,tcp"),
    ("rtmps", "rtmps,tls,tcp"),
    ("srt", "srt"),
];

/// Option names and values for `avformat_open_input`.
pub(super) type Options = Vec<(&'static str, String)>;

fn common(max_streams: u32) -> Options {
    vec![
        // One more than is looked at, so that too many can be told from just enough.
        ("max_streams", max_streams.saturating_add(1).to_string()),
        // Read at most this much for the tables that announce the streams. Streams that show up
        // later are taken as well, and every variant of a playlist costs this much to open.
        ("probesize", (1 << 17).to_string()),
    ]
}

/// Options for bytes in memory.
pub(super) fn for_bytes(max_streams: u32) -> Options {
    let mut options = common(max_streams);
    options.push(("protocol_whitelist", NO_PROTOCOL.to_owned()));
    options.push(("format_whitelist", CONTAINERS.to_owned()));
    options
}

/// The URL as libav should open it, and its options. A path without scheme is a local file.
///
/// # Errors
/// [`MediaError::UnsupportedUrl`] when the scheme is not one of file, http(s), tcp, tls, rtmp(s),
/// srt.
pub(super) fn for_url(url: &str, max_streams: u32) -> Result<(String, Options), MediaError> {
    let refuse = |reason: &str| MediaError::UnsupportedUrl {
        reason: reason.to_owned(),
    };
    if url.is_empty() {
        return Err(refuse("it is empty"));
    }
    if url.contains('\0') {
        return Err(refuse("it contains a NUL character"));
    }
    let (scheme, target) = match split_scheme(url) {
        // libav would take a colon in a bare path for the end of a scheme.
        None => ("file".to_owned(), format!("file:{url}")),
        Some((scheme, rest)) if scheme == "file" => {
            let path = rest.strip_prefix("//localhost").or(rest.strip_prefix("//"));
            ("file".to_owned(), format!("file:{}", path.unwrap_or(rest)))
        }
        Some((scheme, _)) => (scheme, url.to_owned()),
    };
    let Some((_, protocols)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
        return Err(refuse(&format!("scheme {scheme:?} is not allowed")));
    };
    let mut options = common(max_streams);
    options.push(("protocol_whitelist", (*protocols).to_owned()));
    options.push(("format_whitelist", format!("hls,applehttp,{CONTAINERS}")));
    if scheme.starts_with("http") {
        options.push(("user_agent", "novastream".to_owned()));
    }
    Ok((target, options))
}

/// `scheme:rest`; `None` for what is a path. libav reads `name,options:` as a scheme as well, so
/// whatever stands before the first colon counts, unless a slash comes first.
fn split_scheme(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    if scheme.is_empty() || scheme.contains('/') {
        return None;
    }
    Some((scheme.to_ascii_lowercase(), rest))
}

/// Bytes in memory as custom input that fails once its guard trips.
pub(super) struct GuardedBytes {
    bytes: Cursor<Arc<[u8]>>,
    guard: Arc<Guard>,
}

impl GuardedBytes {
    pub(super) fn new(bytes: Arc<[u8]>, guard: &Arc<Guard>) -> Self {
        Self {
            bytes: Cursor::new(bytes),
            guard: Arc::clone(guard),
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.guard.trip() {
            Some(_) => Err(io::Error::other("stopped")),
            None => Ok(()),
        }
    }
}

impl Read for GuardedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.bytes.read(buffer)
    }
}

impl Seek for GuardedBytes {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.check()?;
        self.bytes.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols(url: &str) -> String {
        let (_, options) = for_url(url, 16).unwrap();
        let found = options
            .into_iter()
            .find(|(n, _)| *n == "protocol_whitelist");
        found.unwrap().1
    }

    #[test]
    fn only_named_schemes_pass() {
        for url in [
            "",
            "concat:/etc/passwd|/etc/hosts",
            "pipe:0",
            "subfile,,start,0,end,9,,:/etc/passwd",
            "gopher://host/x",
            "udp://239.0.0.1:1234",
            "unix:/run/socket",
            "ftp://host/file",
            "rtp://host:1",
            "data:text/plain,hello",
            "async:file:/etc/passwd",
            "a\0b",
        ] {
            let error = for_url(url, 16).unwrap_err();
            assert_eq!(error.code(), "url_unsupported", "{url:?}");
        }
    }

    #[test]
    fn network_schemes_never_reach_files() {
        for url in [
            "http://host/live.m3u8",
            "HTTPS://host/live.m3u8",
            "rtmp://host/app/key",
            "rtmps://host/app/key",
            "srt://host:9000",
            "tcp://host:1",
            "tls://host:1",
        ] {
            let allowed = protocols(url);
            assert!(!allowed.split(',').any(|name| name == "file"), "{url}");
        }
    }

    #[test]
    fn paths_become_file_urls() {
        let target = |url: &str| for_url(url, 16).unwrap().0;
        assert_eq!(target("clip.ts"), "file:clip.ts");
        assert_eq!(target("/tmp/a:b.ts"), "file:/tmp/a:b.ts");
        assert_eq!(target("file:///tmp/a.ts"), "file:/tmp/a.ts");
        assert_eq!(target("file://localhost/tmp/a.ts"), "file:/tmp/a.ts");
        assert_eq!(target("file:/tmp/a.ts"), "file:/tmp/a.ts");
    }

    #[test]
    fn bytes_open_nothing() {
        let options = for_bytes(16);
        assert!(options.contains(&("protocol_whitelist", "none".to_owned())));
        for (name, value) in options {
            if name == "format_whitelist" {
                for closed in [
                    "hls",
                    "applehttp",
                    "dash",
                    "concat",
                    "image2",
                    "sdp",
                    "rtsp",
                ] {
                    assert!(!value.split(',').any(|format| format == closed), "{closed}");
                }
            }
        }
    }
}
