//! The product of a float matrix with an eight-bit one, exact in whole numbers.
//!
//! A row of the left matrix becomes seven-bit steps between its own smallest and largest value. A pair of
//! products of seven and eight bits stays within sixteen, so that `vpmaddubsw`, the densest product that
//! processors without VNNI have, never saturates: sums are exact, and the same on every processor. With
//! eight bits on both sides it would saturate, and sums in more bits cost a third more instructions.
//!
//! Most products may even add up in sixteen bits: where the weights of a column are small enough, whatever
//! the steps are, one widening does for two or four of them ([`Run`]).
//!
//! The right matrix is kept in panels of [`COLUMNS`] columns, four rows side by side, so that the kernel
//! reads it from front to back.
//!
//! Functions that compute are compiled for the instructions that [`is_supported`] looks for; whoever
//! calls the first of them has looked.

use super::Quantized;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::{half_tile, tile};
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::{half_tile, tile};

/// Columns of a panel: two vectors of eight sums.
pub(crate) const COLUMNS: usize = 16;
/// Rows of the left matrix that share a reading of the panel.
pub(crate) const ROWS: usize = 4;
/// Rows of the right matrix that one instruction takes.
pub(crate) const GROUP: usize = 4;
/// The largest step of the left side.
pub(crate) const LARGEST: f32 = 127.0;
/// Columns of a vector.
pub(crate) const LANES: usize = 8;

/// Four rows of a panel: for each column its four values.
pub(crate) type Weights = [[[i8; GROUP]; LANES]; COLUMNS / LANES];
/// Sums of one row over the columns of a panel.
pub(crate) type Sums = [[i32; LANES]; COLUMNS / LANES];

/// Groups of a panel that follow each other: first those whose products fit sixteen bits four by four,
/// then those that do two by two, then those that are summed one by one.
#[derive(Clone, Copy, Default)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only vectors need to know")
)]
pub(crate) struct Run {
    fours: usize,
    pairs: usize,
    single: usize,
}

/// Who computes a tile. Each has a copy of the kernel, which the compiler then builds into the caller:
/// for few groups a call costs as much as the sums.
pub(crate) mod caller {
    pub(crate) const PRODUCT: u8 = 0;
    pub(crate) const EXPAND: u8 = 1;
    pub(crate) const PROJECT: u8 = 2;
}

/// One panel.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only vectors need to know")
)]
pub(crate) struct Panel<'a> {
    /// Group after group.
    pub(crate) steps: &'a [Weights],
    runs: &'a [Run],
}

/// A matrix `[inner, columns]` in panels, with the value of one step of each column.
pub(crate) struct Panels {
    inner: usize,
    columns: usize,
    /// Panel after panel, group after group; missing rows and columns are zero.
    steps: Vec<Weights>,
    /// Of each panel.
    runs: Vec<Vec<Run>>,
    scales: Vec<f32>,
    /// Sum of each column's steps.
    totals: Vec<f32>,
}

/// How a row's steps become numbers: `value = step · scale + least`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scale {
    pub(crate) scale: f32,
    pub(crate) least: f32,
}

/// Rows of floats as whole numbers of seven bits.
#[derive(Default)]
pub(crate) struct Steps {
    /// Tiles of up to [`ROWS`] rows, group after group: the same group of every row side by side.
    pub(crate) values: Vec<[u8; GROUP]>,
    pub(crate) scales: Vec<Scale>,
}

impl Steps {
    /// Takes rows of `width` floats, which are finite.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(crate) fn new(rows: &[f32], width: usize) -> Self {
        let (count, groups) = (rows.len() / width, width.div_ceil(GROUP));
        let mut values = vec![[0; GROUP]; count * groups];
        let mut scales = Vec::with_capacity(count);
        let mut own = vec![[0; GROUP]; groups];
        let tiles = rows.chunks(ROWS * width);
        for (tile, rows) in values.chunks_mut(ROWS * groups).zip(tiles) {
            let side_by_side = rows.len() / width;
            for (i, row) in rows.chunks_exact(width).enumerate() {
                scales.push(quantize(row, own.as_flattened_mut()));
                for (to, group) in tile.chunks_exact_mut(side_by_side).zip(&own) {
                    to[i] = *group;
                }
            }
        }
        Self { values, scales }
    }
}

