//! Which of two models serves.
//!
//! The rule: **promote** the new model when
//! 1. its NDCG@10 is higher, and the 95 % interval of the difference, by user bootstrap over the
//!    same cases, lies above 0; and
//! 2. its HR@10 over new targets is not lower by more than [`NEW_MARGIN`] (live protocol); and
//! 3. it is not slower than [`SLOWEST`] of the other model's speed, where both are known.
//!
//! Otherwise **keep** the model in production: a change that can't be told from chance costs a
//! roll-out for nothing.

use serde::Serialize;

use super::bootstrap::interval;
use super::report::Outcome;

/// How much of HR@10 over new targets may be lost.
pub const NEW_MARGIN: f64 = 0.01;
/// The least share of the other model's speed.
pub const SLOWEST: f64 = 0.5;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Take the new model.
    Promote,
    /// Keep the model in production.
    Keep,
}

/// Two models on the same cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The model in production.
    pub other: String,
    /// What to do.
    pub decision: Decision,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// NDCG@10 of the new model less that of the other.
    pub difference: f64,
    /// Its 95 % interval; absent where the cases can't be compared.
    pub interval: Option<[f64; 2]>,
}

impl Comparison {
    /// One line for people.
    pub fn line(&self) -> String {
        let word = match self.decision {
            Decision::Promote => "promote",
            Decision::Keep => "keep",
        };
        let reasons = self.reasons.join("; ");
        format!("against {}: {word} ({reasons})", self.other)
    }
}

/// Decides by the rule at the top of this module.
pub fn decide(new: &Outcome, other_id: String, other: &Outcome) -> Comparison {
    let (ours, theirs) = (new.primary(), other.primary());
    let same = ours.len() == theirs.len()
        && ours
            .iter()
            .zip(&theirs)
            .all(|(ours, theirs)| ours.0 == theirs.0);
    let pairs = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| (ours.0, ours.1 - theirs.1));
    let pairs: Vec<(u32, f64)> = pairs.collect();
    let difference = pairs.iter().map(|(_, value)| value).sum::<f64>() / pairs.len().max(1) as f64;
    let interval = if same { interval(pairs) } else { None };
    let mut reasons = Vec::new();
    let mut promote = false;
    if let Some([low, high]) = interval {
        reasons.push(format!(
            "NDCG@10 {difference:+.4}, 95 % {low:+.4} to {high:+.4}"
        ));
        promote = difference > 0.0 && low > 0.0;
    } else {
        reasons.push("the cases can't be compared".to_owned());
    }
    if let (Some(ours), Some(theirs)) = (new.new, other.new) {
        let lost = theirs.hr10 - ours.hr10;
        if lost > NEW_MARGIN {
            reasons.push(format!("HR@10 over new targets falls by {lost:.4}"));
            promote = false;
        }
    }
    if let (Some(ours), Some(theirs)) = (new.events_per_cpu_second, other.events_per_cpu_second)
        && ours < SLOWEST * theirs
    {
        reasons.push(format!("{ours:.0} per CPU second instead of {theirs:.0}"));
        promote = false;
    }
    Comparison {
        other: other_id,
        decision: if promote {
            Decision::Promote
        } else {
            Decision::Keep
        },
        reasons,
        difference,
        interval,
    }
}
