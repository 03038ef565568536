//! Segments: demux, sampled pictures and sound together. One committed clip, and a 2 s clip of
//! 720p30 where the `ffmpeg` program is there to make it.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use novastream_features::media::{CancelToken, MediaLimits, Sampling, read_segment};

fn committed() -> Option<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join("grey.ts")).ok()
}

fn made() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join("720p.ts");
    let video = "testsrc2=s=1280x720:r=30:d=2,noise=alls=12:allf=t";
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", video])
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=f=440:d=2",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
        ])
        .args([
            "-b:v", "3M", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac",
        ])
        .arg(&path)
        .status()
        .ok()?;
    if !status.success() {
        return None;
    }
    std::fs::read(&path).ok()
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(20);
    for (name, clip) in [("90p25, 4 s", committed()), ("720p30, 2 s", made())] {
        let Some(bytes) = clip else {
            eprintln!("skipped: {name} not present");
            continue;
        };
        let bytes: Arc<[u8]> = Arc::from(bytes);
        for (kind, extra_every) in [
            ("keyframes", 0),
            ("keyframes and one extra in four", 4),
            ("keyframes and extra", 1),
        ] {
            let sampling = Sampling {
                extra_every,
                ..Sampling::default()
            };
            group.bench_function(format!("{name}, {kind}"), |bencher| {
                bencher.iter(|| {
                    let limits = MediaLimits::default();
                    let cancel = CancelToken::new();
                    black_box(read_segment(
                        Arc::clone(&bytes),
                        &sampling,
                        &limits,
                        &cancel,
                    ))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
