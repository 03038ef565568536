//! The whole path on stand-in models, which answer what the test wants.

use std::sync::atomic::{AtomicBool, Ordering};

use novastream_features::{
    media::{Audio, AudioInfo, Frame, MediaInfo, MediaLimits, Notice, Sampling, VideoInfo, Window},
    pdq::pdq,
    picture::RgbImage,
    text::Normalizer,
};

use super::*;
use crate::{
    backend::{BackendError, NamedTensor, Session},
    category::Category,
    evidence::{Clip, ClipContent, ClipSink},
    history::StreamHistory,
    registry::RegistryConfig,
    verdict::{Action, EvidenceDetail, Outcome, PaceMode, Status},
    vision::{Graph, Network},
};

/// Finds a frame explicit as far as its mean is bright; panics on demand.
#[derive(Default)]
struct FakeNsfw {
    panics: AtomicBool,
}

impl Session for FakeNsfw {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        assert!(!self.panics.load(Ordering::SeqCst), "told to panic");
        let crate::backend::TensorData::F32(pixels) = &inputs[0].tensor.data else {
            panic!("floats expected")
        };
        let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
        let shares = vec![0.0, 0.0, 1.0 - mean, mean, 0.0];
        Ok(vec![NamedTensor::f32("p", vec![1, 5], shares)?])
    }

    fn backend(&self) -> &'static str {
        "fake"
    }
}

/// Marks one bar as text, or reads every line as the first entry of the dictionary.
struct FakeOcr;

impl Session for FakeOcr {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        let shape = &inputs[0].tensor.shape;
        if shape[2] == 48 {
            return Ok(vec![NamedTensor::f32(
                "y",
                vec![1, 1, 3],
                vec![0.1, 0.8, 0.1],
            )?]);
        }
        let (h, w) = (shape[2], shape[3]);
        let mut map = vec![0.0f32; h * w];
        for row in 20..30 {
            map[row * w + 100..row * w + 300].fill(0.9);
        }
        Ok(vec![NamedTensor::f32("y", vec![1, 1, h, w], map)?])
    }

    fn backend(&self) -> &'static str {
        "fake"
    }
}

fn graph() -> Graph {
    Graph {
        session: Arc::new(FakeOcr),
        input: "x".into(),
        output: "y".into(),
    }
}

fn labels() -> Vec<String> {
    ["drawing", "hentai", "neutral", "porn", "sexy"]
        .map(str::to_owned)
        .to_vec()
}

fn moderator(list: &str, screen: &str) -> (Moderator, Arc<FakeNsfw>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("terms.tsv");
    std::fs::write(&path, list).unwrap();
    let terms = TermList::load(&path, Normalizer::new()).unwrap();
    let nsfw = Arc::new(FakeNsfw::default());
    let network = || {
        Network::new(
            nsfw.clone(),
            "x".into(),
            "p".into(),
            &labels(),
            "nsfw@1".into(),
        )
        .unwrap()
    };
    let model = FrameModel {
        screen: network(),
        confirm: Ok(network()),
        heads: Vec::new(),
    };
    let moderator = Moderator {
        policy: Arc::new(Policy::builtin().unwrap()),
        text: TextJudge::new(vec![terms], None),
        nsfw: Ok(model),
        sound: Err("not here".into()),
        speech: None,
        ocr: Ok(OcrEngine::new(graph(), graph(), screen, "ocr@1".into())),
        chat_missing: None,
        blocklists: Blocklists::default(),
        served: Vec::new(),
        statuses: Vec::new(),
        keeper: Keeper::start(&RegistryConfig::default(), Vec::new(), None),
        limits: Limits {
            media: MediaLimits::default(),
            image: ImageLimits::default(),
            sampling: Sampling::default(),
            pace: PaceSettings::default(),
            secret: Vec::new(),
        },
        crowd: Mutex::default(),
        waiters: waiters(1).unwrap(),
        clips: None,
    };
    (moderator, nsfw)
}

/// A picture with enough detail to be hashed.
fn picture(seed: u32, brightness: u8) -> RgbImage {
    let (width, height) = (320u32, 180u32);
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let wave = ((x * (3 + seed) / 17) ^ (y * (5 + seed) / 11)) % 64;
            data.extend([brightness.saturating_add(wave as u8); 3]);
        }
    }
    RgbImage {
        width,
        height,
        data,
    }
}

