//! Everything that answering "which live channel next?" needs, in memory: ids, who is live, and the
//! scorer with its history. Durable storage is the caller's: it feeds stored events back at start.

use std::sync::{Arc, PoisonError, RwLock};

use novastream_features::interactions::{HistoryLimits, HourClock, Interaction, ItemText};
use novastream_models::recommender::{BaseModels, RecommenderBundle, RecommenderConfig};
use serde::{Deserialize, Serialize};

use super::ids::Ids;
use super::live::{CandidateView, LiveScorer, Scratch};
use super::reason::{Reason, Standing};

/// Seconds in a step of the serving clock: an event counts from the next second on.
const STEP_SECONDS: f64 = 1.0;

/// Categories beyond this many are not told apart.
const MOST_GROUPS: usize = 65_536;

/// Bounds on what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecommenderLimits {
    /// Users with a history; the next ones are answered as unknown.
    pub users: usize,
    /// Streams that were ever met, beyond those of the model.
    pub streams: usize,
    /// What is remembered of each.
    pub history: HistoryLimits,
}

impl Default for RecommenderLimits {
    fn default() -> Self {
        Self {
            users: 1_000_000,
            streams: 1_000_000,
            history: HistoryLimits {
                events_per_user: 256,
                ..HistoryLimits::default()
            },
        }
    }
}

/// Somebody started watching something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Who.
    pub user_id: String,
    /// What.
    pub stream_id: String,
    /// When, Unix seconds.
    pub at_s: i64,
}

/// Something that is live, and what it says of itself; what is not known is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStream<'a> {
    /// Its id.
    pub stream_id: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its tags.
    pub tags: &'a [String],
    /// Its category, which is also its group.
    pub category: &'a str,
}

impl<'a> From<&'a str> for LiveStream<'a> {
    fn from(stream_id: &'a str) -> Self {
        Self {
            stream_id,
            ..Self::default()
        }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recommendation {
    /// The live stream.
    #[cfg_attr(feature = "openapi", schema(example = "channel-7"))]
    pub stream_id: String,
    /// Higher is better. With a ranker, the chance that this one is chosen from all that are live;
    /// otherwise only the order within one list means anything.
    #[cfg_attr(feature = "openapi", schema(example = 0.41))]
    pub score: f32,
    /// Why it is on the list.
    pub reason: Reason,
}

/// Why a list is not a personal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// What is trending: the user has no history, or no model is loaded.
    Trending,
}

/// A list for one user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecommendationList {
    /// The best first.
    pub items: Vec<Recommendation>,
    /// Set where the list is the same for everybody.
    pub fallback: Option<Fallback>,
}

/// Answers for users; calls may come from any thread.
#[derive(Debug)]
pub struct Recommender {
    /// `name@version`, where a model is loaded.
    model: Option<String>,
    limits: RecommenderLimits,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    users: Ids,
    streams: Ids,
    groups: Ids,
    scorer: LiveScorer,
    /// Numbers of what is live, without repeats.
    live: Vec<u32>,
    /// The moment up to which events count.
    now_s: i64,
}

impl Recommender {
    /// A recommender with a trained model and its `name@version`, or with none: then every list is
    /// what is trending. `None` only if the serving clock could not be made, which cannot be.
    pub fn new(
        model: Option<(RecommenderBundle, String)>,
        limits: RecommenderLimits,
    ) -> Option<Self> {
        let (bundle, model) = model.map_or_else(
            || {
                let nothing = RecommenderConfig::default();
                let bundle = RecommenderBundle::new(nothing, Vec::new(), BaseModels::default());
                (bundle, None)
            },
            |(bundle, id)| (bundle, Some(id)),
        );
        let clock = HourClock::new(STEP_SECONDS)?;
        let bundle = Arc::new(bundle);
        let mut scorer = LiveScorer::new(Arc::clone(&bundle), clock, limits.history);
        for (item, group) in (0..).zip(&bundle.groups.of).take(bundle.items().len()) {
            scorer.set_group(item, *group);
        }
        let state = State {
            users: Ids::default(),
            streams: Ids::with(bundle.items()),
            groups: Ids::with(&bundle.groups.names),
            scorer,
            live: Vec::new(),
            now_s: i64::MIN,
        };
        Some(Self {
            model,
            limits,
            state: RwLock::new(state),
        })
    }

