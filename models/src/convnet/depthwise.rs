//! Three by three convolutions of each channel by itself, on floats.

use super::vector::{Cell, V, cells, fma, load, max, min, splat, store};
use crate::candle_graph::{float::Window, ops::Range};
use crate::int8::product::LANES;

/// Pixels of a kernel along one side.
pub(super) const SIDE: usize = 3;

/// Kernels, bias and the range that results are held to.
pub(super) struct Depthwise {
    pub(super) channels: usize,
    pub(super) window: Window,
    kernels: Vec<[Cell; SIDE * SIDE]>,
    bias: Vec<Cell>,
    range: Range,
}

impl Depthwise {
    /// Takes kernels `[channels, 3, 3]`; the range does not let negative values through.
    pub(super) fn new(window: Window, weights: &[f32], bias: &[f32], range: Range) -> Self {
        let place = |place: usize| {
            let of_channel = weights
                .chunks_exact(SIDE * SIDE)
                .map(|kernel| kernel[place]);
            cells(&of_channel.collect::<Vec<f32>>())
        };
        let by_place: [Vec<Cell>; SIDE * SIDE] = std::array::from_fn(place);
        let bias_cells = cells(bias);
        Self {
            channels: bias.len(),
            window,
            kernels: (0..bias_cells.len())
                .map(|panel| std::array::from_fn(|place| by_place[place][panel]))
                .collect(),
            bias: bias_cells,
            range,
        }
    }

    /// One panel of some rows. `x` has every padded row that is needed, `stride` cells each; `out` has
    /// rows of `width`. `most` is raised to the largest values of each pixel.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn run(
        &self,
        panel: usize,
        (x, stride): (&[Cell], usize),
        (out, width): (&mut [Cell], usize),
        most: &mut [[f32; LANES]],
    ) {
        let (kernel, bias) = (&self.kernels[panel], &self.bias[panel]);
        let rows = out
            .chunks_exact_mut(width)
            .zip(most.chunks_exact_mut(width));
        for (y, (out, most)) in rows.enumerate() {
            let from = y * self.window.strides[0];
            let x: [&[Cell]; SIDE] = std::array::from_fn(|i| &x[(from + i) * stride..][..stride]);
            if self.window.strides[1] == 1 {
                row::<1, 0>(x, kernel, bias, self.range, out, most);
                row::<1, 1>(x, kernel, bias, self.range, out, most);
            } else {
                row::<2, 0>(x, kernel, bias, self.range, out, most);
                row::<2, 1>(x, kernel, bias, self.range, out, most);
            }
        }
    }
}

/// Half of the channels of one row.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn row<const STEP: usize, const HALF: usize>(
    x: [&[Cell]; SIDE],
    kernel: &[Cell; SIDE * SIDE],
    bias: &Cell,
    range: Range,
    out: &mut [Cell],
    most: &mut [[f32; LANES]],
) {
    let mut weights = [splat(0.0); SIDE * SIDE];
    for (weights, kernel) in weights.iter_mut().zip(kernel) {
        *weights = load(&kernel[HALF]);
    }
    let bias = load(&bias[HALF]);
    let (low, high) = (splat(range.low), splat(range.high));
    for (i, (out, most)) in out.iter_mut().zip(most).enumerate() {
        let mut sum: V = bias;
        for (x, weights) in x.iter().zip(weights.as_chunks::<SIDE>().0) {
            let x = &x[i * STEP..][..SIDE];
            for (x, weights) in x.iter().zip(weights) {
                sum = fma(load(&x[HALF]), *weights, sum);
            }
        }
        let value = min(max(sum, low), high);
        store(value, &mut out[HALF]);
        store(max(load(most), value), most);
    }
}
