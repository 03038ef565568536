//! Perspective's attributes and where their scores come from.

use crate::{
    category::Category,
    verdict::{Status, Verdict},
};

/// How an attribute is read off a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reading {
    /// The highest score of these categories.
    Highest(&'static [Category]),
    /// One category's score with this taken off its log-odds: the same order, a later threshold.
    Stricter(Category, f32),
    /// Nothing here can tell.
    None,
}

/// An attribute of the Perspective API, read off a verdict.
#[derive(Debug, PartialEq)]
pub struct Attribute {
    name: &'static str,
    reading: Reading,
}

/// What severe toxicity takes off the log-odds of toxicity: it is at 0.5 where toxicity is at 0.88.
const SEVERE: f32 = 2.0;

const fn of(name: &'static str, reading: Reading) -> Attribute {
    Attribute { name, reading }
}

static ATTRIBUTES: [Attribute; 24] = [
    of("TOXICITY", Reading::Highest(&[Category::Toxicity])),
    of(
        "SEVERE_TOXICITY",
        Reading::Stricter(Category::Toxicity, SEVERE),
    ),
    of(
        "IDENTITY_ATTACK",
        Reading::Highest(&[Category::Hate, Category::HateThreatening]),
    ),
    of("INSULT", Reading::Highest(&[Category::Harassment])),
    of("PROFANITY", Reading::Highest(&[Category::Profanity])),
    of(
        "THREAT",
        Reading::Highest(&[Category::HarassmentThreatening, Category::HateThreatening]),
    ),
    of("SEXUALLY_EXPLICIT", Reading::Highest(&[Category::Sexual])),
    of("SPAM", Reading::Highest(&[Category::Spam])),
    of("OBSCENE", Reading::Highest(&[Category::Profanity])),
    of("FLIRTATION", Reading::None),
    of("INFLAMMATORY", Reading::None),
    of("ATTACK_ON_AUTHOR", Reading::None),
    of("ATTACK_ON_COMMENTER", Reading::None),
    of("INCOHERENT", Reading::None),
    of("UNSUBSTANTIAL", Reading::None),
    of("LIKELY_TO_REJECT", Reading::None),
    of("AFFINITY", Reading::None),
    of("COMPASSION", Reading::None),
    of("CURIOSITY", Reading::None),
    of("NUANCE", Reading::None),
    of("PERSONAL_STORY", Reading::None),
    of("REASONING", Reading::None),
    of("RESPECT", Reading::None),
    of("POWERFUL", Reading::None),
];

impl Attribute {
    /// Every attribute, also those that are never answered.
    pub fn all() -> &'static [Self] {
        &ATTRIBUTES
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The attribute called `name`; `NAME_EXPERIMENTAL` is `NAME`.
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = name.strip_suffix("_EXPERIMENTAL").unwrap_or(name);
        ATTRIBUTES.iter().find(|a| a.name == name)
    }

    /// Whether this service ever answers it.
    pub fn is_answered(&self) -> bool {
        self.reading != Reading::None
    }

    /// Whether it can be answered in a language, a BCP-47 tag. Models were trained on English;
    /// profanity has lists in more languages, and the verdict says which.
    pub fn speaks(&self, language: &str) -> bool {
        let primary = language.split(['-', '_']).next().unwrap_or_default();
        let english = primary.eq_ignore_ascii_case("en");
        english || self.reading == Reading::Highest(&[Category::Profanity])
    }

    /// Its score; `None` when nothing looked.
    pub fn read(&self, verdict: &Verdict) -> Option<f32> {
        let score = |category: &Category| {
            verdict
                .categories
                .get(category)
                .filter(|r| r.status == Status::Scored)
                .and_then(|r| r.score)
        };
        match self.reading {
            Reading::Highest(categories) => {
                // The first category carries the attribute; the others only add to it.
                let first = score(categories.first()?)?;
                Some(
                    categories[1..]
                        .iter()
                        .filter_map(score)
                        .fold(first, f32::max),
                )
            }
            Reading::Stricter(category, less) => score(&category).map(|s| stricter(s, less)),
            Reading::None => None,
        }
    }
}

/// `sigmoid(logit(score) - less)`, without the detour.
fn stricter(score: f32, less: f32) -> f32 {
    let odds = score * (-less).exp();
    odds / (odds + 1.0 - score).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_their_suffix() {
        assert!(Attribute::named("TOXICITY").is_some_and(Attribute::is_answered));
        assert_eq!(
            Attribute::named("TOXICITY_EXPERIMENTAL"),
            Attribute::named("TOXICITY")
        );
        assert!(Attribute::named("AFFINITY_EXPERIMENTAL").is_some_and(|a| !a.is_answered()));
        assert!(Attribute::named("toxicity").is_none());
    }

    #[test]
    fn severe_is_stricter_and_keeps_the_order() {
        for (score, wanted) in [(0.0, 0.0), (1.0, 1.0), (0.880797, 0.5)] {
            assert!((stricter(score, SEVERE) - wanted).abs() < 1e-4, "{score}");
        }
        let steps: Vec<f32> = (0..=100)
            .map(|i| stricter(i as f32 / 100.0, SEVERE))
            .collect();
        assert!(steps.is_sorted());
    }

    #[test]
    fn only_english_except_for_lists() {
        let speaks = |name: &str, l: &str| Attribute::named(name).is_some_and(|a| a.speaks(l));
        assert!(speaks("TOXICITY", "en-US") && speaks("TOXICITY", "EN"));
        assert!(!speaks("TOXICITY", "de") && !speaks("TOXICITY", ""));
        assert!(speaks("PROFANITY", "de"));
    }
}
