//! From a picture or a sound that is judged to the clip that a moderator sees or hears.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::speech::{checkpoint, wave};
use common::{Service, refused, settings};
use novastream_api::config::Settings;
use novastream_features::media::{CancelToken, MediaLimits, Sampling, read_segment};
use novastream_features::pdq::pdq;
use novastream_features::picture::{ImageLimits, RgbImage, decode_image};
use serde_json::Value;

const TOKEN: &str = "original-token-0001";
const SOON: Duration = Duration::from_secs(20);

/// Keeps clips in `dir`, those of pictures on the blocklist among them.
fn keeping(dir: &Path, listed: &[&RgbImage]) -> Settings {
    let mut settings = settings();
    // Blocklists and the tiny network are all that is needed.
    settings.models.dir = Some(dir.join("none"));
    let mut list = String::new();
    for image in listed {
        writeln!(list, "{},known", pdq(image).hash).unwrap();
    }
    let path = dir.join("list.csv");
    std::fs::write(&path, list).unwrap();
    settings.blocklists = vec![path];
    let tokens = dir.join("tokens");
    std::fs::write(&tokens, format!("# moderators\n{TOKEN}\n")).unwrap();
    settings.evidence.dir = Some(dir.join("clips"));
    settings.evidence.original_tokens = Some(tokens);
    settings.evidence.blocklisted = true;
    settings
}

/// A picture with enough detail to be hashed.
fn picture() -> RgbImage {
    let (width, height) = (320_u32, 180_u32);
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let wave = ((x * 7 / 17) ^ (y * 9 / 11)) % 64;
            data.extend([(wave * 4) as u8, (x / 2) as u8, (y % 200) as u8]);
        }
    }
    RgbImage::new(width, height, data).unwrap()
}

/// The picture as whoever decodes the JPEG sees it, and the JPEG.
fn sent() -> (RgbImage, Vec<u8>) {
    let bytes = picture().encode_jpeg(90).unwrap();
    (decode(&bytes), bytes)
}

fn decode(bytes: &[u8]) -> RgbImage {
    decode_image(bytes, &ImageLimits::default()).unwrap()
}

async fn image(s: &Service, query: &str, bytes: &[u8]) -> Value {
    let url = s.at(&format!("/v1/moderate/image?{query}"));
    let response = s
        .client
        .post(url)
        .body(bytes.to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// The evidence that names a clip, and the clip.
fn named<'v>(verdict: &'v Value, modality: &str) -> (&'v Value, &'v str) {
    let evidence = verdict["evidence"].as_array().unwrap().iter();
    let mut of = evidence.filter(|e| e["modality"] == modality && e["clip"].is_string());
    let found = of.next().unwrap_or_else(|| panic!("{verdict:#}"));
    (found, found["clip"].as_str().unwrap())
}

fn get(s: &Service, stream: &str, clip: &str, more: &str) -> reqwest::RequestBuilder {
    s.client
        .get(s.at(&format!("/v1/streams/{stream}/evidence/{clip}{more}")))
}

/// Content type and bytes.
async fn shown(request: reqwest::RequestBuilder) -> (String, Vec<u8>) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("cache-control"), "private, no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(
        header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
    let kind = header("content-type");
    (kind, response.bytes().await.unwrap().to_vec())
}

/// How much neighbouring pixels bend: slopes have none, edges much.
fn detail(image: &RgbImage) -> f64 {
    let values: Vec<f64> = image.data.iter().map(|v| f64::from(*v)).collect();
    let bends = values.windows(7).map(|w| (w[0] - 2.0 * w[3] + w[6]).abs());
    bends.sum::<f64>() / values.len() as f64
}

