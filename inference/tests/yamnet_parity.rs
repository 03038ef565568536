//! From the sound of a file to YAMNet's scores: ours against the TFLite interpreter's on real
//! recordings, where `NOVASTREAM_DATA` and `NOVASTREAM_MODELS` name folders that have them.
//!
//! `data/yamnet-esc10.bin` holds the interpreter's 521 scores (bytes, in 1/256) for the first window
//! of each of [`CLIPS`]. `scripts/yamnet-reference.py` made it from the samples that this test writes
//! to `NOVASTREAM_WRITE_SAMPLES`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::PathBuf};

use novastream_features::{
    audio::{LogMel, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_WINDOW},
    media::{CancelToken, MediaLimits, Sampling, read_segment},
};
use novastream_models::{
    candle_graph::CandleGraph, catalog::catalog_entry, import::MODEL_FILE, store::ArtifactStore,
};

const CLASSES: usize = 521;
/// Ten recordings, one of each class of ESC-10.
const CLIPS: [&str; 10] = [
    "001_Dog_bark",
    "002_Rain",
    "003_Sea_waves",
    "004_Baby_cry",
    "005_Clock_tick",
    "006_Person_sneeze",
    "007_Helicopter",
    "008_Chainsaw",
    "009_Rooster",
    "010_Fire_crackling",
];
const EXPECTED: &[u8] = include_bytes!("data/yamnet-esc10.bin");

fn folder() -> Option<PathBuf> {
    let dir = PathBuf::from(env::var_os("NOVASTREAM_DATA")?).join("audio/esc10");
    dir.is_dir().then_some(dir)
}

/// The first window of the class's first recording.
fn window(dir: &std::path::Path, class: &str) -> Vec<f32> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join(class))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let bytes = fs::read(&files[0]).unwrap();
    let (_, heard) = read_segment(
        bytes.into(),
        &Sampling::default(),
        &MediaLimits::default(),
        &CancelToken::default(),
    )
    .unwrap();
    let mut samples = heard.audio.unwrap().samples;
    samples.resize(samples.len().max(YAMNET_WINDOW), 0.0);
    samples.truncate(YAMNET_WINDOW);
    samples
}

#[test]
fn yamnet_on_real_sound_is_within_a_thousandth_of_the_interpreter() {
    let Some(dir) = folder() else {
        println!("skipped: audio/esc10 not present");
        return;
    };
    let manifest = catalog_entry("yamnet").unwrap();
    let store = ArtifactStore::from_env();
    let Ok(graph) = store.read(&manifest, MODEL_FILE) else {
        println!("skipped: yamnet not present");
        return;
    };
    let windows = CLIPS.map(|class| window(&dir, class));
    if let Some(out) = env::var_os("NOVASTREAM_WRITE_SAMPLES") {
        let bytes = windows.iter().flatten().flat_map(|s| s.to_le_bytes());
        fs::write(out, bytes.collect::<Vec<u8>>()).unwrap();
    }
    let (mel, mut values) = (LogMel::yamnet(), Vec::new());
    for samples in &windows {
        mel.window(samples, &mut values);
    }
    let shape = vec![CLIPS.len(), YAMNET_FRAMES, YAMNET_BANDS];
    let out = CandleGraph::load(&graph)
        .unwrap()
        .run(vec![("log_mel".into(), shape, values)])
        .unwrap();
    assert_eq!(EXPECTED.len(), CLIPS.len() * CLASSES);
    for (clip, (got, expected)) in CLIPS
        .iter()
        .zip(out[0].2.chunks(CLASSES).zip(EXPECTED.chunks(CLASSES)))
    {
        assert!(expected.iter().any(|e| *e > 12), "{clip} holds no sound");
        let most = got
            .iter()
            .zip(expected)
            .map(|(g, e)| (g - f32::from(*e) / 256.0).abs())
            .fold(0.0, f32::max);
        assert!(most <= 1e-3, "{clip} differs by {most}");
    }
}
