//! Exact search for every stored hash within 31 bits of a query, over millions of 256-bit hashes.
//!
//! Multi-index hashing (Norouzi, Punjani, Fleet: "Fast Exact Search in Hamming Space with
//! Multi-Index Hashing", 2014): the hash is cut into sixteen chunks of sixteen bits, and each has a table
//! of its own. Two hashes that differ in at most 31 bits differ in at most one bit of some chunk, because
//! otherwise all together would differ in 32: a look-up reads seventeen buckets of every table.
//!
//! The same argument holds for neighbours (Qin, Xiao: "Pigeonring", 2018): there is a chunk from which
//! on every run of `n` chunks differs in fewer than `2 n` bits. A bucket is a row of next chunks, so that
//! some hundred of its hashes cost a handful of cache lines one after the other and all but one in five
//! hundred are dismissed; the chunk after the next, which lies with the number of the hash, dismisses
//! nine in ten of those, and only then is a hash looked at.
//!
//! Longer chunks and more differing bits have fewer hashes to dismiss, but all in buckets of their own:
//! eleven chunks at up to two bits take 3,000 random reads, five times as long over ten million hashes.

#![allow(
    clippy::inline_always,
    reason = "the look-up is compiled as one, for the processor's instructions"
)]

mod far;
mod lines;
mod probe;
mod tables;

use self::tables::Tables;

/// Differing bits up to which hashes are found.
pub(super) const MAX_DISTANCE: u32 = 31;
/// Below this number of hashes a scan is quick enough, and needs no tables.
const SCANNED: usize = 1 << 17;
/// Most hashes; entries name them in 32 bits.
pub(super) const MAX_HASHES: usize = u32::MAX as usize;

/// A 256-bit hash as words, its first byte in the highest bits of the first word.
pub(super) type Words = [u64; 4];

/// The index.
pub(super) struct HashIndex {
    hashes: Vec<Words>,
    /// None for a list that is scanned.
    tables: Option<Tables>,
}

fn distance(a: &Words, b: &Words) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

impl HashIndex {
    /// An index of up to [`MAX_HASHES`] hashes, which keep their places as numbers. For millions it
    /// takes about 160 bytes a hash and every core.
    pub(super) fn build(mut hashes: Vec<Words>) -> Self {
        hashes.truncate(MAX_HASHES);
        hashes.shrink_to_fit();
        let tables = (hashes.len() >= SCANNED).then(|| Tables::build(&hashes));
        Self { hashes, tables }
    }

    /// Number of hashes.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Every hash within [`MAX_DISTANCE`] bits as (distance, number), nearest first, of equals the
    /// lowest number.
    pub(super) fn find(&self, query: &Words) -> Vec<(u32, u32)> {
        let mut found = match &self.tables {
            Some(tables) => probe::probe(tables, &self.hashes, query),
            None => self.scan(query),
        };
        found.sort_unstable();
        found.dedup();
        found
    }

    fn scan(&self, query: &Words) -> Vec<(u32, u32)> {
        let with_distance = |(id, hash)| (distance(hash, query), id as u32);
        let all = self.hashes.iter().enumerate().map(with_distance);
        all.filter(|(d, _)| *d <= MAX_DISTANCE).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        probe::BOUND,
        tables::{CHUNKS, WIDTH, chunk},
        *,
    };

    fn random(state: &mut u64) -> Words {
        std::array::from_fn(|_| {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut x = *state;
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        })
    }

    fn flipped(hash: &Words, bits: &[usize]) -> Words {
        let mut out = *hash;
        for bit in bits {
            out[bit / 64] ^= 1 << (bit % 64);
        }
        out
    }

    #[test]
    fn chunks_cover_every_bit_once_and_their_bounds_more_than_the_distance() {
        assert_eq!(CHUNKS as u32 * BOUND, MAX_DISTANCE + 1);
        assert_eq!(CHUNKS * WIDTH, 256);
        for bit in 0..256 {
            let hash = flipped(&[0; 4], &[bit]);
            let ones: u32 = (0..CHUNKS).map(|i| chunk(&hash, i).count_ones()).sum();
            assert_eq!(ones, 1, "bit {bit}");
        }
        let hash = [0x0001_0002_0003_0004, 5, 0, 6];
        assert_eq!(
            [0, 1, 2, 3, 7, 15, 16].map(|i| chunk(&hash, i)),
            [1, 2, 3, 4, 5, 6, 1]
        );
    }

