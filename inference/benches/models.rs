//! What each model costs: `cargo bench -p novastream-inference`. Models that are not pulled are
//! skipped by name, on stderr: stdout belongs to the list of benches.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use novastream_features::{
    audio::{LogMel, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_WINDOW},
    media::{Audio, Frame, MediaInfo, VideoInfo, Window},
    pdq::pdq,
    picture::{ImageLimits, RgbImage, decode_image, resize_area, resize_bilinear_align_corners},
};
use novastream_inference::{
    BackendChoice, ChatScorer, ChatTier, ModelState, Moderator, ModeratorConfig, SegmentContext,
    StreamHistory, TextItem,
    backend::{CandleSession, NamedTensor, NativeSession, OnnxRuntime, Session},
};
use novastream_models::{
    catalog::{catalog_entry, zoo},
    encoder::pack,
    golden::TEXTS,
    import::MODEL_FILE,
    linear,
    store::ArtifactStore,
};

/// A 720p frame with three lines of text.
fn frame() -> RgbImage {
    let bytes = include_bytes!("../tests/data/scam.jpg");
    match decode_image(bytes, &ImageLimits::default()) {
        Ok(image) => resize_area(&image, 1280, 720),
        Err(error) => quit(&error.to_string()),
    }
}

/// Benches have no error path; a plain exit keeps the message short.
fn quit(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(1)
}

