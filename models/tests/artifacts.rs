//! Parity with the original runtimes, where the pulled artifacts are at hand.
//!
//! The expected values come from TensorFlow.js (nsfwjs) and from the TFLite interpreter with
//! XNNPACK (YAMNet), run once on the same input.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use novastream_models::candle_graph::CandleGraph;
use novastream_models::catalog::catalog_entry;
use novastream_models::convnet::ConvNet;
use novastream_models::import::{self, MODEL_FILE};
use novastream_models::manifest::{Importer, Manifest};
use novastream_models::onnx;
use novastream_models::store::{ArtifactState, ArtifactStore, sha256_hex};

/// The store and one pulled model; prints why a test does nothing.
fn pulled(name: &str) -> Option<(ArtifactStore, Manifest)> {
    let manifest = catalog_entry(name).expect("in the catalog");
    if std::env::var_os("NOVASTREAM_MODELS").is_none() {
        println!("skipped: NOVASTREAM_MODELS not present");
        return None;
    }
    let store = ArtifactStore::from_env();
    match store.state(&manifest) {
        ArtifactState::Ready => Some((store, manifest)),
        ArtifactState::Missing => {
            println!("skipped: {name} not present");
            None
        }
        ArtifactState::Corrupt { reason } => panic!("{reason}"),
    }
}

fn sources(store: &ArtifactStore, manifest: &Manifest) -> BTreeMap<String, Vec<u8>> {
    let read = |path: &String| store.read(manifest, path).expect("verified");
    manifest
        .platform_files()
        .map(|f| (f.path.clone(), read(&f.path)))
        .collect()
}

#[test]
fn nsfw_probabilities_are_tensorflows() {
    let Some((store, manifest)) = pulled("nsfw-mobilenet-v2") else {
        return;
    };
    let graph = CandleGraph::load(&store.read(&manifest, MODEL_FILE).expect("read")).expect("load");
    let mut pixels = Vec::with_capacity(224 * 224 * 3);
    for (y, x) in (0..224_u32).flat_map(|y| (0..224_u32).map(move |x| (y, x))) {
        for c in 0..3 {
            let value = (x * (3 + c) + y * (5 - c) + x * y / 32) % 256;
            pixels.push(value as f32 / 255.0);
        }
    }
    // Twice, to see that a batch's pictures do not touch each other.
    let black = vec![0.0; pixels.len()];
    let batch = [pixels, black].concat();
    let out = graph
        .run(vec![("image".into(), vec![2, 224, 224, 3], batch)])
        .expect("runs");
    assert_eq!(
        (out[0].0.as_str(), out[0].1.as_slice()),
        ("probabilities", [2, 5].as_slice())
    );
    assert_eq!(
        (out[1].0.as_str(), out[1].1.as_slice()),
        ("features", [2, 1280].as_slice())
    );
    let expected = [
        0.318_435_43,
        0.015_800_44,
        0.649_962_7,
        0.013_605_971,
        0.002_195_427,
    ];
    for (got, expected) in out[0].2.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
    }
    let sum: f32 = out[1].2[..1280].iter().sum();
    assert!((sum - 121.278_47).abs() < 1e-2, "{sum}");
}

/// The picture numbered `k` of `scripts/nsfw-reference.js`: integer arithmetic, the same there.
fn drawn(k: u32) -> Vec<f32> {
    let mut pixels = Vec::with_capacity(224 * 224 * 3);
    for (y, x) in (0..224_u32).flat_map(|y| (0..224_u32).map(move |x| (y, x))) {
        for c in 0..3 {
            let slope = x * (3 + k % 5 + c) + y * (5 - k % 3 + c);
            let bend = (x * y) >> (4 + k % 4);
            let tiles = ((x >> (3 + k % 3)) ^ (y >> (2 + k % 4))) * (7 * k + 11 * c);
            pixels.push(((slope + bend + tiles) % 256) as f32 / 255.0);
        }
    }
    pixels
}