    /// The tables, also for a list that would be scanned.
    fn tabled(hashes: &[Words]) -> HashIndex {
        HashIndex {
            tables: Some(Tables::build(hashes)),
            hashes: hashes.to_vec(),
        }
    }

    #[test]
    fn everything_within_reach_is_found_and_nothing_else() {
        let mut state = 1;
        let mut hashes: Vec<Words> = (0..300).map(|_| random(&mut state)).collect();
        let queries: Vec<Words> = (0..40).map(|_| random(&mut state)).collect();
        // Around every query: copies with 0 to 40 flipped bits, spread, in a row, and per chunk.
        for (q, query) in queries.iter().enumerate() {
            for n in 0..41_usize {
                let spread: Vec<usize> = (0..n).map(|i| (i * 256 / n.max(1) + q) % 256).collect();
                let row: Vec<usize> = (0..n).map(|i| (i + q * 6) % 256).collect();
                hashes.push(flipped(query, &spread));
                hashes.push(flipped(query, &row));
            }
        }
        let index = tabled(&hashes);
        let scan = HashIndex::build(hashes);
        assert!(scan.tables.is_none());
        for query in &queries {
            let found = index.find(query);
            assert_eq!(found, scan.find(query));
            assert!(found.len() >= 64 && found[0].0 == 0, "{}", found.len());
        }
    }

    proptest! {
        // Sixteen tables of starts are made and filled, whatever is in them.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn tables_answer_as_a_scan_does(
            seed: u64, sets in prop::collection::vec(prop::collection::vec(0_usize..256, 0..48), 1..200),
        ) {
            let mut state = seed;
            let query = random(&mut state);
            let mut hashes: Vec<Words> = sets.iter().map(|bits| flipped(&query, bits)).collect();
            hashes.extend((0..50).map(|_| random(&mut state)));
            let index = tabled(&hashes);
            prop_assert_eq!(index.find(&query), HashIndex::build(hashes).find(&query));
        }

        #[test]
        fn the_farthest_hashes_are_found_wherever_they_differ(
            seed: u64, picks in prop::collection::vec(prop::collection::vec(0_usize..1 << 20, 33), 1..100),
        ) {
            let mut state = seed;
            let query = random(&mut state);
            let mut hashes = Vec::new();
            // Exactly 31, 32 and 33 bits, drawn without repetition; also at most two of a chunk, which
            // leaves the fewest chunks close.
            for picks in &picks {
                for a_chunk in [16, 2] {
                    let mut free: Vec<usize> =
                        (0..256).filter(|bit| bit % 16 < a_chunk).collect();
                    free.extend((0..256).filter(|bit| bit % 16 >= a_chunk).take(1));
                    let bits: Vec<usize> =
                        picks.iter().map(|pick| free.swap_remove(pick % free.len())).collect();
                    hashes.extend((31..=33).map(|n| flipped(&query, &bits[..n])));
                }
            }
            let found = tabled(&hashes).find(&query);
            prop_assert_eq!(found.len(), 2 * picks.len());
            prop_assert!(found.iter().all(|(d, id)| *d == 31 && id % 3 == 0));
        }
    }

    #[test]
    fn a_bucket_of_many_lines_is_read_to_its_end() {
        let mut state = 3;
        let query = random(&mut state);
        // All in the same buckets of fifteen tables, most of them too far.
        let hashes: Vec<Words> = (0..2000_u64)
            .map(|i| {
                [
                    query[0] ^ (i << 48),
                    !query[1] ^ (i % 2),
                    query[2],
                    query[3],
                ]
            })
            .chain([flipped(&query, &[0, 70, 255])])
            .collect();
        let index = tabled(&hashes);
        assert_eq!(
            index.find(&query),
            HashIndex::build(hashes.clone()).find(&query)
        );
        for hash in hashes.iter().step_by(97) {
            assert_eq!(
                index.find(hash),
                HashIndex::build(hashes.clone()).find(hash)
            );
        }
    }
}
