//! Damaged and hostile segments: an error or a partial result, in bounded time, never a panic, and
//! never a connection or a file opened on their behalf.

mod media_common;

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use media_common::{Random, clip, read, read_with};
use novastream_features::media::{MediaLimits, Notice, Sampling};

const CLIPS: [&str; 3] = ["grey.ts", "grey.mp4", "grey.mkv"];

const CODES: [&str; 4] = [
    "media_not_recognised",
    "media_no_streams",
    "media_too_large",
    "media_empty",
];

/// Reads damaged bytes; whatever comes back must be well formed and must have come soon.
fn survives(label: &str, bytes: Vec<u8>) -> bool {
    let start = Instant::now();
    let limits = MediaLimits {
        deadline: Duration::from_secs(8),
        ..MediaLimits::default()
    };
    let result = read_with(bytes, &Sampling::default(), &limits);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{label} took too long"
    );
    match result {
        Ok((_, window)) => {
            assert!(
                !window.frames.is_empty() || window.audio.is_some(),
                "{label}"
            );
            assert!(window.frames.len() <= limits.max_frames, "{label}");
            assert!(window.start_ms == 0 && window.end_ms >= 0, "{label}");
            for frame in &window.frames {
                let pixels = frame.image.width as usize * frame.image.height as usize;
                assert_eq!(frame.image.data.len(), pixels * 3, "{label}");
            }
            if let Some(audio) = &window.audio {
                let whole = audio
                    .samples
                    .iter()
                    .all(|v| v.is_finite() && v.abs() <= 1.5);
                assert!(whole, "{label}");
                assert!(audio.samples.len() <= 601 * 16_000, "{label}");
            }
            true
        }
        Err(error) => {
            assert!(CODES.contains(&error.code()), "{label}: {error}");
            false
        }
    }
}

#[test]
fn cut_at_every_sixteenth() {
    for name in CLIPS {
        let whole = clip(name);
        let mut usable = 0;
        for part in 0..16 {
            let bytes = whole[..whole.len() * part / 16].to_vec();
            usable += usize::from(survives(&format!("{name} {part}/16"), bytes));
        }
        // A transport stream is made for this, the others have their header in front.
        assert!(
            usable >= 8,
            "{name}: only {usable} of 16 parts gave anything"
        );
        let mut beginning_lost = whole.clone();
        beginning_lost.drain(..whole.len() / 3);
        survives(&format!("{name} without its beginning"), beginning_lost);
    }
}

#[test]
fn a_cut_segment_says_so() {
    for name in ["grey.mp4", "grey.mkv"] {
        let whole = clip(name);
        let (_, window) = read(whole[..whole.len() * 2 / 3].to_vec()).unwrap();
        let cut =
            |notice: &Notice| matches!(notice, Notice::Truncated | Notice::CorruptData { .. });
        assert!(
            window.notices.iter().any(cut),
            "{name}: {:?}",
            window.notices
        );
    }
}

#[test]
fn flipped_bytes() {
    let mut random = Random(0x5EED_0001);
    for name in CLIPS {
        let whole = clip(name);
        for damage in [1, 4, 16, 64, 256, 1024] {
            for round in 0..4 {
                let mut bytes = whole.clone();
                for _ in 0..damage {
                    let at = random.below(bytes.len());
                    bytes[at] = random.next() as u8;
                }
                survives(&format!("{name} {damage} bytes, round {round}"), bytes);
            }
        }
    }
}

/// Damage only in the first bytes: that is where containers keep their sizes and counts.
#[test]
fn damaged_headers() {
    let mut random = Random(0x5EED_0002);
    for name in CLIPS {
        let whole = clip(name);
        for round in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                let at = random.below(900);
                bytes[at] = if round % 2 == 0 {
                    0xFF
                } else {
                    random.next() as u8
                };
            }
            survives(&format!("{name} header, round {round}"), bytes);
        }
    }
}

#[test]
fn blocks_out_of_order() {
    let mut random = Random(0x5EED_0003);
    for name in CLIPS {
        let whole = clip(name);
        for round in 0..6 {
            let mut blocks: Vec<&[u8]> = whole.chunks(188 * 5).collect();
            for _ in 0..8 {
                let (a, b) = (random.below(blocks.len()), random.below(blocks.len()));
                blocks.swap(a, b);
            }
            survives(&format!("{name} shuffled, round {round}"), blocks.concat());
        }
    }
}

#[test]
fn what_is_not_media() {
    assert_eq!(read(Vec::new()).unwrap_err().code(), "media_empty");
    let mut random = Random(0x5EED_0004);
    for length in [1, 2, 7, 100, 188, 4096, 65_536, 300_000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        survives(&format!("{length} random bytes"), bytes);
        survives(&format!("{length} zeros"), vec![0; length]);
        survives(&format!("{length} sync bytes"), vec![0x47; length]);
    }
    for text in ["hello", "<html><body>404</body></html>", "{\"error\":true}"] {
        let error = read(text.repeat(50).into_bytes()).unwrap_err();
        assert_eq!(error.code(), "media_not_recognised", "{text}");
    }
}

/// Formats that name other files or URLs: none of them may be followed.
#[test]
fn bytes_cannot_reach_files_or_hosts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let mut file = tempfile::Builder::new().suffix(".ts").tempfile().unwrap();
    file.write_all(&clip("grey.ts")).unwrap();
    let path = file.path().to_str().unwrap();

    let mut payloads = Vec::new();
    for target in [
        format!("file://{path}"),
        format!("file:{path}"),
        path.to_owned(),
        format!("concat:{path}|{path}"),
        format!("{host}/segment.ts"),
    ] {
        payloads.push(format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXTINF:4.0,\n{target}\n#EXT-X-ENDLIST\n"
        ));
        payloads.push(format!(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\n{target}\n"
        ));
        payloads.push(format!(
            "ffconcat version 1.0\nfile '{target}'\nduration 4\n"
        ));
        payloads.push(format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT4S\"><Period><AdaptationSet mimeType=\"video/mp2t\">\
             <Representation id=\"0\" bandwidth=\"1\"><BaseURL>{target}</BaseURL></Representation>\
             </AdaptationSet></Period></MPD>"
        ));
    }
    let port = listener.local_addr().unwrap().port();
    payloads.push(format!(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 33\n"
    ));
    payloads.push(format!(
        "[playlist]\nFile1={host}/a.ts\nNumberOfEntries=1\n"
    ));
    for payload in payloads {
        let error = read(payload.clone().into_bytes()).unwrap_err();
        assert_eq!(error.code(), "media_not_recognised", "{payload}");
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(listener.accept().is_err(), "something connected");
}

/// A QuickTime file whose samples lie "in another file", as a data reference may say.
#[test]
fn quicktime_references_are_not_followed() {
    let mut file = tempfile::Builder::new().suffix(".ts").tempfile().unwrap();
    file.write_all(&clip("grey.ts")).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut bytes = clip("grey.mp4");
    // `url ` with the self-contained flag becomes an absolute `url ` reference.
    let at = bytes
        .windows(4)
        .position(|window| window == b"url ")
        .expect("a data reference");
    bytes[at + 7] = 0;
    let reference = format!("file://{path}\0");
    bytes.splice(at + 8..at + 8, reference.bytes());
    // Sizes no longer fit, so this may fail in many ways; following the reference is not one.
    if let Ok((info, _)) = read(bytes) {
        assert!(info.container.starts_with("mov"));
    }
}
