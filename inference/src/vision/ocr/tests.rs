//! The engine's logic on graphs that answer what the test wants.

use std::sync::atomic::{AtomicUsize, Ordering};

use novastream_features::picture::{ImageLimits, decode_image};
use novastream_models::{catalog::catalog_entry, onnx, store::ArtifactStore};

use super::*;
use crate::backend::{NamedTensor, OnnxRuntime};

/// Marks one bar as text wherever the frame's middle row is bright, and counts its calls.
#[derive(Default)]
struct FakeDetector {
    calls: AtomicUsize,
    bars: usize,
}

impl Session for FakeDetector {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (h, w) = (inputs[0].tensor.shape[2], inputs[0].tensor.shape[3]);
        let mut map = vec![0.0f32; h * w];
        for bar in 0..self.bars {
            for y in 0..5 {
                let row = (bar * 12 + 4 + y) * w;
                map[row + 100..row + 300].fill(0.9);
            }
        }
        Ok(vec![NamedTensor::f32("map", vec![1, 1, h, w], map)?])
    }

    fn backend(&self) -> &'static str {
        "fake"
    }
}

/// Reads every line as "a", and counts its calls.
#[derive(Default)]
struct FakeRecogniser {
    calls: AtomicUsize,
}

impl Session for FakeRecogniser {
    fn run(&self, _: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(vec![NamedTensor::f32(
            "text",
            vec![1, 1, 3],
            vec![0.1, 0.8, 0.1],
        )?])
    }

    fn backend(&self) -> &'static str {
        "fake"
    }
}

fn engine(bars: usize) -> (OcrEngine, Arc<FakeDetector>, Arc<FakeRecogniser>) {
    let detector = Arc::new(FakeDetector {
        bars,
        ..FakeDetector::default()
    });
    let recogniser = Arc::new(FakeRecogniser::default());
    let engine = OcrEngine::new(
        Graph {
            session: detector.clone(),
            input: "x".into(),
            output: "map".into(),
        },
        Graph {
            session: recogniser.clone(),
            input: "x".into(),
            output: "text".into(),
        },
        "a",
        "fake@1".into(),
    );
    (engine, detector, recogniser)
}

fn frame(value: u8) -> RgbImage {
    RgbImage {
        width: 736,
        height: 416,
        data: vec![value; 736 * 416 * 3],
    }
}

/// Reads whatever time it is.
fn read(engine: &OcrEngine, image: &RgbImage, memory: &mut Option<ScreenMemory>) -> Screen {
    let screen = engine.read(image, Turn::default(), memory).unwrap();
    screen.expect("it is always time to read")
}

#[test]
fn an_unchanged_picture_is_read_once_and_again_when_it_is_old() {
    let (engine, detector, recogniser) = engine(2);
    let mut memory = None;
    for _ in 0..usize::from(MAX_AGE) {
        let screen = read(&engine, &frame(10), &mut memory);
        assert_eq!(screen.lines.len(), 2);
        assert_eq!(screen.lines[0].text, "a");
    }
    assert_eq!(detector.calls.load(Ordering::SeqCst), 1);
    assert_eq!(recogniser.calls.load(Ordering::SeqCst), 2);
    read(&engine, &frame(10), &mut memory);
    assert_eq!(detector.calls.load(Ordering::SeqCst), 2);
    assert_eq!(recogniser.calls.load(Ordering::SeqCst), 4);
}

#[test]
fn a_change_elsewhere_keeps_what_was_read() {
    let (engine, detector, recogniser) = engine(2);
    let mut memory = None;
    read(&engine, &frame(10), &mut memory);
    let mut moved = frame(10);
    let below = 300 * 736 * 3;
    moved.data[below..].fill(200);
    let screen = read(&engine, &moved, &mut memory);
    assert_eq!(screen.lines.len(), 2);
    assert_eq!(detector.calls.load(Ordering::SeqCst), 2);
    assert_eq!(
        recogniser.calls.load(Ordering::SeqCst),
        2,
        "both lines were known"
    );
    read(&engine, &frame(200), &mut memory);
    assert_eq!(
        recogniser.calls.load(Ordering::SeqCst),
        4,
        "their place changed"
    );
}

/// When a stream is read whose picture changes every second, until it was for `seconds`.
fn readings(bars: usize, secret: &[u8], seconds: i64) -> Vec<i64> {
    let (engine, detector, _) = engine(bars);
    let (mut memory, mut read) = (None, Vec::new());
    for second in 0..seconds {
        let turn = Turn {
            at_ms: second * 1000,
            every_ms: [4000, 8000],
            secret,
        };
        let before = detector.calls.load(Ordering::SeqCst);
        // Never as it was at one of the last readings.
        let image = frame(((second * 37) % 251) as u8);
        let screen = engine.read(&image, turn, &mut memory).unwrap();
        let again = detector.calls.load(Ordering::SeqCst) > before;
        assert_eq!(screen.is_some(), again);
        if again {
            read.push(second);
        }
    }
    read
}

