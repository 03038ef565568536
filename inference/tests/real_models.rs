//! The pipeline on the real models, where `NOVASTREAM_MODELS` names a folder that has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::f32::consts::TAU;

use novastream_features::{
    media::{Audio, AudioInfo, Frame, MediaInfo, VideoInfo, Window},
    picture::{ImageLimits, RgbImage, decode_image},
};
use novastream_inference::{
    Action, BackendChoice, Category, EvidenceDetail, ImageOptions, ModelState, Moderator,
    ModeratorConfig, Outcome, SegmentContext, Status, StreamHistory, Verdict,
};

/// A picture with three lines of a scam, drawn for this test.
const SCAM: &[u8] = include_bytes!("data/scam.jpg");

/// A moderator in which the models named are ready, or `None` with a word about it.
fn moderator(backend: BackendChoice, needs: &[&str]) -> Option<Moderator> {
    if std::env::var_os("NOVASTREAM_MODELS").is_none() {
        println!("skipped: NOVASTREAM_MODELS not present");
        return None;
    }
    let config = ModeratorConfig {
        backend,
        ..ModeratorConfig::from_env().unwrap()
    };
    let moderator = Moderator::load(config)
        .map_err(|error| println!("skipped: models not present ({error})"))
        .ok()?;
    for name in needs {
        let ready = moderator
            .models()
            .iter()
            .any(|m| m.name == *name && m.state == ModelState::Ready);
        if !ready {
            println!("skipped: {name} not present");
            return None;
        }
    }
    Some(moderator)
}

fn info() -> MediaInfo {
    MediaInfo {
        container: "test".into(),
        video: Some(VideoInfo {
            codec: "h264".into(),
            width: 640,
            height: 360,
            fps: 30.0,
        }),
        audio: Some(AudioInfo {
            codec: "aac".into(),
            sample_rate: 16_000,
            channels: 1,
        }),
    }
}

fn window(at_ms: i64, images: &[RgbImage], samples: Vec<f32>) -> Window {
    let frames = images
        .iter()
        .enumerate()
        .map(|(i, image)| Frame {
            image: image.clone(),
            timestamp_ms: at_ms + 700 * i as i64,
            keyframe: i == 0,
        })
        .collect();
    let audio = (!samples.is_empty()).then_some(Audio {
        start_ms: at_ms,
        samples,
    });
    Window {
        start_ms: at_ms,
        end_ms: at_ms + 2000,
        frames,
        audio,
        notices: Vec::new(),
    }
}

fn judge(moderator: &Moderator, window: Window, history: &mut StreamHistory) -> Verdict {
    moderator.window(window, &info(), &SegmentContext::default(), history)
}

fn scam() -> RgbImage {
    decode_image(SCAM, &ImageLimits::default()).unwrap()
}

/// A soft gradient: nothing to see.
fn calm() -> RgbImage {
    let pixels = (0..360u32)
        .flat_map(|y| (0..640u32).flat_map(move |x| [(60 + x / 8) as u8, (90 + y / 6) as u8, 120]));
    RgbImage::new(640, 360, pixels.collect()).unwrap()
}

/// Soft coloured rings.
fn rings() -> RgbImage {
    let pixels = (0..360i32).flat_map(|y| {
        (0..640i32).flat_map(move |x| {
            let r = (((x - 320).pow(2) + (y - 180).pow(2)) as f32).sqrt();
            let wave = ((r / 30.0).sin() * 60.0 + 128.0) as u8;
            [wave, 200 - wave / 2, 90]
        })
    });
    RgbImage::new(640, 360, pixels.collect()).unwrap()
}

/// Two seconds of a smoke detector: 3.1 kHz, half a second on, half a second off.
fn alarm() -> Vec<f32> {
    (0..32_000)
        .map(|i| {
            let t = i as f32 / 16_000.0;
            if t.fract() < 0.5 {
                (TAU * 3100.0 * t).sin() * 0.5
            } else {
                0.0
            }
        })
        .collect()
}

/// Two seconds of a soft chord.
fn chord() -> Vec<f32> {
    (0..32_000)
        .map(|i| {
            let t = i as f32 / 16_000.0;
            [262.0, 330.0, 392.0]
                .iter()
                .map(|f| (TAU * f * t).sin() * 0.1)
                .sum()
        })
        .collect()
}

#[test]
fn a_scam_on_the_screen_is_read_and_removed() {
    let needs = ["ppocr-v4-det", "ppocr-v4-rec"];
    let Some(moderator) = moderator(BackendChoice::Auto, &needs) else {
        return;
    };
    let verdict = moderator.image(SCAM, &ImageOptions::default()).unwrap();
    assert_eq!(verdict.categories[&Category::Scam].outcome, Outcome::Act);
    assert!(verdict.action >= Action::Remove);
    let quote = verdict.evidence.iter().find_map(|e| match &e.detail {
        Some(EvidenceDetail::ScreenText {
            text,
            area,
            matched: Some(rule),
            ..
        }) => Some((text.to_lowercase(), *area, rule.clone())),
        _ => None,
    });
    let (text, area, rule) = quote.expect("the rule's evidence quotes the screen");
    assert_eq!(rule, "money-multiplier");
    assert!(text.contains("btc") && text.contains("crypto"), "{text}");
    assert!(
        area[0] >= 40 && area[2] <= 620 && area[1] >= 80 && area[3] <= 300,
        "{area:?}"
    );
}