#[tokio::test]
async fn a_picture_is_shown_blurred_and_whole_to_who_may_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, bytes) = sent();
    let s = common::real_service(keeping(dir.path(), &[&seen])).await;
    let verdict = image(&s, "stream_id=one&item_id=i", &bytes).await;
    assert_ne!(verdict["action"], "allow");
    let (evidence, clip) = named(&verdict, "frame");
    assert_eq!(evidence["category"], "blocklisted-media");
    assert!(s.app.clips.as_ref().unwrap().flush(SOON).await);
    // What is stored names it too.
    let page = s.get("/v1/streams/one/verdicts").await;
    assert_eq!(named(&page["verdicts"][0], "frame").1, clip);

    let (kind, preview) = shown(get(&s, "one", clip, "")).await;
    assert_eq!(kind, "image/jpeg");
    let preview = decode(&preview);
    assert_eq!((preview.width, preview.height), (320, 180));
    let same = shown(get(&s, "one", clip, "?original=false").bearer_auth(TOKEN)).await;
    assert_eq!(decode(&same.1), preview);

    let (kind, original) = shown(get(&s, "one", clip, "?original=true").bearer_auth(TOKEN)).await;
    assert_eq!(kind, "image/jpeg");
    let original = decode(&original);
    let differences = original
        .data
        .iter()
        .zip(&seen.data)
        .map(|(a, b)| f64::from(a.abs_diff(*b)));
    assert!(differences.sum::<f64>() / (seen.data.len() as f64) < 8.0);
    assert!(
        detail(&preview) * 3.0 < detail(&original),
        "{} and {}",
        detail(&preview),
        detail(&original)
    );

    // The scheme is not case-sensitive.
    let lower =
        get(&s, "one", clip, "?original=true").header("authorization", format!("bearer {TOKEN}"));
    assert_eq!(lower.send().await.unwrap().status(), 200);
    for request in [
        get(&s, "one", clip, "?original=true"),
        get(&s, "one", clip, "?original=true").bearer_auth("original-token-0002"),
        get(&s, "one", clip, "?original=true").basic_auth(TOKEN, Some(TOKEN)),
        // Not even whether there is such a clip.
        get(&s, "one", &"0".repeat(32), "?original=true"),
    ] {
        let r = refused(request).await;
        assert_eq!((r.status, r.code()), (401, "evidence_token_required"));
    }
    let asked = get(&s, "one", clip, "?original=true").send().await.unwrap();
    assert_eq!(asked.headers()["www-authenticate"], "Bearer");
    let r = refused(get(&s, "one", clip, "?original=perhaps")).await;
    assert_eq!((r.status, r.code()), (400, "invalid_query"));
}

#[tokio::test]
async fn clips_of_other_streams_other_files_and_unknown_names_are_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, bytes) = sent();
    let s = common::real_service(keeping(dir.path(), &[&seen])).await;
    let one = image(&s, "stream_id=one", &bytes).await;
    let two = image(&s, "stream_id=two", &bytes).await;
    let (one, two) = (named(&one, "frame").1, named(&two, "frame").1);
    assert_ne!(
        one, two,
        "the same picture in another stream is another clip"
    );
    assert!(s.app.clips.as_ref().unwrap().flush(SOON).await);
    assert_eq!(shown(get(&s, "one", one, "")).await.0, "image/jpeg");
    assert_eq!(shown(get(&s, "two", two, "")).await.0, "image/jpeg");

    let stored: Vec<_> = walk(&dir.path().join("clips"));
    assert_eq!(stored.len(), 4);
    let unknown = "0123456789abcdef0123456789abcdef";
    let upper = one.to_uppercase();
    let wrong = [
        ("two", one),
        ("one", two),
        ("one", unknown),
        ("one", &upper),
        ("one", &one[1..]),
        ("one", "..%2f..%2fdata%2fnovastream.db"),
        ("one", "%2e%2e%2f%2e%2e%2ftokens"),
        ("..%2fone", one),
        ("one", "%00"),
    ];
    for (stream, clip) in wrong {
        for more in ["", "?original=true"] {
            let r = refused(get(&s, stream, clip, more).bearer_auth(TOKEN)).await;
            assert_eq!(
                (r.status, r.code()),
                (404, "evidence_not_found"),
                "{stream} {clip}"
            );
        }
    }
    // A stream's name with a slash is one segment of the path.
    let odd = image(&s, "stream_id=a%2Fb%20c", &bytes).await;
    assert!(s.app.clips.as_ref().unwrap().flush(SOON).await);
    shown(get(&s, "a%2Fb%20c", named(&odd, "frame").1, "")).await;
    // Nobody to show it to.
    let nowhere = image(&s, "item_id=x", &bytes).await;
    assert!(!nowhere.to_string().contains("\"clip\""));
}

