//! Segments in memory: sampling, sound, timestamps.

mod media_common;

use media_common::{clip, grey, make, number, read, read_with, strength};
use novastream_features::media::{MediaLimits, Notice, SAMPLE_RATE, Sampling, Window};

const TONE: &str = "sine=f=440:r=44100:d=4";

/// Every picture must show the frame number that its timestamp names.
fn assert_true_times(window: &Window, offset_ms: i64) {
    for frame in &window.frames {
        let shown = number(&frame.image);
        let stamped = (frame.timestamp_ms - offset_ms) as f64 / 40.0;
        assert!(
            (shown - stamped).abs() < 1.2,
            "shows frame {shown}, stamped {stamped}"
        );
    }
}

#[test]
fn committed_clips_give_pictures_and_sound() {
    for (name, container, codec, seconds, most) in [
        ("grey.ts", "mpegts", "h264", 4.0, 4),
        ("grey.mp4", "mov,mp4,m4a,3gp,3g2,mj2", "h264", 2.0, 2),
        ("grey.mkv", "matroska,webm", "vp8", 2.0, 2),
    ] {
        let (info, window) = read(clip(name)).unwrap();
        assert_eq!(info.container, container);
        let video = info.video.unwrap();
        assert_eq!((video.width, video.height), (160, 90), "{name}");
        assert_eq!(video.codec, codec);
        assert!((video.fps - 25.0).abs() < 0.6, "{name}: {} fps", video.fps);
        assert!(info.audio.unwrap().sample_rate >= 44_100);

        let frames = &window.frames;
        assert!(
            (most / 2..=most).contains(&frames.len()),
            "{name}: {}",
            frames.len()
        );
        assert!(frames[0].keyframe, "{name}");
        assert!(
            frames
                .windows(2)
                .all(|w| w[0].timestamp_ms < w[1].timestamp_ms)
        );
        assert_true_times(&window, frames[0].timestamp_ms);
        let first = frames[0].timestamp_ms;
        assert!(first <= 90, "{name}: {first}");

        let audio = window.audio.as_ref().unwrap();
        let length = audio.samples.len() as f64 / f64::from(SAMPLE_RATE);
        assert!((length - seconds).abs() < 0.1, "{name}: {length} s");
        assert!(audio.start_ms.abs() < 60);
        assert!(
            strength(&audio.samples[4000..28_000], 440.0) > 0.05,
            "{name}"
        );
        assert!(
            strength(&audio.samples[4000..28_000], 1000.0) < 0.01,
            "{name}"
        );

        assert_eq!(window.start_ms, 0);
        let end = (seconds * 1000.0) as i64;
        assert!(
            (window.end_ms - end).abs() < 150,
            "{name}: {}",
            window.end_ms
        );
        assert_eq!(window.notices, [], "{name}");
    }
}

#[test]
fn the_seed_moves_the_extra_pictures_and_nothing_else() {
    let times = |seed| {
        let sampling = Sampling {
            seed,
            ..Sampling::default()
        };
        let (_, window) = read_with(clip("grey.ts"), &sampling, &MediaLimits::default()).unwrap();
        assert_true_times(&window, window.frames[0].timestamp_ms);
        let keys = window.frames.iter().filter(|frame| frame.keyframe).count();
        assert!(keys >= 2);
        let times = window.frames.iter().map(|frame| frame.timestamp_ms);
        times.collect::<Vec<_>>()
    };
    assert_eq!(times(7), times(7));
    let mut seen: Vec<i64> = (0..20).flat_map(times).collect();
    seen.sort_unstable();
    seen.dedup();
    assert!(
        seen.len() > 20,
        "extra pictures are too predictable: {seen:?}"
    );
}

#[test]
fn without_extra_pictures_only_keyframes_come() {
    let sampling = Sampling {
        extra_every: 0,
        ..Sampling::default()
    };
    let (_, window) = read_with(clip("grey.ts"), &sampling, &MediaLimits::default()).unwrap();
    assert_eq!(window.frames.len(), 2);
    assert!(window.frames.iter().all(|frame| frame.keyframe));
}

#[test]
fn containers_and_codecs() {
    let video = grey(4);
    let both = ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", TONE];
    let cases: [(&str, &[&str]); 9] = [
        (
            "flv",
            &[
                "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac",
            ],
        ),
        (
            "ts",
            &[
                "-c:v",
                "libx265",
                "-x265-params",
                "log-level=none",
                "-g",
                "50",
                "-c:a",
                "aac",
            ],
        ),
        (
            "ts",
            &[
                "-c:v",
                "mpeg2video",
                "-b:v",
                "500k",
                "-g",
                "25",
                "-c:a",
                "mp2",
            ],
        ),
        (
            "webm",
            &[
                "-c:v",
                "libvpx-vp9",
                "-b:v",
                "200k",
                "-g",
                "50",
                "-c:a",
                "libopus",
            ],
        ),
        (
            "mp4",
            &[
                "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ar", "8000",
            ],
        ),
        (
            "avi",
            &[
                "-c:v",
                "mpeg4",
                "-b:v",
                "500k",
                "-c:a",
                "pcm_s16le",
                "-ac",
                "2",
            ],
        ),
        (
            "mkv",
            &[
                "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "flac", "-ar", "96000",
            ],
        ),
        (
            "mp4",
            &[
                "-c:v",
                "libaom-av1",
                "-cpu-used",
                "8",
                "-b:v",
                "100k",
                "-c:a",
                "aac",
            ],
        ),
        (
            "mov",
            &[
                "-c:v",
                "mjpeg",
                "-pix_fmt",
                "yuvj420p",
                "-c:a",
                "pcm_s24le",
                "-ac",
                "6",
            ],
        ),
    ];
    for (extension, codecs) in cases {
        let arguments: Vec<&str> = both.iter().chain(codecs).copied().collect();
        let Some(bytes) = make(extension, &arguments) else {
            continue;
        };
        let label = format!("{extension} {codecs:?}");
        let (info, window) = read(bytes).unwrap_or_else(|error| panic!("{label}: {error}"));
        let frames = &window.frames;
        assert!((2..=4).contains(&frames.len()), "{label}: {}", frames.len());
        assert_true_times(&window, frames[0].timestamp_ms);
        assert!(info.video.unwrap().width == 160, "{label}");
        let audio = window.audio.unwrap();
        let length = audio.samples.len() as f64 / f64::from(SAMPLE_RATE);
        assert!((length - 4.0).abs() < 0.15, "{label}: {length} s");
        let tone = strength(&audio.samples[8000..40_000], 440.0);
        assert!(tone > 0.03, "{label}: {tone}");
        assert_eq!(window.notices, [], "{label}");
    }
}

