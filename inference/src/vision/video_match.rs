//! Clips found again inside streams: sequences of picture hashes compared with each other.
//!
//! The method is vPDQ's (Meta, `ThreatExchange`): a clip is the set of its pictures' PDQ hashes, poor
//! ones left out, and two clips are compared by the share of each one's hashes that have a partner
//! within the distance in the other one. A short clip inside a long stream has nearly all of its
//! hashes matched while the stream has few.

use novastream_features::pdq::PdqResult;

use super::{
    hash_index::{HashIndex, MAX_DISTANCE, Words},
    hash_list::{POOR_QUALITY, words},
};

/// One picture of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHash {
    /// Milliseconds from the clip's start.
    pub at_ms: i64,
    /// Hash and quality.
    pub pdq: PdqResult,
}

/// How much two clips have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoMatch {
    /// The known clip's name.
    pub clip: String,
    /// Share of the query's usable hashes that the clip has, 0 to 1.
    pub query_share: f32,
    /// Share of the clip's usable hashes that the query has, 0 to 1.
    pub clip_share: f32,
    /// First and last of the query's pictures that matched, in its milliseconds.
    pub span_ms: (i64, i64),
    /// Smallest distance of a pair.
    pub distance: u32,
}

/// Known clips. Hashes within 31 bits count as partners.
pub struct VideoMatcher {
    clips: Vec<(String, usize)>,
    index: HashIndex,
    /// Clip of each hash.
    owners: Vec<u32>,
}

impl std::fmt::Debug for VideoMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VideoMatcher")
            .field("clips", &self.clips.len())
            .field("hashes", &self.index.len())
            .finish_non_exhaustive()
    }
}

fn usable(frame: &FrameHash) -> bool {
    frame.pdq.quality > POOR_QUALITY
}

impl VideoMatcher {
    /// From names and pictures. Pictures of poor quality (49 or less) are left out, and of equal
    /// hashes of one clip all but one: a still that lasts is no better evidence than one look at it.
    pub fn new(clips: impl IntoIterator<Item = (String, Vec<FrameHash>)>) -> Self {
        let (mut known, mut hashes, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (name, frames) in clips {
            let own = distinct(&frames);
            owners.extend(std::iter::repeat_n(known.len() as u32, own.len()));
            known.push((name, own.len()));
            hashes.extend(own.into_iter().map(|(hash, _)| hash));
        }
        Self {
            clips: known,
            index: HashIndex::build(hashes),
            owners,
        }
    }

    /// Clips of which at least `clip_share` is in the query and that make up at least `query_share`
    /// of it, most complete first.
    pub fn find(&self, query: &[FrameHash], query_share: f32, clip_share: f32) -> Vec<VideoMatch> {
        let own = distinct(query);
        if own.is_empty() {
            return Vec::new();
        }
        let mut matched_hashes: Vec<bool> = vec![false; self.owners.len()];
        let mut found: Vec<Option<Partial>> = vec![None; self.clips.len()];
        for (hash, times) in &own {
            let mut counted: Vec<u32> = Vec::new();
            for (distance, id) in self.index.find(hash) {
                debug_assert!(distance <= MAX_DISTANCE);
                let clip = self.owners[id as usize];
                let partial = found[clip as usize].get_or_insert_with(Partial::default);
                partial.distance = partial.distance.min(distance);
                if !std::mem::replace(&mut matched_hashes[id as usize], true) {
                    partial.clip += 1;
                }
                if !counted.contains(&clip) {
                    counted.push(clip);
                    partial.query += 1;
                    partial.span = (partial.span.0.min(times.0), partial.span.1.max(times.1));
                }
            }
        }
        let mut out: Vec<VideoMatch> = found
            .into_iter()
            .zip(&self.clips)
            .filter_map(|(partial, (name, hashes))| {
                let partial = partial?;
                Some(VideoMatch {
                    clip: name.clone(),
                    query_share: partial.query as f32 / own.len() as f32,
                    clip_share: partial.clip as f32 / *hashes as f32,
                    span_ms: partial.span,
                    distance: partial.distance,
                })
            })
            .filter(|m| m.query_share >= query_share && m.clip_share >= clip_share)
            .collect();
        out.sort_by(|a, b| {
            b.clip_share
                .total_cmp(&a.clip_share)
                .then(a.distance.cmp(&b.distance))
        });
        out
    }
}

#[derive(Clone, Debug)]
struct Partial {
    query: usize,
    clip: usize,
    span: (i64, i64),
    distance: u32,
}

impl Default for Partial {
    fn default() -> Self {
        Self {
            query: 0,
            clip: 0,
            span: (i64::MAX, i64::MIN),
            distance: u32::MAX,
        }
    }
}

/// Usable hashes, each once, with the first and last time at which it was seen.
fn distinct(frames: &[FrameHash]) -> Vec<(Words, (i64, i64))> {
    let mut all: Vec<(Words, (i64, i64))> = frames
        .iter()
        .filter(|f| usable(f))
        .map(|f| (words(&f.pdq.hash), (f.at_ms, f.at_ms)))
        .collect();
    all.sort_unstable();
    all.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1.1 = first.1.1.max(later.1.1);
        }
        same
    });
    all
}

