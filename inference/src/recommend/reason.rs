//! Why a stream is on a list, in one word that a client can translate.

use serde::{Deserialize, Serialize};

use super::live::CandidateView;

/// Why a stream is on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The user has watched it before.
    WatchedBefore,
    /// People like the user went there lately.
    SimilarViewers,
    /// It goes with what the user watched.
    GoesWithYourTaste,
    /// Many go there now.
    Trending,
    /// It is live, and nothing more is known.
    LiveNow,
}

impl Reason {
    /// The reason of an entry that is not personal.
    pub(super) fn of_trend(trend: f32) -> Self {
        // Half a start two hours ago is no trend.
        if trend >= 0.5 {
            Self::Trending
        } else {
            Self::LiveNow
        }
    }
}

/// What counts as much within one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    base: f32,
    similar: f32,
}

impl Standing {
    /// Looks at the whole list: a tenth of it stands out in each respect.
    pub(super) fn of(views: &[CandidateView]) -> Self {
        Self {
            base: upper_tenth(views.iter().map(|v| v.base_score)),
            similar: upper_tenth(views.iter().map(|v| v.similar_recent)),
        }
    }

    /// The strongest reason that holds for one entry.
    pub(super) fn reason(self, view: &CandidateView) -> Reason {
        if view.own_log_count > 0.0 {
            Reason::WatchedBefore
        } else if view.similar_recent > 0.0 && view.similar_recent >= self.similar {
            Reason::SimilarViewers
        } else if view.known && view.base_score > 0.0 && view.base_score >= self.base {
            Reason::GoesWithYourTaste
        } else {
            Reason::of_trend(view.recent_starts)
        }
    }
}

/// The value that a tenth of the list reaches.
fn upper_tenth(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    if values.is_empty() {
        return 0.0;
    }
    let at = values.len() / 10;
    *values.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_reasons_say_the_strongest_that_holds() {
        let mut views = vec![CandidateView::default(); 20];
        views[3].own_log_count = 0.7;
        views[3].similar_recent = 9.0;
        views[4].similar_recent = 8.0;
        (views[5].base_score, views[5].known) = (2.0, true);
        (views[6].base_score, views[6].known) = (0.5, true);
        views[7].recent_starts = 3.0;
        let standing = Standing::of(&views);
        let reasons: Vec<Reason> = views[2..8].iter().map(|v| standing.reason(v)).collect();
        assert_eq!(
            reasons,
            [
                Reason::LiveNow,
                Reason::WatchedBefore,
                Reason::SimilarViewers,
                Reason::GoesWithYourTaste,
                Reason::GoesWithYourTaste,
                Reason::Trending,
            ]
        );
        assert_eq!(upper_tenth([].into_iter()), 0.0);
    }
}
