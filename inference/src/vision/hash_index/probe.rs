//! The look-up.
//!
//! Nearly all of its time is memory's, so that it never waits for one read before it asks for the next:
//! first for the starts of every bucket, then for lines some way ahead of the one that is looked at, then
//! for the entries of all candidates, then for their hashes.

use super::{
    MAX_DISTANCE, Words, distance,
    far::prefetch,
    lines::LANES,
    tables::{CHUNKS, Tables, WIDTH, chunk, number},
};

/// A chunk counts as close when it differs in fewer bits; those of all chunks add up to more than
/// [`MAX_DISTANCE`].
pub(super) const BOUND: u32 = 2;
/// Most bits in which three chunks in a row differ.
const REACH_OF_THREE: u32 = 3 * BOUND - 1;
/// Most bits that the next chunk differs in where the first is the query's,
const AFTER_EQUAL: usize = 2 * BOUND as usize - 1;
/// and where it differs in one.
const AFTER_NEIGHBOUR: usize = AFTER_EQUAL - 1;
/// Lines that are asked for ahead.
const AHEAD: usize = 32;
/// Tables whose buckets are listed ahead.
const LISTED_AHEAD: usize = 2;
/// Lines of a bucket that are listed without a look at their number.
const LISTED_AT_ONCE: u32 = 8;

/// Every hash within [`MAX_DISTANCE`] bits, in any order and some more than once.
pub(super) fn probe(tables: &Tables, hashes: &[Words], query: &Words) -> Vec<(u32, u32)> {
    // Compiled once more for AVX2 and what comes with it, which saves up to a tenth.
    let candidates = pulp::Arch::new().dispatch(Collect { tables, query });
    for id in &candidates {
        prefetch(hashes, *id as usize);
    }
    let near = |id: u32| (distance(&hashes[id as usize], query), id);
    let found = candidates.into_iter().map(near);
    found.filter(|(d, _)| *d <= MAX_DISTANCE).collect()
}

/// Collects the numbers of hashes that stay under the bounds in some run of three chunks.
struct Collect<'a> {
    tables: &'a Tables,
    query: &'a Words,
}

/// Not a closure, as those need not be inlined where the instructions are chosen.
impl pulp::NullaryFnOnce for Collect<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn call(self) -> Vec<u32> {
        collect(self.tables, self.query)
    }
}

#[inline(always)]
fn collect(tables: &Tables, query: &Words) -> Vec<u32> {
    let mut candidates = Vec::with_capacity(64);
    for i in 0..CHUNKS {
        let value = chunk(query, i);
        tables.prefetch_range(i, value);
        for bit in 0..WIDTH {
            tables.prefetch_range(i, value ^ (1 << bit));
        }
    }
    let mut list = Listed::default();
    // Places of entries, and for each table how many there are up to its end.
    let mut places = Vec::with_capacity(256);
    let mut ends = [0; CHUNKS];
    let mut at = 0;
    for (i, end) in ends.iter_mut().enumerate() {
        while list.tables.len() < CHUNKS.min(i + 1 + LISTED_AHEAD) {
            list.extend(tables, query);
        }
        let next = chunk(query, i + 1);
        let (equal, last) = list.tables[i];
        look::<AFTER_NEIGHBOUR>(tables, &list.lines, at..equal, next, &mut places);
        look::<AFTER_EQUAL>(tables, &list.lines, equal..last, next, &mut places);
        at = last;
        *end = places.len();
    }
    let mut from = 0;
    for (i, end) in ends.into_iter().enumerate() {
        let third = chunk(query, i + 2);
        for place in &places[from..end] {
            let entry = tables.entries()[*place];
            if (entry[2] ^ third).count_ones() <= REACH_OF_THREE {
                candidates.push(number(entry));
            }
        }
        from = end;
    }
    candidates
}

/// Lines to look at, table after table.
struct Listed {
    lines: Vec<u32>,
    /// For each table listed so far: where the query's own bucket begins, after those of its neighbours,
    /// and where it ends.
    tables: Vec<(usize, usize)>,
}

impl Default for Listed {
    fn default() -> Self {
        Self {
            lines: Vec::with_capacity(1 << 11),
            tables: Vec::with_capacity(CHUNKS),
        }
    }
}

impl Listed {
    /// Lists the next table's.
    #[inline(always)]
    fn extend(&mut self, tables: &Tables, query: &Words) {
        let i = self.tables.len();
        let value = chunk(query, i);
        // Loads that do not wait for each other overlap.
        let ranges: [(u32, u32); WIDTH] =
            std::array::from_fn(|bit| tables.range(i, value ^ (1 << bit)));
        let (from, to) = tables.range(i, value);
        for (from, to) in ranges {
            self.push(from, to);
        }
        let equal = self.lines.len();
        self.push(from, to);
        self.tables.push((equal, self.lines.len()));
    }

    #[inline(always)]
    fn push(&mut self, from: u32, to: u32) {
        let len = self.lines.len();
        let some: [u32; LISTED_AT_ONCE as usize] = std::array::from_fn(|k| from + k as u32);
        self.lines.extend_from_slice(&some);
        // An empty bucket between two full lines begins where it ends, never later.
        if to - from > LISTED_AT_ONCE {
            self.lines.extend(from + LISTED_AT_ONCE..to);
        } else {
            self.lines.truncate(len + (to - from) as usize);
        }
    }
}

/// Adds the places of entries whose next chunk differs in at most `MOST` bits.
#[inline(always)]
fn look<const MOST: usize>(
    tables: &Tables,
    listed: &[u32],
    range: std::ops::Range<usize>,
    next: u16,
    places: &mut Vec<usize>,
) {
    let lines = tables.lines();
    for at in range {
        if let Some(ahead) = listed.get(at + AHEAD) {
            prefetch(lines, *ahead as usize);
        }
        let line = listed[at] as usize;
        let mut close = lines[line].close::<MOST>(next);
        while close != 0 {
            let place = line * LANES + close.trailing_zeros() as usize;
            prefetch(tables.entries(), place);
            places.push(place);
            close &= close - 1;
        }
    }
}
