//! Trees as tests over all of their splits at once.
//!
//! C. Lucchese et al., "QuickScorer: A Fast Algorithm to Rank Documents with Additive Ensembles of
//! Regression Trees", SIGIR 2015: leaves are numbered from left to right; a split whose test holds
//! rules out the leaves on its left, and the lowest leaf that is left is the one that the row
//! reaches. No step waits for the one before, so several rows go through each test together.

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]

use pulp::{Arch, Simd, WithSimd};

use super::TreeNode;

/// Rows that go through the tests together: four registers of eight, or two of sixteen, so that a
/// test's numbers are fetched once for all of them.
const ROWS: usize = 32;
/// Most leaves of a tree: one bit each.
pub(super) const MOST_LEAVES: usize = 32;

/// A split: rows with a larger value lose the leaves of the bits of `lose`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Test {
    threshold: f32,
    feature: u32,
    lose: u32,
}

/// One tree: the end of its tests among those of all, and its leaves from left to right, zeros
/// past the last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tree {
    tests: u32,
    leaves: [f32; MOST_LEAVES],
}

/// Trees of at most [`MOST_LEAVES`] leaves, as tests and leaf values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TreeTests {
    tests: Vec<Test>,
    trees: Vec<Tree>,
}

impl TreeTests {
    /// Adds a tree given by its own nodes, which were checked. `None`, and no change, when it has
    /// too many leaves.
    pub fn push(&mut self, nodes: &[TreeNode]) -> Option<()> {
        let is_leaf = |at: usize| nodes[at].left as usize == at;
        // From left to right; a split waits until the leaves on its left are numbered.
        let first_test = self.tests.len();
        let (mut leaves, mut number) = ([0.0; MOST_LEAVES], 0);
        let mut stack = vec![(0, None)];
        while let Some((at, begun)) = stack.pop() {
            let node = &nodes[at];
            match begun {
                _ if is_leaf(at) => {
                    let Some(leaf) = leaves.get_mut(number) else {
                        self.tests.truncate(first_test);
                        return None;
                    };
                    *leaf = node.value;
                    number += 1;
                }
                None => {
                    stack.push((at, Some(number)));
                    stack.push((node.left as usize, None));
                }
                Some(from) => {
                    // Bits from..number are the leaves of the left child.
                    let left = bits(number) & !bits(from);
                    self.tests.push(Test {
                        threshold: node.threshold,
                        feature: node.feature,
                        lose: left,
                    });
                    stack.push((node.left as usize + 1, None));
                }
            }
        }
        self.trees.push(Tree {
            tests: self.tests.len() as u32,
            leaves,
        });
        Some(())
    }

    /// Keeps the first `count` trees.
    pub fn truncate(&mut self, count: usize) {
        if count < self.trees.len() {
            self.tests.truncate(self.first_test(count));
            self.trees.truncate(count);
        }
    }

    /// Number of trees.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    fn first_test(&self, tree: usize) -> usize {
        let before = tree
            .checked_sub(1)
            .and_then(|before| self.trees.get(before));
        before.map_or(0, |before| before.tests as usize)
    }

    /// Adds the trees of a range to the score of each row; `rows` holds at least `out.len()` rows
    /// of `width` numbers, and features are below `width`.
    pub fn add(&self, range: std::ops::Range<usize>, width: usize, rows: &[f32], out: &mut [f32]) {
        let mut columns = vec![[0.0_f32; ROWS]; width];
        for (rows, out) in rows.chunks(ROWS * width).zip(out.chunks_mut(ROWS)) {
            for (at, row) in rows.chunks_exact(width).enumerate().take(out.len()) {
                for (column, value) in columns.iter_mut().zip(row) {
                    column[at] = *value;
                }
            }
            Arch::new().dispatch(Block {
                trees: self,
                range: range.clone(),
                columns: &columns,
                out,
            });
        }
    }
}

/// The lowest `count` bits.
fn bits(count: usize) -> u32 {
    if count >= 32 {
        u32::MAX
    } else {
        (1 << count) - 1
    }
}

/// One block of rows through a range of trees.
struct Block<'a> {
    trees: &'a TreeTests,
    range: std::ops::Range<usize>,
    columns: &'a [[f32; ROWS]],
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Rows fill this many registers.
        match ROWS / S::F32_LANES {
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            8 => self.run::<S, 8>(simd),
            _ => self.run::<S, ROWS>(simd),
        }
    }
}

impl Block<'_> {
    /// Runs with rows in `N` registers, which the lanes of the instruction set decide.
    #[inline(always)]
    fn run<S: Simd, const N: usize>(self, simd: S) {
        let none = simd.splat_u32s(0);
        let mut sums = [0.0_f32; ROWS];
        sums[..self.out.len()].copy_from_slice(self.out);
        let mut test = self.trees.first_test(self.range.start);
        for tree in &self.trees.trees[self.range] {
            let tests = &self.trees.tests[test..tree.tests as usize];
            test = tree.tests as usize;
            let mut lost = [none; N];
            for test in tests {
                let (values, _) = S::as_simd_f32s(&self.columns[test.feature as usize]);
                let threshold = simd.splat_f32s(test.threshold);
                let lose = simd.splat_u32s(test.lose);
                for (lost, value) in lost.iter_mut().zip(values) {
                    let larger = simd.greater_than_f32s(*value, threshold);
                    *lost = simd.or_u32s(*lost, simd.select_u32s(larger, lose, none));
                }
            }
            let mut bits = [0_u32; ROWS];
            let (parts, _) = S::as_mut_simd_u32s(&mut bits);
            parts.copy_from_slice(&lost);
            for (sum, lost) in sums.iter_mut().zip(bits) {
                *sum += tree.leaves[lost.trailing_ones() as usize % MOST_LEAVES];
            }
        }
        for (out, sum) in self.out.iter_mut().zip(sums) {
            *out = sum;
        }
    }
}
