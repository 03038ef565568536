//! Which pictures to take: pure arithmetic on timestamps, nothing about codecs.

use std::collections::VecDeque;

use super::Sampling;

/// Moments that wait for a picture; a stream that decodes to nothing must not pile them up.
const MAX_WAITING: usize = 8;

/// Decides from the packets' timestamps (ms, in the order read) when decoding is needed, and from
/// the decoded pictures' timestamps which ones to keep.
#[derive(Debug)]
pub(super) struct Sampler {
    interval: i64,
    extra: bool,
    seed: u64,
    origin: i64,
    slot: Option<i64>,
    slot_has_keyframe: bool,
    last_keyframe: Option<i64>,
    /// The current slot's extra moment, not reached yet.
    upcoming: Option<i64>,
    /// Moments reached by the packets; the first picture at or after one satisfies it.
    waiting: VecDeque<i64>,
}

impl Sampler {
    /// `origin` is the time at which slot 0 starts.
    pub(super) fn new(sampling: &Sampling, origin: i64) -> Self {
        Self {
            interval: i64::from(sampling.interval_ms.max(40)),
            extra: sampling.extra_frames,
            seed: sampling.seed,
            origin,
            slot: None,
            slot_has_keyframe: false,
            last_keyframe: None,
            upcoming: None,
            waiting: VecDeque::new(),
        }
    }

    /// Takes note of a packet before it is decoded.
    pub(super) fn observe(&mut self, time: i64, keyframe: bool) {
        let slot = (time - self.origin).div_euclid(self.interval);
        // Decoding order runs a little backwards; a pair of reordered pictures at a border must not
        // open the slot twice. A jump by more than a slot is a new timeline.
        let enters = self
            .slot
            .is_none_or(|current| slot > current || slot < current - 1);
        if enters {
            if let Some(moment) = self.upcoming.take() {
                self.wait_for(moment.min(time));
            }
            self.slot = Some(slot);
            self.slot_has_keyframe = false;
            self.upcoming = self.extra.then(|| self.moment(slot));
        }
        // A tenth of slack: keyframes every 1.98 s are meant to be every 2 s.
        let gap = self.interval - self.interval / 10;
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
        let start = self.origin + slot * self.interval;
        let covered = (end - start).clamp(0, self.interval);
        let first = start <= self.origin;
        if !first && covered * 2 < self.interval {
            return;
        }
        self.wait_for(start + (moment - start) * covered / self.interval);
    }

    fn wait_for(&mut self, moment: i64) {
        let at = self.waiting.partition_point(|other| *other <= moment);
        self.waiting.insert(at, moment);
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
    }

    fn moment(&self, slot: i64) -> i64 {
        // SplitMix64's finaliser: every bit of seed and slot reaches every bit of the offset.
        let mut x = self.seed ^ (slot as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        let offset = ((u128::from(x) * self.interval as u128) >> 64) as i64;
        self.origin + slot * self.interval + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampling(interval_ms: u32, extra_frames: bool, seed: u64) -> Sampling {
        Sampling {
            interval_ms,
            extra_frames,
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
        let mut sampler = Sampler::new(&sampling(2000, false, 1), 0);
        let taken = run(&mut sampler, &stream(10_000, 40, 480));
        assert_eq!(taken, [0, 2400, 4320, 6240, 8160]);
        let mut sampler = Sampler::new(&sampling(2000, false, 1), 0);
        assert_eq!(
            run(&mut sampler, &stream(10_000, 40, 1960)),
            [0, 3920, 5880, 7840, 9800].map(|t: i64| t / 40 * 40)
        );
    }

    #[test]
    fn a_new_seed_moves_the_extra_pictures() {
        let offsets: Vec<Vec<i64>> = (0..4)
            .map(|seed| {
                let mut sampler = Sampler::new(&sampling(2000, true, seed), 0);
                run(&mut sampler, &stream(20_000, 20, 100_000))
            })
            .collect();
        assert!(offsets.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn offsets_cover_the_whole_slot_evenly() {
        let sampler = Sampler::new(&sampling(2000, true, 99), 0);
        let mut buckets = [0u32; 10];
        for slot in 0..10_000 {
            let offset = sampler.moment(slot) - slot * 2000;
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
            let mut sampler = Sampler::new(&sampling(2000, true, seed), 0);
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
            let mut sampler = Sampler::new(&sampling(2000, true, seed), 0);
            let taken = run(&mut sampler, &stream(2100, 30, 100_000)).len();
            sampler.finish(2100);
            taken + usize::from(sampler.earliest().is_some())
        };
        let more = (0..200).filter(|seed| pictures(*seed) > 2).count();
        assert!((1..40).contains(&more), "{more} of 200");
    }

    #[test]
    fn what_never_decodes_does_not_pile_up() {
        let mut sampler = Sampler::new(&sampling(100, true, 3), 0);
        for (time, keyframe) in stream(100_000, 20, 100) {
            sampler.observe(time, keyframe);
        }
        assert!(sampler.waiting.len() <= MAX_WAITING);
    }

    proptest! {
        #[test]
        fn at_most_two_pictures_a_slot_and_at_least_one(
            interval in 40u32..5000, seed: u64, step in 10i64..200, gop in 1i64..400,
            origin in -100_000i64..100_000,
        ) {
            let mut sampler = Sampler::new(&sampling(interval, true, seed), origin);
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