    /// The model's `name@version`.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Users with a history.
    pub fn users(&self) -> usize {
        self.read().users.len()
    }

    /// Takes what people started to watch. Starts beyond the limits on users and streams are left
    /// out; answers how many.
    pub fn observe(&self, starts: &[Start]) -> usize {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let known = state.scorer.bundle().items().len();
        let most_streams = known.saturating_add(self.limits.streams);
        let mut left_out = 0;
        for start in starts {
            let item = state.streams.number(&start.stream_id, most_streams);
            let user = item.and_then(|_| state.users.number(&start.user_id, self.limits.users));
            let (Some(user), Some(item)) = (user, item) else {
                left_out += 1;
                continue;
            };
            state.scorer.observe(Interaction {
                user,
                item,
                time: start.at_s,
                group: None,
            });
        }
        // What happened before the moment that was last asked about counts at once.
        let now_s = state.now_s;
        state.scorer.advance(now_s);
        left_out
    }

    /// Replaces the set of live streams; repeats count once. Streams beyond the limit are left out;
    /// answers how many.
    pub fn set_live<'a, S: Into<LiveStream<'a>>>(
        &self,
        streams: impl IntoIterator<Item = S>,
    ) -> usize {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let known = state.scorer.bundle().items().len();
        let most = known.saturating_add(self.limits.streams);
        let mut left_out = 0;
        let mut live: Vec<u32> = Vec::new();
        for stream in streams {
            let stream: LiveStream<'a> = stream.into();
            let Some(number) = state.streams.number(stream.stream_id, most) else {
                left_out += 1;
                continue;
            };
            live.push(number);
            state.describe(number, stream);
        }
        live.sort_unstable();
        live.dedup();
        state.live = live;
        left_out
    }

    /// The `n` best of all live streams for a user at `now_s` (Unix seconds).
    pub fn recommend(&self, user_id: &str, n: usize, now_s: i64) -> RecommendationList {
        self.advance(now_s);
        let state = self.read();
        let user = state.users.find(user_id);
        let history = state.scorer.history();
        let personal = self.model.is_some() && user.is_some_and(|user| history.total(user) > 0);
        let user = user.unwrap_or(u32::MAX);
        let mut scratch = Scratch::default();
        let (mut scores, mut views) = (Vec::new(), Vec::new());
        let time = state.now_s;
        if personal {
            state.scorer.score_with_views(
                user,
                time,
                &state.live,
                &mut scratch,
                &mut scores,
                &mut views,
            );
            if state.scorer.has_ranker() {
                softmax(&mut scores);
            }
        } else {
            state.trending(time, &mut scores);
            views.resize(scores.len(), CandidateView::default());
        }
        let standing = Standing::of(&views);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let better = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        if n < order.len() && n > 0 {
            order.select_nth_unstable_by(n - 1, better);
        }
        order.truncate(n);
        order.sort_unstable_by(better);
        let items = order
            .into_iter()
            .map(|at| Recommendation {
                stream_id: state.streams.name(state.live[at]).to_owned(),
                score: scores[at],
                reason: if personal {
                    standing.reason(&views[at])
                } else {
                    Reason::of_trend(history.trend(state.live[at], time))
                },
            })
            .collect();
        RecommendationList {
            items,
            fallback: (!personal).then_some(Fallback::Trending),
        }
    }

    /// Makes events before `now_s` count. Time never goes back.
    fn advance(&self, now_s: i64) {
        if self.read().now_s >= now_s {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.now_s < now_s {
            state.now_s = now_s;
            state.scorer.advance(now_s);
        }
    }

    /// A lock that a panic left poisoned guards counters that are sound at every step.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes what a live stream says of itself.
    fn describe(&mut self, number: u32, stream: LiveStream<'_>) {
        let LiveStream {
            title,
            tags,
            category,
            ..
        } = stream;
        if !category.is_empty() {
            let most = self.groups.len().max(MOST_GROUPS);
            let group = self.groups.number(category, most);
            self.scorer.set_group(number, group);
        }
        if !(title.is_empty() && tags.is_empty() && category.is_empty()) {
            let tags = tags.join(",");
            let text = ItemText {
                title,
                tags: &tags,
                category,
            };
            self.scorer.describe(number, text);
        }
    }

    /// How much is going on at each live stream; what was ever started breaks ties among the quiet.
    fn trending(&self, time: i64, out: &mut Vec<f32>) {
        let history = self.scorer.history();
        out.clear();
        out.extend(self.live.iter().map(|item| {
            let ever = (history.starts(*item) as f32).ln_1p();
            history.trend(*item, time) + 1e-3 * ever
        }));
    }
}

/// Scores to chances that sum to 1.
fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use novastream_models::recommender::{Blend, BlendPart, Popularity, ScorerKind};