fn window(brightness: &[u8], with_audio: bool) -> (Window, MediaInfo) {
    let frames = brightness
        .iter()
        .enumerate()
        .map(|(i, b)| Frame {
            image: picture(1, *b),
            timestamp_ms: 10_000 + 1000 * i as i64,
            keyframe: i == 0,
        })
        .collect();
    let audio = with_audio.then(|| Audio {
        start_ms: 10_000,
        samples: vec![0.1; 32_000],
    });
    let info = MediaInfo {
        container: "mpegts".into(),
        video: Some(VideoInfo {
            codec: "h264".into(),
            width: 320,
            height: 180,
            fps: 30.0,
        }),
        audio: with_audio.then(|| AudioInfo {
            codec: "aac".into(),
            sample_rate: 48_000,
            channels: 2,
        }),
    };
    let window = Window {
        start_ms: 10_000,
        end_ms: 12_000,
        frames,
        audio,
        notices: Vec::new(),
    };
    (window, info)
}

fn context() -> SegmentContext {
    SegmentContext {
        stream_id: Some("s1".into()),
        sequence: Some(7),
        start_ms: Some(60_000),
        ..SegmentContext::default()
    }
}

/// A verdict without what differs from run to run.
fn stable(mut verdict: Verdict) -> Verdict {
    verdict.id = "ID".into();
    verdict.created_at = "TIME".into();
    verdict.timings = Timings::default();
    verdict
}

#[test]
fn the_same_content_and_history_give_the_same_verdict() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "idiot");
    let run = || {
        let mut history = StreamHistory::default();
        (0..3)
            .map(|i| {
                let (window, info) = window(&[20 + i, 180, 190], true);
                stable(moderator.window(window, &info, &context(), &mut history))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_window_verdict_has_this_shape() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "idiot");
    let (window, info) = window(&[185, 190], false);
    let mut history = StreamHistory::default();
    let verdict = moderator.window(window, &info, &context(), &mut history);
    assert!(verdict.timings.total_ms > 0.0);
    assert_eq!(
        verdict.leading().unwrap().0,
        Category::Harassment,
        "{verdict:?}"
    );
    insta::assert_json_snapshot!(verdict, {
        ".id" => "[uuid]",
        ".created_at" => "[time]",
        ".timings.*" => "[ms]",
        ".evidence[].score" => insta::rounded_redaction(3),
        ".evidence[].detail.score" => insta::rounded_redaction(3),
        ".categories.*.score" => insta::rounded_redaction(3),
        ".categories.*.peak" => insta::rounded_redaction(3),
    });
}

/// Windows of one still picture of the same brightness, one after the other.
fn still(
    moderator: &Moderator,
    history: &mut StreamHistory,
    brightness: u8,
    windows: usize,
) -> Vec<Verdict> {
    (0..windows)
        .map(|_| {
            let (window, info) = window(&[brightness], false);
            moderator.window(window, &info, &context(), history)
        })
        .collect()
}

#[test]
fn a_still_picture_goes_to_the_networks_ever_more_rarely_and_never_not_at_all() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    let mut history = StreamHistory::default();
    let verdicts = still(&moderator, &mut history, 20, 20);
    let looked: Vec<usize> = verdicts
        .iter()
        .map(|v| v.sampling.unwrap().looked)
        .collect();
    // Every picture while the stream is new, then one in eight seconds.
    assert_eq!(
        looked,
        [1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
    );
    for verdict in &verdicts {
        let sampling = verdict.sampling.unwrap();
        assert_eq!(sampling.looked + sampling.carried, 1);
        let sexual = &verdict.categories[&Category::Sexual];
        assert_eq!(sexual.status, Status::Scored);
    }
    assert_eq!(verdicts[12].sampling.unwrap().mode, PaceMode::Still);
    // Another picture is looked at in the next window.
    let changed = &still(&moderator, &mut history, 90, 1)[0];
    assert_eq!(changed.sampling.unwrap().looked, 1);
}

#[test]
fn a_suspicious_picture_is_never_skipped() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    let mut history = StreamHistory::default();
    still(&moderator, &mut history, 20, 6);
    let verdicts = still(&moderator, &mut history, 150, 4);
    assert!(verdicts.iter().all(|v| v.sampling.unwrap().looked == 1));
    let last = verdicts[3].sampling.unwrap();
    assert_eq!((last.mode, last.interval_ms), (PaceMode::Risk, 500));
    assert_eq!(moderator.tempo(&history, 100), (500, 1));
}

