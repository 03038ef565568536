//! Seven-bit steps of what a depthwise convolution gave.

use super::vector::Cell;
use crate::int8::product::{GROUP, LANES, LARGEST, ROWS, Scale, Steps};

/// Rounds pixels of `width` channels, none of them negative. `cells` are panel after panel, pixel after
/// pixel; `most` has the largest value of each pixel, by lane.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(super) fn round(cells: &[Cell], most: &[[f32; LANES]], width: usize, to: &mut Steps) {
    let pixels = most.len();
    let groups = width.div_ceil(GROUP);
    to.scales.clear();
    to.values.resize(pixels * groups, [0; GROUP]);
    for most in most {
        let most = most.iter().fold(0.0_f32, |a, b| a.max(*b));
        to.scales.push(Scale {
            scale: most / LARGEST,
            least: 0.0,
        });
    }
    for (panel, cells) in cells.chunks_exact(pixels).enumerate() {
        let from = panel * (Cell::default().as_flattened().len() / GROUP);
        let tiles = to.values.chunks_mut(ROWS * groups);
        for ((tile, cells), scales) in tiles.zip(cells.chunks(ROWS)).zip(to.scales.chunks(ROWS)) {
            let side_by_side = scales.len();
            for (i, (cell, scale)) in cells.iter().zip(scales).enumerate() {
                let steps = steps(cell, *scale);
                let places = tile[from * side_by_side..].chunks_exact_mut(side_by_side);
                for (to, group) in places.zip(steps.as_chunks::<GROUP>().0) {
                    to[i] = *group;
                }
            }
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn steps(cell: &Cell, scale: Scale) -> [u8; 2 * LANES] {
    // Adding 2^23 rounds to the nearest whole number, whose low bits are the sum's.
    const ROUND: f32 = 8_388_608.0;
    let by = if scale.scale > 0.0 {
        1.0 / scale.scale
    } else {
        0.0
    };
    let mut to = [0; 2 * LANES];
    for (to, value) in to.iter_mut().zip(cell.as_flattened()) {
        *to = (value * by + ROUND).to_bits() as u8;
    }
    to
}
