//! The policy file as it is written, and its checks.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Confirm, Policy, PolicyError, Problem, Rule};
use crate::{
    category::Category,
    verdict::{Action, Modality},
};

/// Log-odds added to every threshold at strictness 0 to 4.
const DEFAULT_SHIFT: [f32; 5] = [1.0, 0.5, 0.0, -0.5, -1.0];

/// The TOML document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    id: String,
    version: String,
    author: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    strictness: StrictnessTable,
    #[serde(default)]
    default: RuleTable,
    #[serde(default)]
    frames: FramesTable,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    heads: BTreeMap<String, String>,
    #[serde(default)]
    confirm: BTreeMap<String, Confirm>,
    #[serde(default)]
    categories: BTreeMap<String, RuleTable>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictnessTable {
    shift: [f32; 5],
}

impl Default for StrictnessTable {
    fn default() -> Self {
        Self {
            shift: DEFAULT_SHIFT,
        }
    }
}

/// What is particular about pictures.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FramesTable {
    drawn: f32,
}

impl Default for FramesTable {
    fn default() -> Self {
        Self { drawn: 1.0 }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    review: Option<f32>,
    act: Option<f32>,
    action_review: Option<Action>,
    action_act: Option<Action>,
    always_review: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review_only: Option<bool>,
    modalities: Option<Vec<Modality>>,
}

impl RuleTable {
    fn over(self, base: &Rule) -> Rule {
        Rule {
            review: self.review.unwrap_or(base.review),
            act: self.act.unwrap_or(base.act),
            action_review: self.action_review.unwrap_or(base.action_review),
            action_act: self.action_act.unwrap_or(base.action_act),
            always_review: self.always_review.unwrap_or(base.always_review),
            review_only: self.review_only.unwrap_or(base.review_only),
            modalities: self.modalities.or_else(|| base.modalities.clone()),
        }
    }
}

impl From<Rule> for RuleTable {
    fn from(rule: Rule) -> Self {
        Self {
            review: Some(rule.review),
            act: Some(rule.act),
            action_review: Some(rule.action_review),
            action_act: Some(rule.action_act),
            always_review: Some(rule.always_review),
            review_only: rule.review_only.then_some(true),
            modalities: rule.modalities,
        }
    }
}

impl From<Policy> for PolicyFile {
    fn from(policy: Policy) -> Self {
        let by_modality = policy
            .confirm_modality
            .into_iter()
            .map(|(m, c)| (m.as_str().to_owned(), c));
        let by_category = policy
            .confirm_category
            .into_iter()
            .map(|(c, rule)| (c.as_str().to_owned(), rule));
        Self {
            id: policy.id,
            version: policy.version,
            author: policy.author,
            description: policy.description,
            strictness: StrictnessTable {
                shift: policy.shift,
            },
            default: policy.default.into(),
            frames: FramesTable {
                drawn: policy.drawn,
            },
            heads: policy
                .heads
                .into_iter()
                .map(|(head, category)| (head, category.as_str().to_owned()))
                .collect(),
            confirm: by_modality.chain(by_category).collect(),
            categories: policy
                .categories
                .into_iter()
                .map(|(c, rule)| (c.as_str().to_owned(), rule.into()))
                .collect(),
        }
    }
}

impl TryFrom<PolicyFile> for Policy {
    type Error = PolicyError;

