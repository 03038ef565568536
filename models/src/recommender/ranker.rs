//! The model that orders a live list from its feature rows.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{BaseModels, Logit, Scorer, ScorerKind, TensorFile, TermVector, TreeNode, Trees};

/// Base models in the order in which a ranker asks for one.
const BASE_ORDER: [ScorerKind; 4] = [
    ScorerKind::Ease,
    ScorerKind::Factors,
    ScorerKind::ItemKnn,
    ScorerKind::Popularity,
];

/// Candidates that see all trees; a list shows far fewer.
const KEEP: usize = 64;

/// A score column and what it is computed from: (item, weight) pairs.
#[derive(Clone, Copy, Debug)]
pub enum RankerScore<'a> {
    /// The collaborative model.
    Long(&'a [(u32, f32)]),
    /// Matrix factorisation.
    Factors(&'a [(u32, f32)]),
    /// What items say of themselves.
    Content(&'a [(u32, f32)]),
    /// Audience segments.
    Segment(&'a [(u32, f32)]),
    /// What follows the latest starts, the oldest first.
    Sequence(&'a [u32]),
}

/// A ranker: trees where there was enough to learn from, else the conditional logit.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranker {
    /// Names of the columns that a row must have, in order.
    pub features: Vec<String>,
    /// Seconds in a step of the time that it learned from.
    pub step_seconds: f64,
    /// Length of an item vector.
    pub dims: usize,
    /// Item vectors that the features compare users with, item after item.
    pub item_vectors: Vec<f32>,
    /// Conditional logit.
    pub logit: Logit,
    /// Boosted trees; none where the logit decides.
    pub trees: Trees,
}

#[derive(Serialize, Deserialize)]
struct Head {
    features: Vec<String>,
    step_seconds: f64,
    dims: usize,
    logit: Logit,
}

impl Ranker {
    /// The base model that the score columns come from.
    pub fn base(models: &BaseModels) -> Option<&dyn Scorer> {
        BASE_ORDER.iter().find_map(|kind| models.get(*kind))
    }

    /// Fills one score column of the features: `out` is as long as `candidates`, and stays as it
    /// is where there is no such model. `said` is what items say of themselves today.
    pub fn score_column(
        models: &BaseModels,
        column: RankerScore<'_>,
        said: &HashMap<u32, TermVector>,
        candidates: &[u32],
        out: &mut [f32],
    ) {
        match column {
            RankerScore::Long(history) => {
                if let Some(base) = Self::base(models) {
                    base.score(history, candidates, out);
                }
            }
            RankerScore::Factors(history) => {
                if let Some(factors) = &models.factors {
                    factors.score(history, candidates, out);
                }
            }
            RankerScore::Content(history) => {
                if let Some(content) = &models.content {
                    content.score(history, candidates, said, out);
                }
            }
            RankerScore::Segment(history) => {
                if let Some(segments) = &models.segments {
                    segments.score(history, candidates, out);
                }
            }
            RankerScore::Sequence(latest) => {
                if let Some(sequence) = &models.sequence {
                    sequence.score(latest, candidates, out);
                }
            }
        }
    }

    /// Scores rows into `out`, which is as long as there are rows. A softmax over the list turns
    /// the scores into the chance that each is the one chosen.
    pub fn score(&self, rows: &[f32], out: &mut [f32]) {
        if self.trees.is_empty() {
            self.logit.score(rows, out);
        } else {
            self.trees.score_best(rows, KEEP, out);
        }
    }

    /// The settings as JSON, without the arrays.
    pub(super) fn head(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Head {
            features: self.features.clone(),
            step_seconds: self.step_seconds,
            dims: self.dims,
            logit: self.logit.clone(),
        })
    }

    /// Puts the arrays into a file.
    pub(super) fn put(&self, tensors: &mut TensorFile) {
        let items = self.item_vectors.len() / self.dims.max(1);
        tensors.put_f32("vectors", &[items, self.dims], &self.item_vectors);
        let (mut sizes, mut features, mut lefts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut thresholds, mut values) = (Vec::new(), Vec::new());
        for tree in self.trees.iter() {
            sizes.push(tree.len() as u32);
            for node in tree {
                features.push(node.feature);
                lefts.push(node.left);
                thresholds.push(node.threshold);
                values.push(node.value);
            }
        }
        tensors.put_u32("trees.sizes", &sizes);
        tensors.put_u32("trees.features", &features);
        tensors.put_u32("trees.lefts", &lefts);
        tensors.put_f32("trees.thresholds", &[thresholds.len()], &thresholds);
        tensors.put_f32("trees.values", &[values.len()], &values);
    }

    /// Joins settings and arrays; the message says what does not fit.
    pub(super) fn take(head: &[u8], tensors: &mut TensorFile) -> Result<Self, String> {
        let head: Head = serde_json::from_slice(head).map_err(|error| error.to_string())?;
        let width = head.features.len();
        let (shape, item_vectors) = tensors.take_f32("vectors")?;
        if shape.get(1) != Some(&head.dims) || item_vectors.iter().any(|value| !value.is_finite()) {
            return Err("the item vectors do not fit".to_owned());
        }
        if head.logit.columns.len() != width || !head.logit.is_sound() {
            return Err("the logit does not fit its features".to_owned());
        }
        if !(head.step_seconds.is_finite() && head.step_seconds > 0.0) {
            return Err("step_seconds must be above 0".to_owned());
        }
        Ok(Self {
            trees: take_trees(width, tensors)?,
            features: head.features,
            step_seconds: head.step_seconds,
            dims: head.dims,
            item_vectors,
            logit: head.logit,
        })
    }
}

fn take_trees(width: usize, tensors: &mut TensorFile) -> Result<Trees, String> {
    let sizes = tensors.take_u32("trees.sizes")?;
    let features = tensors.take_u32("trees.features")?;
    let lefts = tensors.take_u32("trees.lefts")?;
    let (_, thresholds) = tensors.take_f32("trees.thresholds")?;
    let (_, values) = tensors.take_f32("trees.values")?;
    let count = features.len();
    if [lefts.len(), thresholds.len(), values.len()] != [count; 3] {
        return Err("the trees' arrays differ in length".to_owned());
    }
    let nodes: Vec<TreeNode> = (0..count)
        .map(|at| TreeNode {
            threshold: thresholds[at],
            feature: features[at],
            left: lefts[at],
            value: values[at],
        })
        .collect();
    let mut trees = Trees::new(width);
    let mut rest = nodes.as_slice();
    for size in sizes {
        let Some((tree, after)) = rest.split_at_checked(size as usize) else {
            return Err("a tree is cut short".to_owned());
        };
        trees.push(tree).ok_or("nodes that do not make a tree")?;
        rest = after;
    }
    if rest.is_empty() {
        Ok(trees)
    } else {
        Err("nodes beyond the last tree".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommender::LogitColumn;

    fn split(feature: u32, threshold: f32, left: u32) -> TreeNode {
        TreeNode {
            threshold,
            feature,
            left,
            value: 0.0,
        }
    }

    fn ranker() -> Ranker {
        let mut trees = Trees::new(2);
        let nodes = [
            split(0, 1.0, 1),
            TreeNode::leaf(1, -1.0),
            split(1, 0.5, 3),
            TreeNode::leaf(3, 2.0),
            TreeNode::leaf(4, 3.0),
        ];
        trees.push(&nodes).unwrap();
        trees.push(&[TreeNode::leaf(0, 0.25)]).unwrap();
        let column = LogitColumn {
            centre: 1.0,
            scale: 2.0,
            weight: 0.5,
        };
        Ranker {
            features: vec!["a".into(), "b".into()],
            step_seconds: 600.0,
            dims: 1,
            item_vectors: vec![0.5, -0.5],
            logit: Logit {
                columns: vec![column; 2],
            },
            trees,
        }
    }

    #[test]
    fn recommender_trees_add_up_the_leaves_that_rows_reach() {
        let rows: Vec<f32> = [[0.0, 0.0], [2.0, 0.5], [2.0, 0.6], [f32::NAN, 9.0]]
            .repeat(9)
            .concat();
        let mut out = vec![0.0; 36];
        ranker().score(&rows, &mut out);
        assert_eq!(out, [-0.75, 2.25, 3.25, -0.75].repeat(9));
        let mut logit = ranker();
        logit.trees = Trees::new(2);
        logit.score(&rows[..4], &mut out[..2]);
        assert_eq!(out[..2], [-0.5, 0.125]);
    }

    #[test]
    fn recommender_early_exit_keeps_the_best_and_puts_the_others_below() {
        let mut trees = Trees::new(1);
        for step in 0..20 {
            let nodes = [
                split(0, step as f32 / 2.0, 1),
                TreeNode::leaf(1, -0.1),
                TreeNode::leaf(2, 0.3),
            ];
            trees.push(&nodes).unwrap();
        }
        let rows: Vec<f32> = (0..50).map(|at| (at * 7 % 50) as f32 / 5.0).collect();
        let (mut all, mut best) = (vec![0.0; 50], vec![0.0; 50]);
        trees.score(&rows, &mut all);
        trees.score_best(&rows, 50, &mut best);
        assert_eq!(all, best);
        trees.score_best(&rows, 45, &mut best);
        let kept = all.iter().zip(&best).filter(|(a, b)| a == b).count();
        let floor = all.iter().zip(&best).filter(|(a, b)| a == b);
        let floor = floor.map(|(a, _)| *a).fold(f32::INFINITY, f32::min);
        assert!(kept >= 45 && best.iter().filter(|score| **score < floor).count() == 50 - kept);
    }

    #[test]
    fn recommender_trees_that_are_none_are_refused() {
        let mut trees = Trees::new(2);
        for bad in [
            vec![],
            vec![split(0, 1.0, 1)],
            vec![
                split(5, 1.0, 1),
                TreeNode::leaf(1, 0.0),
                TreeNode::leaf(2, 0.0),
            ],
            vec![
                split(0, f32::NAN, 1),
                TreeNode::leaf(1, 0.0),
                TreeNode::leaf(2, 0.0),
            ],
            vec![TreeNode::leaf(0, f32::NAN)],
        ] {
            assert!(trees.push(&bad).is_none());
        }
        assert!(trees.is_empty());
    }

    #[test]
    fn recommender_ranker_survives_its_files() {
        let ranker = ranker();
        let mut tensors = TensorFile::default();
        ranker.put(&mut tensors);
        let bytes = tensors.to_bytes().unwrap();
        let head = ranker.head().unwrap();
        let mut read = TensorFile::from_bytes(&bytes).unwrap();
        assert_eq!(Ranker::take(&head, &mut read).unwrap(), ranker);
        let mut empty = TensorFile::default();
        assert!(Ranker::take(&head, &mut empty).is_err());
        assert!(Ranker::take(b"{}", &mut TensorFile::from_bytes(&bytes).unwrap()).is_err());
    }
}
