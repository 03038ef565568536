//! Boosted regression trees, laid out for scoring many rows at once.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::tree_tests::TreeTests;

/// Rows that walk down a tree side by side: their loads overlap instead of waiting for each
/// other.
const BLOCK: usize = 16;

/// After so many trees, only so many of the best rows see more: (part of all trees, rows as a
/// multiple of those that are kept in the end).
const STAGES: [(f64, f64); 2] = [(0.08, 2.0), (0.25, 1.0)];

/// A node; the children of a split lie beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Rows with a larger value go right. Infinite at a leaf.
    pub threshold: f32,
    /// Column that is compared.
    pub feature: u32,
    /// Left child; the right one follows it. At a leaf, the leaf itself.
    pub left: u32,
    /// What a leaf adds to the score.
    pub value: f32,
}

impl TreeNode {
    /// A leaf, the node at `place`.
    pub fn leaf(place: u32, value: f32) -> Self {
        Self {
            threshold: f32::INFINITY,
            feature: 0,
            left: place,
            value,
        }
    }
}

/// One tree: where its nodes start, and how deep it is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tree {
    root: u32,
    depth: u32,
}

/// A sum of trees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trees {
    width: usize,
    nodes: Vec<TreeNode>,
    roots: Vec<Tree>,
    /// The same trees as tests; fewer where one had too many leaves, and then not used.
    tests: TreeTests,
}

impl Trees {
    /// No trees yet, for rows of `width` numbers.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// Adds a tree given by its own nodes, root first, each parent before its children. `None`,
    /// and no change, when the nodes do not make a tree over this width.
    pub fn push(&mut self, nodes: &[TreeNode]) -> Option<()> {
        let root = u32::try_from(self.nodes.len()).ok()?;
        let mut depths = vec![0_u32; nodes.len()];
        nodes.first()?;
        for (place, node) in nodes.iter().enumerate() {
            let left = node.left as usize;
            let fits = (node.feature as usize) < self.width
                && node.value.is_finite()
                && (left == place || (left > place && left + 1 < nodes.len()));
            let is_leaf = left == place;
            if !fits || is_leaf != (node.threshold == f32::INFINITY) || node.threshold.is_nan() {
                return None;
            }
            if !is_leaf {
                let depth = depths[place] + 1;
                depths[left] = depth;
                depths[left + 1] = depth;
            }
        }
        if self.tests.len() == self.roots.len() {
            // Trees with more leaves are walked.
            let _ = self.tests.push(nodes);
        }
        self.roots.push(Tree {
            root,
            depth: depths.into_iter().max().unwrap_or(0),
        });
        self.nodes.extend(nodes.iter().map(|node| TreeNode {
            left: node.left + root,
            ..*node
        }));
        Some(())
    }