    fn try_from(file: PolicyFile) -> Result<Self, PolicyError> {
        let mut check = Check::default();
        check.name("id", &file.id);
        check.name("version", &file.version);
        if file.author.trim().is_empty() {
            check.fail("author", "is empty", "name who answers for this policy");
        }
        check.shift(&file.strictness.shift);

        let fallback = Rule {
            review: 0.5,
            act: 0.9,
            action_review: Action::Flag,
            action_act: Action::Hold,
            always_review: false,
            review_only: false,
            modalities: None,
        };
        let default = file.default.over(&fallback);
        check.rule("default", &default);

        let mut categories = BTreeMap::new();
        for (name, table) in file.categories {
            let at = format!("categories.{name}");
            match Category::from_str(&name) {
                Ok(category) => {
                    let mut rule = table.over(&default);
                    // Never left to a machine alone, whatever the file says.
                    rule.always_review |= category == Category::SexualMinors;
                    check.rule(&at, &rule);
                    categories.insert(category, rule);
                }
                Err(unknown) => check.unknown(&at, unknown.hint),
            }
        }

        let (mut confirm_modality, mut confirm_category) = (BTreeMap::new(), BTreeMap::new());
        for (name, confirm) in file.confirm {
            let at = format!("confirm.{name}");
            check.confirm(&at, &confirm);
            if let Some(modality) = Modality::ALL.into_iter().find(|m| m.as_str() == name) {
                confirm_modality.insert(modality, confirm);
            } else {
                match Category::from_str(&name) {
                    Ok(category) => {
                        confirm_category.insert(category, confirm);
                    }
                    Err(unknown) => check.unknown(&at, unknown.hint),
                }
            }
        }

        check.share("frames.drawn", file.frames.drawn);
        let mut heads = BTreeMap::new();
        for (head, name) in file.heads {
            let at = format!("heads.{head}");
            check.head(&at, &head);
            match Category::from_str(&name) {
                Ok(category) => {
                    heads.insert(head, category);
                }
                Err(unknown) => check.unknown(&at, unknown.hint),
            }
        }

        if check.problems.is_empty() {
            Ok(Self {
                id: file.id,
                version: file.version,
                author: file.author,
                description: file.description,
                shift: file.strictness.shift,
                default,
                categories,
                confirm_modality,
                confirm_category,
                drawn: file.frames.drawn,
                heads,
            })
        } else {
            Err(PolicyError::Invalid(check.problems))
        }
    }
}

/// Collects every problem, so that one run shows them all.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn fail(&mut self, at: &str, problem: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem {
            at: at.to_owned(),
            problem: problem.into(),
            hint: hint.into(),
        });
    }

    fn unknown(&mut self, at: &str, hint: Option<&str>) {
        let hint = hint.map_or_else(
            || "use a category of the taxonomy".to_owned(),
            |h| format!("did you mean `{h}`?"),
        );
        self.fail(at, "no such name", hint);
    }

    /// Ids and versions are joined with `@` and used in URLs and file names.
    fn name(&mut self, at: &str, value: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if value.is_empty() || value.len() > 64 || !value.chars().all(allowed) {
            self.fail(
                at,
                "must be 1 to 64 of a-z, 0-9, `-`, `_`, `.`",
                "for example \"2026-11-1\"",
            );
        }
    }

    fn share(&mut self, at: &str, value: f32) {
        if !(0.0..=1.0).contains(&value) {
            self.fail(
                at,
                format!("{value} is not within 0 and 1"),
                "1 counts in full",
            );
        }
    }

    fn head(&mut self, at: &str, name: &str) {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            self.fail(
                at,
                "is no head's name",
                "the label in lower case with `-` between words",
            );
        }
    }

    fn shift(&mut self, shift: &[f32; 5]) {
        let at = "strictness.shift";
        if shift.iter().any(|s| !s.is_finite() || s.abs() > 3.0) {
            self.fail(
                at,
                "each step must lie between -3 and 3",
                "the default is [1, 0.5, 0, -0.5, -1]",
            );
        }
        if !shift.is_sorted_by(|a, b| a >= b) {
            self.fail(
                at,
                "must fall from lenient to strict",
                "order the five steps downwards",
            );
        }
        if shift[2] != 0.0 {
            self.fail(
                at,
                "the middle step must be 0",
                "strictness 2 means the thresholds as written",
            );
        }
    }

    fn rule(&mut self, at: &str, rule: &Rule) {
        for (key, value) in [("review", rule.review), ("act", rule.act)] {
            if !(value > 0.0 && value <= 1.0) {
                self.fail(
                    &format!("{at}.{key}"),
                    format!("{value} is not above 0 and at most 1"),
                    "thresholds are probabilities",
                );
            }
        }
        if rule.review > rule.act {
            self.fail(
                &format!("{at}.review"),
                format!("{} is above act = {}", rule.review, rule.act),
                "review must be at most act",
            );
        }
        if !matches!(rule.action_review, Action::Flag | Action::Hold) {
            self.fail(
                &format!("{at}.action_review"),
                format!(
                    "`{}` decides before the human does",
                    rule.action_review.as_str()
                ),
                "use \"flag\" or \"hold\"",
            );
        }
        if rule.action_act == Action::Allow {
            self.fail(
                &format!("{at}.action_act"),
                "`allow` is no action",
                "use \"flag\" or more",
            );
        }
        if rule.action_act < rule.action_review {
            self.fail(
                &format!("{at}.action_act"),
                "is milder than action_review",
                "a higher score must not weaken the action",
            );
        }
        if rule.modalities.as_ref().is_some_and(Vec::is_empty) {
            self.fail(
                &format!("{at}.modalities"),
                "is empty",
                "leave it out to mean everywhere",
            );
        }
    }

    fn confirm(&mut self, at: &str, confirm: &Confirm) {
        if confirm.k == 0 || confirm.k > confirm.n || confirm.n > Confirm::MAX_N {
            self.fail(
                at,
                format!("k = {}, n = {}", confirm.k, confirm.n),
                format!("1 <= k <= n <= {}", Confirm::MAX_N),
            );
        }
        if !(0.0..=0.5).contains(&confirm.hysteresis) {
            self.fail(
                &format!("{at}.hysteresis"),
                "is not within 0 and 0.5",
                "0.1 is usual",
            );
        }
        if confirm.cooldown_ms < 0 {
            self.fail(
                &format!("{at}.cooldown_ms"),
                "is negative",
                "milliseconds of stream time",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "id = \"t\"\nversion = \"1\"\nauthor = \"test\"\n";

    fn problems(body: &str) -> Vec<String> {
        match Policy::from_toml(&format!("{HEAD}{body}")) {
            Err(PolicyError::Invalid(p)) => p.iter().map(ToString::to_string).collect(),
            other => panic!("expected problems, got {other:?}"),
        }
    }

    #[test]
    fn every_problem_is_reported_with_a_hint() {
        let found = problems(
            "[categories.hate]\nreview = 0.9\nact = 0.5\n\
             [categories.self_harm]\nact = 0.9\n\
             [categories.spam]\naction_review = \"remove\"\n\
             [categories.scam]\nact = 1.5\n\
             [confirm.frames]\nk = 2\nn = 3\n\
             [confirm.audio]\nk = 4\nn = 3\n",
        );
        let all = found.join("\n");
        for wanted in [
            "categories.hate.review: 0.9 is above act = 0.5",
            "did you mean `self-harm`?",
            "categories.spam.action_review: `remove` decides before the human does",
            "categories.scam.act: 1.5 is not above 0",
            "confirm.frames: no such name",
            "confirm.audio: k = 4, n = 3",
        ] {
            assert!(all.contains(wanted), "{wanted} missing in\n{all}");
        }
    }

    #[test]
    fn thresholds_that_are_no_numbers_and_odd_names_are_refused() {
        assert!(!problems("[categories.hate]\nreview = nan\n").is_empty());
        assert!(!problems("[strictness]\nshift = [1, 0.5, 0.2, -0.5, -1]\n").is_empty());
        assert!(!problems("[strictness]\nshift = [-1, 0, 0, 0, 1]\n").is_empty());
        let named = "id = \"a b\"\nversion = \"1\"\nauthor = \"\"\n";
        let Err(PolicyError::Invalid(found)) = Policy::from_toml(named) else {
            panic!("must be refused")
        };
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn unknown_keys_are_a_syntax_error() {
        let error = Policy::from_toml(&format!("{HEAD}[categories.hate]\nrewiew = 0.5\n"));
        assert_eq!(error.unwrap_err().code(), "policy_syntax");
    }

    #[test]
    fn one_line_makes_a_head_count_for_a_category() {
        let policy = Policy::from_toml(&format!(
            "{HEAD}[frames]\ndrawn = 0.25\n[heads]\nsmoking = \"illicit\"\n"
        ))
        .unwrap();
        assert_eq!(policy.head("smoking"), Some(Category::Illicit));
        assert_eq!((policy.head("guns"), policy.drawn()), (None, 0.25));
        let again = Policy::from_toml(&policy.to_toml().unwrap()).unwrap();
        assert_eq!(again, policy);
        let all = problems(
            "[frames]\ndrawn = 2\n[heads]\nsmoking = \"ilicit\"\n\"Big Guns\" = \"weapons\"\n",
        )
        .join("\n");
        for wanted in [
            "frames.drawn: 2 is not",
            "heads.smoking: no such name",
            "heads.Big Guns: is no",
        ] {
            assert!(all.contains(wanted), "{wanted} missing in\n{all}");
        }
    }

    #[test]
    fn minors_always_go_to_a_human() {
        let policy = Policy::from_toml(&format!(
            "{HEAD}[categories.\"sexual/minors\"]\nalways_review = false\n"
        ))
        .unwrap();
        assert!(policy.rule(Category::SexualMinors).always_review);
    }
}