fn walk(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] })
        .collect()
}

#[tokio::test]
async fn where_nothing_may_be_kept_or_shown_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, bytes) = sent();
    // By default pictures on a blocklist are not kept.
    let mut settings = keeping(dir.path(), &[&seen]);
    settings.evidence.blocklisted = false;
    let s = common::real_service(settings).await;
    let verdict = image(&s, "stream_id=one", &bytes).await;
    assert_ne!(verdict["action"], "allow");
    assert!(!verdict.to_string().contains("\"clip\""));
    assert_eq!(walk(&dir.path().join("clips")).len(), 0);

    // Without tokens nobody sees an original.
    let mut settings = keeping(dir.path(), &[&seen]);
    settings.evidence.original_tokens = None;
    let s = common::real_service(settings).await;
    let verdict = image(&s, "stream_id=one", &bytes).await;
    assert!(s.app.clips.as_ref().unwrap().flush(SOON).await);
    let clip = named(&verdict, "frame").1;
    shown(get(&s, "one", clip, "")).await;
    let r = refused(get(&s, "one", clip, "?original=true").bearer_auth(TOKEN)).await;
    assert_eq!((r.status, r.code()), (403, "evidence_originals_off"));

    // Without a place no clip is named.
    let mut settings = keeping(dir.path(), &[&seen]);
    settings.evidence.dir = None;
    let s = common::real_service(settings).await;
    let verdict = image(&s, "stream_id=one", &bytes).await;
    assert!(!verdict.to_string().contains("\"clip\""));
    let r = refused(get(&s, "one", clip, "")).await;
    assert_eq!((r.status, r.code()), (404, "evidence_not_found"));
}

#[tokio::test]
async fn a_full_queue_names_no_clip_and_says_so_in_a_metric() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, bytes) = sent();
    let mut settings = keeping(dir.path(), &[&seen]);
    // Less than one picture of 320 by 180.
    settings.evidence.queue_bytes = 100_000;
    let s = common::real_service(settings).await;
    let verdict = image(&s, "stream_id=one", &bytes).await;
    assert_ne!(verdict["action"], "allow");
    assert!(!verdict.to_string().contains("\"clip\""));
    let metrics = s.client.get(s.at("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "novastream_evidence_clips_total{outcome=\"dropped\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_segment_has_the_frame_at_its_peak() {
    if !common::have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ts");
    common::clip(&path, 4, &["-f", "mpegts"]);
    let bytes = std::fs::read(&path).unwrap();
    let data: Arc<[u8]> = bytes.clone().into();
    let read = read_segment(
        data,
        &Sampling::default(),
        &MediaLimits::default(),
        &CancelToken::new(),
    );
    let (_, window) = read.unwrap();
    // The last keyframe that is sampled for sure.
    let key = window.frames.iter().rfind(|frame| frame.keyframe).unwrap();
    let s = common::real_service(keeping(dir.path(), &[&key.image])).await;
    let send = s.post_segment("stream_id=live&sequence=1&start_ms=60000", bytes);
    let verdict: Value = send.send().await.unwrap().json().await.unwrap();
    let (evidence, clip) = named(&verdict, "frame");
    let time = |name: &str| evidence[name].as_i64().unwrap();
    assert!(time("start_ms") <= time("peak_ms") && time("peak_ms") <= time("end_ms"));
    assert!((60_000..=64_000).contains(&time("peak_ms")));
    assert!(s.app.clips.as_ref().unwrap().flush(SOON).await);
    let (_, original) = shown(get(&s, "live", clip, "?original=true").bearer_auth(TOKEN)).await;
    let distance = pdq(&decode(&original)).hash.distance(&pdq(&key.image).hash);
    assert!(distance <= 20, "{distance} bits differ");
}

#[tokio::test]
async fn what_was_said_can_be_heard_with_a_token_and_is_a_chart_without() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    checkpoint(&folder);
    let words = dir.path().join("words.tsv");
    std::fs::write(&words, "harassment\t3\tidiot\n").unwrap();
    let mut settings = keeping(dir.path(), &[]);
    settings.models.speech = Some(folder);
    settings.text_lists = vec![words];
    let s = common::real_service(settings).await;
    let send = s.post_segment("stream_id=voice&start_ms=60000", wave(2, true));
    let verdict: Value = send.send().await.unwrap().json().await.unwrap();
    let (evidence, clip) = named(&verdict, "speech");
    let time = |name: &str| evidence[name].as_i64().unwrap();
    assert_eq!(
        time("peak_ms"),
        i64::midpoint(time("start_ms"), time("end_ms"))
    );
    assert!(s.app.clips.as_ref().unwrap().flush(SOON).await);
    let (kind, chart) = shown(get(&s, "voice", clip, "")).await;
    assert_eq!((kind.as_str(), decode(&chart).width), ("image/jpeg", 320));
    let (kind, sound) = shown(get(&s, "voice", clip, "?original=true").bearer_auth(TOKEN)).await;
    assert_eq!((kind.as_str(), &sound[..4]), ("audio/wav", &b"RIFF"[..]));
    // The same tone, sample by sample but for rounding.
    let sent = wave(2, true);
    let loudest = |bytes: &[u8]| {
        let values = bytes[44..]
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]));
        values.map(i16::unsigned_abs).max().unwrap()
    };
    assert!(loudest(&sound).abs_diff(loudest(&sent)) < 500);
    assert!(sound.len() <= sent.len() && sound.len() > 16_000);
}