    use super::*;

    fn start(user: &str, stream: &str, at_s: i64) -> Start {
        Start {
            user_id: user.into(),
            stream_id: stream.into(),
            at_s,
        }
    }

    fn names(list: &RecommendationList) -> Vec<&str> {
        list.items.iter().map(|i| i.stream_id.as_str()).collect()
    }

    fn with_model() -> Recommender {
        let config = RecommenderConfig {
            blend: Blend {
                parts: vec![BlendPart {
                    kind: ScorerKind::Popularity,
                    factor: 1.0,
                }],
            },
            ..RecommenderConfig::default()
        };
        let base = BaseModels {
            popularity: Some(Popularity {
                shares: vec![0.2, 0.7, 0.1],
            }),
            ..BaseModels::default()
        };
        let items = ["a", "b", "c"].map(str::to_owned).to_vec();
        let bundle = RecommenderBundle::new(config, items, base);
        Recommender::new(Some((bundle, "rec@1".into())), RecommenderLimits::default()).unwrap()
    }

    #[test]
    fn recommender_lists_hold_only_what_is_live() {
        let r = with_model();
        r.observe(&[start("u", "a", 10)]);
        r.set_live(["a", "c", "c", "stranger"]);
        let list = r.recommend("u", 10, 100);
        assert_eq!(list.fallback, None);
        assert_eq!(names(&list)[..2], ["a", "c"]);
        assert_eq!(list.items.len(), 3);
        assert_eq!(list.items[0].reason, Reason::WatchedBefore);
        r.set_live(["b"]);
        assert_eq!(names(&r.recommend("u", 10, 101)), ["b"]);
        r.set_live::<LiveStream<'_>>([]);
        assert!(r.recommend("u", 10, 102).items.is_empty());
        assert!(r.recommend("u", 0, 102).items.is_empty());
    }

    #[test]
    fn recommender_falls_back_to_what_trends() {
        for r in [
            with_model(),
            Recommender::new(None, RecommenderLimits::default()).unwrap(),
        ] {
            r.set_live(["c", "quiet", "x"]);
            for (user, at) in [("p", 10), ("q", 20), ("s", 30)] {
                r.observe(&[start(user, "x", at)]);
            }
            let list = r.recommend("nobody", 2, 60);
            assert_eq!(list.fallback, Some(Fallback::Trending));
            assert_eq!(names(&list)[0], "x");
            assert_eq!(list.items[0].reason, Reason::Trending);
            assert_eq!(list.items.len(), 2);
            assert_eq!(list.items[1].reason, Reason::LiveNow);
        }
    }

    #[test]
    fn recommender_event_counts_from_the_next_second_and_time_stands_still_backwards() {
        let r = with_model();
        r.set_live(["a", "b"]);
        r.observe(&[start("u", "a", 50)]);
        assert!(r.recommend("u", 1, 50).fallback.is_some());
        assert!(r.recommend("u", 1, 51).fallback.is_none());
        assert!(r.recommend("u", 1, 3).fallback.is_none());
    }

    #[test]
    fn recommender_memory_is_bounded() {
        let limits = RecommenderLimits {
            users: 2,
            streams: 3,
            ..RecommenderLimits::default()
        };
        let r = Recommender::new(None, limits).unwrap();
        let starts: Vec<Start> = (0..10)
            .map(|n| start(&format!("u{n}"), &format!("s{}", n % 5), n))
            .collect();
        assert_eq!(r.observe(&starts), 8);
        assert_eq!(r.users(), 2);
        assert_eq!(r.set_live(["s0", "s1", "s2", "n1", "n2"]), 2);
    }

    #[test]
    fn recommender_chances_sum_to_one() {
        let mut scores = [3.0, -80.0, 900.0, 900.0];
        softmax(&mut scores);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((scores[2] - 0.5).abs() < 1e-6);
    }
}