/// Steps of one row.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn quantize(row: &[f32], to: &mut [u8]) -> Scale {
    // Adding 2^23 rounds to the nearest whole number, whose low bits are the sum's.
    const ROUND: f32 = 8_388_608.0;
    const SIDE_BY_SIDE: usize = 16;
    let (mut least, mut most) = ([0.0_f32; SIDE_BY_SIDE], [0.0_f32; SIDE_BY_SIDE]);
    let (whole, rest) = row.as_chunks::<SIDE_BY_SIDE>();
    for values in whole {
        for ((least, most), value) in least.iter_mut().zip(&mut most).zip(values) {
            *least = least.min(*value);
            *most = most.max(*value);
        }
    }
    let least = least.iter().chain(rest).fold(0.0_f32, |a, b| a.min(*b));
    let most = most.iter().chain(rest).fold(0.0_f32, |a, b| a.max(*b));
    let range = most - least;
    let by = if range > 0.0 { LARGEST / range } else { 0.0 };
    for (to, value) in to.iter_mut().zip(row) {
        *to = ((value - least) * by + ROUND).to_bits() as u8;
    }
    Scale {
        scale: range / LARGEST,
        least,
    }
}

impl Panels {
    /// Takes a matrix with a scale a column.
    pub(crate) fn new(matrix: &Quantized) -> Self {
        let [inner, columns] = matrix.shape;
        let groups = inner.div_ceil(GROUP);
        let at = |row: usize, column: usize| {
            if row < inner && column < columns {
                matrix.steps[row * columns + column]
            } else {
                0
            }
        };
        let steps: Vec<Weights> = (0..columns.div_ceil(COLUMNS))
            .flat_map(|panel| (0..groups).map(move |group| (panel * COLUMNS, group * GROUP)))
            .map(|(column, row)| {
                std::array::from_fn(|vector| {
                    std::array::from_fn(|lane| {
                        std::array::from_fn(|i| at(row + i, column + vector * LANES + lane))
                    })
                })
            })
            .collect();
        let total = |column| {
            (0..inner)
                .map(|row| i32::from(at(row, column)))
                .sum::<i32>()
        };
        Self {
            inner,
            columns,
            runs: steps.chunks(groups.max(1)).map(runs).collect(),
            steps,
            scales: matrix.scales.clone(),
            totals: (0..columns).map(|column| total(column) as f32).collect(),
        }
    }

    /// The weights of one panel.
    pub(crate) fn panel(&self, index: usize) -> Panel<'_> {
        let groups = self.inner.div_ceil(GROUP);
        Panel {
            steps: &self.steps[index * groups..][..groups],
            runs: &self.runs[index],
        }
    }

    /// Of each column: the value of one step, and the sum of its steps.
    pub(crate) fn columns(&self) -> (&[f32], &[f32]) {
        (&self.scales, &self.totals)
    }

    /// `left · self + bias`, row by row into `out`.
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
    pub(crate) fn multiply(&self, left: &Steps, bias: &[f32], out: &mut [f32]) {
        let groups = self.inner.div_ceil(GROUP);
        debug_assert_eq!(left.values.len(), left.scales.len() * groups);
        debug_assert_eq!(out.len(), left.scales.len() * self.columns);
        let mut sums = vec![Sums::default(); left.scales.len()];
        for panel in 0..self.runs.len() {
            sum_panel(self.panel(panel), &left.values, &mut sums);
            let columns = panel * COLUMNS..self.columns.min((panel + 1) * COLUMNS);
            let scales = &self.scales[columns.clone()];
            let totals = &self.totals[columns.clone()];
            let bias = &bias[columns.clone()];
            let rows = sums.iter().zip(&left.scales);
            for ((sums, row), out) in rows.zip(out.chunks_exact_mut(self.columns)) {
                let out = &mut out[columns.clone()];
                let of_columns = scales.iter().zip(totals).zip(bias);
                let sums = sums.as_flattened();
                for ((out, sum), ((scale, total), bias)) in out.iter_mut().zip(sums).zip(of_columns)
                {
                    *out = (*sum as f32 * row.scale + total * row.least) * scale + bias;
                }
            }
        }
    }
}

