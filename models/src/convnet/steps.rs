//! Pixels as whole numbers of seven bits.

use super::vector::Cell;
use crate::int8::product::{COLUMNS, GROUP, LANES, LARGEST, ROWS, Scale, Steps};

/// Adding 2^23 rounds to the nearest whole number, whose low bits are the sum's.
const ROUND: f32 = 8_388_608.0;

/// Rounds rows of `width` floats by their own ranges.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_rows(rows: &[f32], width: usize, to: &mut Steps) {
    let groups = start(rows.len() / width, width, to);
    for row in rows.chunks_exact(width) {
        let (least, most) = range(row);
        to.scales.push(Scale {
            scale: (most - least) / LARGEST,
            least,
        });
    }
    let tiles = to.values.chunks_mut(ROWS * groups);
    let rows = rows.chunks(ROWS * width).zip(to.scales.chunks(ROWS));
    for (tile, (rows, scales)) in tiles.zip(rows) {
        for (i, (row, scale)) in rows.chunks_exact(width).zip(scales).enumerate() {
            let (whole, rest) = row.as_chunks::<COLUMNS>();
            for (panel, values) in whole.iter().enumerate() {
                write(tile, [panel, groups, scales.len(), i], values, *scale);
            }
            if !rest.is_empty() {
                // Missing columns have no weight.
                let mut values = [scale.least; COLUMNS];
                values[..rest.len()].copy_from_slice(rest);
                let at = [whole.len(), groups, scales.len(), i];
                write(tile, at, &values, *scale);
            }
        }
    }
}

/// Rounds pixels of `width` channels, none of them negative. `cells` are panel after panel, pixel after
/// pixel; `most` has the largest value of each pixel, by lane.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_cells(cells: &[Cell], most: &[[f32; LANES]], width: usize, to: &mut Steps) {
    let groups = start(most.len(), width, to);
    for most in most {
        let most = most.iter().fold(0.0_f32, |a, b| a.max(*b));
        to.scales.push(Scale {
            scale: most / LARGEST,
            least: 0.0,
        });
    }
    for (panel, cells) in cells.chunks_exact(most.len()).enumerate() {
        let tiles = to.values.chunks_mut(ROWS * groups);
        let pixels = cells.chunks(ROWS).zip(to.scales.chunks(ROWS));
        for (tile, (cells, scales)) in tiles.zip(pixels) {
            for (i, (cell, scale)) in cells.iter().zip(scales).enumerate() {
                let at = [panel, groups, scales.len(), i];
                // A cell has as many values as a panel has columns.
                let values: [f32; COLUMNS] = pulp::cast(*cell);
                write(tile, at, &values, *scale);
            }
        }
    }
}

/// Makes room; groups of a row.
fn start(rows: usize, width: usize, to: &mut Steps) -> usize {
    let groups = width.div_ceil(GROUP);
    to.scales.clear();
    to.values.resize(rows * groups, [0; GROUP]);
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
) {
    let by = if scale.scale > 0.0 {
        1.0 / scale.scale
    } else {
        0.0
    };
    let mut steps = [0; COLUMNS];
    for (step, value) in steps.iter_mut().zip(values) {
        *step = ((value - scale.least) * by + ROUND).to_bits() as u8;
    }
    let from = panel * (COLUMNS / GROUP);
    let end = groups.min(from + COLUMNS / GROUP);
    let places = tile[from * side_by_side..end * side_by_side].chunks_exact_mut(side_by_side);
    for (to, group) in places.zip(steps.as_chunks::<GROUP>().0) {
        to[i] = *group;
    }
}
