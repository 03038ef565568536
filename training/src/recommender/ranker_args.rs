//! Options of the ranker; without them its defaults hold.

use serde::Serialize;

use super::ranker::{BoostParams, RankerParams, SampleParams};

/// What the ranker learns from, and how.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
#[command(next_help_heading = "Ranker of live lists")]
pub struct RankerArgs {
    /// Stretches of the past that lists are made from, each with base models of its own
    #[arg(long, value_name = "N")]
    pub ranker_stretches: Option<usize>,
    /// Share of all events that one stretch holds
    #[arg(long, value_name = "SHARE")]
    pub ranker_share: Option<f64>,
    /// Candidates of a list that are always learned from: the best by each of several signs
    #[arg(long, value_name = "N")]
    pub ranker_keep_best: Option<usize>,
    /// Candidates drawn from the others, which count for all of them
    #[arg(long, value_name = "N")]
    pub ranker_others: Option<usize>,
    /// Most trees of a forest
    #[arg(long, value_name = "N")]
    pub ranker_trees: Option<usize>,
    /// Share of each step that is taken
    #[arg(long, value_name = "RATE")]
    pub ranker_rate: Option<f32>,
    /// Leaves of a tree
    #[arg(long, value_name = "N")]
    pub ranker_leaves: Option<usize>,
    /// Splits on the way to a leaf
    #[arg(long, value_name = "N")]
    pub ranker_depth: Option<u32>,
    /// Share of the features that a tree may use
    #[arg(long, value_name = "SHARE")]
    pub ranker_feature_share: Option<f64>,
    /// Ridge on the leaves' values
    #[arg(long, value_name = "RIDGE")]
    pub ranker_l2: Option<f32>,
    /// Least curvature of a leaf
    #[arg(long, value_name = "SUM")]
    pub ranker_leaf_curvature: Option<f32>,
    /// Forests whose scores are averaged
    #[arg(long, value_name = "N")]
    pub ranker_forests: Option<usize>,
    /// Leave out features whose names begin so, to see what they are worth
    #[arg(long, value_name = "START")]
    pub ranker_without: Vec<String>,
}

impl RankerArgs {
    /// Defaults, changed where an option was given. Ranges are checked when fitting.
    pub fn params(&self) -> RankerParams {
        let usual = RankerParams::default();
        let (sample, boost) = (usual.sample, usual.boost);
        RankerParams {
            sample: SampleParams {
                stretches: self.ranker_stretches.unwrap_or(sample.stretches),
                share: self.ranker_share.unwrap_or(sample.share),
                keep_best: self.ranker_keep_best.unwrap_or(sample.keep_best),
                others: self.ranker_others.unwrap_or(sample.others),
                ..sample
            },
            boost: BoostParams {
                trees: self.ranker_trees.unwrap_or(boost.trees),
                learning_rate: self.ranker_rate.unwrap_or(boost.learning_rate),
                leaves: self.ranker_leaves.unwrap_or(boost.leaves),
                depth: self.ranker_depth.unwrap_or(boost.depth),
                feature_share: self.ranker_feature_share.unwrap_or(boost.feature_share),
                l2: self.ranker_l2.unwrap_or(boost.l2),
                leaf_curvature: self.ranker_leaf_curvature.unwrap_or(boost.leaf_curvature),
                forests: self.ranker_forests.unwrap_or(boost.forests),
                ..boost
            },
            ..usual
        }
    }

    /// Checks what fitting doesn't; the message says what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let share = self.ranker_share.unwrap_or(0.1);
        if !(share.is_finite() && share > 0.0 && share <= 0.5) {
            return Err("--ranker-share must be above 0 and at most 0.5".to_owned());
        }
        Ok(())
    }
}
