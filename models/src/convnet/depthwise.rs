//! Three by three convolutions of each channel by itself, on floats.

use super::vector::{Cell, V, cells, fma, load, max, min, splat, store};
use crate::candle_graph::{float::Window, ops::Range};
use crate::int8::product::LANES;

/// Pixels of a kernel along one side.
pub(super) const SIDE: usize = 3;
/// Pixels that are computed together: as many as fit the registers beside a row of the kernel. Each is a
/// chain of sums that wait for each other.
const MANY: usize = 8;

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

    /// One panel of a row, of the three padded rows `x`; `most` is raised to the largest values of each
    /// pixel.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn row(
        &self,
        panel: usize,
        x: [&[Cell]; SIDE],
        out: &mut [Cell],
        most: &mut [[f32; LANES]],
    ) {
        let (kernel, bias) = (&self.kernels[panel], &self.bias[panel]);
        if self.window.strides[1] == 1 {
            row::<1, 0>(x, kernel, bias, self.range, out, most);
            row::<1, 1>(x, kernel, bias, self.range, out, most);
        } else {
            row::<2, 0>(x, kernel, bias, self.range, out, most);
            row::<2, 1>(x, kernel, bias, self.range, out, most);
        }
    }

    /// One panel of some rows. `x` has every padded row that is needed, `stride` cells each; `out` has
    /// rows of `width`.
    #[cfg(test)]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn run(
        &self,
        panel: usize,
        (x, stride): (&[Cell], usize),
        (out, width): (&mut [Cell], usize),
        most: &mut [[f32; LANES]],
    ) {
        let rows = out
            .chunks_exact_mut(width)
            .zip(most.chunks_exact_mut(width));
        for (y, (out, most)) in rows.enumerate() {
            let from = y * self.window.strides[0];
            let (x, below) = x[from * stride..].split_at(stride);
            let x = [x, &below[..stride], &below[stride..2 * stride]];
            self.row(panel, x, out, most);
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
    let (whole, rest) = out.as_chunks_mut::<MANY>();
    let (most_of_whole, most_of_rest) = most.as_chunks_mut::<MANY>();
    let done = whole.len() * MANY;
    for (i, (out, most)) in whole.iter_mut().zip(most_of_whole).enumerate() {
        let at = i * MANY * STEP;
        pixels::<STEP, HALF, MANY>(x, at, &weights, bias, [low, high], out, most);
    }
    // As many pixels at once as are left.
    macro_rules! rest {
        ($n:literal) => {
            if let (Some(out), Some(most)) =
                (rest.first_chunk_mut(), most_of_rest.first_chunk_mut())
            {
                let at = done * STEP;
                pixels::<STEP, HALF, $n>(x, at, &weights, bias, [low, high], out, most);
            }
        };
    }
    match rest.len() {
        1 => rest!(1),
        2 => rest!(2),
        3 => rest!(3),
        4 => rest!(4),
        5 => rest!(5),
        6 => rest!(6),
        7 => rest!(7),
        _ => {}
    }
}

/// `N` pixels side by side, which share what they read, from place `at` of the rows on.
#[inline]
#[allow(clippy::too_many_arguments, reason = "the inner part of one loop")]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn pixels<const STEP: usize, const HALF: usize, const N: usize>(
    x: [&[Cell]; SIDE],
    at: usize,
    weights: &[V; SIDE * SIDE],
    bias: V,
    [low, high]: [V; 2],
    out: &mut [Cell; N],
    most: &mut [[f32; LANES]; N],
) {
    let mut sums = [bias; N];
    for (x, weights) in x.iter().zip(weights.as_chunks::<SIDE>().0) {
        let x = &x[at..][..(N - 1) * STEP + SIDE];
        for (column, x) in x.iter().enumerate() {
            let x = load(&x[HALF]);
            for (i, sum) in sums.iter_mut().enumerate() {
                if column >= i * STEP && column < i * STEP + SIDE {
                    *sum = fma(x, weights[column - i * STEP], *sum);
                }
            }
        }
    }
    for i in 0..N {
        let value = min(max(sums[i], low), high);
        store(value, &mut out[i][HALF]);
        store(max(load(&most[i]), value), &mut most[i]);
    }
}
