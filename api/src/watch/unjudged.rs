//! Verdicts about what nobody could judge. They are never `allow`: a person should know.

use std::collections::BTreeMap;

use novastream_inference::{
    Action, Category, CategoryResult, Degraded, Kind, Outcome, Policy, Status, Timings, Verdict,
};
use sha2::{Digest as _, Sha256};

use super::queue::Span;
use crate::clock;
use crate::judge::Context;

/// A stretch of the stream that never arrived.
pub fn gap(context: &Context, policy: &Policy, span: Span, reason: &str) -> Verdict {
    verdict(
        Kind::Gap,
        context,
        policy,
        span,
        Degraded::new("source", reason),
    )
}

/// A window that arrived and was not judged.
pub fn window(
    context: &Context,
    policy: &Policy,
    span: Span,
    component: &str,
    reason: &str,
) -> Verdict {
    verdict(
        Kind::Window,
        context,
        policy,
        span,
        Degraded::new(component, reason),
    )
}

/// Whether somebody should look: an action, or a review.
pub fn notable(verdict: &Verdict) -> bool {
    verdict.action != Action::Allow || verdict.review
}

fn verdict(
    kind: Kind,
    context: &Context,
    policy: &Policy,
    span: Span,
    degraded: Degraded,
) -> Verdict {
    let categories: BTreeMap<_, _> = Category::ALL
        .into_iter()
        .map(|c| (c, not_evaluated(policy, c)))
        .collect();
    Verdict {
        id: uuid::Uuid::now_v7().to_string(),
        kind,
        stream_id: context.stream_id.clone(),
        item_id: None,
        sequence: context.sequence,
        start_ms: Some(span.start_ms),
        end_ms: Some(span.end_ms),
        action: Action::Flag,
        review: true,
        categories,
        evidence: Vec::new(),
        sounds: Vec::new(),
        policy: policy.label(),
        sampling: None,
        degraded: vec![degraded],
        notices: Vec::new(),
        media: None,
        language: None,
        timings: Timings::default(),
        created_at: clock::rfc3339(clock::unix_ms()),
        content_sha256: hex::encode(Sha256::digest([])),
    }
}

fn not_evaluated(policy: &Policy, category: Category) -> CategoryResult {
    let (review, act) = policy.thresholds(category, novastream_inference::NEUTRAL_STRICTNESS);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_judged_goes_to_a_person() {
        let policy = Policy::builtin().unwrap();
        let context = Context {
            stream_id: Some("s".into()),
            sequence: Some(3),
            start_ms: None,
            stretch_percent: 0,
            policy: policy.clone().into(),
        };
        let span = Span {
            start_ms: 10,
            end_ms: 20,
        };
        let v = gap(&context, &policy, span, "source_stalled: x");
        assert!(notable(&v) && v.review && v.kind == Kind::Gap);
        assert_eq!((v.start_ms, v.end_ms), (Some(10), Some(20)));
        assert!(
            v.categories
                .values()
                .all(|c| c.status == Status::NotEvaluated)
        );
        assert_eq!(v.categories.len(), Category::ALL.len());
        let json = serde_json::to_value(&v).unwrap();
        assert_eq!(json["kind"], "gap");
        assert_eq!(json["degraded"][0]["reason"], "source_stalled: x");
    }
}
