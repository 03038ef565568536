//! Convolutions of one pixel: products of pixels with an eight-bit matrix.

use super::steps;
use super::vector::{Cell, V, add, cells, fma, load, max, min, mul, of_sums, splat, store};
use crate::candle_graph::ops::Range;
use crate::int8::{
    product::{
        COLUMNS, GROUP, LANES, Panel, Panels, ROWS, Scale, Steps, Sums, caller, half_tile, tile,
    },
    quantize_again,
};

/// Sums of a panel's columns become numbers with these.
struct Columns {
    scale: Cell,
    total: Cell,
    bias: Cell,
}

/// Matrix, bias and the range that results are held to.
pub(super) struct Pointwise {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    panels: Panels,
    columns: Vec<Columns>,
    range: Range,
}

impl Pointwise {
    /// Takes weights `[outputs, inputs]`.
    pub(super) fn new(inputs: usize, weights: &[f32], bias: &[f32], range: Range) -> Self {
        let outputs = bias.len();
        let by_input: Vec<f32> = (0..inputs)
            .flat_map(|i| (0..outputs).map(move |o| weights[o * inputs + i]))
            .collect();
        let panels = Panels::new(&quantize_again([inputs, outputs], &by_input));
        let (scales, totals) = panels.columns();
        let of_columns = cells(scales).into_iter().zip(cells(totals));
        let columns = of_columns
            .zip(cells(bias))
            .map(|((scale, total), bias)| Columns { scale, total, bias })
            .collect();
        Self {
            inputs,
            outputs,
            panels,
            columns,
            range,
        }
    }

    /// All pixels of a map.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn run(&self, x: &[f32], out: &mut [f32], room: &mut Steps) {
        steps::of_rows(x, self.inputs, room);
        self.project(room, None, out);
    }

    /// One panel of every pixel's outputs; pixel `i` goes to cell `places[i]` of `out`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn expand(&self, panel: usize, left: &Steps, places: &[u32], out: &mut [Cell]) {
        let job = Job {
            weights: self.panels.panel(panel),
            columns: &self.columns[panel],
            range: self.range,
        };
        let (scales, last) = left.scales.as_chunks::<ROWS>();
        let (places, last_places) = places.as_chunks::<ROWS>();
        let length = ROWS * job.weights.steps.len();
        let (values, rest) = left.values.split_at(scales.len() * length);
        let tiles = values.chunks_exact(length).zip(scales).zip(places);
        for ((values, scales), places) in tiles {
            job.expand(values, scales, places, out);
        }
        // As many pixels at once as are left.
        macro_rules! rest {
            ($n:literal) => {
                job.expand(
                    rest,
                    &last.as_chunks::<$n>().0[0],
                    &last_places.as_chunks::<$n>().0[0],
                    out,
                )
            };
        }
        match last.len() {
            3 => rest!(3),
            2 => rest!(2),
            1 => rest!(1),
            _ => {}
        }
    }

    /// All outputs of every pixel, row by row into `out`, and `plus` added to them.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(super) fn project(&self, left: &Steps, plus: Option<&[f32]>, out: &mut [f32]) {
        for (panel, columns) in self.columns.iter().enumerate() {
            let job = Job {
                weights: self.panels.panel(panel),
                columns,
                range: self.range,
            };
            let from = panel * COLUMNS;
            let to = self.outputs.min(from + COLUMNS);
            let (scales, last) = left.scales.as_chunks::<ROWS>();
            let length = ROWS * job.weights.steps.len();
            let (values, rest) = left.values.split_at(scales.len() * length);
            let mut at = from;
            for (values, scales) in values.chunks_exact(length).zip(scales) {
                job.project(values, scales, self.outputs, at, to - from, plus, out);
                at += ROWS * self.outputs;
            }
            macro_rules! rest {
                ($n:literal) => {
                    job.project(
                        rest,
                        &last.as_chunks::<$n>().0[0],
                        self.outputs,
                        at,
                        to - from,
                        plus,
                        out,
                    )
                };
            }
            match last.len() {
                3 => rest!(3),
                2 => rest!(2),
                1 => rest!(1),
                _ => {}
            }
        }
    }
}

/// One panel's product.
struct Job<'a> {
    weights: Panel<'a>,
    columns: &'a Columns,
    range: Range,
}

impl Job<'_> {
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn expand<const N: usize>(
        &self,
        values: &[[u8; GROUP]],
        scales: &[Scale; N],
        places: &[u32; N],
        out: &mut [Cell],
    ) {
        let mut sums = [Sums::default(); N];
        tile::<N, { caller::EXPAND }>(values, self.weights, &mut sums);
        for ((sums, scale), place) in sums.iter().zip(scales).zip(places) {
            let out = &mut out[*place as usize];
            store(self.finish::<0>(sums, *scale), &mut out[0]);
            store(self.finish::<1>(sums, *scale), &mut out[1]);
        }
    }

    /// Pixel `i` goes to `out[at + i · stride..]`.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "the inner part of one loop")]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn project<const N: usize>(
        &self,
        values: &[[u8; GROUP]],
        scales: &[Scale; N],
        stride: usize,
        mut at: usize,
        width: usize,
        plus: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let mut sums = [Sums::default(); N];
        if width > LANES {
            tile::<N, { caller::PROJECT }>(values, self.weights, &mut sums);
        } else {
            half_tile::<N, { caller::PROJECT }>(values, self.weights, &mut sums);
        }
        for (sums, scale) in sums.iter().zip(scales) {
            let out = &mut out[at..at + width];
            // No closure here: what it calls could not be inlined.
            let plus = match plus {
                Some(plus) => &plus[at..at + width],
                None => &[],
            };
            put(self.finish::<0>(sums, *scale), 0, plus, out);
            if width > LANES {
                put(self.finish::<1>(sums, *scale), LANES, plus, out);
            }
            at += stride;
        }
    }

    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    fn finish<const HALF: usize>(&self, sums: &Sums, row: Scale) -> V {
        let columns = self.columns;
        let least = mul(load(&columns.total[HALF]), splat(row.least));
        let sum = fma(of_sums(&sums[HALF]), splat(row.scale), least);
        let value = fma(sum, load(&columns.scale[HALF]), load(&columns.bias[HALF]));
        let value = max(value, splat(self.range.low));
        min(value, splat(self.range.high))
    }
}

/// Writes eight numbers from `from` on, or as many as there is room for; `plus` may be empty.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn put(value: V, from: usize, plus: &[f32], out: &mut [f32]) {
    let out = &mut out[from..];
    let plus = plus.get(from..).unwrap_or_default();
    if let Some(out) = out.first_chunk_mut::<LANES>() {
        match plus.first_chunk::<LANES>() {
            Some(plus) => store(add(value, load(plus)), out),
            None => store(value, out),
        }
    } else {
        let mut last = [0.0; LANES];
        store(value, &mut last);
        put_last(&last, plus, out);
    }
}

/// As many numbers as there is room for.
#[cold]
#[inline(never)]
fn put_last(values: &[f32; LANES], plus: &[f32], out: &mut [f32]) {
    for (i, (out, value)) in out.iter_mut().zip(values).enumerate() {
        *out = value + plus.get(i).copied().unwrap_or_default();
    }
}
