//! The answer: verdicts in OpenAI's shape.

use std::collections::{BTreeMap, BTreeSet};

use novastream_inference::{Action, Category, Kind, Outcome, Status, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The categories of OpenAI's API, all of which every result answers.
pub const CATEGORIES: [Category; 13] = [
    Category::Harassment,
    Category::HarassmentThreatening,
    Category::Hate,
    Category::HateThreatening,
    Category::Illicit,
    Category::IllicitViolent,
    Category::SelfHarm,
    Category::SelfHarmIntent,
    Category::SelfHarmInstructions,
    Category::Sexual,
    Category::SexualMinors,
    Category::Violence,
    Category::ViolenceGraphic,
];

/// Answer to a moderation request.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModerationAnswer {
    /// `modr-` and the id of the first verdict.
    #[schema(example = "modr-0199f3a2-7a4e-7000-8000-000000000001")]
    pub id: String,
    /// The models that judged, `name@version` joined by `+`.
    #[schema(example = "chat-linear@0.1.0")]
    pub model: String,
    /// In the order of the inputs.
    pub results: Vec<Moderation>,
}

/// Whether each category is flagged.
pub type CategoryFlags = BTreeMap<String, bool>;
/// A score from 0 to 1 for each category; 0.5 is the model's shipped threshold.
pub type CategoryScores = BTreeMap<String, f32>;
/// The types of input that each score is about: `text`, `image`.
pub type CategoryInputs = BTreeMap<String, Vec<String>>;

/// One result.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Moderation {
    /// Something is over its review threshold, in these categories or the platform's own, or the
    /// content could not be judged in full.
    pub flagged: bool,
    /// For each of the 13 categories: its score is at or over the policy's review threshold.
    #[schema(value_type = std::collections::HashMap<String, bool>)]
    pub categories: CategoryFlags,
    /// For each of the 13 categories: a score, or 0 where `not_evaluated` names it.
    #[schema(value_type = std::collections::HashMap<String, f32>)]
    pub category_scores: CategoryScores,
    /// For each of the 13 categories: what its score is about; empty where nothing looked.
    #[schema(value_type = std::collections::HashMap<String, Vec<String>>)]
    pub category_applied_input_types: CategoryInputs,
    /// Categories that nothing loaded can tell. Their score of 0 says nothing.
    #[schema(example = json!(["violence/graphic"]))]
    pub not_evaluated: Vec<String>,
    /// What the platform's own verdicts say beyond this shape.
    pub novastream: Own,
}

/// The verdicts behind a result.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Own {
    /// Their ids.
    pub verdict_ids: Vec<String>,
    /// The strongest action that one of them asks for.
    pub action: Action,
    /// A human should look.
    pub review: bool,
    /// `id@version` of the policy.
    #[schema(example = "default@1")]
    pub policy: String,
    /// The platform's own categories that were scored, such as `toxicity` and `scam`.
    #[schema(value_type = std::collections::HashMap<String, f32>)]
    pub category_scores: CategoryScores,
    /// Those of them at or over their review threshold.
    pub flagged: Vec<String>,
    /// What was missing, late or left out.
    pub degraded: Vec<String>,
}

/// What is known about one category.
#[derive(Default)]
struct Known {
    score: f32,
    flagged: bool,
    inputs: BTreeSet<&'static str>,
}