/// Everything that TensorFlow.js said about the drawn pictures: probabilities within 1e-4 with the
/// same class on top, and the pooled features.
#[test]
fn both_networks_answer_as_tensorflow_does_on_31_pictures() {
    let reference: serde_json::Value =
        serde_json::from_str(include_str!("data/nsfw-reference.json")).expect("json");
    let pictures = reference["pictures"].as_array().expect("pictures");
    assert_eq!(pictures.len(), 31);
    let numbers = |value: &serde_json::Value| -> Vec<f32> {
        let list = value.as_array().expect("list");
        list.iter()
            .map(|v| v.as_f64().expect("number") as f32)
            .collect()
    };
    let top = |shares: &[f32]| {
        let best = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map(|(i, _)| i)
    };
    for (name, key, length) in [
        ("nsfw-mobilenet-v2", "v2", 1280),
        ("nsfw-mobilenet-v2-mid", "mid", 1792),
    ] {
        let Some((store, manifest)) = pulled(name) else {
            continue;
        };
        let bytes = store.read(&manifest, MODEL_FILE).expect("read");
        let graph = CandleGraph::load(&bytes).expect("load");
        for (k, expected) in pictures.iter().enumerate() {
            let image = ("image".into(), vec![1, 224, 224, 3], drawn(k as u32));
            let out = graph.run(vec![image]).expect("runs");
            let (shares, features) = (&out[0].2, &out[1].2);
            let expected = &expected[key];
            let wanted = numbers(&expected["probabilities"]);
            for (got, want) in shares.iter().zip(&wanted) {
                assert!(
                    (got - want).abs() < 1e-4,
                    "{name}, picture {k}: {shares:?}, not {wanted:?}"
                );
            }
            assert_eq!(top(shares), top(&wanted), "{name}, picture {k}");
            assert_eq!(features.len(), length);
            let sum = expected["features_sum"].as_f64().expect("number");
            let got: f64 = features.iter().map(|v| f64::from(*v)).sum();
            assert!(
                (got - sum).abs() < 1e-3 * sum.max(1.0),
                "{name}, picture {k}: {got}, not {sum}"
            );
            let some = numbers(&expected["features_some"]);
            for (got, want) in features.iter().step_by(100).zip(&some) {
                assert!(
                    (got - want).abs() < 5e-3,
                    "{name}, picture {k}: {got}, not {want}"
                );
            }
        }
    }
}

/// What eight bits keep of the floats: shares within 0.05 with the same class on top unless the two
/// highest are nearly even, and the direction of the pooled features.
#[test]
fn eight_bits_answer_as_floats_do_on_31_pictures() {
    for name in ["nsfw-mobilenet-v2", "nsfw-mobilenet-v2-mid"] {
        let Some((store, manifest)) = pulled(name) else {
            continue;
        };
        if !ConvNet::is_fast() {
            println!("skipped: no AVX2 and FMA");
            return;
        }
        let bytes = store.read(&manifest, MODEL_FILE).expect("read");
        let own = ConvNet::load(&bytes).expect("load");
        let floats = CandleGraph::load(&bytes).expect("load");
        assert_eq!(Some(own.input()), floats.inputs().next());
        assert!(own.outputs().eq(floats.outputs()));
        for k in 0..31 {
            let shape = vec![1, 224, 224, 3];
            let found = own.run(&shape, &drawn(k)).expect("runs");
            let wanted = floats.run(vec![("image".into(), shape, drawn(k))]);
            let wanted = wanted.expect("runs");
            let (shares, wanted_shares) = (&found[0].2, &wanted[0].2);
            let pairs = || shares.iter().zip(wanted_shares);
            let gap = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(
                gap < 0.05,
                "{name}, picture {k}: {shares:?}, not {wanted_shares:?}"
            );
            // The class on top is the floats', or one that they put nearly as high.
            let best = pairs().max_by(|a, b| a.0.total_cmp(b.0)).map(|(_, b)| *b);
            let most = wanted_shares.iter().copied().fold(0.0, f32::max);
            assert!(best.expect("classes") > most - 0.05, "{name}, picture {k}");
            let (a, b) = (&found[1].2, &wanted[1].2);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            assert!(cosine > 0.997, "{name}, picture {k}: {cosine}");
        }
    }
}

