//! Exact search for every stored hash within 31 bits of a query, over millions of 256-bit hashes.
//!
//! Multi-index hashing (Norouzi, Punjani, Fleet: "Fast Exact Search in Hamming Space with
//! Multi-Index Hashing", 2014): the hash is cut into eleven chunks, and each has a table of its own.
//! Two hashes that differ in at most 31 bits are close in some chunk: with bounds `T` that sum to 32
//! there is a chunk that differs in fewer than `T` bits, because otherwise all together would differ
//! in 32. Ten chunks have `T` = 3 and one has 2, so 23-bit tables are probed at 277 keys each rather
//! than at thousands.
//!
//! The same argument holds for neighbours (Qin, Xiao: "Pigeonring", 2018): there is a chunk from which
//! on every run of chunks stays under its bounds. An entry carries the bits of the next chunk, so that
//! nearly all candidates are dismissed without a look at their hash, which would cost a cache miss.

use rayon::prelude::*;

/// Differing bits up to which hashes are found.
pub(super) const MAX_DISTANCE: u32 = 31;
/// Below this number of hashes a scan is quick enough, and needs no tables.
const SCANNED: usize = 1 << 17;
/// Most hashes; entries name them in 32 bits.
pub(super) const MAX_HASHES: usize = u32::MAX as usize;

/// Widths in bits, from the first bit on; they add up to 256.
const WIDTHS: [u32; 11] = [23, 23, 23, 23, 23, 23, 24, 24, 24, 24, 22];
/// A chunk counts as close when it differs in fewer bits; they add up to 32.
const BOUNDS: [u32; 11] = [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2];

/// A 256-bit hash as words, its first byte in the highest bits of the first word.
pub(super) type Words = [u64; 4];

/// One chunk's table: entries sorted by the chunk's value.
struct Table {
    /// Where the entries of each value begin; one more at the end.
    starts: Vec<u32>,
    /// The next chunk's bits above the number of the hash.
    entries: Vec<u64>,
}

/// The index.
pub(super) struct HashIndex {
    hashes: Vec<Words>,
    tables: Vec<Table>,
}

fn distance(a: &Words, b: &Words) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// The bits of chunk `i`, right-aligned.
fn chunk(hash: &Words, i: usize) -> u32 {
    let start: u32 = WIDTHS[..i].iter().sum();
    let width = WIDTHS[i];
    let (word, bit) = ((start / 64) as usize, start % 64);
    let high = hash[word] << bit;
    // The part of the chunk that lies in the next word.
    let low = if bit + width > 64 {
        hash[word + 1] >> (64 - bit)
    } else {
        0
    };
    ((high | low) >> (64 - width)) as u32
}

impl Table {
    fn build(hashes: &[Words], i: usize) -> Self {
        let mut starts = vec![0_u32; (1 << WIDTHS[i]) + 1];
        for hash in hashes {
            starts[chunk(hash, i) as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        // Filling moves each start to its end, which is the next one's start.
        let mut entries = vec![0_u64; hashes.len()];
        let next = (i + 1) % WIDTHS.len();
        for (id, hash) in hashes.iter().enumerate() {
            let at = &mut starts[chunk(hash, i) as usize];
            entries[*at as usize] = (u64::from(chunk(hash, next)) << 32) | id as u64;
            *at += 1;
        }
        starts.rotate_right(1);
        starts[0] = 0;
        Self { starts, entries }
    }
}

impl HashIndex {
    /// An index of up to [`MAX_HASHES`] hashes, which keep their places as numbers. For millions it
    /// takes about 170 bytes a hash and every core.
    pub(super) fn build(mut hashes: Vec<Words>) -> Self {
        hashes.truncate(MAX_HASHES);
        hashes.shrink_to_fit();
        let tables = if hashes.len() < SCANNED {
            Vec::new()
        } else {
            Self::tables(&hashes)
        };
        Self { hashes, tables }
    }

    fn tables(hashes: &[Words]) -> Vec<Table> {
        let chunks = (0..WIDTHS.len()).into_par_iter();
        chunks.map(|i| Table::build(hashes, i)).collect()
    }

    /// Number of hashes.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Every hash within [`MAX_DISTANCE`] bits as (distance, number), nearest first, of equals the
    /// lowest number.
    pub(super) fn find(&self, query: &Words) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        if self.tables.is_empty() {
            for (id, hash) in self.hashes.iter().enumerate() {
                let d = distance(hash, query);
                if d <= MAX_DISTANCE {
                    found.push((d, id as u32));
                }
            }
        } else {
            self.probe(query, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn probe(&self, query: &Words, found: &mut Vec<(u32, u32)>) {
        // Where each probe's entries are and how many bits it is away. Collected first: loads that do
        // not wait for each other overlap.
        let mut spans: Vec<(u32, u32, u32)> = Vec::with_capacity(301);
        for (i, table) in self.tables.iter().enumerate() {
            let value = chunk(query, i);
            let next_at = (i + 1) % WIDTHS.len();
            let next = chunk(query, next_at);
            let reach = BOUNDS[i] + BOUNDS[next_at] - 1;
            spans.clear();
            let mut look = |key: u32, away: u32| {
                let (from, to) = (table.starts[key as usize], table.starts[key as usize + 1]);
                spans.push((from, to, away));
            };
            look(value, 0);
            for a in 0..WIDTHS[i] {
                look(value ^ (1 << a), 1);
                if BOUNDS[i] > 2 {
                    for b in 0..a {
                        look(value ^ (1 << a) ^ (1 << b), 2);
                    }
                }
            }
            // Lines that are missing from the caches are asked for all at once, before a branch that
            // depends on one of them can make the others wait.
            let touched = spans
                .iter()
                .filter_map(|(from, ..)| table.entries.get(*from as usize))
                .fold(0, |sum, entry| sum ^ entry);
            std::hint::black_box(touched);
            for (from, to, away) in &spans {
                for entry in &table.entries[*from as usize..*to as usize] {
                    if away + (((entry >> 32) as u32) ^ next).count_ones() > reach {
                        continue;
                    }
                    let id = *entry as u32;
                    let d = distance(&self.hashes[id as usize], query);
                    if d <= MAX_DISTANCE {
                        found.push((d, id));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn chunks_cover_every_bit_once() {
        assert_eq!(WIDTHS.iter().sum::<u32>(), 256);
        assert_eq!(BOUNDS.iter().sum::<u32>(), MAX_DISTANCE + 1);
        for bit in 0..256 {
            let hash = flipped(&[0; 4], &[bit]);
            let ones: u32 = (0..WIDTHS.len())
                .map(|i| chunk(&hash, i).count_ones())
                .sum();
            assert_eq!(ones, 1, "bit {bit}");
        }
        let all = (0..WIDTHS.len()).map(|i| chunk(&[u64::MAX; 4], i));
        assert!(all.zip(WIDTHS).all(|(c, w)| c == (1 << w) - 1));
    }

    /// The tables, also for a list that would be scanned.
    fn tabled(hashes: &[Words]) -> HashIndex {
        HashIndex {
            tables: HashIndex::tables(hashes),
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
        assert!(scan.tables.is_empty());
        for query in &queries {
            let found = index.find(query);
            assert_eq!(found, scan.find(query));
            assert!(found.len() >= 64 && found[0].0 == 0, "{}", found.len());
        }
    }

    proptest! {
        // Building the tables takes a moment, whatever is in them.
        #![proptest_config(ProptestConfig::with_cases(6))]
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
    }
}