#[test]
fn text_that_stays_is_in_every_verdict_and_read_once() {
    let needs = ["ppocr-v4-det", "ppocr-v4-rec"];
    let Some(moderator) = moderator(BackendChoice::Auto, &needs) else {
        return;
    };
    let mut history = StreamHistory::default();
    for i in 0..3 {
        let verdict = judge(
            &moderator,
            window(i * 2000, &[scam(), scam()], vec![]),
            &mut history,
        );
        assert_eq!(
            verdict.categories[&Category::Scam].outcome,
            Outcome::Act,
            "window {i}"
        );
    }
    let cleared = judge(&moderator, window(6000, &[calm()], vec![]), &mut history);
    assert_eq!(cleared.categories[&Category::Scam].outcome, Outcome::None);
}

#[test]
fn an_alarm_is_heard_and_a_chord_is_not() {
    let Some(moderator) = moderator(BackendChoice::Auto, &["yamnet"]) else {
        return;
    };
    let mut history = StreamHistory::default();
    let mut outcomes = Vec::new();
    for i in 0..3 {
        let verdict = judge(
            &moderator,
            window(i * 2000, &[calm()], alarm()),
            &mut history,
        );
        outcomes.push(verdict.categories[&Category::DangerousSound].outcome);
    }
    assert!(
        outcomes.iter().any(|o| *o >= Outcome::Review),
        "{outcomes:?}"
    );
    let verdict = judge(
        &moderator,
        window(0, &[calm()], chord()),
        &mut StreamHistory::default(),
    );
    assert_eq!(
        verdict.categories[&Category::DangerousSound].outcome,
        Outcome::None
    );
    let silent = judge(
        &moderator,
        window(0, &[calm()], vec![0.0; 32_000]),
        &mut StreamHistory::default(),
    );
    assert_eq!(
        silent.categories[&Category::DangerousSound].score,
        Some(0.0)
    );
}

#[test]
fn a_calm_window_is_allowed() {
    let needs = [
        "nsfw-mobilenet-v2",
        "yamnet",
        "ppocr-v4-det",
        "ppocr-v4-rec",
    ];
    let Some(moderator) = moderator(BackendChoice::Auto, &needs) else {
        return;
    };
    let calm = window(0, &[calm(), calm()], chord());
    let verdict = judge(&moderator, calm, &mut StreamHistory::default());
    assert_eq!(verdict.action, Action::Allow, "{:?}", verdict.evidence);
    assert!(
        verdict
            .categories
            .values()
            .all(|r| r.outcome == Outcome::None)
    );
}

#[test]
fn both_engines_give_the_same_scores() {
    let needs = ["nsfw-mobilenet-v2", "yamnet"];
    let Some(candle) = moderator(BackendChoice::Candle, &needs) else {
        return;
    };
    let Some(onnx) = moderator(BackendChoice::Onnx, &needs) else {
        return;
    };
    let run = |moderator: &Moderator| {
        // No text: what is written has scores of its own, and Candle cannot read.
        let window = window(0, &[rings(), calm()], alarm());
        judge(moderator, window, &mut StreamHistory::default())
    };
    let (a, b) = (run(&candle), run(&onnx));
    for category in [Category::Sexual, Category::DangerousSound] {
        let (a, b) = (&a.categories[&category], &b.categories[&category]);
        let (a, b) = (a.score.unwrap(), b.score.unwrap());
        assert!((a - b).abs() < 2e-3, "{category}: candle {a}, onnx {b}");
    }
    assert!(
        a.degraded.iter().any(|d| d.component == "ocr"),
        "candle has no OCR and says so"
    );
    assert_eq!(a.categories[&Category::Scam].status, Status::NotEvaluated);
}

#[test]
fn many_callers_get_the_verdict_of_one() {
    let needs = ["nsfw-mobilenet-v2", "ppocr-v4-det", "ppocr-v4-rec"];
    let Some(moderator) = moderator(BackendChoice::Auto, &needs) else {
        return;
    };
    let alone = moderator.image(SCAM, &ImageOptions::default()).unwrap();
    let together: Vec<Verdict> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| moderator.image(SCAM, &ImageOptions::default()).unwrap()))
            .collect();
        calls.into_iter().map(|c| c.join().unwrap()).collect()
    });
    for verdict in together {
        assert_eq!(verdict.categories, alone.categories);
        assert_eq!(verdict.evidence, alone.evidence);
    }
}
