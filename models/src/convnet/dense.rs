//! The convolution over the picture itself, on floats: a product of patches with the kernels.

use super::vector::{Cell, cells, fma, load, max, min, splat, store};
use crate::candle_graph::{float::Window, ops::Range};

/// Pixels that share a reading of the kernels.
const ROWS: usize = 6;

/// Kernels, bias and the range that results are held to.
pub(super) struct Dense {
    pub(super) outputs: usize,
    window: Window,
    /// Height, width and channels of the picture.
    size: [usize; 3],
    /// Of each panel the weights of every value of a patch.
    kernels: Vec<Vec<Cell>>,
    bias: Vec<Cell>,
    range: Range,
    /// Scales and offsets of a row of the picture; none: it stays as it is.
    rescale: [Vec<f32>; 2],
}

impl Dense {
    /// Takes kernels `[outputs, channels, height, width]`.
    pub(super) fn new(
        window: Window,
        size: [usize; 3],
        weights: &[f32],
        bias: &[f32],
        range: Range,
    ) -> Self {
        let ([height, width], channels) = (window.kernel, size[2]);
        let length = height * width * channels;
        // Patches have channels innermost.
        let of_value: Vec<Vec<Cell>> = (0..length)
            .map(|at| {
                let (pixel, channel) = (at / channels, at % channels);
                let kernels = weights.chunks_exact(length);
                let of_output = kernels.map(|kernel| kernel[channel * height * width + pixel]);
                cells(&of_output.collect::<Vec<f32>>())
            })
            .collect();
        let bias_cells = cells(bias);
        Self {
            outputs: bias.len(),
            window,
            size,
            kernels: (0..bias_cells.len())
                .map(|panel| of_value.iter().map(|cells| cells[panel]).collect())
                .collect(),
            bias: bias_cells,
            range,
            rescale: Default::default(),
        }
    }

    /// Takes a scale and an offset of every channel, which the picture is to be rescaled with.
    pub(super) fn rescale(&mut self, by: &[[f32; 2]]) {
        if by.iter().all(|by| *by == [1.0, 0.0]) {
            return;
        }
        let length = self.size[1] * self.size[2];
        let of_row = || by.iter().cycle().take(length);
        self.rescale = [
            of_row().map(|[scale, _]| *scale).collect(),
            of_row().map(|[_, offset]| *offset).collect(),
        ];
    }

    /// Values of a padded row of the picture.
    fn stride(&self) -> usize {
        (self.window.pads[1] + self.size[1] + self.window.pads[3]) * self.size[2]
    }

    /// Width of the result; the size was looked at when the network was loaded.
    fn across(&self) -> usize {
        let [height, width, _] = self.size;
        self.window.output([height, width]).map_or(0, |[_, w]| w)
    }

    /// Rescaled rows of the picture, padded, that rows `rows` of the result are made of.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn patches(&self, picture: &[f32], rows: [usize; 2], to: &mut Vec<f32>) {
        let [height, width, channels] = self.size;
        let [top, left, ..] = self.window.pads;
        let stride = self.stride();
        let from = rows[0] * self.window.strides[0];
        let count = match rows[1].saturating_sub(rows[0]) {
            0 => 0,
            more => (more - 1) * self.window.strides[0] + self.window.kernel[0],
        };
        to.clear();
        to.resize(count * stride, 0.0);
        for (row, to) in (from..).zip(to.chunks_exact_mut(stride)) {
            let Some(row) = row.checked_sub(top).filter(|row| *row < height) else {
                continue;
            };
            let length = width * channels;
            let to = &mut to[left * channels..][..length];
            let from = &picture[row * length..][..length];
            let [scales, offsets] = &self.rescale;
            if scales.is_empty() {
                to.copy_from_slice(from);
            }
            let by = scales.iter().zip(offsets);
            for ((to, from), (scale, offset)) in to.iter_mut().zip(from).zip(by) {
                *to = from * scale + offset;
            }
        }
    }

    /// One panel of the rows of the result that `rows` of the picture are for; pixel `i` goes to cell
    /// `places[i]` of `out`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn fill(&self, panel: usize, rows: &[f32], places: &[u32], out: &mut [Cell]) {
        let (stride, [height, width], across) = (self.stride(), self.window.kernel, self.across());
        let length = width * self.size[2];
        let step = self.window.strides[1] * self.size[2];
        let (kernel, bias) = (&self.kernels[panel], &self.bias[panel]);
        let (low, high) = (splat(self.range.low), splat(self.range.high));
        for (y, places) in places.chunks(across).enumerate() {
            let rows = &rows[y * self.window.strides[0] * stride..][..height * stride];
            for (tile, places) in places.chunks(ROWS).enumerate() {
                let mut sums = [[load(&bias[0]), load(&bias[1])]; ROWS];
                let of_rows = rows.chunks_exact(stride).zip(kernel.chunks_exact(length));
                for (row, weights) in of_rows {
                    let mut x: [&[f32]; ROWS] = [&[]; ROWS];
                    for (i, x) in x.iter_mut().enumerate() {
                        // Of missing pixels the last one stands in.
                        let pixel = tile * ROWS + i.min(places.len() - 1);
                        *x = &row[pixel * step..][..length];
                    }
                    for (at, weights) in weights[..length].iter().enumerate() {
                        let weights = [load(&weights[0]), load(&weights[1])];
                        for (sums, x) in sums.iter_mut().zip(&x) {
                            let value = splat(x[at]);
                            sums[0] = fma(value, weights[0], sums[0]);
                            sums[1] = fma(value, weights[1], sums[1]);
                        }
                    }
                }
                for (place, sums) in places.iter().zip(sums) {
                    let out = &mut out[*place as usize];
                    store(min(max(sums[0], low), high), &mut out[0]);
                    store(min(max(sums[1], low), high), &mut out[1]);
                }
            }
        }
    }
}