#[test]
fn evidence_of_a_carried_score_says_how_old_it_is() {
    let (mut moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    // No score raises risk, so that a suspicious picture may be carried over.
    moderator.limits.pace.risk_share = f32::INFINITY;
    let mut history = StreamHistory::default();
    let verdicts = still(&moderator, &mut history, 200, 7);
    let ages = |verdict: &Verdict| -> Vec<Option<u32>> {
        let evidence = verdict.evidence.iter();
        let sexual = evidence.filter(|e| e.category == Category::Sexual);
        sexual.map(|e| e.carried_ms).collect()
    };
    assert_eq!(ages(&verdicts[4]), [None]);
    assert_eq!(ages(&verdicts[5]), [Some(2000)]);
    assert_eq!(ages(&verdicts[6]), [Some(4000)]);
    let scores = |v: &Verdict| v.categories[&Category::Sexual].score;
    assert_eq!(scores(&verdicts[4]), scores(&verdicts[6]));
}

#[test]
fn a_stretch_by_load_is_degraded_and_the_same_bytes_still_give_the_same() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    let run = |stretch_percent| {
        let (window, info) = window(&[20, 60], false);
        let context = SegmentContext {
            stretch_percent,
            ..context()
        };
        let mut history = StreamHistory::default();
        stable(moderator.window(window, &info, &context, &mut history))
    };
    let stretched = run(200);
    assert_eq!(stretched.sampling.unwrap().interval_ms, 4000);
    let said = stretched.degraded.iter().any(|d| d.component == "sampling");
    assert!(said && stretched.review, "{:?}", stretched.degraded);
    assert_eq!(stretched, run(200));
    let calm = run(100);
    assert!(calm.degraded.iter().all(|d| d.component != "sampling"));
}

/// Has room for two clips.
#[derive(Default)]
struct Shelf {
    kept: Mutex<Vec<(String, String, RgbImage)>>,
    refused: Option<Category>,
}

impl ClipSink for Shelf {
    fn keeps(&self, category: Category) -> bool {
        self.refused != Some(category)
    }

    fn offer(&self, clip: Clip<'_>) -> bool {
        let ClipContent::Picture(image) = clip.content else {
            panic!("nothing was heard")
        };
        let mut kept = self.kept.lock().unwrap();
        let room = kept.len() < 2;
        if room {
            kept.push((clip.id.into(), clip.stream_id.into(), image.clone()));
        }
        room
    }
}

fn clips(verdict: &Verdict) -> Vec<String> {
    let evidence = verdict.evidence.iter();
    evidence.filter_map(|e| e.clip.clone()).collect()
}

#[test]
fn the_brightest_picture_of_a_flagged_window_is_kept_and_a_full_shelf_names_none() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    let shelf = Arc::new(Shelf::default());
    let moderator = moderator.with_clips(shelf.clone());
    let judge = |brightness: &[u8]| {
        let (window, info) = window(brightness, false);
        moderator.window(window, &info, &context(), &mut StreamHistory::default())
    };
    assert_eq!(clips(&judge(&[20, 30])), [] as [String; 0]);
    let verdict = judge(&[180, 230]);
    let named = clips(&verdict);
    assert_eq!(named.len(), 1);
    let evidence = verdict.evidence.iter().find(|e| e.clip.is_some()).unwrap();
    // The second of two pictures, a second apart.
    let times = (evidence.start_ms, evidence.peak_ms, evidence.end_ms);
    assert_eq!(times, (Some(60_000), Some(61_000), Some(61_000)));
    assert_eq!(
        clips(&judge(&[180, 230])),
        named,
        "the same content, the same name"
    );
    let kept = shelf.kept.lock().unwrap()[0].clone();
    assert_eq!(kept, (named[0].clone(), "s1".into(), picture(1, 230)));
    assert_eq!(clips(&judge(&[180, 230])), [] as [String; 0]);
}

#[test]
fn a_picture_is_kept_for_its_stream_only() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    let shelf = Arc::new(Shelf::default());
    let moderator = moderator.with_clips(shelf.clone());
    let bytes = picture(1, 230).encode_jpeg(95).unwrap();
    let mut options = ImageOptions::default();
    let nowhere = moderator.image(&bytes, &options).unwrap();
    assert!(nowhere.action > Action::Allow && clips(&nowhere).is_empty());
    options.stream_id = Some("s2".into());
    let verdict = moderator.image(&bytes, &options).unwrap();
    assert_eq!(clips(&verdict).len(), 1);
    assert_eq!(shelf.kept.lock().unwrap()[0].1, "s2");
}