    /// Keeps the first `count` trees.
    pub fn truncate(&mut self, count: usize) {
        if let Some(tree) = self.roots.get(count) {
            self.nodes.truncate(tree.root as usize);
            self.roots.truncate(count);
            self.tests.truncate(count);
        }
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of trees.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether there are no trees.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The nodes of each tree, numbered from 0.
    pub fn iter(&self) -> impl Iterator<Item = Vec<TreeNode>> {
        let ends = self.roots.iter().skip(1).map(|tree| tree.root as usize);
        let ends = ends.chain([self.nodes.len()]);
        self.roots.iter().zip(ends).map(|(tree, end)| {
            let nodes = &self.nodes[tree.root as usize..end];
            let shift = |node: &TreeNode| TreeNode {
                left: node.left - tree.root,
                ..*node
            };
            nodes.iter().map(shift).collect()
        })
    }

    /// Writes the sum of all trees for each row into `out`; `rows` holds `out.len()` rows of
    /// [`Trees::width`] numbers.
    pub fn score(&self, rows: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        self.add_all(0..self.len(), rows, out);
    }

    /// Scores as [`Trees::score`] does, but rows that are not among the best after some of the
    /// trees see no more of them, in two stages of which the second leaves `keep`: they end up below
    /// all others, in the order that they had.
    /// (B. Cambazoglu et al., "Early Exit Optimizations for Additive Machine Learned Ranking
    /// Systems", WSDM 2010.)
    pub fn score_best(&self, rows: &[f32], keep: usize, out: &mut [f32]) {
        out.fill(0.0);
        if keep == 0 || out.len() <= keep || self.width == 0 || rows.len() < out.len() * self.width
        {
            self.add_all(0..self.len(), rows, out);
            return;
        }
        let mut alive: Vec<usize> = (0..out.len()).collect();
        let (mut kept_rows, mut kept_out) = (rows.to_vec(), out.to_vec());
        let mut left: Vec<Vec<usize>> = Vec::new();
        let mut done = 0;
        for (part, multiple) in STAGES {
            let until = (self.len() as f64 * part).ceil() as usize;
            let most = (keep as f64 * multiple) as usize;
            if alive.len() <= most || until <= done {
                continue;
            }
            self.add_all(done..until, &kept_rows, &mut kept_out);
            done = until;
            for (at, score) in alive.iter().zip(&kept_out) {
                out[*at] = *score;
            }
            let by_score = |a: &usize, b: &usize| out[*b].total_cmp(&out[*a]).then(a.cmp(b));
            alive.select_nth_unstable_by(most, by_score);
            left.push(alive.split_off(most));
            alive.sort_unstable();
            kept_rows.clear();
            kept_out.clear();
            for at in &alive {
                let from = at * self.width;
                kept_rows.extend_from_slice(&rows[from..from + self.width]);
                kept_out.push(out[*at]);
            }
        }
        self.add_all(done..self.len(), &kept_rows, &mut kept_out);
        let mut floor = kept_out.iter().copied().fold(f32::INFINITY, f32::min);
        for (at, score) in alive.iter().zip(&kept_out) {
            out[*at] = *score;
        }
        for others in left.iter().rev() {
            let scores = others.iter().map(|at| out[*at]);
            let (top, low) = scores
                .fold((f32::NEG_INFINITY, f32::INFINITY), |(top, low), score| {
                    (top.max(score), low.min(score))
                });
            // A small step, so that no other equals the lowest of the best.
            let shift = floor - top - 1e-3;
            for at in others {
                out[*at] += shift;
            }
            floor = low + shift;
        }
    }

    fn add_all(&self, trees: Range<usize>, rows: &[f32], out: &mut [f32]) {
        if self.width == 0 || rows.len() < out.len() * self.width {
            return;
        }
        if self.tests.len() == self.len() {
            self.tests.add(trees, self.width, rows, out);
            return;
        }
        let trees = &self.roots[trees];
        let blocks = rows.chunks(BLOCK * self.width);
        for (rows, out) in blocks.zip(out.chunks_mut(BLOCK)) {
            for tree in trees {
                self.add(*tree, rows, out);
            }
        }
    }

    fn add(&self, tree: Tree, rows: &[f32], out: &mut [f32]) {
        let mut at = [tree.root; BLOCK];
        let at = &mut at[..out.len()];
        for _ in 0..tree.depth {
            for (place, row) in at.iter_mut().zip(rows.chunks_exact(self.width)) {
                let node = self.nodes[*place as usize];
                *place = node.left + u32::from(row[node.feature as usize] > node.threshold);
            }
        }
        for (out, place) in out.iter_mut().zip(at) {
            *out += self.nodes[*place as usize].value;
        }
    }

    /// How often each column is split on.
    pub fn splits(&self) -> Vec<u32> {
        let mut splits = vec![0; self.width];
        for node in self.nodes.iter().filter(|node| node.threshold.is_finite()) {
            splits[node.feature as usize] += 1;
        }
        splits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of random shape with `leaves` leaves over four columns.
    fn tree(leaves: usize, next: &mut impl FnMut() -> f32) -> Vec<TreeNode> {
        let mut nodes = vec![TreeNode::leaf(0, next())];
        while nodes.len() < 2 * leaves - 1 {
            let at = (next().abs() * nodes.len() as f32) as usize % nodes.len();
            let left = nodes.len() as u32;
            if nodes[at].left as usize != at {
                continue;
            }
            nodes[at] = TreeNode {
                threshold: next(),
                feature: (((next() + 1.0) * 2.0) as u32).min(3),
                left,
                value: 0.0,
            };
            nodes.push(TreeNode::leaf(left, next()));
            nodes.push(TreeNode::leaf(left + 1, next()));
        }
        nodes
    }

    #[test]
    fn recommender_tests_over_splits_reach_the_leaves_that_walking_reaches() {
        let mut state = 5_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut trees = Trees::new(4);
        for leaves in [1, 2, 31, 32, 7, 32] {
            trees.push(&tree(leaves, &mut next)).unwrap();
        }
        let mut rows: Vec<f32> = (0..4 * 37).map(|_| next()).collect();
        rows[9] = f32::NAN;
        rows[14] = f32::INFINITY;
        let mut fast = vec![0.0; 37];
        trees.score(&rows, &mut fast);
        let mut walked = trees.clone();
        walked.tests = TreeTests::default();
        let mut slow = vec![0.0; 37];
        walked.score(&rows, &mut slow);
        assert_eq!(fast, slow);
        trees.truncate(3);
        walked.truncate(3);
        trees.score(&rows, &mut fast);
        walked.score(&rows, &mut slow);
        assert_eq!(fast, slow);
        // One tree with more leaves, and all are walked.
        let large = tree(33, &mut next);
        trees.push(&large).unwrap();
        walked.push(&large).unwrap();
        assert_eq!(trees.tests.len(), 3);
        trees.score(&rows, &mut fast);
        walked.score(&rows, &mut slow);
        assert_eq!(fast, slow);
    }
}
