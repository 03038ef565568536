//! Rows of the wide map that are made together.

use super::dense::Dense;
use super::pointwise::Pointwise;
use super::steps;
use super::vector::Cell;
use crate::int8::product::Steps;

/// What the wide map is made of.
pub(super) enum Source {
    /// The picture.
    Dense(Dense),
    /// A narrow map.
    Expand(Pointwise),
}

impl Source {
    /// Channels of the wide map.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.outputs,
            Self::Expand(expand) => expand.outputs,
        }
    }
}

/// The wide map and the ring that holds some of its padded rows.
pub(super) struct Shape {
    /// Height and width of the map.
    pub(super) wide: [usize; 2],
    /// Rows above it and columns before it.
    pub(super) top: usize,
    pub(super) left: usize,
    /// Cells of a padded row.
    pub(super) stride: usize,
    /// Rows in the ring.
    pub(super) rows: usize,
}

/// Rows that one panel after the other is made for.
#[derive(Default)]
pub(super) struct Band {
    /// Rows of the result that they are for.
    pub(super) out: [usize; 2],
    /// New rows of the padded map.
    rows: [usize; 2],
    /// Cells of the ring for the pixels of those that lie on the map.
    places: Vec<u32>,
    patches: Vec<f32>,
    narrow: Steps,
}

impl Band {
    /// Rows `rows` of the padded map, for rows `out` of the result, of the source's `x`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn prepare(
        &mut self,
        source: &Source,
        shape: &Shape,
        x: &[f32],
        rows: [usize; 2],
        out: [usize; 2],
    ) {
        (self.rows, self.out) = (rows, out);
        let [height, width] = shape.wide;
        let on_map = rows.map(|row| row.clamp(shape.top, shape.top + height));
        self.places.clear();
        for row in on_map[0]..on_map[1] {
            let first = (row % shape.rows * shape.stride + shape.left) as u32;
            self.places.extend(first..first + width as u32);
        }
        let rows = on_map.map(|row| row - shape.top);
        match source {
            Source::Dense(dense) => dense.patches(x, rows, &mut self.patches),
            Source::Expand(expand) => {
                let length = width * expand.inputs;
                let x = &x[rows[0] * length..rows[1] * length];
                steps::of_rows(x, expand.inputs, &mut self.narrow);
            }
        }
    }

    /// Writes one panel of the new rows; columns beside the map are left as they are.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn fill(&self, source: &Source, panel: usize, shape: &Shape, ring: &mut [Cell]) {
        let on_map = shape.top..shape.top + shape.wide[0];
        for row in (self.rows[0]..self.rows[1]).filter(|row| !on_map.contains(row)) {
            ring[row % shape.rows * shape.stride..][..shape.stride].fill(Cell::default());
        }
        match source {
            Source::Dense(dense) => dense.fill(panel, &self.patches, &self.places, ring),
            Source::Expand(expand) => expand.expand(panel, &self.narrow, &self.places, ring),
        }
    }
}