#[test]
fn of_a_category_that_may_not_be_kept_nothing_is() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "hello");
    let shelf = Arc::new(Shelf {
        refused: Some(Category::Sexual),
        ..Shelf::default()
    });
    let moderator = moderator.with_clips(shelf.clone());
    let (window, info) = window(&[180, 230], false);
    let verdict = moderator.window(window, &info, &context(), &mut StreamHistory::default());
    assert!(verdict.action > Action::Allow && clips(&verdict).is_empty());
    assert!(shelf.kept.lock().unwrap().is_empty());
}

#[test]
fn a_text_verdict_has_this_shape() {
    let (moderator, _) = moderator("harassment\t2\tidiot\n", "a");
    let item = TextItem {
        id: "m1".into(),
        text: "you \u{456}diot".into(),
        channel_id: Some("c1".into()),
        ..TextItem::default()
    };
    let verdicts = moderator.text(&[item], None);
    assert_eq!(verdicts[0].categories.len(), Category::ALL.len());
    insta::assert_json_snapshot!(verdicts[0], {
        ".id" => "[uuid]",
        ".created_at" => "[time]",
        ".timings.*" => "[ms]",
        ".categories" => "[all categories]",
    });
}

#[test]
fn a_missing_model_degrades_and_calls_a_human() {
    let (moderator, _) = moderator("", "a");
    let (window, info) = window(&[20, 20, 20], true);
    let verdict = moderator.window(window, &info, &context(), &mut StreamHistory::default());
    assert_eq!(verdict.action, Action::Allow);
    assert!(verdict.review);
    let missing: Vec<&str> = verdict
        .degraded
        .iter()
        .map(|d| d.component.as_str())
        .collect();
    assert_eq!(missing, ["audio", "text"]);
    assert_eq!(
        verdict.categories[&Category::DangerousSound].status,
        Status::NotEvaluated
    );
    assert_eq!(verdict.categories[&Category::Sexual].status, Status::Scored);
    assert_eq!(
        (verdict.start_ms, verdict.end_ms),
        (Some(60_000), Some(62_000))
    );
}

#[test]
fn a_panicking_model_harms_one_verdict_only() {
    let (moderator, nsfw) = moderator("", "a");
    let mut history = StreamHistory::default();
    nsfw.panics.store(true, Ordering::SeqCst);
    let (bad, info) = window(&[20], false);
    let verdict = moderator.window(bad, &info, &context(), &mut history);
    assert!(
        verdict
            .degraded
            .iter()
            .any(|d| d.component == "frames" && d.reason.contains("panicked"))
    );
    assert_eq!(
        verdict.categories[&Category::Sexual].status,
        Status::NotEvaluated
    );
    nsfw.panics.store(false, Ordering::SeqCst);
    let (good, info) = window(&[20], false);
    let verdict = moderator.window(good, &info, &context(), &mut history);
    assert_eq!(verdict.categories[&Category::Sexual].status, Status::Scored);
    assert!(!verdict.degraded.iter().any(|d| d.component == "frames"));
}

#[test]
fn frames_are_confirmed_across_windows() {
    let (moderator, _) = moderator("", "\u{3042}");
    let mut history = StreamHistory::default();
    let mut run = |brightness: &[u8]| {
        let (window, info) = window(brightness, false);
        moderator.window(window, &info, &context(), &mut history)
    };
    let first = run(&[220]);
    assert_eq!(first.categories[&Category::Sexual].outcome, Outcome::Review);
    let second = run(&[220]);
    assert_eq!(second.categories[&Category::Sexual].outcome, Outcome::Act);
    assert_eq!(second.action, Action::Hold);
}

#[test]
fn a_listed_picture_is_removed_at_once() {
    let (mut moderator, _) = moderator("", "a");
    let listed = picture(1, 30);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.csv");
    std::fs::write(&path, format!("{},the picture\n", pdq(&listed).hash)).unwrap();
    moderator.blocklists = Blocklists::load(&[path]).unwrap();
    let jpeg = listed.encode_jpeg(60).unwrap();
    let verdict = moderator.image(&jpeg, &ImageOptions::default()).unwrap();
    assert_eq!(verdict.action, Action::Remove);
    let evidence = &verdict.evidence[0];
    assert_eq!(evidence.category, Category::BlocklistedMedia);
    assert_eq!(
        (evidence.model.as_str(), evidence.start_ms),
        ("list:ours", None)
    );
    assert!(
        matches!(&evidence.detail, Some(EvidenceDetail::Pdq { label, distance, .. })
        if label == "the picture" && *distance <= 31)
    );
    let other = picture(9, 30).encode_jpeg(90).unwrap();
    let calm = moderator.image(&other, &ImageOptions::default()).unwrap();
    assert_eq!(
        calm.categories[&Category::BlocklistedMedia].score,
        Some(0.0)
    );
    assert_eq!(
        moderator
            .image(b"no picture", &ImageOptions::default())
            .unwrap_err()
            .code(),
        "image_unsupported_format"
    );
}

