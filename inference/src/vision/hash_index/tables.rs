//! The tables: for each chunk every hash, sorted by the chunk's value.

use rayon::prelude::*;

use super::{
    Words,
    far::{prefetch, with_capacity},
    lines::{LANES, Line},
};

/// Chunks of a hash.
pub(super) const CHUNKS: usize = 16;
/// Bits of a chunk.
pub(super) const WIDTH: usize = 16;
/// Where the hashes of each value begin, and where the last ends.
const STARTS: usize = (1 << WIDTH) + 1;

/// What a table knows of a hash besides its next chunk: its number, low half first, and the chunk
/// after the next.
pub(super) type Entry = [u16; 3];

/// The number of an entry's hash.
pub(super) fn number(entry: Entry) -> u32 {
    u32::from(entry[0]) | (u32::from(entry[1]) << 16)
}

/// Chunk `i`, counted around the hash.
pub(super) fn chunk(hash: &Words, i: usize) -> u16 {
    let i = i % CHUNKS;
    (hash[i / 4] >> (48 - WIDTH * (i % 4))) as u16
}

/// All tables, one after the other.
pub(super) struct Tables {
    /// Of each table [`STARTS`] places, counted from the table's beginning.
    starts: Vec<u32>,
    /// The next chunk of each hash. Apart from the entries, so that a cache line tells of many.
    lines: Vec<Line>,
    entries: Vec<Entry>,
    /// Lines of a table; the last has empty lanes at its end.
    height: usize,
}

impl Tables {
    pub(super) fn build(hashes: &[Words]) -> Self {
        let height = hashes.len().div_ceil(LANES).max(1);
        let mut starts = with_capacity(CHUNKS * STARTS);
        starts.resize(CHUNKS * STARTS, 0);
        let mut lines = with_capacity(CHUNKS * height);
        lines.resize(CHUNKS * height, Line::EMPTY);
        let mut entries = with_capacity(CHUNKS * height * LANES);
        entries.resize(CHUNKS * height * LANES, Entry::default());
        starts
            .par_chunks_exact_mut(STARTS)
            .zip(lines.par_chunks_exact_mut(height))
            .zip(entries.par_chunks_exact_mut(height * LANES))
            .enumerate()
            .for_each(|(i, ((starts, lines), entries))| fill(hashes, i, starts, lines, entries));
        Self {
            starts,
            lines,
            entries,
            height,
        }
    }

    /// Asks for what [`Self::range`] reads.
    #[inline(always)]
    pub(super) fn prefetch_range(&self, i: usize, value: u16) {
        prefetch(&self.starts, i * STARTS + value as usize);
    }

    /// The lines of table `i` that hold the hashes whose chunk has the value, and some of its neighbours'
    /// at both ends: whoever looks at them as well need not count lanes.
    #[inline(always)]
    pub(super) fn range(&self, i: usize, value: u16) -> (u32, u32) {
        let at = i * STARTS + value as usize;
        let (from, to) = (self.starts[at], self.starts[at + 1]);
        let first = (i * self.height) as u32;
        (
            first + from / LANES as u32,
            first + to.div_ceil(LANES as u32),
        )
    }

    /// The lines of all tables.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The entries of all lanes of all lines. Those of empty lanes name hash 0, which is no harm to
    /// whoever looks at the hash.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Fills table `i`.
fn fill(hashes: &[Words], i: usize, starts: &mut [u32], lines: &mut [Line], entries: &mut [Entry]) {
    for hash in hashes {
        starts[chunk(hash, i) as usize + 1] += 1;
    }
    let mut sum = 0;
    for start in &mut *starts {
        sum += *start;
        *start = sum;
    }
    // Filling moves each start to its end, which is the next one's start.
    for (id, hash) in hashes.iter().enumerate() {
        let start = &mut starts[chunk(hash, i) as usize];
        let at = *start as usize;
        lines[at / LANES].0[at % LANES] = chunk(hash, i + 1);
        entries[at] = [id as u16, (id >> 16) as u16, chunk(hash, i + 2)];
        *start += 1;
    }
    starts.rotate_right(1);
    starts[0] = 0;
}
