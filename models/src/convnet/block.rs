//! Expand, spread, project: the three convolutions of an inverted residual block (Sandler et al. 2018)
//! in one go.
//!
//! A strip of rows goes through all three before the next one, and of the expanded map only the
//! channels of one panel exist at a time, so that nothing wide leaves the processor's cache. Rows that
//! the next strip needs again are carried over.

use super::dense::Dense;
use super::depthwise::{Depthwise, SIDE};
use super::pointwise::Pointwise;
use super::steps;
use super::vector::Cell;
use crate::int8::product::{LANES, Steps};

/// Bytes of one panel of a strip's expanded rows: what the first-level cache holds.
const STRIP: usize = 32 << 10;
/// Bytes of a strip's rows before they are projected: what the second-level cache holds.
const WIDE: usize = 192 << 10;

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

/// The three convolutions.
pub(super) struct Block {
    source: Source,
    depthwise: Depthwise,
    project: Pointwise,
    /// Height and width of the wide map, before and after the depthwise convolution.
    wide: [usize; 2],
    out: [usize; 2],
    /// Rows of the result that are made together.
    pub(super) strip: usize,
}

/// Memory that blocks share.
#[derive(Default)]
pub(super) struct Room {
    pub(super) narrow: Steps,
    patches: Vec<[f32; 6]>,
    places: Vec<u32>,
    /// Padded rows of one panel.
    panel: Vec<Cell>,
    /// The last rows of every panel, for the next strip.
    carried: Vec<Cell>,
    spread: Vec<Cell>,
    most: Vec<[f32; LANES]>,
    steps: Steps,
}

impl Block {
    /// `wide` is the size of the map between source and depthwise convolution, `out` the size after
    /// it; numbers of channels fit each other.
    pub(super) fn new(
        source: Source,
        depthwise: Depthwise,
        project: Pointwise,
        wide: [usize; 2],
        out: [usize; 2],
    ) -> Self {
        debug_assert_eq!(source.outputs(), depthwise.channels);
        debug_assert_eq!(project.inputs, depthwise.channels);
        let cell = size_of::<Cell>();
        let panels = depthwise.channels.div_ceil(cell / size_of::<f32>());
        let expanded = STRIP / (wide[1] * cell) / depthwise.window.strides[0];
        let spread = WIDE / (out[1] * panels * cell);
        Self {
            strip: expanded.min(spread).clamp(1, out[0]),
            source,
            depthwise,
            project,
            wide,
            out,
        }
    }

    /// Values of `[height, width, channels]` of the result.
    pub(super) fn size(&self) -> [usize; 3] {
        [self.out[0], self.out[1], self.project.outputs]
    }

    /// Runs the block on `x`, rows of pixels, and adds `plus`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn run(&self, x: &[f32], plus: Option<&[f32]>, out: &mut [f32], room: &mut Room) {
        let [height, width] = self.wide;
        let window = self.depthwise.window;
        let [top, left, _, right] = window.pads;
        let (down, stride) = (window.strides[0], left + width + right);
        let length = self.out[1] * self.project.outputs;
        let panels = self.depthwise.channels.div_ceil(2 * LANES);
        let mut done = 0;
        for from in (0..self.out[0]).step_by(self.strip) {
            let to = (from + self.strip).min(self.out[0]);
            // Rows of the padded map: those of this strip, those that are new, those to be kept.
            let rows = [from * down, (to - 1) * down + SIDE];
            let fresh = [done.max(top).max(rows[0]), rows[1].min(top + height)];
            let fresh = [fresh[0].min(fresh[1]), fresh[1]];
            let old = done.saturating_sub(rows[0]) * stride;
            let kept = (rows[1].saturating_sub(to * down)) * stride;
            done = rows[1];

            self.prepare(x, fresh.map(|row| row - top), room);
            room.places.clear();
            for row in fresh[0] - rows[0]..fresh[1] - rows[0] {
                let first = (row * stride + left) as u32;
                room.places.extend(first..first + width as u32);
            }
            let length_of_panel = (rows[1] - rows[0]) * stride;
            room.panel.clear();
            room.panel.resize(length_of_panel, Cell::default());
            grow(&mut room.carried, panels * SIDE * stride);
            let pixels = (to - from) * self.out[1];
            grow(&mut room.spread, panels * pixels);
            room.most.clear();
            room.most.resize(pixels, [0.0; LANES]);
            for panel in 0..panels {
                let carried = &mut room.carried[panel * (SIDE * stride)..];
                room.panel[..old].copy_from_slice(&carried[..old]);
                match &self.source {
                    Source::Dense(dense) => {
                        dense.fill(panel, &room.patches, &room.places, &mut room.panel);
                    }
                    Source::Expand(expand) => {
                        expand.expand(panel, &room.narrow, &room.places, &mut room.panel);
                    }
                }
                carried[..kept].copy_from_slice(&room.panel[length_of_panel - kept..]);
                let spread = &mut room.spread[panel * pixels..][..pixels];
                self.depthwise.run(
                    panel,
                    (&room.panel, stride),
                    (spread, self.out[1]),
                    &mut room.most,
                );
            }
            steps::of_cells(
                &room.spread[..panels * pixels],
                &room.most,
                self.depthwise.channels,
                &mut room.steps,
            );
            let strip = from * length..to * length;
            let plus = plus.map(|plus| &plus[strip.clone()]);
            self.project.project(&room.steps, plus, &mut out[strip]);
        }
    }

    /// What the source needs for rows `from..to` of the wide map.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn prepare(&self, x: &[f32], rows: [usize; 2], room: &mut Room) {
        match &self.source {
            Source::Dense(dense) => dense.patches(x, rows, &mut room.patches),
            Source::Expand(expand) => {
                let length = self.wide[1] * expand.inputs;
                let x = &x[rows[0] * length..rows[1] * length];
                steps::of_rows(x, expand.inputs, &mut room.narrow);
            }
        }
    }
}

/// At least `count` cells; what is in them is written before it is read.
fn grow(cells: &mut Vec<Cell>, count: usize) {
    if cells.len() < count {
        cells.resize(count, Cell::default());
    }
}
