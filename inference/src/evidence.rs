//! The picture or the stretch of sound behind a verdict, handed to whoever keeps it.

use novastream_features::{
    media::{Audio, Frame, SAMPLE_RATE},
    picture::RgbImage,
};
use sha2::{Digest, Sha256};

use crate::{
    category::Category,
    verdict::{Action, Evidence, Modality, Outcome, Verdict},
};

/// Sound kept before and after a peak, in milliseconds.
const AROUND_MS: i64 = 2000;
/// Sound kept before and after words, in milliseconds.
const BESIDE_MS: i64 = 500;
/// Most of what somebody said at a stretch that is kept, in milliseconds.
const SPOKEN_MS: i64 = 15_000;

/// What may be kept. Borrowed, so that nothing is copied that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClipContent<'a> {
    /// The picture at the peak.
    Picture(&'a RgbImage),
    /// Mono at [`SAMPLE_RATE`], -1 to 1: up to two seconds before and after the peak, or the words
    /// that were said.
    Sound(&'a [f32]),
}

/// Something to look at or listen to, under the name that the verdict's evidence carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip<'a> {
    /// 32 hexadecimal digits; nobody without the service's secret can foresee it.
    pub id: &'a str,
    /// The stream that it belongs to.
    pub stream_id: &'a str,
    /// The picture or sound.
    pub content: ClipContent<'a>,
}

/// Keeps clips. Called while a verdict is made, so it must not wait for anything.
pub trait ClipSink: Send + Sync {
    /// Whether anything may be kept of what was judged to be of this category. One that may not be
    /// kept stands for the whole verdict, because its other clips would show the same.
    fn keeps(&self, _: Category) -> bool {
        true
    }

    /// Takes a clip, or answers false where there is no room for it now: then the evidence names no
    /// clip.
    fn offer(&self, clip: Clip<'_>) -> bool;
}

/// What a verdict is about.
pub(crate) struct Material<'a> {
    pub frames: &'a [Frame],
    pub audio: Option<&'a Audio>,
    /// Stream time less the times of frames and sound.
    pub offset_ms: i64,
}

/// Offers the picture and the sound behind the strongest reasons of a verdict that does something,
/// and names what was taken in the evidence.
pub(crate) fn keep(
    sink: &dyn ClipSink,
    secret: &[u8],
    verdict: &mut Verdict,
    material: &Material<'_>,
) {
    let Some(stream_id) = verdict.stream_id.clone() else {
        // A clip is answered to those only who may see its stream.
        return;
    };
    let counts = |category| outcome(verdict, category) != Outcome::None;
    let found = |(category, _): (&Category, _)| counts(*category);
    let mut named = verdict.categories.iter().filter(|c| found(*c));
    if verdict.action < Action::Flag || named.any(|(c, _)| !may_be_kept(sink, *c)) {
        return;
    }
    for visual in [true, false] {
        let wanted = |evidence: &Evidence| {
            let of_kind = match evidence.modality {
                Modality::Frame | Modality::ScreenText => visual,
                Modality::Audio | Modality::Speech => !visual,
                Modality::Text | Modality::Stream => false,
            };
            of_kind && outcome(verdict, evidence.category) != Outcome::None
        };
        // Evidence is sorted, strongest first.
        let Some(at) = verdict.evidence.iter().position(wanted) else {
            continue;
        };
        let evidence = &verdict.evidence[at];
        let content = if visual {
            picture(material, evidence)
        } else {
            sound(material, evidence)
        };
        if let Some(content) = content {
            let id = name(secret, &verdict.content_sha256, &stream_id, evidence);
            let clip = Clip {
                id: &id,
                stream_id: &stream_id,
                content,
            };
            let taken = sink.offer(clip);
            verdict.evidence[at].clip = taken.then_some(id);
        }
    }
}

/// Material about minors is never stored, whatever the sink says.
fn may_be_kept(sink: &dyn ClipSink, category: Category) -> bool {
    category != Category::SexualMinors && sink.keeps(category)
}

fn outcome(verdict: &Verdict, category: Category) -> Outcome {
    let result = verdict.categories.get(&category);
    result.map_or(Outcome::None, |result| result.outcome)
}

fn picture<'a>(material: &Material<'a>, evidence: &Evidence) -> Option<ClipContent<'a>> {
    let frames = material.frames.iter();
    let frame = match evidence.peak_ms {
        Some(peak) => {
            let peak = peak.saturating_sub(material.offset_ms);
            frames.min_by_key(|frame| frame.timestamp_ms.abs_diff(peak))
        }
        // A single picture has no stream time.
        None => frames.take(1).next(),
    };
    Some(ClipContent::Picture(&frame?.image))
}

