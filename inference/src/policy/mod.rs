//! Policies: from scores to actions.
//!
//! A policy is a TOML file with an id, a version and an author. Every category has two thresholds,
//! `review` ≤ `act`; between them a human decides. Frames, sound and text on screen are confirmed
//! over time before anything acts on them (see [`Confirm`]).

mod decide;
mod file;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::decide::{Decision, Observation, decide};
use self::file::PolicyFile;
use crate::{
    category::Category,
    verdict::{Action, Modality},
};

/// The policy that is built in, from `policies/default.toml`.
const DEFAULT: &str = include_str!("../../../policies/default.toml");

/// The neutral strictness.
pub const NEUTRAL_STRICTNESS: u8 = 2;

/// Thresholds and actions of one category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// From this score on a human decides; 0 < `review` ≤ `act`.
    pub review: f32,
    /// From this score on `action_act` is taken; at most 1.
    pub act: f32,
    /// What happens while the human has not decided: `flag` or `hold`.
    pub action_review: Action,
    /// What happens at once: `flag`, `hold`, `remove` or `suspend`.
    pub action_act: Action,
    /// Whether a human looks even when the policy acts by itself.
    pub always_review: bool,
    /// Whether the category never acts by itself: what reaches `act` goes to a human as well.
    #[serde(default)]
    pub review_only: bool,
    /// Where the category counts; `None` means everywhere.
    pub modalities: Option<Vec<Modality>>,
}

/// How often something must be seen or heard before it counts.
///
/// An observation (a frame, or a window of sound) is confirmed up to the k-th highest score of the
/// last `n`, itself among them. `hysteresis` is how far the confirmed score must fall below the act
/// threshold before the category stops acting. For `cooldown_ms` after a `suspend` the category
/// answers `remove` instead, so that a stream that was let back is not suspended for the past.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// 1 ≤ `k` ≤ `n`.
    pub k: usize,
    /// At most [`Confirm::MAX_N`].
    pub n: usize,
    /// 0 to 0.5.
    #[serde(default = "default_hysteresis")]
    pub hysteresis: f32,
    /// Milliseconds of stream time.
    #[serde(default = "default_cooldown_ms")]
    pub cooldown_ms: i64,
}

impl Confirm {
    /// The longest memory that a policy may ask for; it bounds a stream's history.
    pub const MAX_N: usize = 32;
    /// One observation is enough.
    pub const AT_ONCE: Self = Self {
        k: 1,
        n: 1,
        hysteresis: 0.0,
        cooldown_ms: default_cooldown_ms(),
    };
}

const fn default_hysteresis() -> f32 {
    0.1
}

const fn default_cooldown_ms() -> i64 {
    60_000
}

/// A validated policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PolicyFile", into = "PolicyFile")]
pub struct Policy {
    id: String,
    version: String,
    author: String,
    description: String,
    shift: [f32; 5],
    default: Rule,
    categories: BTreeMap<Category, Rule>,
    confirm_modality: BTreeMap<Modality, Confirm>,
    confirm_category: BTreeMap<Category, Confirm>,
    drawn: f32,
    heads: BTreeMap<String, Category>,
}

/// One thing that is wrong in a policy, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The table and key, such as `categories.hate.act`.
    pub at: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// Why a policy was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file could not be read.
    #[error("cannot read the policy {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not TOML, or a key is unknown or has the wrong type.
    #[error("the policy is not valid TOML: {0}")]
    Syntax(String),
    /// The values do not make sense.
    #[error("the policy is not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Problem>),
}

impl PolicyError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "policy_unreadable",
            Self::Syntax(_) => "policy_syntax",
            Self::Invalid(_) => "policy_invalid",
        }
    }
}

impl Policy {
    /// Parses and validates a policy.
    ///
    /// # Errors
    /// [`PolicyError::Syntax`] and [`PolicyError::Invalid`]; the latter lists every problem found.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile =
            toml::from_str(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
        Self::try_from(file)
    }