/// How the groups of a panel are summed.
fn runs(steps: &[Weights]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut rest = steps;
    while !rest.is_empty() {
        let mut run = Run {
            fours: take::<4>(&mut rest),
            ..Run::default()
        };
        // Not so many that the next four would be torn apart.
        while run.pairs == 0 || !rest.first_chunk::<4>().is_some_and(fit) {
            match rest.split_first_chunk::<2>() {
                Some((first, others)) if fit(first) => {
                    run.pairs += 1;
                    rest = others;
                }
                _ => break,
            }
        }
        while !rest.first_chunk::<2>().is_some_and(fit) {
            let Some((_, others)) = rest.split_first() else {
                break;
            };
            run.single += 1;
            rest = others;
        }
        runs.push(run);
    }
    runs
}

/// How often `N` groups at the beginning fit, which are taken away.
fn take<const N: usize>(rest: &mut &[Weights]) -> usize {
    let mut count = 0;
    while let Some((first, others)) = rest.split_first_chunk::<N>()
        && fit(first)
    {
        count += 1;
        *rest = others;
    }
    count
}

/// Whether the products of some groups add up within sixteen bits, whatever the steps are.
fn fit<const N: usize>(groups: &[Weights; N]) -> bool {
    const MOST: i32 = i16::MAX as i32 / LARGEST as i32;
    (0..COLUMNS).all(|column| {
        (0..GROUP).step_by(2).all(|i| {
            let (mut positive, mut negative) = (0, 0);
            for group in groups {
                for weight in &group.as_flattened()[column][i..i + 2] {
                    positive += i32::from(*weight).max(0);
                    negative += i32::from(*weight).min(0);
                }
            }
            positive <= MOST && negative >= -MOST
        })
    })
}

/// Sums of every row of `left` over one panel.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn sum_panel(panel: Panel<'_>, left: &[[u8; GROUP]], sums: &mut [Sums]) {
    let groups = panel.steps.len();
    let (tiles, rest) = sums.as_chunks_mut::<ROWS>();
    let (whole, left) = left.split_at(tiles.len() * ROWS * groups);
    for (sums, rows) in tiles.iter_mut().zip(whole.chunks_exact(ROWS * groups)) {
        tile::<_, { caller::PRODUCT }>(rows, panel, sums);
    }
    // As many rows at once as are left.
    match rest.len() {
        3 => tile::<_, { caller::PRODUCT }>(left, panel, &mut rest.as_chunks_mut::<3>().0[0]),
        2 => tile::<_, { caller::PRODUCT }>(left, panel, &mut rest.as_chunks_mut::<2>().0[0]),
        1 => tile::<_, { caller::PRODUCT }>(left, panel, &mut rest.as_chunks_mut::<1>().0[0]),
        _ => {}
    }
}

/// Whether the processor has the instructions that functions here and around are compiled for.
pub(crate) fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        true
    }
}

/// A tile without vector instructions; what the kernel is tested against.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{GROUP, Panel, Sums};

    pub(crate) fn tile<const N: usize, const CALLER: u8>(
        left: &[[u8; GROUP]],
        panel: Panel<'_>,
        to: &mut [Sums; N],
    ) {
        *to = [Sums::default(); N];
        for (groups, weights) in left.as_chunks::<N>().0.iter().zip(panel.steps) {
            for (sums, group) in to.iter_mut().zip(groups) {
                let columns = weights.as_flattened().iter();
                for (sum, weights) in sums.as_flattened_mut().iter_mut().zip(columns) {
                    for (step, weight) in group.iter().zip(weights) {
                        *sum += i32::from(*step) * i32::from(*weight);
                    }
                }
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn half_tile<const N: usize, const CALLER: u8>(
        left: &[[u8; GROUP]],
        panel: Panel<'_>,
        to: &mut [Sums; N],
    ) {
        tile::<N, CALLER>(left, panel, to);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(test)]
#[allow(unsafe_code, reason = "calls what is compiled for some processors")]
mod tests;