#[test]
fn a_moving_picture_is_read_now_and_then_and_nobody_can_foresee_when() {
    for (bars, every) in [(2, 4), (0, 8)] {
        let read = readings(bars, b"secret", 240);
        let gaps: Vec<i64> = read.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            gaps.iter()
                .all(|gap| (every / 2..=every * 3 / 2).contains(gap))
        );
        assert!(gaps.iter().any(|gap| *gap != gaps[0]), "{gaps:?}");
        let mean = gaps.iter().sum::<i64>() as f64 / gaps.len() as f64 / every as f64;
        assert!((0.75..1.35).contains(&mean), "{mean}");
        assert_eq!(readings(bars, b"secret", 240), read);
        assert_ne!(readings(bars, b"another", 240), read);
    }
}

#[test]
fn what_appears_on_a_still_picture_is_read_at_once() {
    let (engine, detector, _) = engine(1);
    let mut memory = None;
    let turn = |at_ms| Turn {
        at_ms,
        every_ms: [4000, 8000],
        secret: b"",
    };
    engine.read(&frame(10), turn(0), &mut memory).unwrap();
    for at_ms in [2000, 4000, 6000] {
        engine.read(&frame(10), turn(at_ms), &mut memory).unwrap();
    }
    engine.read(&frame(200), turn(6500), &mut memory).unwrap();
    assert_eq!(detector.calls.load(Ordering::SeqCst), 2);
    // A clock that went back does not keep anything from being read.
    engine.read(&frame(10), turn(100), &mut memory).unwrap();
    assert_eq!(detector.calls.load(Ordering::SeqCst), 3);
}

#[test]
fn lines_over_the_budget_wait_for_the_next_frame() {
    let (engine, _, recogniser) = engine(30);
    let mut memory = None;
    let mut known = 0;
    for _ in 0..30 {
        let screen = read(&engine, &frame(10), &mut memory);
        assert_eq!(screen.lines.len() + screen.unread, 30);
        assert!(screen.lines.len() > known, "every frame reads more");
        known = screen.lines.len();
        if screen.unread == 0 {
            break;
        }
    }
    assert_eq!(known, 30);
    assert_eq!(
        recogniser.calls.load(Ordering::SeqCst),
        30,
        "each line once"
    );
}

#[test]
fn another_size_is_another_picture() {
    let (engine, detector, _) = engine(1);
    let mut memory = None;
    read(&engine, &frame(10), &mut memory);
    let small = RgbImage {
        width: 368,
        height: 208,
        data: vec![10; 368 * 208 * 3],
    };
    read(&engine, &small, &mut memory);
    assert_eq!(detector.calls.load(Ordering::SeqCst), 2);
    let json = serde_json::to_string(&memory).unwrap();
    assert_eq!(
        serde_json::from_str::<Option<ScreenMemory>>(&json).unwrap(),
        memory
    );
}

#[test]
fn overlap_is_that_of_the_areas() {
    assert_eq!(overlap(&[0, 0, 10, 10], &[0, 0, 10, 10]), 1.0);
    assert_eq!(overlap(&[0, 0, 10, 10], &[5, 0, 15, 10]), 1.0 / 3.0);
    assert_eq!(overlap(&[0, 0, 10, 10], &[20, 20, 30, 30]), 0.0);
    assert_eq!(overlap(&[5, 5, 5, 5], &[5, 5, 5, 5]), 0.0);
}

/// The engine on pulled models, or `None` with a word about what is missing.
fn real_engine() -> Option<OcrEngine> {
    let store = ArtifactStore::from_env();
    let read = |name: &str, file: &str| {
        let manifest = catalog_entry(name)?;
        store
            .read(&manifest, file)
            .map_err(|e| println!("skipped: {name} not present ({e})"))
            .ok()
    };
    let library = store.file(&catalog_entry("onnxruntime")?, "libonnxruntime.so");
    let runtime = library
        .map_err(|e| println!("skipped: onnxruntime not present ({e})"))
        .ok()
        .and_then(|path| OnnxRuntime::load(&path).ok())?;
    let (detect, recognise) = (
        read("ppocr-v4-det", "model.onnx")?,
        read("ppocr-v4-rec", "model.onnx")?,
    );
    let model = onnx::decode(&recognise).unwrap();
    let graph = |bytes: &[u8], output: &str| Graph {
        session: Arc::new(runtime.session(bytes, 2, 1).unwrap()),
        input: "x".into(),
        output: output.into(),
    };
    let dictionary = onnx::metadata(&model, "character").unwrap();
    Some(OcrEngine::new(
        graph(&detect, "sigmoid_0.tmp_0"),
        graph(&recognise, "softmax_11.tmp_0"),
        dictionary,
        "real".into(),
    ))
}

#[test]
fn the_real_models_read_every_letter() {
    let Some(engine) = real_engine() else { return };
    let picture = include_bytes!("../../../tests/data/scam.jpg");
    let image = decode_image(picture, &ImageLimits::default()).unwrap();
    let screen = read(&engine, &image, &mut None);
    let lines: Vec<String> = screen
        .lines
        .iter()
        .map(|l| l.text.chars().filter(|c| !c.is_whitespace()).collect())
        .collect();
    assert_eq!(
        lines,
        [
            "FREEGIFTCARDS!",
            "Send0.1BTCtodoubleyourcrypto",
            "claimatfree-crypto-gift.example"
        ]
    );
    assert!(screen.lines.iter().all(|l| l.confidence > 0.9));
}
