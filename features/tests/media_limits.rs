//! Limits on segments: size, duration, number, memory, time, cancellation.

mod media_common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use media_common::{clip, make, read, read_with};
use novastream_features::media::{
    CancelToken, MediaError, MediaLimits, Notice, Sampling, read_segment,
};

#[test]
fn pictures_over_the_limit_are_not_decoded() {
    let limits = MediaLimits {
        max_pixels: 160 * 90 - 1,
        ..MediaLimits::default()
    };
    for name in ["grey.ts", "grey.mp4", "grey.mkv"] {
        let (_, window) = read_with(clip(name), &Sampling::default(), &limits).unwrap();
        assert_eq!(window.frames, [], "{name}");
        assert!(window.audio.is_some(), "the sound is still usable");
        let too_large = Notice::FrameTooLarge {
            width: 160,
            height: 90,
        };
        assert_eq!(window.notices, [too_large], "{name}");
    }
}

#[test]
fn a_huge_picture_costs_no_memory() {
    // Flat, so that the file is small; decoded it would be 144 to 288 MB.
    let huge = [
        "-f",
        "lavfi",
        "-i",
        "color=red:s=12000x8000:r=1:d=1",
        "-frames:v",
        "1",
    ];
    for (extension, codec) in [
        (
            "ts",
            &[
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-pix_fmt",
                "yuv420p",
            ][..],
        ),
        ("mkv", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"][..]),
        ("mov", &["-c:v", "png", "-pix_fmt", "rgb24"][..]),
    ] {
        let Some(bytes) = make(extension, &[&huge[..], codec].concat()) else {
            continue;
        };
        let start = Instant::now();
        let error = read(bytes).unwrap_err();
        assert_eq!(error.code(), "media_too_large", "{extension}: {error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{extension}");
        if let Some(peak) = peak_memory() {
            assert!(peak < 250 << 20, "{extension}: {peak} bytes");
        }
    }
}

/// The most memory this process has held so far, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

#[test]
fn duration_and_number_of_pictures_are_bounded() {
    let limits = MediaLimits {
        max_duration_ms: 1500,
        ..MediaLimits::default()
    };
    let (_, window) = read_with(clip("grey.ts"), &Sampling::default(), &limits).unwrap();
    assert_eq!(window.notices, [Notice::DurationLimit]);
    assert!(window.end_ms <= 1600, "{}", window.end_ms);

    let limits = MediaLimits {
        max_frames: 2,
        ..MediaLimits::default()
    };
    let (_, window) = read_with(clip("grey.ts"), &Sampling::default(), &limits).unwrap();
    assert_eq!(window.frames.len(), 2);
    assert_eq!(window.notices, [Notice::FrameLimit]);
    assert!(window.end_ms > 3800, "the sound goes on");

    let limits = MediaLimits {
        max_bytes: 1000,
        ..MediaLimits::default()
    };
    let error = read_with(clip("grey.ts"), &Sampling::default(), &limits).unwrap_err();
    assert_eq!(error.code(), "media_too_large");
}

#[test]
fn hours_of_tiny_frames_end_at_a_limit() {
    let endless = "color=black:s=16x16:r=1:d=14400";
    let arguments = [
        "-f", "lavfi", "-i", endless, "-c:v", "libx264", "-pix_fmt", "yuv420p",
    ];
    let Some(bytes) = make("mkv", &arguments) else {
        return;
    };
    let start = Instant::now();
    let (_, window) = read(bytes).unwrap();
    assert_eq!(window.notices, [Notice::NoAudio, Notice::DurationLimit]);
    assert!(window.end_ms <= 602_000);
    assert!(window.frames.len() <= 602);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_deadline_interrupts() {
    let limits = MediaLimits {
        deadline: Duration::ZERO,
        ..MediaLimits::default()
    };
    let error = read_with(clip("grey.ts"), &Sampling::default(), &limits).unwrap_err();
    assert_eq!(error, MediaError::Deadline);
}

#[test]
fn a_slow_clip_is_cut_at_the_deadline() {
    let heavy = "testsrc2=s=1280x720:r=30:d=20";
    let encode = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "9999",
        "-pix_fmt",
        "yuv420p",
    ];
    let Some(bytes) = make("ts", &[&["-f", "lavfi", "-i", heavy][..], &encode].concat()) else {
        return;
    };
    let limits = MediaLimits {
        deadline: Duration::from_millis(200),
        ..MediaLimits::default()
    };
    let start = Instant::now();
    let (_, window) = read_with(bytes, &Sampling::default(), &limits).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(
        window.notices.contains(&Notice::Deadline),
        "{:?}",
        window.notices
    );
    assert!(!window.frames.is_empty());
}

#[test]
fn cancelling_ends_at_once() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let result = read_segment(
        Arc::from(clip("grey.ts")),
        &Sampling::default(),
        &MediaLimits::default(),
        &cancel,
    );
    assert_eq!(result.unwrap_err(), MediaError::Cancelled);
}

#[test]
fn streams_beyond_the_limit_are_ignored() {
    let limits = MediaLimits {
        max_streams: 1,
        ..MediaLimits::default()
    };
    let (info, window) = read_with(clip("grey.ts"), &Sampling::default(), &limits).unwrap();
    assert_ne!(info.video.is_some(), info.audio.is_some());
    assert!(window.notices.contains(&Notice::TooManyStreams));
}