#[test]
fn a_phrase_over_several_messages_is_read_together() {
    let (moderator, _) = moderator("harassment\t3\tyou are an idiot\n", "a");
    let item = |text: &str, previous: &[&str]| TextItem {
        id: text.into(),
        text: text.into(),
        previous: previous.iter().map(|p| (*p).to_owned()).collect(),
        ..TextItem::default()
    };
    let verdicts = moderator.text(
        &[
            item("idiot", &["hello all of you there", "you", "are an"]),
            item("idiot", &["you are"]),
            item("good morning to you all", &["you", "are an", "idiot"]),
        ],
        None,
    );
    let outcomes: Vec<Outcome> = verdicts
        .iter()
        .map(|v| v.categories[&Category::Harassment].outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Act, Outcome::None, Outcome::None]);
    assert_eq!(verdicts[0].evidence[0].detail, None);
}

#[test]
fn a_text_over_the_limit_is_judged_in_part_and_says_so() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "a");
    let text = format!("idiot {}", "\u{e9} ".repeat(MAX_TEXT_BYTES));
    let item = TextItem {
        id: "long".into(),
        text,
        ..TextItem::default()
    };
    let verdict = &moderator.text(&[item], None)[0];
    assert!(verdict.degraded.iter().any(|d| d.reason.contains("first")));
    assert_eq!(
        verdict.categories[&Category::Harassment].outcome,
        Outcome::Act
    );
}

#[test]
fn what_the_reader_lost_is_degraded_and_what_viewers_lost_too_is_not() {
    let (moderator, _) = moderator("", "\u{3042}");
    let run = |notice: Notice, frames: &[u8]| {
        let (mut window, info) = window(frames, false);
        window.notices = vec![notice];
        let verdict = moderator.window(window, &info, &context(), &mut StreamHistory::default());
        assert_eq!(verdict.notices.len(), 1);
        verdict.degraded.iter().any(|d| d.component == "decode")
    };
    assert!(run(
        Notice::FrameTooLarge {
            width: 9000,
            height: 9000
        },
        &[20]
    ));
    assert!(run(Notice::Deadline, &[20]));
    assert!(!run(Notice::CorruptData { packets: 2 }, &[20]));
    assert!(run(Notice::CorruptData { packets: 2 }, &[]));
    assert!(!run(Notice::NoAudio, &[20]));
}

#[test]
fn a_gap_is_for_review_and_breaks_confirmation() {
    let (moderator, _) = moderator("", "\u{3042}");
    let mut history = StreamHistory::default();
    let (bright, info) = window(&[220], false);
    moderator.window(bright.clone(), &info, &context(), &mut history);
    let gap = moderator.gap(
        12_000,
        15_000,
        "the source stalled",
        &context(),
        &mut history,
    );
    assert_eq!(
        (gap.kind, gap.action, gap.review),
        (Kind::Gap, Action::Allow, true)
    );
    assert_eq!(gap.degraded[0].component, "source");
    let after = moderator.window(bright, &info, &context(), &mut history);
    assert_eq!(after.categories[&Category::Sexual].outcome, Outcome::Review);
}

#[test]
fn the_moderator_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Moderator>();
}

#[test]
fn what_is_said_is_judged_like_a_message() {
    let (moderator, _) = moderator("harassment\t3\tidiot\n", "a");
    let moderator = moderator.with_speech(Arc::new(crate::speech::tests::Echo));
    let (mut window, info) = window(&[20], true);
    window.audio = Some(Audio {
        start_ms: 10_000,
        samples: vec![0.2; 32_000],
    });
    let mut history = StreamHistory::default();
    let verdict = moderator.window(window, &info, &context(), &mut history);
    let said = verdict
        .evidence
        .iter()
        .find(|e| e.modality == Modality::Speech)
        .unwrap();
    assert_eq!(said.category, Category::Harassment);
    assert_eq!((said.start_ms, said.end_ms), (Some(60_100), Some(62_000)));
    let Some(EvidenceDetail::Speech {
        text,
        reader,
        matched,
        language,
    }) = &said.detail
    else {
        panic!("{said:?}")
    };
    assert_eq!(
        (text.as_str(), reader.as_str()),
        ("you are an idiot", "echo@1")
    );
    assert_eq!(matched.as_deref(), Some("idiot"));
    assert_eq!(language.as_deref(), Some("en"));
}
