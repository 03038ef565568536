//! HLS over a server of our own: finished, growing, stalled, with variants, with jumps, hostile.

mod media_common;
#[path = "media_common/server.rs"]
mod server;

use std::process::Command;
use std::time::{Duration, Instant};

use media_common::clip;
use novastream_features::media::{CancelToken, LiveSource, MediaError, Notice, SourceOptions};
use server::{Answer, Server, all, fixed, path, quick};

const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n";

#[test]
fn a_finished_playlist_over_http() {
    let server = Server::start(vec![
        (
            "/list.m3u8",
            fixed(format!("{HEAD}#EXTINF:4.0,\ngrey.ts\n#EXT-X-ENDLIST\n")),
        ),
        ("/grey.ts", fixed(clip("grey.ts"))),
    ]);
    let url = server.url("/list.m3u8");
    let mut source = LiveSource::open(&url, &quick(), &CancelToken::new()).unwrap();
    assert!(source.known_end());
    assert_eq!(source.info().container, "hls");
    let (windows, error) = all(&mut source);
    assert_eq!(error, None);
    let frames: usize = windows.iter().map(|w| w.frames.len()).sum();
    assert!((3..=4).contains(&frames), "{frames}");
    assert!(windows.iter().all(|w| w.audio.is_some()));
}

#[test]
fn a_playlist_of_fragments_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("live.m3u8");
    let run = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-nostdin",
            "-i",
            &path("grey.ts"),
            "-c",
            "copy",
            "-f",
            "hls",
        ])
        .args([
            "-hls_segment_type",
            "fmp4",
            "-hls_time",
            "2",
            "-hls_playlist_type",
            "vod",
        ])
        .arg(&list)
        .status();
    if !run.is_ok_and(|status| status.success()) {
        println!("skipped: ffmpeg not present");
        return;
    }
    for prefix in ["", "file://"] {
        let url = format!("{prefix}{}", list.display());
        let mut source = LiveSource::open(&url, &quick(), &CancelToken::new()).unwrap();
        assert!(source.known_end());
        let (windows, error) = all(&mut source);
        assert_eq!(error, None);
        let frames: usize = windows.iter().map(|w| w.frames.len()).sum();
        assert!((3..=4).contains(&frames), "{frames}");
        assert!(windows.iter().all(|w| w.audio.is_some()));
    }
}

#[test]
fn of_several_variants_only_one_is_fetched() {
    let variants = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=90000000\nhuge.m3u8\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=800000\ngood.m3u8\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=100000\nsmall.m3u8\n";
    let list = |name: &str| {
        let entries = (0..6).map(|n| format!("#EXTINF:4.0,\n{name}{n}.ts\n"));
        let segments = entries.collect::<Vec<_>>().concat();
        fixed(format!("{HEAD}{segments}#EXT-X-ENDLIST\n"))
    };
    let mut files = vec![
        ("/all.m3u8", fixed(variants)),
        ("/huge.m3u8", list("huge")),
        ("/good.m3u8", list("good")),
        ("/small.m3u8", list("small")),
    ];
    for path in [
        "/huge0.ts",
        "/huge1.ts",
        "/huge2.ts",
        "/small0.ts",
        "/small1.ts",
        "/small2.ts",
    ] {
        files.push((path, fixed(clip("grey.ts"))));
    }
    for path in ["/good0.ts", "/good1.ts", "/good2.ts", "/good5.ts"] {
        files.push((path, fixed(clip("grey.ts"))));
    }
    let server = Server::start(files);
    let mut source =
        LiveSource::open(&server.url("/all.m3u8"), &quick(), &CancelToken::new()).unwrap();
    let (windows, error) = all(&mut source);
    assert_eq!(error, None);
    assert!(windows.iter().map(|w| w.frames.len()).sum::<usize>() >= 3);
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.contains(&"/good5.ts".to_owned()), "{asked:?}");
    // The others are opened, to see what they hold, and then left.
    assert!(!asked.contains(&"/huge5.ts".to_owned()), "{asked:?}");
    assert!(!asked.contains(&"/small5.ts".to_owned()), "{asked:?}");
}