impl Moderation {
    /// One result for the verdicts of all parts of an input: a category's score is the highest.
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut all: BTreeMap<Category, Known> = BTreeMap::new();
        for verdict in verdicts {
            let input = match verdict.kind {
                Kind::Text => "text",
                _ => "image",
            };
            for (category, result) in &verdict.categories {
                if result.status == Status::Scored {
                    let known = all.entry(*category).or_default();
                    known.score = known.score.max(result.score.unwrap_or(0.0));
                    known.flagged |= result.outcome > Outcome::None;
                    known.inputs.insert(input);
                }
            }
        }
        let of = |c: &Category| all.get(c);
        let named = |c: Category| c.as_str().to_owned();
        let others = || all.iter().filter(|(c, _)| !CATEGORIES.contains(c));
        let degraded: BTreeSet<String> = verdicts
            .iter()
            .flat_map(|v| &v.degraded)
            .map(|d| format!("{}: {}", d.component, d.reason))
            .collect();
        let review = verdicts.iter().any(|v| v.review);
        let action = verdicts.iter().map(|v| v.action).max().unwrap_or_default();
        Self {
            flagged: review || action > Action::Allow || all.values().any(|k| k.flagged),
            categories: CATEGORIES
                .iter()
                .map(|c| (named(*c), of(c).is_some_and(|k| k.flagged)))
                .collect(),
            category_scores: CATEGORIES
                .iter()
                .map(|c| (named(*c), of(c).map_or(0.0, |k| k.score)))
                .collect(),
            category_applied_input_types: CATEGORIES
                .iter()
                .map(|c| {
                    let inputs = of(c).into_iter().flat_map(|k| &k.inputs);
                    (named(*c), inputs.map(|i| (*i).to_owned()).collect())
                })
                .collect(),
            not_evaluated: CATEGORIES
                .iter()
                .filter(|c| of(c).is_none())
                .map(|c| named(*c))
                .collect(),
            novastream: Own {
                verdict_ids: verdicts.iter().map(|v| v.id.clone()).collect(),
                action,
                review,
                policy: verdicts
                    .first()
                    .map_or_else(String::new, |v| v.policy.clone()),
                category_scores: others().map(|(c, k)| (named(*c), k.score)).collect(),
                flagged: others()
                    .filter(|(_, k)| k.flagged)
                    .map(|(c, _)| named(*c))
                    .collect(),
                degraded: degraded.into_iter().collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use novastream_inference::{Moderator, ModeratorConfig, TextItem};

    use super::*;

    fn verdict(text: &str, zoo: bool) -> Verdict {
        let mut config = ModeratorConfig::from_env().unwrap();
        if !zoo {
            config.zoo = std::env::temp_dir().join("novastream-no-zoo");
        }
        let moderator = Moderator::load(config).unwrap();
        let item = TextItem {
            id: "0".to_owned(),
            text: text.to_owned(),
            ..TextItem::default()
        };
        moderator.text(&[item], None).remove(0)
    }

    #[test]
    fn all_thirteen_are_answered_and_zeros_are_declared() {
        let result = Moderation::of(&[verdict("hello everyone", true)]);
        assert_eq!(result.categories.len(), 13);
        assert!(!result.flagged, "{result:?}");
        for (name, inputs) in &result.category_applied_input_types {
            let evaluated = !result.not_evaluated.contains(name);
            assert_eq!(!inputs.is_empty(), evaluated, "{name}");
            assert!(evaluated || result.category_scores[name] == 0.0);
        }
        assert!(result.category_scores["hate"] > 0.0);
        assert!(result.novastream.category_scores.contains_key("toxicity"));
    }

    #[test]
    fn what_could_not_be_judged_is_flagged() {
        let result = Moderation::of(&[verdict("hello everyone", false)]);
        assert!(result.flagged && result.novastream.review);
        assert_eq!(result.novastream.degraded.len(), 1);
        assert!(result.not_evaluated.contains(&"hate".to_owned()));
    }

    #[test]
    fn parts_are_joined_by_their_highest_score() {
        let (mild, bad) = (
            verdict("hello everyone", true),
            verdict("you are a worthless idiot, shut up", true),
        );
        let joined = Moderation::of(&[mild, bad.clone()]);
        let alone = Moderation::of(&[bad]);
        assert!(alone.flagged);
        assert_eq!(
            joined.category_scores["harassment"],
            alone.category_scores["harassment"]
        );
        assert_eq!(joined.novastream.verdict_ids.len(), 2);
    }
}
