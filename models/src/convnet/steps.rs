//! Pixels as whole numbers of seven bits.

use super::vector::{
    Cell, V, div, largest, load, max, min, mul, smallest, splat, steps, store, sub,
};
use crate::int8::product::{COLUMNS, GROUP, LANES, LARGEST, ROWS, Scale, Steps};

/// Groups of half a panel.
const GROUPS: usize = LANES / GROUP;
/// Pixels of one panel that are rounded before the next panel: long enough to be read ahead, and what
/// becomes of them stays in the first-level cache.
const BLOCK: usize = 8 * ROWS;

/// Rounds rows of `width` floats by their own ranges.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_rows(rows: &[f32], width: usize, to: &mut Steps) {
    if !width.is_multiple_of(LANES) {
        // Missing columns have no weight.
        let wider = width.next_multiple_of(LANES);
        let mut padded = vec![0.0; rows.len() / width * wider];
        for (to, from) in padded.chunks_exact_mut(wider).zip(rows.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
        return of_whole_rows(&padded, wider, width.div_ceil(GROUP), to);
    }
    of_whole_rows(rows, width, width.div_ceil(GROUP), to);
}

/// As [`of_rows`], of so many groups, with rows of whole vectors.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn of_whole_rows(rows: &[f32], width: usize, groups: usize, to: &mut Steps) {
    start(rows.len() / width, groups, to);
    let tiles = to.values.chunks_mut(ROWS * groups);
    let tiles = tiles.zip(to.scales.chunks_mut(ROWS));
    for ((tile, scales), rows) in tiles.zip(rows.chunks(ROWS * width)) {
        // Of missing rows the last one stands in.
        let last = scales.len() - 1;
        let mut of_rows: [&[[f32; LANES]]; ROWS] = Default::default();
        for (i, row) in of_rows.iter_mut().enumerate() {
            *row = rows[i.min(last) * width..][..width].as_chunks().0;
        }
        let [a, b, c, d] = of_rows;
        // Zero is in every range.
        let (mut least, mut most) = ([splat(0.0); ROWS], [splat(0.0); ROWS]);
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            for (i, values) in [a, b, c, d].into_iter().enumerate() {
                let values = load(values);
                (least[i], most[i]) = (min(least[i], values), max(most[i], values));
            }
        }
        let least = smallest(least);
        let (scale, by) = scale(sub(largest(most), least));
        let (mut of_rows, mut leasts, mut bys) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        store(scale, &mut of_rows);
        store(least, &mut leasts);
        store(by, &mut bys);
        let (mut least, mut by) = ([splat(0.0); ROWS], [splat(0.0); ROWS]);
        for i in 0..ROWS {
            (least[i], by[i]) = (splat(leasts[i]), splat(bys[i]));
        }
        for (half, (((a, b), c), d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
            let values = [
                mul(sub(load(a), least[0]), by[0]),
                mul(sub(load(b), least[1]), by[1]),
                mul(sub(load(c), least[2]), by[2]),
                mul(sub(load(d), least[3]), by[3]),
            ];
            write(tile, scales.len(), half * GROUPS, values);
        }
        for (to, (scale, least)) in scales.iter_mut().zip(of_rows.into_iter().zip(leasts)) {
            *to = Scale { scale, least };
        }
    }
}

/// Rounds pixels of `width` channels, none of them negative. `cells` are panel after panel, pixel after
/// pixel; `most` has the largest value of each pixel, by lane.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_cells(cells: &[Cell], most: &[[f32; LANES]], width: usize, to: &mut Steps) {
    let groups = width.div_ceil(GROUP);
    start(most.len(), groups, to);
    let Steps { values, scales } = to;
    let blocks = values
        .chunks_mut(BLOCK * groups)
        .zip(scales.chunks_mut(BLOCK));
    for (block, ((values, scales), most_of_block)) in blocks.zip(most.chunks(BLOCK)).enumerate() {
        let mut bys = [[splat(0.0); ROWS]; BLOCK / ROWS];
        let of_tiles = most_of_block.chunks(ROWS).zip(scales.chunks_mut(ROWS));
        for (bys, (most, scales)) in bys.iter_mut().zip(of_tiles) {
            let mut rows = [splat(0.0); ROWS];
            for (row, most) in rows.iter_mut().zip(most) {
                *row = load(most);
            }
            let (scale, by) = scale(max(largest(rows), splat(0.0)));
            let (mut of_rows, mut by_row) = ([0.0; LANES], [0.0; LANES]);
            store(scale, &mut of_rows);
            store(by, &mut by_row);
            for (to, scale) in scales.iter_mut().zip(of_rows) {
                *to = Scale { scale, least: 0.0 };
            }
            for (by, by_row) in bys.iter_mut().zip(by_row) {
                *by = splat(by_row);
            }
        }
        let pixels = block * BLOCK..block * BLOCK + most_of_block.len();
        for (panel, cells) in cells.chunks_exact(most.len()).enumerate() {
            let from = panel * (COLUMNS / GROUP);
            let tiles = values.chunks_mut(ROWS * groups).zip(&bys);
            for ((tile, by), cells) in tiles.zip(cells[pixels.clone()].chunks(ROWS)) {
                if let Some(cells) = cells.first_chunk::<ROWS>() {
                    write(tile, ROWS, from, scaled::<0>(cells, by));
                    write(tile, ROWS, from + GROUPS, scaled::<1>(cells, by));
                } else {
                    let mut all = [Cell::default(); ROWS];
                    all[..cells.len()].copy_from_slice(cells);
                    write(tile, cells.len(), from, scaled::<0>(&all, by));
                    write(tile, cells.len(), from + GROUPS, scaled::<1>(&all, by));
                }
            }
        }
    }
}

/// Makes room.
fn start(rows: usize, groups: usize, to: &mut Steps) {
    to.scales.resize(rows, Scale::default());
    to.values.resize(rows * groups, [0; GROUP]);
}

/// Of ranges the value of one step, and what values are multiplied with to be steps.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn scale(ranges: V) -> (V, V) {
    let scale = div(ranges, splat(LARGEST));
    // An empty range has zeros only, which must stay zeros.
    let by = div(splat(1.0), max(scale, splat(f32::MIN_POSITIVE)));
    (scale, by)
}

/// Half of some cells.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn scaled<const HALF: usize>(cells: &[Cell; ROWS], by: &[V; ROWS]) -> [V; ROWS] {
    let mut values = [splat(0.0); ROWS];
    for i in 0..ROWS {
        values[i] = mul(load(&cells[i][HALF]), by[i]);
    }
    values
}

/// Rounds eight columns of `count` rows to the groups from `from` on; groups that a row does not have are
/// left out.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn write(tile: &mut [[u8; GROUP]], count: usize, from: usize, values: [V; ROWS]) {
    let whole = tile.get_mut(from * ROWS..);
    let whole = whole.and_then(|to| to.first_chunk_mut::<{ GROUPS * ROWS }>());
    match whole {
        Some(to) if count == ROWS => *to = steps(values),
        _ => write_some(tile, count, from, values),
    }
}

/// As [`write`], where not all groups or rows are there.
#[cold]
#[inline(never)]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn write_some(tile: &mut [[u8; GROUP]], count: usize, from: usize, values: [V; ROWS]) {
    let found = steps(values);
    let to = tile.chunks_exact_mut(count).skip(from);
    for (to, found) in to.zip(found.chunks_exact(ROWS)) {
        to.copy_from_slice(&found[..count]);
    }
}
