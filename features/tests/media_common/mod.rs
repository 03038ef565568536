//! What the media tests share: clips whose pictures tell their own time.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of tests, of which each test binary uses a part"
)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use novastream_features::media::{
    CancelToken, MediaError, MediaInfo, MediaLimits, Sampling, Window, read_segment,
};
use novastream_features::picture::RgbImage;

/// A committed clip by its file name.
pub fn clip(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(name)).unwrap()
}

/// A grey clip of `seconds` at 25 frames per second, see `tests/data/README.md`.
pub fn grey(seconds: u32) -> String {
    format!("nullsrc=s=160x90:r=25:d={seconds},geq=lum=16+2*N:cb=128:cr=128")
}

/// Runs the `ffmpeg` program and gives back the file it wrote; `None`, with a line that says so,
/// where it is not installed or lacks an encoder.
pub fn make(extension: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("clip.{extension}"));
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(&path)
        .output();
    match run {
        Ok(output) if output.status.success() => Some(std::fs::read(&path).unwrap()),
        Ok(output) => {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("skipped: ffmpeg cannot make this clip: {message}");
            None
        }
        Err(_) => {
            println!("skipped: ffmpeg not present");
            None
        }
    }
}

pub fn read(bytes: Vec<u8>) -> Result<(MediaInfo, Window), MediaError> {
    read_with(bytes, &Sampling::default(), &MediaLimits::default())
}

pub fn read_with(
    bytes: Vec<u8>,
    sampling: &Sampling,
    limits: &MediaLimits,
) -> Result<(MediaInfo, Window), MediaError> {
    read_segment(Arc::from(bytes), sampling, limits, &CancelToken::new())
}

/// The frame number that a grey picture shows.
pub fn number(image: &RgbImage) -> f64 {
    let sum: u64 = image.data.iter().map(|value| u64::from(*value)).sum();
    let mean = sum as f64 / image.data.len() as f64;
    mean * 219.0 / 255.0 / 2.0
}

/// Strength of a frequency in a sound: 1.0 for a full-scale tone of that frequency.
pub fn strength(samples: &[f32], hertz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (index, sample) in samples.iter().enumerate() {
        let angle = std::f64::consts::TAU * hertz * index as f64 / 16_000.0;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    2.0 * re.hypot(im) / samples.len().max(1) as f64
}

/// A generator with a fixed start, for damage that is the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