#[test]
fn one_kind_of_stream_is_enough() {
    let video = grey(2);
    let silent = [
        "-f", "lavfi", "-i", &video, "-c:v", "libx264", "-pix_fmt", "yuv420p",
    ];
    if let Some(bytes) = make("ts", &silent) {
        let (info, window) = read(bytes).unwrap();
        assert!(info.audio.is_none() && window.audio.is_none());
        assert!((1..=2).contains(&window.frames.len()));
        assert_eq!(window.notices, [Notice::NoAudio]);
    }
    if let Some(bytes) = make("ts", &["-f", "lavfi", "-i", TONE, "-c:a", "aac"]) {
        let (info, window) = read(bytes).unwrap();
        assert!(info.video.is_none() && window.frames.is_empty());
        assert_eq!(window.audio.unwrap().samples.len() / 16_000, 4);
        assert_eq!(window.notices, [Notice::NoVideo]);
    }
}

#[test]
fn a_clip_of_one_picture_gives_it() {
    let video = grey(2);
    for extension in ["ts", "mp4", "mkv", "flv"] {
        let one = [
            "-f",
            "lavfi",
            "-i",
            &video,
            "-frames:v",
            "1",
            "-c:v",
            "libx264",
        ];
        let Some(bytes) = make(extension, &[&one[..], &["-pix_fmt", "yuv420p"]].concat()) else {
            return;
        };
        let (_, window) = read(bytes).unwrap();
        assert_eq!(window.frames.len(), 1, "{extension}");
        assert!(window.frames[0].keyframe);
    }
}

#[test]
fn a_segment_without_keyframe_still_gives_a_picture() {
    let video = grey(2);
    let encode = [
        "-f", "lavfi", "-i", &video, "-c:v", "libx264", "-pix_fmt", "yuv420p",
    ];
    let drop = ["-bsf:v", "noise=drop=lt(n\\,12)"];
    let Some(bytes) = make("mkv", &[&encode[..], &drop].concat()) else {
        return;
    };
    let (_, window) = read(bytes).unwrap();
    assert!(window.frames.iter().all(|frame| !frame.keyframe));
    assert_eq!(window.frames.len(), 1);
}

#[test]
fn a_picture_turned_by_its_metadata_is_turned_upright() {
    let left_dark = "color=black:s=80x90:d=1[a];color=white:s=80x90:d=1[b];[a][b]hstack";
    let encode = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-t", "1"];
    let graph = ["-filter_complex", left_dark];
    let Some(flat) = make("mp4", &[&graph[..], &encode].concat()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flat.mp4");
    std::fs::write(&path, flat).unwrap();
    let input = path.to_str().unwrap();
    let turn = ["-i", input, "-c", "copy", "-metadata:s:v:0", "rotate=90"];
    let Some(turned) = make("mp4", &turn) else {
        return;
    };
    let (_, window) = read(turned).unwrap();
    let image = &window.frames[0].image;
    if (image.width, image.height) == (160, 90) {
        println!("skipped: this ffmpeg writes no rotation");
        return;
    }
    assert_eq!((image.width, image.height), (90, 160));
    let (top, bottom) = (image.data[0], image.data[image.data.len() - 1]);
    assert!(top.abs_diff(bottom) > 200, "{top} {bottom}");
}

#[test]
fn a_gap_in_the_sound_becomes_silence() {
    let gap = "sine=f=440:r=48000:d=4,aselect='lt(t,1)+gte(t,2)'";
    let arguments = [
        "-f",
        "lavfi",
        "-i",
        gap,
        "-c:a",
        "pcm_s16le",
        "-ar",
        "48000",
    ];
    let Some(bytes) = make("mkv", &arguments) else {
        return;
    };
    let (_, window) = read(bytes).unwrap();
    let audio = window.audio.unwrap();
    let length = audio.samples.len() as f64 / 16_000.0;
    assert!((length - 4.0).abs() < 0.1, "{length} s");
    assert!(strength(&audio.samples[2000..14_000], 440.0) > 0.1);
    assert!(strength(&audio.samples[18_000..30_000], 440.0) < 0.01);
    assert!(strength(&audio.samples[34_000..60_000], 440.0) > 0.1);
}
