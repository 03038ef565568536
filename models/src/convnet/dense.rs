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
        }
    }

    fn length(&self) -> usize {
        self.window.kernel.iter().product::<usize>() * self.size[2]
    }

    /// Patches of the outputs in rows `from..to`: the same value of [`ROWS`] patches side by side.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn patches(&self, picture: &[f32], rows: [usize; 2], to: &mut Vec<[f32; ROWS]>) {
        let [height, width, channels] = self.size;
        let [kernel_height, kernel_width] = self.window.kernel;
        let [top, left, ..] = self.window.pads;
        let length = self.length();
        // The size was looked at when the network was loaded.
        let across = self.window.output([height, width]).map_or(0, |[_, w]| w);
        let pixels = (rows[1] - rows[0]) * across;
        to.clear();
        to.resize(pixels.div_ceil(ROWS) * length, [0.0; ROWS]);
        for pixel in 0..pixels {
            let tile = &mut to[pixel / ROWS * length..][..length];
            let lane = pixel % ROWS;
            let y = (rows[0] + pixel / across) * self.window.strides[0];
            let x = pixel % across * self.window.strides[1];
            // Columns of the kernel that lie on the picture.
            let first = left.saturating_sub(x).min(kernel_width);
            let last = (width + left).saturating_sub(x).clamp(first, kernel_width);
            for row in 0..kernel_height {
                let Some(y) = (y + row).checked_sub(top).filter(|y| *y < height) else {
                    continue;
                };
                if first == last {
                    continue;
                }
                let from = (y * width + x + first - left) * channels;
                let values = &picture[from..from + (last - first) * channels];
                let tile = &mut tile[(row * kernel_width + first) * channels..];
                for (to, value) in tile.iter_mut().zip(values) {
                    to[lane] = *value;
                }
            }
        }
    }

    /// One panel of every patch's outputs; patch `i` goes to cell `places[i]` of `out`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn fill(
        &self,
        panel: usize,
        patches: &[[f32; ROWS]],
        places: &[u32],
        out: &mut [Cell],
    ) {
        let (kernel, bias) = (&self.kernels[panel], &self.bias[panel]);
        let (low, high) = (splat(self.range.low), splat(self.range.high));
        let tiles = patches.chunks_exact(kernel.len());
        for (patches, places) in tiles.zip(places.chunks(ROWS)) {
            let mut sums = [[load(&bias[0]), load(&bias[1])]; ROWS];
            for (values, weights) in patches.iter().zip(kernel) {
                let weights = [load(&weights[0]), load(&weights[1])];
                for (sums, value) in sums.iter_mut().zip(values) {
                    let value = splat(*value);
                    sums[0] = fma(value, weights[0], sums[0]);
                    sums[1] = fma(value, weights[1], sums[1]);
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
