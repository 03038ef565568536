//! Growing one regression tree on binned features, best leaf first.

use novastream_models::recommender::TreeNode;
use rayon::prelude::*;

use super::bins::{Bins, MAX_BINS};
use super::boost::BoostParams;

/// Gradient and curvature of a row's loss.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slope {
    pub gradient: f32,
    pub curvature: f32,
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    gradient: f64,
    curvature: f64,
    rows: u32,
}

impl Sums {
    fn minus(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            curvature: self.curvature - other.curvature,
            rows: self.rows - other.rows,
        }
    }

    fn gain(self, l2: f64) -> f64 {
        self.gradient * self.gradient / (self.curvature + l2)
    }
}

/// Rows whose sums are taken together. The sums of chunks are added in order, so that threads
/// change nothing.
const CHUNK: usize = 1 << 16;

/// [`MAX_BINS`] sums for each feature that the tree may use.
type Histograms = Vec<Sums>;

/// The best way to split a leaf.
#[derive(Clone, Copy, Debug)]
struct Split {
    gain: f64,
    feature: usize,
    bin: u8,
    left: Sums,
}

struct Leaf {
    node: usize,
    depth: u32,
    /// Rows, ascending.
    rows: Vec<u32>,
    sums: Sums,
    histograms: Histograms,
    split: Option<Split>,
}

/// A grown tree, with bins beside the thresholds.
pub(super) struct Grown {
    pub nodes: Vec<TreeNode>,
    /// Bin up to which rows go left; meaningless at leaves.
    bins: Vec<u8>,
}

impl Grown {
    /// What the tree says about a row.
    pub fn value(&self, row: &[u8]) -> f32 {
        let mut at = 0;
        loop {
            let node = &self.nodes[at];
            if node.left as usize == at {
                return node.value;
            }
            let right = row[node.feature as usize] > self.bins[at];
            at = node.left as usize + usize::from(right);
        }
    }
}

/// Grows a tree on `rows` with the given features.
pub(super) fn grow(
    bins: &Bins,
    features: &[usize],
    slopes: &[Slope],
    rows: Vec<u32>,
    params: &BoostParams,
) -> Grown {
    let grower = Grower {
        bins,
        features,
        slopes,
        params,
    };
    let mut grown = Grown {
        nodes: vec![TreeNode::leaf(0, 0.0)],
        bins: vec![0],
    };
    let mut root = grower.leaf(0, 0, rows);
    root.histograms = grower.histograms(&root.rows);
    root.split = grower.best_split(&root);
    let mut leaves = vec![root];
    while leaves.len() < params.leaves {
        let best = leaves
            .iter()
            .enumerate()
            .filter_map(|(at, leaf)| Some((at, leaf.split?)))
            .reduce(|a, b| if b.1.gain > a.1.gain { b } else { a });
        let Some((at, split)) = best else {
            break;
        };
        let leaf = leaves.swap_remove(at);
        let (left, right) = grower.divide(leaf, split, &mut grown);
        leaves.push(left);
        leaves.push(right);
    }
    for leaf in leaves {
        let l2 = f64::from(params.l2);
        let step = -leaf.sums.gradient / (leaf.sums.curvature + l2);
        grown.nodes[leaf.node].value = step as f32 * params.learning_rate;
    }
    grown
}

struct Grower<'a> {
    bins: &'a Bins,
    features: &'a [usize],
    slopes: &'a [Slope],
    params: &'a BoostParams,
}

