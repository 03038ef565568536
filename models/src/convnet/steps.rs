//! Pixels as whole numbers: of seven bits each, or of fourteen as two parts of seven where the rounding
//! of seven would be felt in the answer.

use super::vector::Cell;
use crate::int8::product::{COLUMNS, GROUP, LANES, ROWS, Scale, Steps};

/// The largest step.
const COARSE: f32 = 127.0;
const FINE: f32 = 16_383.0;
/// Adding 2^23 rounds to the nearest whole number, whose low bits are the sum's.
const ROUND: f32 = 8_388_608.0;

/// Rounds rows of `width` floats by their own ranges. Of fine steps the high parts come before the low
/// ones.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_rows(rows: &[f32], width: usize, fine: bool, to: &mut Steps) {
    let groups = start(rows.len() / width, width, fine, to);
    let largest = if fine { FINE } else { COARSE };
    for row in rows.chunks_exact(width) {
        let (least, most) = range(row);
        to.scales.push(Scale {
            scale: (most - least) / largest,
            least,
        });
    }
    let tiles = to.values.chunks_mut(ROWS * groups * parts(fine));
    let rows = rows.chunks(ROWS * width).zip(to.scales.chunks(ROWS));
    for (tile, (rows, scales)) in tiles.zip(rows) {
        for (i, (row, scale)) in rows.chunks_exact(width).zip(scales).enumerate() {
            let (whole, rest) = row.as_chunks::<COLUMNS>();
            for (panel, values) in whole.iter().enumerate() {
                write(tile, [panel, groups, scales.len(), i], values, *scale, fine);
            }
            if !rest.is_empty() {
                // Missing columns have no weight.
                let mut values = [scale.least; COLUMNS];
                values[..rest.len()].copy_from_slice(rest);
                let at = [whole.len(), groups, scales.len(), i];
                write(tile, at, &values, *scale, fine);
            }
        }
    }
}

/// Rounds pixels of `width` channels, none of them negative. `cells` are panel after panel, pixel after
/// pixel; `most` has the largest value of each pixel, by lane.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_cells(
    cells: &[Cell],
    most: &[[f32; LANES]],
    width: usize,
    fine: bool,
    to: &mut Steps,
) {
    let groups = start(most.len(), width, fine, to);
    let largest = if fine { FINE } else { COARSE };
    for most in most {
        let most = most.iter().fold(0.0_f32, |a, b| a.max(*b));
        to.scales.push(Scale {
            scale: most / largest,
            least: 0.0,
        });
    }
    for (panel, cells) in cells.chunks_exact(most.len()).enumerate() {
        let tiles = to.values.chunks_mut(ROWS * groups * parts(fine));
        let pixels = cells.chunks(ROWS).zip(to.scales.chunks(ROWS));
        for (tile, (cells, scales)) in tiles.zip(pixels) {
            for (i, (cell, scale)) in cells.iter().zip(scales).enumerate() {
                let at = [panel, groups, scales.len(), i];
                // A cell has as many values as a panel has columns.
                let values: [f32; COLUMNS] = pulp::cast(*cell);
                write(tile, at, &values, *scale, fine);
            }
        }
    }
}

fn parts(fine: bool) -> usize {
    if fine { 2 } else { 1 }
}

/// Makes room; groups of a row.
fn start(rows: usize, width: usize, fine: bool, to: &mut Steps) -> usize {
    let groups = width.div_ceil(GROUP);
    to.scales.clear();
    to.values.resize(rows * groups * parts(fine), [0; GROUP]);
    groups
}

/// Smallest and largest value; zero is between them.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn range(row: &[f32]) -> (f32, f32) {
    let (mut least, mut most) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        for ((least, most), value) in least.iter_mut().zip(&mut most).zip(values) {
            *least = least.min(*value);
            *most = most.max(*value);
        }
    }
    let least = least.iter().chain(rest).fold(0.0_f32, |a, b| a.min(*b));
    let most = most.iter().chain(rest).fold(0.0_f32, |a, b| a.max(*b));
    (least, most)
}

/// Writes one panel's values of row `i` of a tile of `side_by_side` rows.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn write(
    tile: &mut [[u8; GROUP]],
    [panel, groups, side_by_side, i]: [usize; 4],
    values: &[f32; COLUMNS],
    scale: Scale,
    fine: bool,
) {
    let by = if scale.scale > 0.0 {
        1.0 / scale.scale
    } else {
        0.0
    };
    let mut steps = [0_u32; COLUMNS];
    for (step, value) in steps.iter_mut().zip(values) {
        *step = ((value - scale.least) * by + ROUND).to_bits();
    }
    let from = panel * (COLUMNS / GROUP);
    let end = groups.min(from + COLUMNS / GROUP);
    let mut put = |from: usize, end: usize, steps: [u8; COLUMNS]| {
        let places = tile[from * side_by_side..end * side_by_side].chunks_exact_mut(side_by_side);
        for (to, group) in places.zip(steps.as_chunks::<GROUP>().0) {
            to[i] = *group;
        }
    };
    if fine {
        put(from, end, steps.map(|step| (step >> 7 & 127) as u8));
        put(groups + from, groups + end, steps.map(|step| (step & 127) as u8));
    } else {
        put(from, end, steps.map(|step| step as u8));
    }
}
