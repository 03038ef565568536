//! Names of the features, in the order of a row.

/// One name per column of [`super::Rows`]. Own figures are of the asking user and the candidate,
/// `channel_*` of the candidate alone, `user_*` and `list_*` are the same for all candidates of a
/// list; scores come from base models. Ages are in hours.
pub const FEATURES: [&str; FEATURE_COUNT] = [
    // The user and the candidate.
    "own_log_count",
    "own_faded_12h",
    "own_faded_3d",
    "own_faded_14d",
    "own_log_age",
    "own_recency_rank",
    "own_share",
    "own_age_over_gap",
    "own_log_gap",
    "own_same_hour",
    "own_same_hour_share",
    "own_chosen_of_exposed",
    "own_exposed",
    "own_chosen_of_exposed_faded",
    "own_in_session",
    "own_log_first_age",
    "own_age_minus_run",
    "own_passed_in_run",
    "own_faded_12h_share_of_list",
    "own_faded_3d_share_of_list",
    "own_count_rank",
    // The candidate.
    "channel_faded_hour",
    "channel_faded_stream",
    "channel_log_faded_day",
    "channel_log_faded_week",
    "channel_log_total",
    "channel_day_over_week",
    "channel_since_last",
    "channel_run_age",
    "channel_run_count",
    "channel_hour_rhythm",
    "channel_new_share",
    "channel_starts_per_person",
    "channel_stream_rank",
    // Base models and people like the user.
    "score_long",
    "score_session",
    "score_last",
    "score_long_rank",
    "score_long_below_best",
    "similar_item",
    "similar_last",
    "similar_recent",
    "similar_recent_new",
    "similar_recent_mean",
    "similar_recent_rank",
    "group_share",
    // The user and the list.
    "list_own_live",
    "list_best_own_faded",
    "user_log_total",
    "user_distinct_share",
    "user_new_in_last_10",
    "user_session_starts",
    "user_log_since_last",
    "user_same_hour",
    "hour_of_day",
    // Further base models, 0 where there are none.
    "score_content",
    "score_segment",
    "score_sequence",
    // What is usually started after the user's latest start, by the user and by everybody.
    "next_own_count",
    "next_own_share",
    "next_share",
    // The user and the candidate, further.
    "own_same_week_hour",
    "own_faded_3d_rank",
    // Collaborative models, further: factors, and the past by the last three days.
    "score_factors",
    "score_days",
    // Where newcomers go: to the candidate, and to it among what is live of its group, alone and
    // times the share of the user's starts that fell into the group.
    "channel_log_newcomers",
    "channel_share_of_group",
    "group_expected",
];

/// How many features a row has.
pub(super) const FEATURE_COUNT: usize = 68;

/// The names that a trained ranker expects, to be compared with [`FEATURES`] at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureNames(Vec<String>);

impl FeatureNames {
    /// The names of this build.
    pub fn current() -> Self {
        Self(FEATURES.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether a list of names is that of this build.
    pub fn matches(names: &[String]) -> bool {
        names.iter().map(String::as_str).eq(FEATURES)
    }

    /// The names.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}
