//! Boosting with a listwise loss.
//!
//! The loss of a list is −ln of the softmax chance of the chosen row (Z. Cao et al., "Learning to
//! Rank: From Pairwise Approach to Listwise Approach", ICML 2007, with one relevant row; with
//! one chosen row this is also the bound on NDCG that XE-NDCG optimises: S. Bruch, "An
//! Alternative Cross Entropy Loss for Learning-to-Rank", WWW 2021). Rows drawn from more weigh
//! for those left out, so the chances are those of the whole list. Trees grow as in LightGBM
//! (G. Ke et al., NeurIPS 2017).

use novastream_features::interactions::Rows;
use novastream_models::recommender::{TreeNode, Trees};
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::super::FitError;
use super::bins::Bins;
use super::grow::{Grown, Slope, grow};
use super::lists::{Lists, chances};

/// Unchecked settings of the trees.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BoostParams {
    /// Most trees.
    pub trees: usize,
    /// Share of each step that is taken, above 0 and at most 1.
    pub learning_rate: f32,
    /// Leaves of a tree, at least 2.
    pub leaves: usize,
    /// Splits on the way to a leaf, at least 1.
    pub depth: u32,
    /// Fewest rows of a leaf.
    pub leaf_rows: u32,
    /// Least curvature of a leaf: about the number of undecided choices in it.
    pub leaf_curvature: f32,
    /// Ridge on the leaves' values.
    pub l2: f32,
    /// Share of the features that a tree may use, above 0 and at most 1.
    pub feature_share: f64,
    /// Share of the lists that a tree learns from, above 0 and at most 1.
    pub list_share: f64,
    /// Share of the users whose lists decide when to stop, 0..1; with 0 all trees are grown.
    pub held_out: f64,
    /// Trees without a better held-out loss after which growing stops.
    pub patience: usize,
    /// Forests grown on draws and held-out users of their own; scores are averaged. At least 1.
    pub forests: usize,
}

impl Default for BoostParams {
    fn default() -> Self {
        Self {
            trees: 160,
            learning_rate: 0.08,
            leaves: 31,
            depth: 7,
            leaf_rows: 20,
            leaf_curvature: 1.0,
            l2: 5.0,
            feature_share: 0.5,
            list_share: 0.8,
            held_out: 0.1,
            patience: 20,
            forests: 2,
        }
    }
}

/// Checked settings of the trees.
#[derive(Clone, Copy, Debug)]
pub struct ValidBoostParams(BoostParams);

impl BoostParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidBoostParams, FitError> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        if !(share(f64::from(self.learning_rate)) && share(self.feature_share)) {
            return Err(FitError::Params(
                "trees: learning rate and feature share must be above 0 and at most 1",
            ));
        }
        if !share(self.list_share) || !(0.0..1.0).contains(&self.held_out) {
            return Err(FitError::Params(
                "trees: list share must be above 0 and at most 1, held-out share within 0..1",
            ));
        }
        if self.trees == 0 || self.leaves < 2 || self.depth == 0 || self.forests == 0 {
            return Err(FitError::Params(
                "trees: at least one tree and forest, two leaves and one split",
            ));
        }
        let finite = self.l2.is_finite() && self.leaf_curvature.is_finite();
        if !(finite && self.l2 >= 0.0 && self.leaf_curvature > 0.0) {
            return Err(FitError::Params(
                "trees: l2 must not be below 0, leaf curvature must be above 0",
            ));
        }
        Ok(ValidBoostParams(self))
    }
}