    /// Reads, parses and validates a policy file.
    ///
    /// # Errors
    /// [`PolicyError::Read`], and those of [`Policy::from_toml`].
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text)
    }

    /// The policy that ships with the program.
    ///
    /// # Errors
    /// None in a released build: a test parses the same text.
    pub fn builtin() -> Result<Self, PolicyError> {
        Self::from_toml(DEFAULT)
    }

    /// The policy as TOML.
    ///
    /// # Errors
    /// [`PolicyError::Syntax`] if the text cannot be written, which no validated policy causes.
    pub fn to_toml(&self) -> Result<String, PolicyError> {
        toml::to_string_pretty(&PolicyFile::from(self.clone()))
            .map_err(|e| PolicyError::Syntax(e.to_string()))
    }

    /// The policy's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The policy's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Who wrote it.
    pub fn author(&self) -> &str {
        &self.author
    }

    /// What it is for.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// `id@version`, as verdicts carry it.
    pub fn label(&self) -> String {
        format!("{}@{}", self.id, self.version)
    }

    /// The rule of a category: its own, or the policy's default.
    pub fn rule(&self, category: Category) -> &Rule {
        self.categories.get(&category).unwrap_or(&self.default)
    }

    /// `(review, act)` of a category at a strictness of 0 (lenient) to 4 (strict).
    ///
    /// A strictness moves both thresholds by the same step of log-odds, which keeps them inside
    /// (0, 1), keeps `review` ≤ `act`, and means the same near 0.5 as near 0.95. A threshold of 1
    /// stays 1. Values above 4 count as 4.
    pub fn thresholds(&self, category: Category, strictness: u8) -> (f32, f32) {
        let rule = self.rule(category);
        let shift = self.shift[usize::from(strictness).min(4)];
        (shifted(rule.review, shift), shifted(rule.act, shift))
    }

    /// How much drawn sexual content counts beside photographs, 0 (not at all) to 1 (in full).
    pub fn drawn(&self) -> f32 {
        self.drawn
    }

    /// The category that a trained head's score counts for; `None`: the head is not asked.
    pub fn head(&self, name: &str) -> Option<Category> {
        self.heads.get(name).copied()
    }

    /// How a category must be confirmed in a modality: the category's own rule, else the
    /// modality's, else at once.
    pub fn confirm(&self, category: Category, modality: Modality) -> Confirm {
        self.confirm_category
            .get(&category)
            .or_else(|| self.confirm_modality.get(&modality))
            .copied()
            .unwrap_or(Confirm::AT_ONCE)
    }
}

fn shifted(threshold: f32, shift: f32) -> f32 {
    if shift == 0.0 || threshold >= 1.0 {
        return threshold;
    }
    let logit = (threshold / (1.0 - threshold)).ln() + shift;
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_built_in_policy_is_valid_and_survives_a_round_trip() {
        let policy = Policy::builtin().unwrap();
        assert!(policy.rule(Category::SexualMinors).always_review);
        assert_eq!(
            Policy::from_toml(&policy.to_toml().unwrap()).unwrap(),
            policy
        );
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }

    #[test]
    fn no_built_in_category_suspends_and_every_one_is_named() {
        let policy = Policy::builtin().unwrap();
        for category in Category::ALL {
            assert!(
                policy.categories.contains_key(&category),
                "{category} has no rule"
            );
            assert!(
                policy.rule(category).action_act < Action::Suspend,
                "{category}"
            );
        }
    }

    #[test]
    fn stricter_means_lower_thresholds() {
        let policy = Policy::builtin().unwrap();
        for category in Category::ALL {
            let rule = policy.rule(category);
            assert_eq!(
                policy.thresholds(category, NEUTRAL_STRICTNESS),
                (rule.review, rule.act)
            );
            for s in 0..4 {
                let (loose, strict) = (
                    policy.thresholds(category, s),
                    policy.thresholds(category, s + 1),
                );
                assert!(
                    strict.0 <= loose.0 && strict.1 <= loose.1,
                    "{category} at {s}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn strictness_keeps_the_order_and_the_range(a in 0.01f32..1.0, b in 0.01f32..1.0, shift in -3.0f32..3.0) {
            let (low, high) = (a.min(b), a.max(b));
            let (l, h) = (shifted(low, shift), shifted(high, shift));
            prop_assert!(l > 0.0 && h <= 1.0 && l <= h);
        }
    }
}
