//! Sources by URL: files, transports in real time, and what cannot be opened.

mod media_common;
#[path = "media_common/server.rs"]
mod server;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use media_common::{clip, number, strength};
use novastream_features::media::{CancelToken, LiveSource, SourceOptions};
use server::{Server, all, fixed, path, quick};

#[test]
fn a_file_comes_window_by_window_in_its_own_clock() {
    let options = SourceOptions {
        window_ms: 1500,
        ..quick()
    };
    let mut source = LiveSource::open(&path("grey.ts"), &options, &CancelToken::new()).unwrap();
    assert!(source.known_end());
    let info = source.info();
    assert_eq!(info.container, "mpegts");
    assert_eq!(info.video.as_ref().unwrap().width, 160);
    assert_eq!(info.audio.as_ref().unwrap().sample_rate, 44_100);

    let (windows, error) = all(&mut source);
    assert_eq!(error, None);
    // The muxer starts the clock at 1.4 s.
    assert_eq!(windows[0].start_ms, 1457);
    assert!(windows.windows(2).all(|w| w[0].end_ms == w[1].start_ms));
    assert_eq!(windows.len(), 3);
    assert!(windows[..2].iter().all(|w| w.end_ms - w.start_ms == 1500));
    let last = windows.last().unwrap();
    assert!((5450..5520).contains(&last.end_ms), "{}", last.end_ms);

    let frames: Vec<_> = windows.iter().flat_map(|w| &w.frames).collect();
    // Two a slot, and one of the 60 ms behind the second slot if its moment lies there.
    assert!((3..=5).contains(&frames.len()), "{}", frames.len());
    for frame in &frames {
        let shown = number(&frame.image) * 40.0 + 1480.0;
        let stamped = frame.timestamp_ms as f64;
        assert!((shown - stamped).abs() < 50.0, "{shown} {stamped}");
    }
    let samples: usize = windows
        .iter()
        .map(|w| w.audio.as_ref().unwrap().samples.len())
        .sum();
    assert!(samples.abs_diff(4 * 16_000) < 1600, "{samples}");
    for window in &windows {
        let audio = window.audio.as_ref().unwrap();
        assert_eq!(audio.start_ms, window.start_ms);
        assert!(strength(&audio.samples, 440.0) > 0.05);
    }
    assert_eq!(source.next_window(), Ok(None), "the end stays the end");
}

#[test]
fn windows_hold_the_same_as_the_segment() {
    let mut source = LiveSource::open(&path("grey.ts"), &quick(), &CancelToken::new()).unwrap();
    let (windows, _) = all(&mut source);
    let (_, segment) =
        media_common::read_with(clip("grey.ts"), &quick().sampling, &quick().limits).unwrap();
    let origin = windows[0].start_ms;
    let live: Vec<_> = windows
        .iter()
        .flat_map(|w| &w.frames)
        .map(|frame| (frame.timestamp_ms - origin, frame.image.clone()))
        .collect();
    let whole: Vec<_> = segment
        .frames
        .iter()
        .map(|frame| (frame.timestamp_ms, frame.image.clone()))
        .collect();
    assert!(live == whole);
    let sound: Vec<f32> = windows
        .iter()
        .filter_map(|w| w.audio.clone())
        .flat_map(|audio| audio.samples)
        .collect();
    assert!(sound == segment.audio.unwrap().samples);
}

#[test]
fn a_silent_server_stalls_the_opening() {
    let server = Server::start(vec![("/live.m3u8", Box::new(|_| None))]);
    let start = Instant::now();
    let error = LiveSource::open(&server.url("/live.m3u8"), &quick(), &CancelToken::new())
        .err()
        .unwrap();
    assert_eq!(error.code(), "source_stalled");
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn what_cannot_be_opened_is_named() {
    let open = |url: &str| {
        LiveSource::open(url, &quick(), &CancelToken::new())
            .err()
            .unwrap()
            .code()
    };
    let server = Server::start(vec![("/page", fixed("<html>no media here</html>"))]);
    assert_eq!(open("gopher://127.0.0.1/x"), "url_unsupported");
    assert_eq!(open("/no/such/file.ts"), "source_failed");
    assert_eq!(open(&server.url("/missing.m3u8")), "source_failed");
    assert_eq!(open(&server.url("/page")), "media_not_recognised");
    // Nobody listens on this port any more.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(open(&format!("http://{gone}/live.m3u8")), "source_failed");
    assert_eq!(open(&format!("rtmp://{gone}/app/key")), "source_failed");
}

#[test]
fn a_source_moves_between_threads() {
    fn movable<T: Send>() {}
    movable::<LiveSource>();
    movable::<CancelToken>();
}

/// A sender in real time over each transport that `ffmpeg` can serve by itself.
#[test]
fn srt_and_tcp_in_real_time() {
    let port = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let input = path("grey.ts");
    for (scheme, listen, format) in [
        ("srt", "mode=listener", "mpegts"),
        ("tcp", "listen=1", "flv"),
    ] {
        let url = format!("{scheme}://127.0.0.1:{}", port());
        let sender = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-re", "-i", &input, "-c", "copy"])
            .args(["-f", format, &format!("{url}?{listen}")])
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut sender) = sender else {
            println!("skipped: ffmpeg not present");
            return;
        };
        std::thread::sleep(Duration::from_millis(700));
        if let Ok(Some(_)) = sender.try_wait() {
            let mut message = String::new();
            let mut stderr = sender.stderr.take().unwrap();
            let _ = stderr.read_to_string(&mut message);
            println!("skipped: ffmpeg cannot serve {scheme}: {message}");
            continue;
        }
        let mut options = quick();
        options.open_timeout = Duration::from_secs(8);
        options.window_ms = 1000;
        let opened = LiveSource::open(&url, &options, &CancelToken::new());
        let mut source = opened.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(!source.known_end(), "{scheme}");
        let (windows, _) = all(&mut source);
        let _ = sender.wait();
        let frames: usize = windows.iter().map(|w| w.frames.len()).sum();
        assert!(frames >= 2, "{scheme}: {frames} pictures");
        let samples: usize = windows
            .iter()
            .filter_map(|w| w.audio.as_ref())
            .map(|audio| audio.samples.len())
            .sum();
        assert!(samples > 2 * 16_000, "{scheme}: {samples} samples");
        assert!(windows.windows(2).all(|w| w[0].end_ms == w[1].start_ms));
    }
}
