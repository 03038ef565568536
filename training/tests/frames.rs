//! Whole runs over drawn pictures, with features that need no third-party network.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use clap::Parser;
use novastream_features::picture::{RgbImage, resize_area};
use novastream_models::frame_heads::FrameHeads;
use novastream_training::frames::{self, Extractor, Features, FramesArgs, FramesTrainError};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: FramesArgs,
}

fn args(dir: &Path, out: &Path, more: &[&str]) -> FramesArgs {
    let (dir, out) = (dir.display().to_string(), out.display().to_string());
    let line = ["frames", "--dir", &dir, "--out", &out];
    Cli::parse_from(line.iter().copied().chain(more.iter().copied())).args
}

/// A coarse picture of the picture: 4 × 4 means for the small network, 8 × 8 for the large one.
struct Coarse;

impl Extractor for Coarse {
    fn extract(&self, pictures: &[RgbImage]) -> Result<Vec<Features>, FramesTrainError> {
        let coarse = |image: &RgbImage, side| -> Vec<f32> {
            let small = resize_area(image, side, side);
            small.data.iter().map(|v| f32::from(*v) / 64.0).collect()
        };
        let both = |image| Features {
            small: coarse(image, 4),
            large: coarse(image, 8),
        };
        Ok(pictures.iter().map(both).collect())
    }

    fn id(&self) -> String {
        "coarse@1".to_owned()
    }
}

/// Discs are bright in the middle, frames at the border; each in colours and places of its own.
fn picture(disc: bool, seed: u32, side: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let dark = [random(70), random(70), random(70)];
    let bright = [150 + random(100), 150 + random(100), 150 + random(100)];
    let (cx, cy) = (45 + random(11), 45 + random(11));
    let stripes = 2 + random(20);
    let mut data = Vec::new();
    for y in 0..side {
        for x in 0..side {
            let (u, v) = (x * 100 / side, y * 100 / side);
            let far = (u.abs_diff(cx).pow(2) + v.abs_diff(cy).pow(2)) > 30 * 30;
            let base = if far == disc { dark } else { bright };
            let stripe = (x * stripes / side + y * 3 / side * (seed % 5)) % 2 * 12;
            data.extend(base.map(|c| (c + stripe) as u8));
        }
    }
    RgbImage::new(side, side, data).expect("picture")
}

/// Two labels from sources that differ in size and quality, and a background.
fn folder(dir: &Path) {
    for i in 0..40 {
        for (label, disc, side, quality) in [
            ("big_discs", true, 200, 95),
            ("frames", false, 96, 40),
            ("everyday", false, 150, 80),
        ] {
            let path = dir.join(label).join(format!("{i:02}.jpg"));
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            let seed = i * 3 + side;
            let jpeg = picture(disc, seed, side)
                .encode_jpeg(quality)
                .expect("jpeg");
            std::fs::write(path, jpeg).expect("write");
        }
    }
    std::fs::write(dir.join("everyday/broken.jpg"), b"no picture").expect("write");
}

#[test]
fn a_run_makes_a_model_that_loads_and_tells_the_labels_apart() {
    let root = tempfile::tempdir().expect("dir");
    let (dir, out) = (root.path().join("set"), root.path().join("zoo/discs/1.2.0"));
    folder(&dir);
    let more = ["--head", "big_discs", "--note", "A small run."];
    let report = frames::run_with(&args(&dir, &out, &more), &Coarse).expect("run");
    assert_eq!(report.model, "discs@1.2.0");
    assert_eq!((report.unreadable, report.heads.len()), (1, 1));
    let head = &report.heads[0];
    assert_eq!(head.head, "big-discs");
    assert!(head.pos >= 1 && head.n > head.pos, "{head:?}");
    assert!(head.auc.expect("both kinds") > 0.95, "{head:?}");
    assert!(report.common_area <= 96 * 96);

    let (model, manifest) = FrameHeads::load(&out).expect("loads");
    assert_eq!(manifest.labels, ["big-discs"]);
    assert!(manifest.metrics.contains_key("held_out.big-discs.auc"));
    let score = |image: &RgbImage| {
        let views = Coarse
            .extract(std::slice::from_ref(image))
            .expect("features");
        model.heads[0].score(&views[0].small, &views[0].large)
    };
    let right = (1000..1040)
        .filter(|seed| score(&picture(true, *seed, 300)) >= 0.5)
        .count();
    let wrong = (2000..2040)
        .filter(|seed| score(&picture(false, *seed, 300)) >= 0.5)
        .count();
    assert!(
        right >= 36 && wrong <= 4,
        "{right} of 40 found, {wrong} false alarms"
    );
    for file in [
        "config.json",
        "metrics.json",
        "train.log",
        "MODEL_CARD.md",
        "manifest.toml",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let card = std::fs::read_to_string(out.join("MODEL_CARD.md")).expect("card");
    assert!(
        card.contains("A small run.") && card.contains("| big_discs | 40 |"),
        "{card}"
    );
}

#[test]
fn the_same_pictures_give_the_same_bytes_with_and_without_kept_features() {
    let root = tempfile::tempdir().expect("dir");
    let dir = root.path().join("set");
    folder(&dir);
    let cache = root.path().join("cache").display().to_string();
    let run = |name: &str, more: &[&str]| {
        let out = root.path().join(name);
        let line: Vec<&str> = ["--head", "frames", "--views", "2"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        frames::run_with(&args(&dir, &out, &line), &Coarse).expect("run");
        std::fs::read(out.join("heads.safetensors")).expect("weights")
    };
    let first = run("a", &["--cache", &cache]);
    assert_eq!(run("b", &["--cache", &cache]), first);
    assert_eq!(run("c", &[]), first);
    assert_ne!(run("d", &["--seed", "8"]), first);
}

#[test]
fn folders_that_can_make_no_head_are_refused_with_a_reason() {
    let root = tempfile::tempdir().expect("dir");
    let (dir, out) = (root.path().join("set"), root.path().join("out"));
    folder(&dir);
    let refused = |more: &[&str]| {
        let error = frames::run_with(&args(&dir, &out, more), &Coarse).expect_err("refused");
        (error.code(), error.to_string())
    };
    let (code, text) = refused(&["--head", "cats"]);
    assert_eq!(code, "usage");
    assert!(text.contains("big_discs, everyday, frames"), "{text}");
    let (_, text) = refused(&["--exclude", "big_discs", "everyday"]);
    assert!(text.contains("1 folder"), "{text}");
    let (_, text) = refused(&["--min-positives", "1000"]);
    assert!(text.contains("--min-positives"), "{text}");
}