/// The engines that are there, each with one session of one thread for `model`.
fn sessions(model: &str) -> Vec<(&'static str, Box<dyn Session>)> {
    let store = ArtifactStore::from_env();
    let graph = catalog_entry(model)
        .ok_or_else(|| "not in the catalogue".to_owned())
        .and_then(|m| store.read(&m, MODEL_FILE).map_err(|e| e.to_string()));
    let graph = match graph {
        Ok(graph) => graph,
        Err(error) => {
            eprintln!("skipped: {model} not present ({error})");
            return Vec::new();
        }
    };
    let mut found: Vec<(&'static str, Box<dyn Session>)> = Vec::new();
    let library = catalog_entry("onnxruntime")
        .ok_or_else(|| "not in the catalogue".to_owned())
        .and_then(|m| {
            store
                .file(&m, "libonnxruntime.so")
                .map_err(|e| e.to_string())
        })
        .and_then(|path| OnnxRuntime::load(&path).map_err(|e| e.to_string()))
        .and_then(|runtime| runtime.session(&graph, 1, 1).map_err(|e| e.to_string()));
    match library {
        Ok(session) => found.push(("onnxruntime", Box::new(session))),
        Err(error) => eprintln!("skipped: {model} on onnxruntime ({error})"),
    }
    match NativeSession::load(&graph) {
        Ok(session) => found.push(("native", Box::new(session))),
        Err(error) => eprintln!("skipped: {model} on native ({error})"),
    }
    match CandleSession::load(&graph) {
        Ok(session) => found.push(("candle", Box::new(session))),
        Err(error) => eprintln!("skipped: {model} on candle ({error})"),
    }
    found
}

fn run(session: &dyn Session, name: &str, shape: Vec<usize>, values: Vec<f32>) {
    let outputs = NamedTensor::f32(name, shape, values).and_then(|t| session.run(vec![t]));
    if let Err(error) = black_box(outputs) {
        quit(&error.to_string());
    }
}

fn nsfw(c: &mut Criterion) {
    let image = frame();
    for (engine, session) in sessions("nsfw-mobilenet-v2") {
        c.bench_function(&format!("nsfw_720p_frame/{engine}"), |b| {
            b.iter(|| {
                let mut pixels = Vec::new();
                resize_bilinear_align_corners(&image, 224, 224, &mut pixels, 1.0 / 255.0);
                run(session.as_ref(), "image", vec![1, 224, 224, 3], pixels);
            });
        });
    }
    let mut pixels = Vec::new();
    resize_bilinear_align_corners(&image, 224, 224, &mut pixels, 1.0 / 255.0);
    for model in ["nsfw-mobilenet-v2", "nsfw-mobilenet-v2-mid"] {
        for (engine, session) in sessions(model) {
            for batch in [1, 2] {
                let pictures = pixels.repeat(batch);
                let name = format!("{model}_batch_{batch}/{engine}");
                c.bench_function(&name, |b| {
                    let shape = vec![batch, 224, 224, 3];
                    b.iter(|| run(session.as_ref(), "image", shape.clone(), pictures.clone()));
                });
            }
        }
    }
    c.bench_function("pdq_720p_frame", |b| b.iter(|| pdq(black_box(&image))));
}

fn yamnet(c: &mut Criterion) {
    let samples: Vec<f32> = (0..YAMNET_WINDOW)
        .map(|i| (i as f32 * 0.1).sin() * 0.3)
        .collect();
    let mel = LogMel::yamnet();
    for (engine, session) in sessions("yamnet") {
        c.bench_function(&format!("yamnet_window/{engine}"), |b| {
            b.iter(|| {
                let mut values = Vec::new();
                mel.window(&samples, &mut values);
                run(
                    session.as_ref(),
                    "log_mel",
                    vec![1, YAMNET_FRAMES, YAMNET_BANDS],
                    values,
                );
            });
        });
    }
}

fn vad(c: &mut Criterion) {
    // One second, as the pipeline asks: 32 windows of 32 ms in a call.
    let windows: Vec<f32> = (0..32 * 576)
        .map(|i| (i as f32 * 0.1).sin() * 0.3)
        .collect();
    for (engine, session) in sessions("silero-vad") {
        c.bench_function(&format!("vad_second/{engine}"), |b| {
            b.iter(|| {
                let state = || vec![0.0_f32; 128];
                let inputs = [
                    NamedTensor::f32("input", vec![32, 576], windows.clone()),
                    NamedTensor::f32("h", vec![1, 1, 128], state()),
                    NamedTensor::f32("c", vec![1, 1, 128], state()),
                ];
                let outputs = inputs
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
                    .and_then(|inputs| session.run(inputs));
                if let Err(error) = black_box(outputs) {
                    quit(&error.to_string());
                }
            });
        });
    }
}

/// The full chat tier on twenty everyday lines, by engine.
fn encoder(c: &mut Criterion) {
    let newest = |file: &str| {
        let models = zoo().unwrap_or_default();
        let found = models.into_iter().rfind(|(m, _)| m.file(file).is_some());
        found.map(|(_, dir)| dir)
    };
    let (Some(fast), Some(full)) = (newest(linear::WEIGHTS_FILE), newest(pack::WEIGHTS_FILE))
    else {
        eprintln!("skipped: the zoo has no chat models");
        return;
    };
    for choice in [
        BackendChoice::Auto,
        BackendChoice::Onnx,
        BackendChoice::Candle,
    ] {
        let scorer = match ChatScorer::load(&fast, Some(&full), choice) {
            Ok(scorer) => scorer,
            Err(error) => {
                eprintln!("skipped: the encoder on {choice:?} ({error})");
                continue;
            }
        };
        c.bench_function(&format!("encoder_20_lines_{}", scorer.backend()), |b| {
            b.iter(|| scorer.score(black_box(&TEXTS), ChatTier::Full));
        });
    }
}

fn pipeline(c: &mut Criterion) {
    let moderator = ModeratorConfig::from_env()
        .map_err(|e| e.to_string())
        .and_then(|config| Moderator::load(config).map_err(|e| e.to_string()));
    let moderator = match moderator {
        Ok(moderator) => moderator,
        Err(error) => quit(&error),
    };
    let ready = |task: &str| {
        let found = moderator
            .models()
            .iter()
            .any(|m| m.task == task && m.state == ModelState::Ready);
        if !found {
            eprintln!("skipped: {task} not present");
        }
        found
    };

    if ready("chat") {
        let item = TextItem {
            id: "1".into(),
            text: "gg everyone, that was a close round, see you tomorrow".into(),
            ..TextItem::default()
        };
        c.bench_function("chat_message", |b| {
            b.iter(|| moderator.text(std::slice::from_ref(black_box(&item)), None));
        });
    }
    if ready("ocr-detect") && ready("ocr-recognise") && ready("nsfw") && ready("audio-events") {
        let info = MediaInfo {
            container: "bench".into(),
            video: Some(VideoInfo {
                codec: "h264".into(),
                width: 1280,
                height: 720,
                fps: 30.0,
            }),
            audio: None,
        };
        let image = frame();
        let shot = |at: i64| Frame {
            image: image.clone(),
            timestamp_ms: at,
            keyframe: at == 0,
        };
        let samples = (0..32_000).map(|i| (i as f32 * 0.1).sin() * 0.3).collect();
        let audio = Some(Audio {
            start_ms: 0,
            samples,
        });
        let judge = |frames: Vec<Frame>, audio: Option<Audio>| {
            let window = Window {
                start_ms: 0,
                end_ms: 2000,
                frames,
                audio,
                notices: Vec::new(),
            };
            moderator.window(
                window,
                &info,
                &SegmentContext::default(),
                &mut StreamHistory::default(),
            )
        };
        c.bench_function("frame_720p_with_ocr", |b| {
            b.iter(|| judge(vec![shot(0)], None));
        });
        c.bench_function("window_720p_2s_2_frames", |b| {
            b.iter(|| judge(vec![shot(0), shot(900)], audio.clone()));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = nsfw, yamnet, vad, encoder, pipeline
}
criterion_main!(benches);
