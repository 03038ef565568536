//! Scores, thresholds and a stream's history become outcomes and one action.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use crate::{
    category::Category,
    history::StreamHistory,
    verdict::{Action, CategoryResult, Modality, Outcome, Status},
};

/// One look at the content by one detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What was looked for.
    pub category: Category,
    /// Where.
    pub modality: Modality,
    /// Milliseconds of stream time.
    pub at_ms: i64,
    /// 0 to 1; a look that found nothing counts too, as 0.
    pub score: f32,
}

/// What a policy makes of a set of observations.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Every category.
    pub categories: BTreeMap<Category, CategoryResult>,
    /// The strongest action.
    pub action: Action,
    /// Whether a human should look.
    pub review: bool,
}

/// Applies `policy` at `strictness` to `observations`.
///
/// `evaluated` are the categories that some detector looked for; all others are `not_evaluated`.
/// With a `history`, frames, sound and text on screen are confirmed over time and the history is
/// advanced; without one every observation stands for itself. A `suspend` needs two observations
/// over the act threshold in any modality but text, otherwise it becomes `remove`.
pub fn decide(
    policy: &Policy,
    strictness: u8,
    evaluated: &BTreeSet<Category>,
    observations: &[Observation],
    mut history: Option<&mut StreamHistory>,
) -> Decision {
    let mut decision = Decision {
        categories: BTreeMap::new(),
        action: Action::Allow,
        review: false,
    };
    for category in Category::ALL {
        let (review, act) = policy.thresholds(category, strictness);
        if !evaluated.contains(&category) {
            decision
                .categories
                .insert(category, not_evaluated(review, act));
            continue;
        }
        let rule = policy.rule(category);
        let mut total = Judged::default();
        for modality in Modality::ALL {
            if rule
                .modalities
                .as_ref()
                .is_some_and(|m| !m.contains(&modality))
            {
                continue;
            }
            let mut looks: Vec<(i64, f32)> = observations
                .iter()
                .filter(|o| o.category == category && o.modality == modality)
                .map(|o| (o.at_ms, o.score.clamp(0.0, 1.0)))
                .collect();
            if looks.is_empty() {
                continue;
            }
            looks.sort_by_key(|(at, _)| *at);
            let one = Judge {
                policy,
                category,
                modality,
                review,
                act,
            };
            total.merge(one.judge(&looks, history.as_deref_mut()));
        }
        if rule.review_only {
            total.outcome = total.outcome.min(Outcome::Review);
        }

        let wanted = match total.outcome {
            Outcome::None => Action::Allow,
            Outcome::Review => rule.action_review,
            Outcome::Act => rule.action_act.min(total.strongest),
        };
        decision.action = decision.action.max(wanted);
        decision.review |= total.outcome == Outcome::Review
            || wanted == Action::Hold
            || (rule.always_review && total.outcome == Outcome::Act);
        decision.categories.insert(
            category,
            CategoryResult {
                status: Status::Scored,
                score: Some(total.score),
                peak: (total.peak > total.score).then_some(total.peak),
                review,
                act,
                severity: Some(severity(total.score, review, act)),
                outcome: total.outcome,
            },
        );
    }
    decision
}

fn not_evaluated(review: f32, act: f32) -> CategoryResult {
    CategoryResult {
        status: Status::NotEvaluated,
        score: None,
        peak: None,
        review,
        act,
        severity: None,
        outcome: Outcome::None,
    }
}

/// Severity bands: below half of `review` 0, below `review` 1, below `act` 2, then 3, and 4 in the
/// upper half of what lies between `act` and 1.
fn severity(score: f32, review: f32, act: f32) -> u8 {
    match score {
        s if s < review / 2.0 => 0,
        s if s < review => 1,
        s if s < act => 2,
        s if s < f32::midpoint(act, 1.0) => 3,
        _ => 4,
    }
}

/// The result of one category in one or more modalities.
struct Judged {
    score: f32,
    peak: f32,
    outcome: Outcome,
    strongest: Action,
}

impl Default for Judged {
    fn default() -> Self {
        Self {
            score: 0.0,
            peak: 0.0,
            outcome: Outcome::None,
            strongest: Action::Allow,
        }
    }
}

impl Judged {
    fn merge(&mut self, other: Self) {
        self.score = self.score.max(other.score);
        self.peak = self.peak.max(other.peak);
        self.outcome = self.outcome.max(other.outcome);
        self.strongest = self.strongest.max(other.strongest);
    }
}

/// One category in one modality.
struct Judge<'a> {
    policy: &'a Policy,
    category: Category,
    modality: Modality,
    review: f32,
    act: f32,
}

