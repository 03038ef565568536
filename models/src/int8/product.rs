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
pub(crate) use avx2::tile;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::tile;

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
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi16, _mm256_add_epi32, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    };

    use super::{GROUP, Panel, Sums, Weights};

    /// Sums of `N` rows over the columns of a panel.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn tile<const N: usize, const CALLER: u8>(
        left: &[[u8; GROUP]],
        panel: Panel<'_>,
        to: &mut [Sums; N],
    ) {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); 2]; N];
        let (mut left, mut steps) = (left.as_chunks::<N>().0, panel.steps);
        for run in panel.runs {
            let (rows, rest) = left.split_at(4 * run.fours);
            let (weights, rest_of_steps) = steps.split_at(4 * run.fours);
            // Four groups of both halves of a panel are more than the registers hold.
            fours::<N, 0, CALLER>(rows, weights, &mut sums);
            fours::<N, 1, CALLER>(rows, weights, &mut sums);
            let (rows, rest) = rest.split_at(2 * run.pairs);
            let (weights, rest_of_steps) = rest_of_steps.split_at(2 * run.pairs);
            let pairs = rows.as_chunks::<2>().0.iter();
            for ([first, second], weights) in pairs.zip(weights.as_chunks::<2>().0) {
                prefetch(&weights[0]);
                prefetch(&weights[1]);
                let weights = [
                    [vector(weights[0][0]), vector(weights[0][1])],
                    [vector(weights[1][0]), vector(weights[1][1])],
                ];
                for (sums, (first, second)) in sums.iter_mut().zip(first.iter().zip(second)) {
                    let first = _mm256_set1_epi32(pulp::cast(*first));
                    let second = _mm256_set1_epi32(pulp::cast(*second));
                    for (half, sum) in sums.iter_mut().enumerate() {
                        let pairs = _mm256_add_epi16(
                            _mm256_maddubs_epi16(first, weights[0][half]),
                            _mm256_maddubs_epi16(second, weights[1][half]),
                        );
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            let (rows, rest) = rest.split_at(run.single);
            let (weights, rest_of_steps) = rest_of_steps.split_at(run.single);
            for (groups, weights) in rows.iter().zip(weights) {
                prefetch(weights);
                let weights = [vector(weights[0]), vector(weights[1])];
                for (sums, group) in sums.iter_mut().zip(groups) {
                    let group = _mm256_set1_epi32(pulp::cast(*group));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        let pairs = _mm256_maddubs_epi16(group, weights);
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            (left, steps) = (rest, rest_of_steps);
        }
        for (to, sums) in to.iter_mut().zip(sums) {
            *to = pulp::cast(sums);
        }
    }

    /// Adds what groups that fit four by four give for half of a panel.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fours<const N: usize, const HALF: usize, const CALLER: u8>(
        rows: &[[[u8; GROUP]; N]],
        weights: &[Weights],
        to: &mut [[__m256i; 2]; N],
    ) {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); N];
        for (sum, to) in sums.iter_mut().zip(to.iter()) {
            *sum = to[HALF];
        }
        let fours = rows.as_chunks::<4>().0.iter();
        for (groups, weights) in fours.zip(weights.as_chunks::<4>().0) {
            let mut own = [_mm256_setzero_si256(); 4];
            for (own, weights) in own.iter_mut().zip(weights) {
                if HALF == 0 {
                    prefetch(weights);
                }
                *own = vector(weights[HALF]);
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let mut pairs = _mm256_setzero_si256();
                for (groups, own) in groups.iter().zip(own) {
                    let group = _mm256_set1_epi32(pulp::cast(groups[i]));
                    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(group, own));
                }
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        for (sum, to) in sums.iter().zip(to) {
            to[HALF] = *sum;
        }
    }

    #[inline]
    fn vector(weights: [[i8; GROUP]; super::LANES]) -> __m256i {
        pulp::cast(weights)
    }

    /// Asks for the weights that are read a little later, as they come from far away.
    #[inline]
    #[allow(unsafe_code, reason = "a hint about an address, which is not read")]
    fn prefetch(weights: &Weights) {
        const AHEAD: usize = 32;
        let address = std::ptr::from_ref(weights).wrapping_add(AHEAD);
        // SAFETY: nothing is read, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "calls what is compiled for some processors")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that look random and are the same every time.
    fn numbers(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 20
        }
    }

    fn matrix(inner: usize, columns: usize, steps: Vec<i8>) -> Quantized {
        Quantized {
            shape: [inner, columns],
            steps,
            scales: (0..columns).map(|c| 0.01 + c as f32 * 0.001).collect(),
        }
    }

    fn product(rows: &[f32], matrix: &Quantized, bias: &[f32]) -> Vec<f32> {
        let panels = Panels::new(matrix);
        let [inner, columns] = matrix.shape;
        let mut out = vec![f32::NAN; rows.len() / inner * columns];
        assert!(is_supported(), "tests need AVX2 and FMA");
        // SAFETY: the processor has the instructions.
        unsafe { panels.multiply(&Steps::new(rows, inner), bias, &mut out) };
        out
    }

    proptest! {
        #[test]
        fn the_kernel_is_the_product_of_floats_but_for_rounding(
            (rows, inner, columns) in (1_usize..13, 1_usize..70, 1_usize..60),
            seed in any::<u64>(),
        ) {
            let mut next = numbers(seed);
            let steps = (0..inner * columns).map(|_| next() as i8).collect();
            let left: Vec<f32> = (0..rows * inner)
                .map(|_| (next() % 1_000_000) as f32 / 125_000.0 - 3.0)
                .collect();
            let bias: Vec<f32> = (0..columns).map(|c| c as f32 - 3.0).collect();
            let matrix = matrix(inner, columns, steps);
            let found = product(&left, &matrix, &bias);
            for (row, (left, found)) in left.chunks(inner).zip(found.chunks(columns)).enumerate() {
                let most = left.iter().fold(0.0_f32, |a, b| a.max(*b));
                let least = left.iter().fold(0.0_f32, |a, b| a.min(*b));
                for column in 0..columns {
                    let weight = |k: usize| {
                        f64::from(matrix.steps[k * columns + column])
                            * f64::from(matrix.scales[column])
                    };
                    let wanted: f64 = (0..inner).map(|k| f64::from(left[k]) * weight(k)).sum();
                    let room: f64 = (0..inner).map(|k| weight(k).abs()).sum();
                    // Half a step of the left side for each weight, and the floats' own rounding.
                    let room = room * f64::from(most - least) / 127.0 * 0.5001 + 1e-3;
                    let gap = (f64::from(found[column] - bias[column]) - wanted).abs();
                    prop_assert!(gap <= room, "row {row}, column {column}: {gap} > {room}");
                }
            }
        }

        #[test]
        fn vectors_and_plain_arithmetic_give_the_same_sums(
            rows in 1_usize..20,
            groups in 1_usize..50,
            seed in any::<u64>(),
        ) {
            let mut next = numbers(seed);
            // Some groups are small enough to be summed two by two, at the very edge.
            let mut weight = || match next() % 40 {
                0 => i8::MIN,
                1 => i8::MAX,
                _ => ((next() % 130) as i16 - 65) as i8,
            };
            let steps: Vec<Weights> = (0..groups)
                .map(|_| [(); 2].map(|()| [(); LANES].map(|()| [(); GROUP].map(|()| weight()))))
                .collect();
            let mut next = numbers(seed ^ 7);
            let left: Vec<[u8; GROUP]> = (0..rows * groups)
                .map(|_| [(); GROUP].map(|()| if next().is_multiple_of(5) { 127 } else { next() as u8 % 128 }))
                .collect();
            let mut found = vec![Sums::default(); rows];
            assert!(is_supported(), "tests need AVX2 and FMA");
            let runs = runs(&steps);
            let panel = Panel { steps: &steps, runs: &runs };
            // SAFETY: the processor has the instructions.
            unsafe { sum_panel(panel, &left, &mut found) };
            let mut from = 0;
            while from < rows {
                let tile = ROWS.min(rows - from);
                let groups = &left[from * groups..(from + tile) * groups];
                for i in 0..tile {
                    let row: Vec<[u8; GROUP]> = groups.chunks(tile).map(|all| all[i]).collect();
                    let mut wanted = [Sums::default()];
                    portable::tile::<_, { caller::PRODUCT }>(&row, panel, &mut wanted);
                    prop_assert_eq!(wanted[0], found[from + i]);
                }
                from += tile;
            }
        }
    }

    #[test]
    fn the_largest_numbers_do_not_saturate() {
        for inner in [1, 2, 3, 4, 384, 1536, 100_000] {
            let matrix = matrix(inner, 2, [i8::MIN, i8::MAX].repeat(inner));
            let found = product(&vec![7.0; inner], &matrix, &[0.0; 2]);
            let wanted = 7.0 * inner as f32;
            assert!((found[0] / (wanted * -128.0 * 0.01) - 1.0).abs() < 1e-5);
            assert!((found[1] / (wanted * 127.0 * 0.011) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn a_row_of_zeros_gives_the_bias() {
        let matrix = matrix(3, 2, vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(product(&[0.0; 3], &matrix, &[0.5, -1.0]), [0.5, -1.0]);
    }
}