#[cfg(test)]
mod tests {
    use novastream_features::pdq::PdqHash;

    use super::*;

    /// Pictures that are far from each other, `noise` bits away from the clip's own.
    fn frames(clip: u8, range: std::ops::Range<u8>, noise: usize, start_ms: i64) -> Vec<FrameHash> {
        range
            .map(|i| {
                let mut hash: [u8; 32] =
                    std::array::from_fn(|b| xxhash_rust::xxh3::xxh3_64(&[clip, i, b as u8]) as u8);
                for bit in 0..noise {
                    hash[bit % 32] ^= 1 << (bit / 32);
                }
                FrameHash {
                    at_ms: start_ms + i64::from(i) * 1000,
                    pdq: PdqResult {
                        hash: PdqHash(hash),
                        quality: 90,
                    },
                }
            })
            .collect()
    }

    fn matcher() -> VideoMatcher {
        VideoMatcher::new([
            ("one".to_owned(), frames(1, 0..20, 0, 0)),
            ("two".to_owned(), frames(2, 0..10, 0, 0)),
        ])
    }

    #[test]
    fn a_clip_inside_a_stream_is_found_with_its_place() {
        let stream = [
            frames(9, 0..30, 0, 0),
            frames(2, 0..10, 12, 30_000),
            frames(8, 0..60, 0, 40_000),
        ]
        .concat();
        let found = matcher().find(&stream, 0.0, 0.8);
        assert_eq!(found.len(), 1, "{found:?}");
        let hit = &found[0];
        assert_eq!(
            (hit.clip.as_str(), hit.clip_share, hit.distance),
            ("two", 1.0, 12)
        );
        assert_eq!(hit.span_ms, (30_000, 39_000));
        assert!((hit.query_share - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_part_of_a_clip_is_found_by_the_querys_share() {
        let part = frames(1, 5..10, 4, 0);
        assert!(matcher().find(&part, 0.0, 0.8).is_empty());
        let found = matcher().find(&part, 0.8, 0.0);
        assert_eq!((found[0].clip.as_str(), found[0].query_share), ("one", 1.0));
        assert!((found[0].clip_share - 0.25).abs() < 1e-6);
    }

    #[test]
    fn poor_and_strange_pictures_match_nothing() {
        let mut poor = frames(1, 0..20, 0, 0);
        for frame in &mut poor {
            frame.pdq.quality = 49;
        }
        assert!(matcher().find(&poor, 0.0, 0.0).is_empty());
        assert!(matcher().find(&frames(5, 0..20, 0, 0), 0.0, 0.0).is_empty());
        assert!(matcher().find(&[], 0.0, 0.0).is_empty());
    }

    #[test]
    fn a_still_that_lasts_counts_once() {
        let mut still = frames(1, 0..1, 0, 0);
        for i in 1..50 {
            still.push(FrameHash {
                at_ms: i * 1000,
                ..still[0]
            });
        }
        let found = matcher().find(&still, 0.0, 0.0);
        assert!((found[0].clip_share - 0.05).abs() < 1e-6, "{found:?}");
        assert_eq!(found[0].span_ms, (0, 49_000));
    }
}
