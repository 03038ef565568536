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

/// Rows that go through the tests together.
const ROWS: usize = 16;
/// Most leaves of a tree: one bit each.
pub(super) const MOST_LEAVES: usize = 32;

/// A split: rows with a larger value lose the leaves that `keep` has no bit for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Test {
    threshold: f32,
    feature: u32,
    keep: u32,
}

/// One tree: the ends of its tests and leaves among those of all.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ends {
    tests: u32,
    leaves: u32,
}

/// Trees of at most [`MOST_LEAVES`] leaves, as tests and leaf values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TreeTests {
    tests: Vec<Test>,
    leaves: Vec<f32>,
    trees: Vec<Ends>,
}

impl TreeTests {
    /// Adds a tree given by its own nodes, which were checked. `None`, and no change, when it has
    /// too many leaves.
    pub fn push(&mut self, nodes: &[TreeNode]) -> Option<()> {
        let is_leaf = |at: usize| nodes[at].left as usize == at;
        // From left to right; a split waits until the leaves on its left are numbered.
        let (first, first_test) = (self.leaves.len(), self.tests.len());
        let mut stack = vec![(0, None)];
        while let Some((at, begun)) = stack.pop() {
            let number = self.leaves.len() - first;
            if number >= MOST_LEAVES && is_leaf(at) {
                self.leaves.truncate(first);
                self.tests.truncate(first_test);
                return None;
            }
            let node = &nodes[at];
            match begun {
                _ if is_leaf(at) => self.leaves.push(node.value),
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
                        keep: !left,
                    });
                    stack.push((node.left as usize + 1, None));
                }
            }
        }
        self.trees.push(Ends {
            tests: self.tests.len() as u32,
            leaves: self.leaves.len() as u32,
        });
        Some(())
    }

    /// Keeps the first `count` trees.
    pub fn truncate(&mut self, count: usize) {
        if count < self.trees.len() {
            let (tests, leaves) = self.starts(count);
            self.tests.truncate(tests);
            self.leaves.truncate(leaves);
            self.trees.truncate(count);
        }
    }

    /// Number of trees.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    fn starts(&self, tree: usize) -> (usize, usize) {
        let before = tree
            .checked_sub(1)
            .and_then(|before| self.trees.get(before));
        before.map_or((0, 0), |ends| (ends.tests as usize, ends.leaves as usize))
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
        let all = simd.splat_u32s(u32::MAX);
        let (mut test, mut leaf) = self.trees.starts(self.range.start);
        for ends in &self.trees.trees[self.range] {
            let tests = &self.trees.tests[test..ends.tests as usize];
            let leaves = &self.trees.leaves[leaf..ends.leaves as usize];
            (test, leaf) = (ends.tests as usize, ends.leaves as usize);
            let mut left = [0_u32; ROWS];
            let (parts, _) = S::as_mut_simd_u32s(&mut left);
            for (place, part) in parts.iter_mut().enumerate() {
                let mut bits = all;
                for test in tests {
                    let (values, _) = S::as_simd_f32s(&self.columns[test.feature as usize]);
                    let larger =
                        simd.greater_than_f32s(values[place], simd.splat_f32s(test.threshold));
                    let keep = simd.select_u32s(larger, simd.splat_u32s(test.keep), all);
                    bits = simd.and_u32s(bits, keep);
                }
                *part = bits;
            }
            for (out, left) in self.out.iter_mut().zip(left) {
                *out += leaves[left.trailing_zeros() as usize];
            }
        }
    }
}