/// From where to where sound is kept, in stream time.
fn span(evidence: &Evidence) -> Option<(i64, i64)> {
    let around = |from: i64, to: i64, ms| (from.saturating_sub(ms), to.saturating_add(ms));
    if evidence.modality == Modality::Speech {
        let (start, end) = (evidence.start_ms?, evidence.end_ms?);
        let end = end.min(start.saturating_add(SPOKEN_MS));
        return Some(around(start, end, BESIDE_MS));
    }
    let peak = evidence.peak_ms?;
    Some(around(peak, peak, AROUND_MS))
}

fn sound<'a>(material: &Material<'a>, evidence: &Evidence) -> Option<ClipContent<'a>> {
    let audio = material.audio?;
    let (from, to) = span(evidence)?;
    let (length, rate) = (audio.samples.len(), i64::from(SAMPLE_RATE));
    let longest_ms = length as i64 * 1000 / rate + 1;
    let place = |ms: i64| {
        let into_ms = ms.saturating_sub(material.offset_ms);
        let into_ms = into_ms.saturating_sub(audio.start_ms);
        length.min((into_ms.clamp(0, longest_ms) * rate / 1000) as usize)
    };
    let samples = audio.samples.get(place(from)..place(to))?;
    (!samples.is_empty()).then_some(ClipContent::Sound(samples))
}

/// The same content at the same place in the same stream has the same name.
fn name(secret: &[u8], digest: &str, stream: &str, evidence: &Evidence) -> String {
    let (category, modality) = (evidence.category, evidence.modality);
    let peak = evidence.peak_ms.unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update((secret.len() as u64).to_le_bytes());
    hasher.update(secret);
    hasher.update(format!("{digest} {category} {modality:?} {peak} {stream}"));
    hex::encode(&hasher.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let frame = |at: i64, grey: u8| Frame {
            image: RgbImage::new(2, 2, vec![grey; 12]).unwrap(),
            timestamp_ms: at,
            keyframe: true,
        };
        vec![frame(1000, 1), frame(3000, 2), frame(5000, 3)]
    }

    fn audio() -> Audio {
        Audio {
            start_ms: 1000,
            samples: (0..96_000).map(|i| i as f32 / 96_000.0).collect(),
        }
    }

    fn evidence(modality: Modality, peak_ms: i64) -> Evidence {
        Evidence {
            category: Category::Sexual,
            modality,
            start_ms: Some(peak_ms),
            end_ms: Some(peak_ms),
            peak_ms: Some(peak_ms),
            score: 0.9,
            model: "m@1".into(),
            carried_ms: None,
            clip: None,
            detail: None,
        }
    }

    #[test]
    fn the_peak_is_what_is_kept() {
        let (frames, audio) = (frames(), audio());
        let material = Material {
            frames: &frames,
            audio: Some(&audio),
            offset_ms: 60_000,
        };
        let shown = picture(&material, &evidence(Modality::Frame, 63_100));
        assert_eq!(shown, Some(ClipContent::Picture(&frames[1].image)));
        let heard = |evidence: &Evidence| match sound(&material, evidence) {
            Some(ClipContent::Sound(samples)) => samples.to_vec(),
            _ => Vec::new(),
        };
        // From the beginning to 2 s after the peak.
        let samples = heard(&evidence(Modality::Audio, 61_500));
        assert_eq!((samples.len(), samples[0]), (16_000 * 5 / 2, 0.0));
        assert!(heard(&evidence(Modality::Audio, 990_000)).is_empty());
        // All of a sentence, with a moment before and after it.
        let mut said = evidence(Modality::Speech, 63_500);
        (said.start_ms, said.end_ms) = (Some(62_000), Some(65_000));
        assert_eq!(heard(&said), audio.samples[8_000..16_000 * 9 / 2]);
    }

    #[test]
    fn extreme_times_do_not_overflow_the_sound() {
        let audio = audio();
        let material = Material {
            frames: &[],
            audio: Some(&audio),
            offset_ms: 0,
        };
        for at in [i64::MIN, i64::MAX] {
            assert_eq!(sound(&material, &evidence(Modality::Audio, at)), None);
        }
        assert_eq!(picture(&material, &evidence(Modality::Frame, 0)), None);
    }

    #[test]
    fn names_repeat_and_need_the_secret() {
        let of =
            |secret: &[u8], stream, at| name(secret, "ab", stream, &evidence(Modality::Frame, at));
        assert_eq!(of(b"x", "s", 5), of(b"x", "s", 5));
        assert_ne!(of(b"x", "s", 5), of(b"y", "s", 5));
        assert_ne!(of(b"x", "s", 5), of(b"x", "t", 5));
        assert_ne!(of(b"x", "s", 5), of(b"x", "s", 6));
        assert_eq!(of(b"x", "s", 5).len(), 32);
    }

    #[test]
    fn what_concerns_minors_is_never_kept() {
        struct Everything;
        impl ClipSink for Everything {
            fn offer(&self, _: Clip<'_>) -> bool {
                true
            }
        }
        assert!(may_be_kept(&Everything, Category::Sexual));
        assert!(!may_be_kept(&Everything, Category::SexualMinors));
    }
}