#[test]
fn yamnet_scores_are_the_interpreters_to_the_last_bit() {
    let Some((store, manifest)) = pulled("yamnet") else {
        return;
    };
    let graph = CandleGraph::load(&store.read(&manifest, MODEL_FILE).expect("read")).expect("load");
    // The quantised log-mel spectrum of the synthetic sound in the features crate's tests.
    let bytes = include_bytes!("data/yamnet-input.u8");
    let log_mel: Vec<f32> = bytes
        .iter()
        .map(|b| (f32::from(*b) - 144.0) * 0.048_020_61)
        .collect();
    let silence = vec![0.001_f32.ln(); log_mel.len()];
    let batch = [log_mel, silence].concat();
    let out = graph
        .run(vec![("log_mel".into(), vec![2, 96, 64], batch)])
        .expect("runs");
    let (scores, embeddings) = (&out[0].2[..521], &out[1].2[..1024]);
    let mut top: Vec<(usize, f32)> = scores.iter().map(|s| s * 256.0).enumerate().collect();
    top.sort_by(|a, b| b.1.total_cmp(&a.1));
    let expected = [
        (153, 171.0),
        (147, 106.0),
        (154, 38.0),
        (132, 28.0),
        (133, 28.0),
        (208, 21.0),
    ];
    assert_eq!(top[..6], expected);
    assert_eq!(manifest.labels[153], "Synthesizer");
    let as_bytes = |values: &[f32], scale: f32| {
        values
            .iter()
            .map(|v| (v / scale).round() as u8)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        sha256_hex(&as_bytes(scores, 1.0 / 256.0)),
        "1a7abb959123df209f0dd5f29b47c0f7f42af57cb2d856586031b1125eddbc7d"
    );
    assert_eq!(
        sha256_hex(&as_bytes(embeddings, 0.022_328_35)),
        "c5527333f8001e643d518cf29401a2d900592905a5ce79e9ce8bce95ce5a395f"
    );
}

#[test]
fn yamnet_labels_are_those_in_the_artifact() {
    let Some((store, manifest)) = pulled("yamnet") else {
        return;
    };
    let file = store.read(&manifest, "yamnet.tflite").expect("read");
    let mut zip = zip::ZipArchive::new(Cursor::new(file)).expect("labels are appended as a zip");
    let mut text = String::new();
    zip.by_index(0)
        .expect("one file")
        .read_to_string(&mut text)
        .expect("text");
    assert_eq!(text.lines().collect::<Vec<_>>(), manifest.labels);
}

#[test]
fn imports_are_deterministic() {
    for (name, importer) in [
        ("nsfw-mobilenet-v2", Importer::Nsfwjs),
        ("nsfw-mobilenet-v2-mid", Importer::Nsfwjs),
        ("yamnet", Importer::YamnetTflite),
    ] {
        let Some((store, manifest)) = pulled(name) else {
            continue;
        };
        let again = import::run(importer, &sources(&store, &manifest)).expect("imports");
        assert!(
            again[MODEL_FILE] == store.read(&manifest, MODEL_FILE).expect("read"),
            "{name}"
        );
    }
}

#[test]
fn corrupt_artifacts_never_panic() {
    // Structure is at the ends of a TFLite file and all over the scripts.
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for (name, importer) in [
        ("nsfw-mobilenet-v2", Importer::Nsfwjs),
        ("nsfw-mobilenet-v2-mid", Importer::Nsfwjs),
        ("yamnet", Importer::YamnetTflite),
    ] {
        let Some((store, manifest)) = pulled(name) else {
            continue;
        };
        let good = sources(&store, &manifest);
        for round in 0..40 {
            let mut bad = good.clone();
            for bytes in bad.values_mut() {
                let end = bytes.len();
                for _ in 0..4 {
                    let at = random(1 << 16).min(end - 1);
                    let at = if round % 2 == 0 { at } else { end - 1 - at };
                    bytes[at] = random(256) as u8;
                }
                if round % 5 == 0 {
                    bytes.truncate(random(end));
                }
            }
            let _ = import::run(importer, &bad);
        }
    }
}

#[test]
fn ocr_models_carry_what_the_manifests_say() {
    for (name, output) in [
        ("ppocr-v4-det", "sigmoid_0.tmp_0"),
        ("ppocr-v4-rec", "softmax_11.tmp_0"),
    ] {
        let Some((store, manifest)) = pulled(name) else {
            continue;
        };
        let model = onnx::decode(&store.read(&manifest, MODEL_FILE).expect("read")).expect("onnx");
        let graph = model.graph.as_ref().expect("graph");
        assert_eq!(graph.input[0].name.as_deref(), Some("x"));
        assert_eq!(graph.output[0].name.as_deref(), Some(output));
        assert_eq!(manifest.contract.outputs[0].name, output);
        if name == "ppocr-v4-rec" {
            let characters = onnx::metadata(&model, "character").expect("dictionary");
            // The blank before and the space after them make the graph's 6625 classes.
            assert_eq!(characters.lines().count(), 6623);
        }
    }
}