impl Grower<'_> {
    fn leaf(&self, node: usize, depth: u32, rows: Vec<u32>) -> Leaf {
        let mut sums = Sums::default();
        for row in &rows {
            let slope = self.slopes[*row as usize];
            sums.gradient += f64::from(slope.gradient);
            sums.curvature += f64::from(slope.curvature);
        }
        sums.rows = rows.len() as u32;
        Leaf {
            node,
            depth,
            rows,
            sums,
            histograms: Vec::new(),
            split: None,
        }
    }

    /// One histogram a feature, one after the other.
    fn histograms(&self, rows: &[u32]) -> Histograms {
        let parts: Vec<Histograms> = rows
            .par_chunks(CHUNK)
            .map(|rows| {
                let mut sums = vec![Sums::default(); self.features.len() * MAX_BINS];
                for row in rows {
                    let slope = self.slopes[*row as usize];
                    let gradient = f64::from(slope.gradient);
                    let curvature = f64::from(slope.curvature);
                    let bins = self.bins.row(*row as usize);
                    let places = sums.as_chunks_mut::<MAX_BINS>().0.iter_mut();
                    for (sums, feature) in places.zip(self.features) {
                        let sums = &mut sums[bins[*feature] as usize % MAX_BINS];
                        sums.gradient += gradient;
                        sums.curvature += curvature;
                        sums.rows += 1;
                    }
                }
                sums
            })
            .collect();
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return vec![Sums::default(); self.features.len() * MAX_BINS];
        };
        for part in parts {
            for (all, part) in all.iter_mut().zip(part) {
                all.gradient += part.gradient;
                all.curvature += part.curvature;
                all.rows += part.rows;
            }
        }
        all
    }

    fn best_split(&self, leaf: &Leaf) -> Option<Split> {
        if leaf.depth >= self.params.depth {
            return None;
        }
        let l2 = f64::from(self.params.l2);
        let whole = leaf.sums.gain(l2);
        let mut best: Option<Split> = None;
        let histograms = leaf.histograms.chunks_exact(MAX_BINS);
        for (feature, histogram) in self.features.iter().zip(histograms) {
            let mut left = Sums::default();
            let borders = self.bins.edges[*feature].len();
            for (bin, sums) in histogram.iter().enumerate().take(borders) {
                left.gradient += sums.gradient;
                left.curvature += sums.curvature;
                left.rows += sums.rows;
                let right = leaf.sums.minus(left);
                if !self.is_big_enough(left) || !self.is_big_enough(right) {
                    continue;
                }
                let gain = left.gain(l2) + right.gain(l2) - whole;
                if gain > 1e-6 && best.is_none_or(|best| gain > best.gain) {
                    best = Some(Split {
                        gain,
                        feature: *feature,
                        bin: bin as u8,
                        left,
                    });
                }
            }
        }
        best
    }

    fn is_big_enough(&self, sums: Sums) -> bool {
        sums.rows >= self.params.leaf_rows
            && sums.curvature >= f64::from(self.params.leaf_curvature)
    }

    fn divide(&self, leaf: Leaf, split: Split, grown: &mut Grown) -> (Leaf, Leaf) {
        let at = grown.nodes.len();
        let node = &mut grown.nodes[leaf.node];
        node.threshold = self.bins.edges[split.feature][split.bin as usize];
        node.feature = split.feature as u32;
        node.left = at as u32;
        grown.bins[leaf.node] = split.bin;
        for place in [at, at + 1] {
            grown.nodes.push(TreeNode::leaf(place as u32, 0.0));
            grown.bins.push(0);
        }
        let goes_left = |row: &u32| self.bins.row(*row as usize)[split.feature] <= split.bin;
        let (left, right): (Vec<u32>, Vec<u32>) = leaf.rows.iter().partition(|row| goes_left(row));
        let mut left = self.leaf(at, leaf.depth + 1, left);
        let mut right = self.leaf(at + 1, leaf.depth + 1, right);
        left.sums = split.left;
        right.sums = leaf.sums.minus(split.left);
        if leaf.depth + 1 < self.params.depth {
            let small_left = left.rows.len() <= right.rows.len();
            let (small, large) = if small_left {
                (&mut left, &mut right)
            } else {
                (&mut right, &mut left)
            };
            small.histograms = self.histograms(&small.rows);
            large.histograms = leaf.histograms;
            for (large, small) in large.histograms.iter_mut().zip(&small.histograms) {
                *large = large.minus(*small);
            }
            left.split = self.best_split(&left);
            right.split = self.best_split(&right);
        }
        (left, right)
    }
}
