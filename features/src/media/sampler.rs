//! Which pictures to take: pure arithmetic on timestamps, nothing about codecs.

use std::collections::VecDeque;

use super::{Sampling, Tempo};

/// Moments that wait for a picture; a stream that decodes to nothing must not pile them up.
const MAX_WAITING: usize = 8;

/// A stretch of time from which pictures are taken.
#[derive(Debug, Clone, Copy)]
struct Slot {
    start: i64,
    length: i64,
}

/// Decides from the packets' timestamps (ms, in the order read) when decoding is needed, and from
/// the decoded pictures' timestamps which ones to keep.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    tempo: Option<Tempo>,
    /// Where slot 0 starts.
    origin: i64,
    slot: Option<Slot>,
    slot_has_keyframe: bool,
    last_keyframe: Option<i64>,
    /// The current slot's extra moment, not reached yet.
    upcoming: Option<i64>,
    /// Moments reached by the packets; the first picture at or after one satisfies it.
    waiting: VecDeque<i64>,
}

impl Sampler {
    /// `origin` is the time at which the timeline starts. A `tempo` that was set counts instead of
    /// the interval and the share of extra pictures in `sampling`, from the next slot on.
    pub(super) fn new(sampling: &Sampling, tempo: Option<Tempo>, origin: i64) -> Self {
        Self {
            sampling: *sampling,
            tempo,
            origin: origin + i64::from(sampling.first_ms),
            slot: None,
            slot_has_keyframe: false,
            last_keyframe: None,
            upcoming: None,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn set_tempo(&mut self, tempo: Tempo) {
        self.tempo = Some(tempo);
    }

    /// Whether time has come to the first slot.
    pub(super) fn begun(&self) -> bool {
        self.slot.is_some()
    }

    /// Length of the current slot, or of the first one, in ms.
    pub(super) fn slot_ms(&self) -> i64 {
        self.slot.map_or(self.pace().0, |slot| slot.length)
    }

    /// Length of the next slot and in how many slots there is one extra picture.
    fn pace(&self) -> (i64, u32) {
        let fixed = (self.sampling.interval_ms, self.sampling.extra_every);
        let (interval, every) = self.tempo.as_ref().and_then(Tempo::get).unwrap_or(fixed);
        (i64::from(interval.max(40)), every)
    }

    /// Takes note of a packet before it is decoded.
    pub(super) fn observe(&mut self, time: i64, keyframe: bool) {
        if self.slot.is_none() && self.sampling.first_ms > 0 && time < self.origin {
            return;
        }
        // Decoding order runs a little backwards; a pair of reordered pictures at a border must not
        // open the slot twice. A jump by more than a slot is a new timeline.
        let grid = match self.slot {
            None => Some(self.origin),
            Some(slot) if time >= slot.start + slot.length => Some(slot.start + slot.length),
            Some(slot) if time < slot.start - slot.length => Some(slot.start),
            Some(_) => None,
        };
        if let Some(grid) = grid {
            if let Some(moment) = self.upcoming.take() {
                self.wait_for(moment.min(time));
            }
            let (length, every) = self.pace();
            let start = grid + (time - grid).div_euclid(length) * length;
            let slot = Slot { start, length };
            self.slot = Some(slot);
            self.slot_has_keyframe = false;
            self.upcoming = self.extra(slot, every);
        }
        // A tenth of slack: keyframes every 1.98 s are meant to be every 2 s.
        let length = self.slot_ms();
        let gap = length - length / 10;
        let due = |last: i64| time - last >= gap || time < last;
        if keyframe && !self.slot_has_keyframe && self.last_keyframe.is_none_or(due) {
            self.slot_has_keyframe = true;
            self.last_keyframe = Some(time);
            self.wait_for(time);
        }
        if let Some(moment) = self.upcoming.take_if(|moment| *moment <= time) {
            self.wait_for(moment);
        }
    }

    /// The earliest moment that waits for a picture; decoding is needed while there is one.
    pub(super) fn earliest(&self) -> Option<i64> {
        self.waiting.front().copied()
    }

    /// Whether to keep a decoded picture; it then satisfies every moment up to its time.
    pub(super) fn accept(&mut self, time: i64) -> bool {
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(|moment| *moment <= time) {
            self.waiting.pop_front();
        }
        self.waiting.len() < before
    }

    /// The stream ends at `end`: a last slot that is cut short keeps its extra picture, moved in
    /// proportion to what there is of the slot. A sliver (a segment is rarely exactly as long as a
    /// slot) only keeps it where its moment lay inside anyway.
    pub(super) fn finish(&mut self, end: i64) {
        let (Some(moment), Some(slot)) = (self.upcoming.take(), self.slot) else {
            return;
        };
        let covered = (end - slot.start).clamp(0, slot.length);
        let first = slot.start <= self.origin;
        if !first && covered * 2 < slot.length {
            return;
        }
        self.wait_for(slot.start + (moment - slot.start) * covered / slot.length);
    }

    fn wait_for(&mut self, moment: i64) {
        let at = self.waiting.partition_point(|other| *other <= moment);
        self.waiting.insert(at, moment);
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
    }

    /// The moment of a slot's extra picture, where it has one.
    fn extra(&self, slot: Slot, every: u32) -> Option<i64> {
        let key = (slot.start - self.origin) as u64;
        let x = mix(self.sampling.seed ^ key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let drawn = match every {
            0 => false,
            1 => true,
            n => mix(x).is_multiple_of(u64::from(n)),
        };
        let offset = ((u128::from(x) * slot.length as u128) >> 64) as i64;
        drawn.then_some(slot.start + offset)
    }
}

/// SplitMix64's finaliser: every bit of seed and slot reaches every bit of the result.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampling(interval_ms: u32, extra_frames: bool, seed: u64) -> Sampling {
        Sampling {
            interval_ms,
            extra_every: u32::from(extra_frames),
            first_ms: 0,
            seed,
        }
    }

    /// Pictures taken of a stream whose decoder has no delay: (time, keyframe).
    fn run(sampler: &mut Sampler, pictures: &[(i64, bool)]) -> Vec<i64> {
        let mut taken = Vec::new();
        for (time, keyframe) in pictures {
            sampler.observe(*time, *keyframe);
            if sampler.accept(*time) {
                taken.push(*time);
            }
        }
        taken
    }

    fn stream(length_ms: i64, step: i64, gop: i64) -> Vec<(i64, bool)> {
        (0..length_ms / step)
            .map(|i| (i * step, (i * step) % gop == 0))
            .collect()
    }

    #[test]
    fn keyframes_only_once_per_interval() {
        let mut sampler = Sampler::new(&sampling(2000, false, 1), None, 0);
        let taken = run(&mut sampler, &stream(10_000, 40, 480));
        assert_eq!(taken, [0, 2400, 4320, 6240, 8160]);
        let mut sampler = Sampler::new(&sampling(2000, false, 1), None, 0);
        assert_eq!(
            run(&mut sampler, &stream(10_000, 40, 1960)),
            [0, 3920, 5880, 7840, 9800].map(|t: i64| t / 40 * 40)
        );
    }

    #[test]
    fn a_new_seed_moves_the_extra_pictures() {
        let offsets: Vec<Vec<i64>> = (0..4)
            .map(|seed| {
                let mut sampler = Sampler::new(&sampling(2000, true, seed), None, 0);
                run(&mut sampler, &stream(20_000, 20, 100_000))
            })
            .collect();
        assert!(offsets.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn offsets_cover_the_whole_slot_evenly() {
        let sampler = Sampler::new(&sampling(2000, true, 99), None, 0);
        let mut buckets = [0u32; 10];
        for slot in 0..10_000 {
            let slot = Slot {
                start: slot * 2000,
                length: 2000,
            };
            let offset = sampler.extra(slot, 1).unwrap() - slot.start;
            buckets[(offset / 200) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|n| (850..1150).contains(n)),
            "{buckets:?}"
        );
    }

    #[test]
    fn a_short_last_slot_still_gives_its_extra_picture() {
        for seed in 0..50 {
            let mut sampler = Sampler::new(&sampling(2000, true, seed), None, 0);
            let mut taken = run(&mut sampler, &stream(900, 30, 100_000)).len();
            sampler.finish(900);
            if let Some(moment) = sampler.earliest() {
                assert!((0..900).contains(&moment));
                taken += 1;
            }
            assert!((1..=2).contains(&taken));
        }
    }

    #[test]
    fn a_sliver_behind_a_full_slot_rarely_costs_a_picture() {
        let pictures = |seed| {
            let mut sampler = Sampler::new(&sampling(2000, true, seed), None, 0);
            let taken = run(&mut sampler, &stream(2100, 30, 100_000)).len();
            sampler.finish(2100);
            taken + usize::from(sampler.earliest().is_some())
        };
        let more = (0..200).filter(|seed| pictures(*seed) > 2).count();
        assert!((1..40).contains(&more), "{more} of 200");
    }

    #[test]
    fn what_never_decodes_does_not_pile_up() {
        let mut sampler = Sampler::new(&sampling(100, true, 3), None, 0);
        for (time, keyframe) in stream(100_000, 20, 100) {
            sampler.observe(time, keyframe);
        }
        assert!(sampler.waiting.len() <= MAX_WAITING);
    }

    #[test]
    fn one_extra_picture_in_four_slots_where_nobody_can_foresee() {
        let taken = |seed| {
            let mut sampling = sampling(2000, true, seed);
            sampling.extra_every = 4;
            let mut sampler = Sampler::new(&sampling, None, 0);
            run(&mut sampler, &stream(400_000, 20, 800_000))
        };
        // The first picture is a keyframe.
        let counts: Vec<usize> = (0..20).map(|seed| taken(seed).len() - 1).collect();
        assert!(counts.iter().all(|n| (25..80).contains(n)), "{counts:?}");
        assert_ne!(taken(1), taken(2));
    }

    #[test]
    fn nothing_is_taken_before_the_first_moment() {
        let mut sampling = sampling(3000, true, 5);
        sampling.first_ms = 1000;
        let mut sampler = Sampler::new(&sampling, None, 500);
        let pictures: Vec<_> = stream(2000, 40, 400)
            .into_iter()
            .map(|(t, key)| (t + 500, key))
            .collect();
        let taken = run(&mut sampler, &pictures);
        assert!(taken.iter().all(|t| *t >= 1500), "{taken:?}");
        assert!(!taken.is_empty() && sampler.begun());
        // A segment that ends before it gives nothing and knows it.
        sampling.first_ms = 5000;
        let mut sampler = Sampler::new(&sampling, None, 500);
        assert_eq!(run(&mut sampler, &pictures), [0i64; 0]);
        sampler.finish(2500);
        assert!(!sampler.begun() && sampler.earliest().is_none());
    }

    #[test]
    fn a_tempo_counts_from_the_next_slot_on() {
        let tempo = Tempo::default();
        let mut sampler = Sampler::new(&sampling(2000, false, 1), Some(tempo.clone()), 0);
        assert_eq!(
            run(&mut sampler, &stream(4000, 40, 80)),
            [0, 2000],
            "an unset tempo changes nothing"
        );
        tempo.set(500, 0);
        let later: Vec<_> = stream(12_000, 40, 80).split_off(100);
        let quick = run(&mut sampler, &later[..50]);
        assert_eq!(quick, [4000, 4560, 5040, 5520]);
        tempo.set(4000, 0);
        assert_eq!(run(&mut sampler, &later[50..]), [9120]);
    }

    proptest! {
        #[test]
        fn whatever_the_tempo_does_a_slot_gives_at_most_two(
            paces in prop::collection::vec((40u32..9000, 0u32..5), 1..20), seed: u64,
        ) {
            let tempo = Tempo::default();
            let mut sampler = Sampler::new(&sampling(2000, true, seed), Some(tempo.clone()), 0);
            let mut allowed = 4;
            let mut taken = 0;
            for (i, (interval, every)) in paces.iter().enumerate() {
                tempo.set(*interval, *every);
                let from = i as i64 * 2000;
                let pictures: Vec<_> = stream(2000, 20, 200)
                    .into_iter()
                    .map(|(t, key)| (t + from, key))
                    .collect();
                taken += run(&mut sampler, &pictures).len();
                allowed += 2 * (2000 / *interval as usize + 1);
                prop_assert!(sampler.waiting.len() <= MAX_WAITING);
            }
            prop_assert!(taken <= allowed, "{} of {}", taken, allowed);
            prop_assert!(taken >= 1);
        }

        #[test]
        fn at_most_two_pictures_a_slot_and_at_least_one(
            interval in 40u32..5000, seed: u64, step in 10i64..200, gop in 1i64..400,
            origin in -100_000i64..100_000,
        ) {
            let mut sampler = Sampler::new(&sampling(interval, true, seed), None, origin);
            let pictures: Vec<_> = stream(30_000, step, gop * step)
                .into_iter()
                .map(|(time, key)| (time + origin, key))
                .collect();
            let taken = run(&mut sampler, &pictures);
            prop_assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
            let interval = i64::from(interval);
            let last = pictures.last().map_or(0, |p| p.0 - origin);
            for slot in 0..=last / interval {
                let inside = taken
                    .iter()
                    .filter(|t| (**t - origin).div_euclid(interval) == slot)
                    .count();
                // A picture that follows a moment at the very end of a slot falls into the next.
                prop_assert!(inside <= 3, "slot {} has {}", slot, inside);
            }
            prop_assert!(taken.len() as i64 <= 2 * (last / interval + 1));
            prop_assert_eq!(taken.first().copied(), Some(origin));
        }
    }
}