#[tokio::test]
async fn clips_are_gone_when_their_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, bytes) = sent();
    let mut settings = keeping(dir.path(), &[&seen]);
    settings.evidence.max_bytes = 1;
    let s = common::real_service(settings).await;
    let verdict = image(&s, "stream_id=one", &bytes).await;
    let clip = named(&verdict, "frame").1;
    let clips = s.app.clips.clone().unwrap();
    assert!(clips.flush(SOON).await);
    shown(get(&s, "one", clip, "")).await;
    assert_eq!(clips.prune().await.unwrap(), 1);
    for more in ["", "?original=true"] {
        let r = refused(get(&s, "one", clip, more).bearer_auth(TOKEN)).await;
        assert_eq!((r.status, r.code()), (404, "evidence_not_found"));
    }
    assert_eq!(walk(&dir.path().join("clips")).len(), 0);
    // The verdict stays.
    let page = s.get("/v1/streams/one/verdicts").await;
    assert_eq!(page["verdicts"].as_array().unwrap().len(), 1);
}

/// The program as it is started, stopped and started again.
#[test]
fn a_stopped_service_has_stored_what_its_verdicts_name() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, bytes) = sent();
    let list = dir.path().join("list.csv");
    std::fs::write(&list, format!("{},known\n", pdq(&seen).hash)).unwrap();
    let (list, clips) = (list.to_str().unwrap(), dir.path().join("clips"));
    let env = [
        ("NOVASTREAM__BLOCKLISTS", list),
        ("NOVASTREAM__EVIDENCE__DIR", clips.to_str().unwrap()),
        ("NOVASTREAM__EVIDENCE__BLOCKLISTED", "true"),
        ("NOVASTREAM__SHUTDOWN__DRAIN_DELAY_MS", "0"),
    ];
    let mut server = common::process::serve(dir.path(), &env);
    let url = format!("{}/v1/moderate/image?stream_id=one", server.url);
    let mut answer = ureq::post(&url).send(&bytes[..]).unwrap();
    let answer = answer.body_mut().read_to_string().unwrap();
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    let verdict: Value = serde_json::from_str(&answer).unwrap();
    let clip = named(&verdict, "frame").1;

    let server = common::process::serve(dir.path(), &env);
    let url = format!("{}/v1/streams/one/evidence/{clip}", server.url);
    let mut shown = ureq::get(&url).call().unwrap();
    assert_eq!(shown.headers()["content-type"], "image/jpeg");
    let preview = decode(&shown.body_mut().read_to_vec().unwrap());
    assert_eq!((preview.width, preview.height), (320, 180));
}