#[test]
fn a_clock_that_jumps_back_is_reported_and_read_on() {
    // The same file twice: an encoder that restarted.
    let twice = format!(
        "{HEAD}#EXTINF:4.0,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4.0,\nb.ts\n#EXT-X-ENDLIST\n"
    );
    let server = Server::start(vec![
        ("/list.m3u8", fixed(twice)),
        ("/a.ts", fixed(clip("grey.ts"))),
        ("/b.ts", fixed(clip("grey.ts"))),
    ]);
    let mut source =
        LiveSource::open(&server.url("/list.m3u8"), &quick(), &CancelToken::new()).unwrap();
    let (windows, error) = all(&mut source);
    assert_eq!(error, None);
    let jumps = windows
        .iter()
        .flat_map(|w| &w.notices)
        .filter(|notice| matches!(notice, Notice::Discontinuity { .. }))
        .count();
    assert_eq!(jumps, 1);
    let frames: usize = windows.iter().map(|w| w.frames.len()).sum();
    assert!((6..=9).contains(&frames), "{frames}");
    let samples: usize = windows
        .iter()
        .filter_map(|w| w.audio.as_ref())
        .map(|audio| audio.samples.len())
        .sum();
    assert!(samples.abs_diff(8 * 16_000) < 8000, "{samples}");
    assert!(windows.iter().all(|w| w.end_ms - w.start_ms <= 2000));
}

#[test]
fn a_live_playlist_that_stops_growing_stalls() {
    let server = Server::start(vec![
        (
            "/live.m3u8",
            fixed(format!("{HEAD}#EXTINF:4.0,\ngrey.ts\n")),
        ),
        ("/grey.ts", fixed(clip("grey.ts"))),
    ]);
    let url = server.url("/live.m3u8");
    let mut source = LiveSource::open(&url, &quick(), &CancelToken::new()).unwrap();
    assert!(!source.known_end());
    let start = Instant::now();
    let (windows, error) = all(&mut source);
    let stalled = MediaError::Stalled {
        after: Duration::from_millis(1500),
    };
    assert_eq!(error, Some(stalled.clone()));
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    // Nothing that arrived is lost, and the failure is final.
    assert!(windows.iter().map(|w| w.frames.len()).sum::<usize>() >= 3);
    assert!(windows.last().unwrap().end_ms > 5400);
    assert_eq!(source.next_window(), Err(stalled));
}

#[test]
fn a_playlist_that_grows_is_followed() {
    let growing: Answer = Box::new(|count| {
        let mut list = HEAD.replace("DURATION:4", "DURATION:1");
        list.push_str("#EXTINF:4.0,\na.ts\n");
        if count > 1 {
            list.push_str("#EXT-X-DISCONTINUITY\n#EXTINF:4.0,\nb.ts\n#EXT-X-ENDLIST\n");
        }
        Some(list.into_bytes())
    });
    let server = Server::start(vec![
        ("/live.m3u8", growing),
        ("/a.ts", fixed(clip("grey.ts"))),
        ("/b.ts", fixed(clip("grey.ts"))),
    ]);
    let options = SourceOptions {
        read_timeout: Duration::from_secs(15),
        ..quick()
    };
    let mut source =
        LiveSource::open(&server.url("/live.m3u8"), &options, &CancelToken::new()).unwrap();
    assert!(!source.known_end());
    let (windows, error) = all(&mut source);
    assert_eq!(error, None);
    let frames: usize = windows.iter().map(|w| w.frames.len()).sum();
    assert!(frames >= 6, "{frames}");
}

#[test]
fn cancelling_interrupts_a_read_that_blocks() {
    let server = Server::start(vec![
        (
            "/live.m3u8",
            fixed(format!("{HEAD}#EXTINF:4.0,\ngrey.ts\n")),
        ),
        ("/grey.ts", fixed(clip("grey.ts"))),
    ]);
    let cancel = CancelToken::new();
    let options = SourceOptions {
        read_timeout: Duration::from_secs(30),
        ..quick()
    };
    let mut source = LiveSource::open(&server.url("/live.m3u8"), &options, &cancel).unwrap();
    let later = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        later.cancel();
    });
    let start = Instant::now();
    let (_, error) = all(&mut source);
    assert_eq!(error, Some(MediaError::Cancelled));
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_playlist_from_the_network_cannot_name_local_files() {
    let local = path("grey.ts");
    for target in [format!("file://{local}"), format!("file:{local}"), local] {
        let list = format!("{HEAD}#EXTINF:4.0,\n{target}\n#EXT-X-ENDLIST\n");
        let server = Server::start(vec![("/list.m3u8", fixed(list))]);
        let result = LiveSource::open(&server.url("/list.m3u8"), &quick(), &CancelToken::new());
        assert!(result.is_err(), "{target} was read");
    }
}
