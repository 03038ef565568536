//! Pixels as whole numbers of seven bits.

use super::vector::{Cell, V, largest, load, max, min, mul, splat, steps};
use crate::int8::product::{GROUP, LANES, LARGEST, ROWS, Scale, Steps};

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
        let mut tile = Tile::new(tile, groups, scales);
        // Of missing rows the last one stands in.
        let last = scales.len() - 1;
        let mut of_rows: [(&[[f32; LANES]], &[f32]); ROWS] = Default::default();
        for (i, row) in of_rows.iter_mut().enumerate() {
            *row = rows[i.min(last) * width..][..width].as_chunks();
        }
        for half in 0..width / LANES {
            let mut values = [splat(0.0); ROWS];
            for (value, (whole, _)) in values.iter_mut().zip(&of_rows) {
                *value = load(&whole[half]);
            }
            tile.write(half, values);
        }
        if !width.is_multiple_of(LANES) {
            // Missing columns have no weight.
            let mut values = [splat(0.0); ROWS];
            for (value, (_, rest)) in values.iter_mut().zip(&of_rows) {
                let mut padded = [0.0; LANES];
                padded[..rest.len()].copy_from_slice(rest);
                *value = load(&padded);
            }
            tile.write(width / LANES, values);
        }
    }
}

/// Rounds pixels of `width` channels, none of them negative. `cells` are panel after panel, pixel after
/// pixel; `most` has the largest value of each pixel, by lane.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn of_cells(cells: &[Cell], most: &[[f32; LANES]], width: usize, to: &mut Steps) {
    let groups = start(most.len(), width, to);
    for most in most {
        to.scales.push(Scale {
            scale: largest(load(most)).max(0.0) / LARGEST,
            least: 0.0,
        });
    }
    let tiles = to.values.chunks_mut(ROWS * groups);
    for (i, (tile, scales)) in tiles.zip(to.scales.chunks(ROWS)).enumerate() {
        let mut tile = Tile::new(tile, groups, scales);
        for (panel, cells) in cells.chunks_exact(most.len()).enumerate() {
            let cells = &cells[i * ROWS..][..scales.len()];
            tile.write_half::<0>(panel, cells);
            tile.write_half::<1>(panel, cells);
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
    let (mut least, mut most) = (splat(0.0), splat(0.0));
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        let values = load(values);
        least = min(least, values);
        most = max(most, values);
    }
    let least = -largest(mul(least, splat(-1.0)));
    let least = rest.iter().fold(least, |a, b| a.min(*b));
    let most = rest.iter().fold(largest(most), |a, b| a.max(*b));
    (least, most)
}

/// Rows that are rounded side by side.
struct Tile<'a> {
    values: &'a mut [[u8; GROUP]],
    groups: usize,
    /// How many of the rows there are.
    rows: usize,
    least: [V; ROWS],
    by: [V; ROWS],
}

impl<'a> Tile<'a> {
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn new(values: &'a mut [[u8; GROUP]], groups: usize, scales: &[Scale]) -> Self {
        let (mut least, mut by) = ([splat(0.0); ROWS], [splat(0.0); ROWS]);
        for (scale, (least, by)) in scales.iter().zip(least.iter_mut().zip(&mut by)) {
            *least = splat(scale.least);
            if scale.scale > 0.0 {
                *by = splat(1.0 / scale.scale);
            }
        }
        Self {
            values,
            groups,
            rows: scales.len(),
            least,
            by,
        }
    }

    /// Half of the columns of a panel; of missing rows the last one stands in.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn write_half<const HALF: usize>(&mut self, panel: usize, cells: &[Cell]) {
        let mut values = [splat(0.0); ROWS];
        for (i, value) in values.iter_mut().enumerate() {
            *value = load(&cells[i.min(cells.len() - 1)][HALF]);
        }
        self.write(2 * panel + HALF, values);
    }

    /// The columns from `LANES · half` on; groups that a row does not have are left out.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn write(&mut self, half: usize, values: [V; ROWS]) {
        const GROUPS: usize = LANES / GROUP;
        let found = steps(values, &self.least, &self.by);
        let from = half * GROUPS;
        if self.rows == ROWS && from + GROUPS <= self.groups {
            let to = self.values[from * ROWS..].as_chunks_mut::<ROWS>().0;
            to[..GROUPS].copy_from_slice(&found);
        } else {
            let to = self.values.chunks_exact_mut(self.rows).skip(from);
            for (to, found) in to.zip(&found) {
                to.copy_from_slice(&found[..self.rows]);
            }
        }
    }
}
