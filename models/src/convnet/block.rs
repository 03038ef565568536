//! Expand, spread, project: the three convolutions of an inverted residual block (Sandler et al. 2018)
//! in one go.
//!
//! A strip of rows goes through all three before the next one, and of the expanded map only the
//! channels of one panel exist at a time, and of those only the rows of one band: nothing wide leaves the
//! processor's caches. Rows that the next band or strip needs again are kept.

pub(super) use super::band::Source;
use super::band::{Band, Shape};
use super::depthwise::{Depthwise, SIDE};
use super::pointwise::Pointwise;
use super::steps;
use super::vector::Cell;
use crate::int8::product::{COLUMNS, LANES, ROWS, Steps};

/// Bytes of one panel of the expanded rows that exist together: what the first-level cache holds beside
/// what they are made of.
const RING: usize = 24 << 10;
/// Bytes of a strip's rows before they are projected: what the second-level cache holds.
const WIDE: usize = 192 << 10;

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
    /// Rows of one panel of the result of the depthwise convolution that are made together.
    band: usize,
}

/// Memory that blocks share.
#[derive(Default)]
pub(super) struct Room {
    bands: Vec<Band>,
    /// Padded rows of one panel; row `i` of the map is in place `i` modulo their number.
    ring: Vec<Cell>,
    /// The last rows of every panel, for the next strip.
    carried: Vec<Cell>,
    spread: Vec<Cell>,
    most: Vec<[f32; LANES]>,
    pub(super) steps: Steps,
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
        let panels = depthwise.channels.div_ceil(COLUMNS);
        let strip = (WIDE / (out[1] * panels * cell)).clamp(1, out[0]);
        let window = depthwise.window;
        let stride = window.pads[1] + wide[1] + window.pads[3];
        let rows = (RING / (stride * cell)).max(SIDE);
        Self {
            strip,
            // Pixels are expanded four by four, and a band has whole fours.
            band: if wide[1].is_multiple_of(ROWS) {
                (rows - SIDE) / window.strides[0] + 1
            } else {
                out[0]
            },
            source,
            depthwise,
            project,
            wide,
            out,
        }
    }

    /// Channels and size of its maps.
    pub(super) fn describe(&self) -> String {
        let from = match &self.source {
            Source::Dense(_) => "picture".to_owned(),
            Source::Expand(expand) => expand.inputs.to_string(),
        };
        let (wide, out) = (self.depthwise.channels, self.project.outputs);
        let [height, width] = self.out;
        format!("block {from} > {wide} > {out} of {height}x{width}")
    }

    /// Values of `[height, width, channels]` of the result.
    pub(super) fn size(&self) -> [usize; 3] {
        [self.out[0], self.out[1], self.project.outputs]
    }

    /// Runs the block on `x`, rows of pixels, and adds `plus`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn run(&self, x: &[f32], plus: Option<&[f32]>, out: &mut [f32], room: &mut Room) {
        let window = self.depthwise.window;
        let [top, left, _, right] = window.pads;
        let (down, stride) = (window.strides[0], left + self.wide[1] + right);
        let length = self.out[1] * self.project.outputs;
        let panels = self.depthwise.channels.div_ceil(COLUMNS);
        let band = self.band.min(self.strip).min(self.out[0]);
        let shape = Shape {
            wide: self.wide,
            top,
            left,
            stride,
            rows: (band - 1) * down + SIDE,
        };
        let place = |row: usize| row % shape.rows * stride;
        // What lies beside the map stays zero from here on.
        room.ring.clear();
        room.ring.resize(shape.rows * stride, Cell::default());
        grow(&mut room.carried, panels * SIDE * stride);
        let mut done = 0;
        for from in (0..self.out[0]).step_by(self.strip) {
            let to = (from + self.strip).min(self.out[0]);
            let old = done;
            let mut bands = 0;
            for first in (from..to).step_by(band) {
                let last = (first + band).min(to);
                let rows = [done, (last - 1) * down + SIDE];
                done = rows[1];
                if room.bands.len() == bands {
                    room.bands.push(Band::default());
                }
                room.bands[bands].prepare(&self.source, &shape, x, rows, [first, last]);
                bands += 1;
            }
            let pixels = (to - from) * self.out[1];
            grow(&mut room.spread, panels * pixels);
            room.most.clear();
            room.most.resize(pixels, [0.0; LANES]);
            for panel in 0..panels {
                let carried = &mut room.carried[panel * SIDE * stride..][..SIDE * stride];
                for (row, carried) in (from * down..old).zip(carried.chunks_exact(stride)) {
                    room.ring[place(row)..][..stride].copy_from_slice(carried);
                }
                let spread = &mut room.spread[panel * pixels..][..pixels];
                let spread = spread.chunks_exact_mut(self.out[1]);
                let mut rows = spread.zip(room.most.chunks_exact_mut(self.out[1]));
                for band in &room.bands[..bands] {
                    band.fill(&self.source, panel, &shape, &mut room.ring);
                    for (y, (spread, most)) in (band.out[0]..band.out[1]).zip(&mut rows) {
                        let mut x: [&[Cell]; SIDE] = Default::default();
                        for (i, x) in x.iter_mut().enumerate() {
                            *x = &room.ring[place(y * down + i)..][..stride];
                        }
                        self.depthwise.row(panel, x, spread, most);
                    }
                }
                for (row, carried) in (to * down..done).zip(carried.chunks_exact_mut(stride)) {
                    carried.copy_from_slice(&room.ring[place(row)..][..stride]);
                }
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
}

/// At least `count` cells; what is in them is written before it is read.
fn grow(cells: &mut Vec<Cell>, count: usize) {
    if cells.len() < count {
        cells.resize(count, Cell::default());
    }
}