impl Judge<'_> {
    /// `looks` is not empty and in order of time.
    fn judge(&self, looks: &[(i64, f32)], history: Option<&mut StreamHistory>) -> Judged {
        let peak = looks.iter().fold(0.0f32, |m, (_, s)| m.max(*s));
        let Some(history) = history.filter(|_| self.modality != Modality::Text) else {
            return Judged {
                score: peak,
                peak,
                outcome: self.outcome(peak, self.act),
                strongest: if self.modality == Modality::Text {
                    Action::Suspend
                } else {
                    Action::Remove
                },
            };
        };

        let confirm = self.policy.confirm(self.category, self.modality);
        let track = history.track(self.category, self.modality);
        let mut score = 0.0f32;
        let mut seen = 0;
        for (at, s) in looks {
            track.push(*at, *s, confirm.n.max(2));
            // What was seen before confirms what is seen now; it is no finding of its own.
            score = score.max(track.kth(confirm.k, confirm.n).min(*s));
            seen = seen.max(track.at_least(self.act, confirm.n.max(2)));
        }
        // While a category acts, it goes on until the score has fallen clearly.
        let act = if track.is_active() {
            (self.act - confirm.hysteresis).max(self.review)
        } else {
            self.act
        };
        let mut outcome = self.outcome(score, act);
        track.set_active(outcome == Outcome::Act);
        // Seen, not confirmed: not for the machine to decide, and not to be ignored.
        if peak >= self.act {
            outcome = outcome.max(Outcome::Review);
        }

        let now = looks.last().map_or(0, |(at, _)| *at);
        let suspends = outcome == Outcome::Act
            && seen >= 2
            && self.policy.rule(self.category).action_act == Action::Suspend
            && track.may_suspend(now, &confirm);
        if suspends {
            track.suspended(now);
        }
        Judged {
            score,
            peak,
            outcome,
            strongest: if suspends {
                Action::Suspend
            } else {
                Action::Remove
            },
        }
    }

    fn outcome(&self, score: f32, act: f32) -> Outcome {
        if score >= act {
            Outcome::Act
        } else if score >= self.review {
            Outcome::Review
        } else {
            Outcome::None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_for_review_only_never_acts() {
        let policy = policy("[categories.weapons]\nreview = 0.5\nact = 0.6\nreview_only = true\n");
        let look = Observation {
            category: Category::Weapons,
            modality: Modality::Frame,
            at_ms: 0,
            score: 0.99,
        };
        let evaluated = [Category::Weapons].into();
        let decision = decide(&policy, 2, &evaluated, &[look, look], None);
        assert_eq!((decision.action, decision.review), (Action::Flag, true));
        let result = &decision.categories[&Category::Weapons];
        assert_eq!(result.outcome, Outcome::Review);
    }

    fn policy(body: &str) -> Policy {
        Policy::from_toml(&format!(
            "id = \"t\"\nversion = \"1\"\nauthor = \"test\"\n\
             [confirm.frame]\nk = 2\nn = 3\nhysteresis = 0.1\ncooldown_ms = 10000\n{body}"
        ))
        .unwrap()
    }

    fn frames(category: Category, from_ms: i64, scores: &[f32]) -> Vec<Observation> {
        scores
            .iter()
            .enumerate()
            .map(|(i, score)| Observation {
                category,
                modality: Modality::Frame,
                at_ms: from_ms + 1000 * i as i64,
                score: *score,
            })
            .collect()
    }

    fn run(policy: &Policy, looks: &[Observation], history: &mut StreamHistory) -> Decision {
        let evaluated = looks.iter().map(|o| o.category).collect();
        decide(policy, 2, &evaluated, looks, Some(history))
    }

    #[test]
    fn one_frame_goes_to_a_human_two_of_three_act() {
        let policy =
            policy("[categories.sexual]\nreview = 0.6\nact = 0.8\naction_act = \"hold\"\n");
        let mut history = StreamHistory::default();
        let one = run(&policy, &frames(Category::Sexual, 0, &[0.95]), &mut history);
        assert_eq!(one.action, Action::Flag);
        assert!(one.review);
        let result = &one.categories[&Category::Sexual];
        assert_eq!(result.outcome, Outcome::Review);
        assert_eq!((result.score, result.peak), (Some(0.0), Some(0.95)));

        let two = run(
            &policy,
            &frames(Category::Sexual, 2000, &[0.1, 0.9]),
            &mut history,
        );
        assert_eq!(two.action, Action::Hold);
        assert_eq!(two.categories[&Category::Sexual].score, Some(0.9));
    }

    #[test]
    fn calm_frames_do_nothing_and_absent_models_are_no_zero() {
        let policy = policy("");
        let calm = run(
            &policy,
            &frames(Category::Sexual, 0, &[0.1, 0.2, 0.1]),
            &mut StreamHistory::default(),
        );
        assert_eq!(calm.action, Action::Allow);
        assert!(!calm.review);
        assert_eq!(calm.categories.len(), Category::ALL.len());
        let absent = &calm.categories[&Category::Weapons];
        assert_eq!((absent.status, absent.score), (Status::NotEvaluated, None));
    }

    #[test]
    fn hysteresis_keeps_acting_just_below_the_threshold() {
        let policy = policy("[categories.sexual]\nreview = 0.5\nact = 0.8\n");
        let mut history = StreamHistory::default();
        let look = |from, s: &[f32], h: &mut StreamHistory| {
            run(&policy, &frames(Category::Sexual, from, s), h).categories[&Category::Sexual]
                .outcome
        };
        assert_eq!(look(0, &[0.75, 0.75, 0.75], &mut history), Outcome::Review);
        assert_eq!(look(3000, &[0.9, 0.9, 0.9], &mut history), Outcome::Act);
        assert_eq!(look(6000, &[0.75, 0.75, 0.75], &mut history), Outcome::Act);
        assert_eq!(look(9000, &[0.6, 0.6, 0.6], &mut history), Outcome::Review);
        assert_eq!(
            look(15000, &[0.75, 0.75, 0.75], &mut history),
            Outcome::Review
        );
    }

    #[test]
    fn what_is_over_is_over() {
        let policy = policy("[categories.sexual]\nreview = 0.5\nact = 0.8\n");
        let mut history = StreamHistory::default();
        let hit = run(
            &policy,
            &frames(Category::Sexual, 0, &[0.9, 0.9]),
            &mut history,
        );
        assert_eq!(hit.categories[&Category::Sexual].outcome, Outcome::Act);
        let calm = run(
            &policy,
            &frames(Category::Sexual, 2000, &[0.1]),
            &mut history,
        );
        assert_eq!(calm.categories[&Category::Sexual].outcome, Outcome::None);
        assert_eq!(calm.categories[&Category::Sexual].score, Some(0.1));
    }

    #[test]
    fn suspend_needs_two_looks_and_cools_down() {
        let policy = policy(
            "[confirm.sexual]\nk = 1\nn = 3\ncooldown_ms = 10000\n\
             [categories.sexual]\nreview = 0.5\nact = 0.8\naction_act = \"suspend\"\n",
        );
        let mut history = StreamHistory::default();
        let look = |at, s: &[f32], h: &mut StreamHistory| {
            run(&policy, &frames(Category::Sexual, at, s), h).action
        };
        assert_eq!(look(0, &[0.95], &mut history), Action::Remove);
        assert_eq!(look(1000, &[0.95], &mut history), Action::Suspend);
        assert_eq!(
            look(2000, &[0.95], &mut history),
            Action::Remove,
            "cooling down"
        );
        assert_eq!(look(11500, &[0.95, 0.95], &mut history), Action::Suspend);
        // A picture on its own, without a stream, never suspends.
        let looks = frames(Category::Sexual, 0, &[0.99]);
        let alone = decide(&policy, 2, &[Category::Sexual].into(), &looks, None);
        assert_eq!(alone.action, Action::Remove);
    }

    #[test]
    fn a_category_counts_only_where_the_policy_says() {
        let policy = policy("[categories.sexual]\nmodalities = [\"text\"]\n");
        let decision = run(
            &policy,
            &frames(Category::Sexual, 0, &[1.0, 1.0]),
            &mut StreamHistory::default(),
        );
        assert_eq!(decision.action, Action::Allow);
    }

    #[test]
    fn held_content_and_minors_reach_a_human() {
        let policy = policy(
            "[categories.\"sexual/minors\"]\nreview = 0.3\nact = 0.5\naction_act = \"remove\"\n",
        );
        let look = Observation {
            category: Category::SexualMinors,
            modality: Modality::Text,
            at_ms: 0,
            score: 0.9,
        };
        let decision = decide(&policy, 2, &[look.category].into(), &[look], None);
        assert_eq!(decision.action, Action::Remove);
        assert!(decision.review);
    }

    proptest! {
        #[test]
        fn more_score_never_means_a_milder_outcome(
            low in 0.0f32..1.0, gain in 0.0f32..0.5, strictness in 0u8..5, n in 1usize..4,
        ) {
            let policy = Policy::builtin().unwrap();
            let high = (low + gain).min(1.0);
            for category in Category::ALL {
                let with = |s: f32| {
                    let looks = frames(category, 0, &vec![s; n]);
                    decide(&policy, strictness, &[category].into(), &looks, Some(&mut StreamHistory::default()))
                };
                prop_assert!(with(high).action >= with(low).action);
                prop_assert!(with(high).categories[&category].outcome >= with(low).categories[&category].outcome);
            }
        }

        #[test]
        fn severity_rises_with_the_score(a in 0.0f32..1.0, b in 0.0f32..1.0) {
            prop_assert!(severity(a.min(b), 0.5, 0.8) <= severity(a.max(b), 0.5, 0.8));
        }
    }
}