impl ValidBoostParams {
    /// Grows trees on the lists, over the features that may be used; also answers the mean
    /// held-out loss at the best number of trees, averaged over the forests.
    pub fn fit(&self, lists: &Lists, usable: &[bool], seed: u64) -> (Trees, Option<f32>) {
        let bins = Bins::new(lists, Rows::WIDTH);
        let features: Vec<usize> = (0..Rows::WIDTH)
            .filter(|feature| usable[*feature] && !bins.edges[*feature].is_empty())
            .collect();
        let forests: Vec<(Vec<Grown>, Option<f32>)> = (0..self.0.forests as u64)
            .map(|forest| {
                let seed = seed.wrapping_add(forest.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                self.forest(lists, &bins, &features, seed)
            })
            .collect();
        let count = forests.len() as f32;
        let losses: Option<f32> = forests.iter().map(|(_, loss)| *loss).sum();
        // Trees of the forests alternate, so that the first of them say as much as they can.
        let longest = forests.iter().map(|(grown, _)| grown.len()).max();
        let mut trees = Trees::new(Rows::WIDTH);
        for place in 0..longest.unwrap_or(0) {
            for grown in forests.iter().filter_map(|(grown, _)| grown.get(place)) {
                let share = |node: &TreeNode| TreeNode {
                    value: node.value / count,
                    ..*node
                };
                let nodes: Vec<TreeNode> = grown.nodes.iter().map(share).collect();
                // Growing checked that the nodes make a tree.
                let _ = trees.push(&nodes);
            }
        }
        (trees, losses.map(|sum| sum / count))
    }

    /// One forest, cut where its held-out loss is least.
    fn forest(
        &self,
        lists: &Lists,
        bins: &Bins,
        usable: &[usize],
        seed: u64,
    ) -> (Vec<Grown>, Option<f32>) {
        let params = &self.0;
        let mut rng = SmallRng::seed_from_u64(seed);
        let (train, held) = self.divide(lists, seed);
        let mut scores = vec![0.0_f32; lists.rows()];
        let mut slopes = vec![Slope::default(); lists.rows()];
        let mut trees: Vec<Grown> = Vec::new();
        let mut best = (f32::INFINITY, 0);
        let wanted = (usable.len() as f64 * params.feature_share).ceil() as usize;
        for number in 0..params.trees {
            let bag: Vec<usize> = train
                .iter()
                .copied()
                .filter(|_| rng.random_bool(params.list_share))
                .collect();
            let rows = slope_lists(lists, &bag, &scores, &mut slopes);
            let mut features: Vec<usize> =
                index::sample(&mut rng, usable.len(), wanted.min(usable.len()))
                    .into_iter()
                    .map(|at| usable[at])
                    .collect();
            features.sort_unstable();
            let grown = grow(bins, &features, &slopes, rows, params);
            let sound = grown.nodes.iter().all(|node| node.value.is_finite());
            if grown.nodes.len() < 2 || !sound {
                break;
            }
            add(&grown, bins, &mut scores);
            trees.push(grown);
            if let Some(loss) = mean_loss(lists, &held, &scores) {
                if loss < best.0 {
                    best = (loss, number + 1);
                }
                if number + 1 >= best.1 + params.patience {
                    break;
                }
            }
        }
        if held.is_empty() {
            return (trees, None);
        }
        trees.truncate(best.1);
        (trees, Some(best.0))
    }

    /// Lists to learn from and lists that decide when to stop: no user is in both.
    fn divide(&self, lists: &Lists, seed: u64) -> (Vec<usize>, Vec<usize>) {
        (0..lists.len()).partition(|list| {
            let user = u64::from(lists.users[*list]);
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&user.to_le_bytes(), seed);
            (hash >> 11) as f64 / (1_u64 << 53) as f64 >= self.0.held_out
        })
    }
}

/// Gradients and curvatures of the lists' rows; answers the rows, ascending.
fn slope_lists(lists: &Lists, bag: &[usize], scores: &[f32], slopes: &mut [Slope]) -> Vec<u32> {
    let mut rows = Vec::new();
    for (list, (part, _)) in bag.iter().zip(list_chances(lists, bag, scores)) {
        for (row, chance) in lists.range(*list).zip(part) {
            let chosen = f32::from(u8::from(row == lists.chosen[*list]));
            slopes[row] = Slope {
                gradient: chance - chosen,
                curvature: (chance * (1.0 - chance)).max(1e-6),
            };
            rows.push(row as u32);
        }
    }
    rows
}

/// Chances of the rows of each list, and the list's loss.
fn list_chances(lists: &Lists, which: &[usize], scores: &[f32]) -> Vec<(Vec<f32>, f32)> {
    which
        .par_iter()
        .map(|list| {
            let range = lists.range(*list);
            let mut chance = vec![0.0; range.len()];
            let chosen = lists.chosen[*list] - range.start;
            let weights = &lists.weights[range.clone()];
            let loss = chances(&scores[range], weights, chosen, &mut chance);
            (chance, loss)
        })
        .collect()
}

/// Adds the tree to the score of every row.
fn add(grown: &Grown, bins: &Bins, scores: &mut [f32]) {
    const CHUNK: usize = 8192;
    scores
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, scores)| {
            for (at, score) in scores.iter_mut().enumerate() {
                *score += grown.value(bins.row(chunk * CHUNK + at));
            }
        });
}

fn mean_loss(lists: &Lists, held: &[usize], scores: &[f32]) -> Option<f32> {
    if held.is_empty() {
        return None;
    }
    let losses = list_chances(lists, held, scores);
    let sum: f64 = losses.iter().map(|(_, loss)| f64::from(*loss)).sum();
    Some((sum / losses.len() as f64) as f32)
}
