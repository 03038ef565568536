//! A trained bundle over a rolling history.

use std::collections::HashMap;
use std::sync::Arc;

use novastream_features::interactions::{
    BaseScores, FEATURES, FeatureNames, History, HistoryLimits, HourClock, Interaction, ItemText,
    ItemVectors, Rows, item_terms,
};
use novastream_models::recommender::{Past, Ranker, RankerScore, RecommenderBundle, TermVector};

/// Most items whose words are kept.
const MOST_DESCRIBED: usize = 200_000;

/// Scores live lists. One writer feeds it events; asking needs only a shared reference and a
/// [`Scratch`] per thread.
#[derive(Clone, Debug)]
pub struct LiveScorer {
    bundle: Arc<RecommenderBundle>,
    history: History,
    /// What items say of themselves today, in the terms of the bundle.
    said: HashMap<u32, TermVector>,
    with_ranker: bool,
}

/// Buffers of one asking thread; nothing in them lasts from call to call.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    rows: Rows,
    past: Vec<(u32, f32)>,
}

/// What a reason for a recommendation needs to know about one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CandidateView {
    /// How often the user started it, as ln(1 + count); 0 for a channel that is new to the user.
    pub own_log_count: f32,
    /// What the base model says from the user's whole past; compare within a list only.
    pub base_score: f32,
    /// Weighted recent starts by similar people, not below 0.
    pub similar_recent: f32,
    /// Starts by anybody in about the last two hours, fading.
    pub recent_starts: f32,
    /// Activity of the day over that of an average day of the week; above 1 is rising.
    pub trend: f32,
    /// Whether the base models know the item.
    pub known: bool,
}

/// Places of the columns that a view reads.
#[derive(Clone, Copy, Debug)]
struct ViewColumns {
    own: usize,
    base: usize,
    similar: usize,
    recent: usize,
    trend: usize,
}

impl ViewColumns {
    fn find() -> Self {
        // The names are constants of the features; a test holds them together.
        let place = |name| {
            FEATURES
                .iter()
                .position(|known| *known == name)
                .unwrap_or(0)
        };
        Self {
            own: place("own_log_count"),
            base: place("score_long"),
            similar: place("similar_recent"),
            recent: place("channel_faded_stream"),
            trend: place("channel_day_over_week"),
        }
    }
}

impl LiveScorer {
    /// An empty history over a bundle. A ranker made for other features than this build has is
    /// left out, and the blend of base models decides.
    pub fn new(bundle: Arc<RecommenderBundle>, clock: HourClock, limits: HistoryLimits) -> Self {
        let ranker = bundle.ranker.as_ref();
        let with_ranker = ranker.is_some_and(|ranker| FeatureNames::matches(&ranker.features));
        if ranker.is_some() && !with_ranker {
            tracing::warn!("the ranker was trained for other features; base models decide");
        }
        let vectors =
            ranker.and_then(|ranker| ItemVectors::new(ranker.dims, ranker.item_vectors.clone()));
        Self {
            history: History::new(clock, limits, vectors.unwrap_or_default()),
            said: HashMap::new(),
            bundle,
            with_ranker,
        }
    }

    /// Takes what an item says of itself today. It replaces what the bundle knows of its words,
    /// and places items that the bundle does not know. Beyond a bound, further items are left out.
    pub fn describe(&mut self, item: u32, text: ItemText<'_>) {
        let Some(content) = &self.bundle.base.content else {
            return;
        };
        if self.said.len() >= MOST_DESCRIBED && !self.said.contains_key(&item) {
            return;
        }
        let vector = content.vector(&item_terms(text));
        if !vector.is_empty() {
            self.said.insert(item, vector);
        }
    }

    /// Takes the group that an item belongs to, where it is known beside the events.
    pub fn set_group(&mut self, item: u32, group: Option<u32>) {
        self.history.set_group(item, group);
    }

    /// The bundle.
    pub fn bundle(&self) -> &RecommenderBundle {
        &self.bundle
    }

    /// What is known of users and channels.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Whether the ranker decides, and not the blend of base models.
    pub fn has_ranker(&self) -> bool {
        self.with_ranker
    }

    /// Takes an event; it counts for moments strictly after it. Items beyond the bundle's take
    /// part with what is seen of them here.
    pub fn observe(&mut self, event: Interaction) {
        self.history.observe(event);
    }

    /// Moves to `time`: call it before asking for that moment.
    pub fn advance(&mut self, time: i64) {
        self.history.advance(time);
    }

    /// Scores `candidates`, which must not repeat, for a user at `time`; `out` is replaced. Under
    /// a ranker, a softmax over the scores gives the chance that each is the one chosen.
    pub fn score(
        &self,
        user: u32,
        time: i64,
        candidates: &[u32],
        scratch: &mut Scratch,
        out: &mut Vec<f32>,
    ) {
        out.clear();
        out.resize(candidates.len(), 0.0);
        match self.bundle.ranker.as_ref().filter(|_| self.with_ranker) {
            Some(ranker) => {
                self.fill(user, time, candidates, scratch);
                ranker.score(scratch.rows.values(), out);
            }
            None => self.blend(user, time, candidates, scratch, out),
        }
    }

    /// As [`LiveScorer::score`], and what reasons need, one view a candidate.
    pub fn score_with_views(
        &self,
        user: u32,
        time: i64,
        candidates: &[u32],
        scratch: &mut Scratch,
        out: &mut Vec<f32>,
        views: &mut Vec<CandidateView>,
    ) {
        self.fill(user, time, candidates, scratch);
        out.clear();
        out.resize(candidates.len(), 0.0);
        let columns = ViewColumns::find();
        views.clear();
        views.extend(
            scratch
                .rows
                .iter()
                .zip(candidates)
                .map(|(row, item)| CandidateView {
                    own_log_count: row[columns.own],
                    base_score: row[columns.base],
                    similar_recent: row[columns.similar],
                    recent_starts: row[columns.recent],
                    trend: row[columns.trend],
                    known: (*item as usize) < self.bundle.items().len(),
                }),
        );
        match self.bundle.ranker.as_ref().filter(|_| self.with_ranker) {
            Some(ranker) => ranker.score(scratch.rows.values(), out),
            None => self.blend(user, time, candidates, scratch, out),
        }
    }

    /// The feature rows of the list that was scored last through this scratch.
    pub fn rows(scratch: &Scratch) -> &Rows {
        &scratch.rows
    }

    fn fill(&self, user: u32, time: i64, candidates: &[u32], scratch: &mut Scratch) {
        let mut scores = Bases(self);
        self.history
            .features(user, time, candidates, &mut scores, &mut scratch.rows);
    }

    fn blend(
        &self,
        user: u32,
        time: i64,
        candidates: &[u32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        // The history may tick in other steps than the bundle's half-life counts.
        let step_hours = self
            .bundle
            .config
            .step_seconds
            .map_or(1.0, |step| step / 3600.0);
        let clock = self.history.clock();
        let events = self.history.events(user).map(|(item, at)| Past {
            item,
            time: -(f64::from(clock.hours(at, time)) / step_hours).round() as i64,
            weight: 1.0,
        });
        let weighting = &self.bundle.config.weighting;
        weighting.apply(events, 0, &mut scratch.past);
        self.bundle.score(&scratch.past, candidates, out);
    }
}

/// The bundle's models as the features ask for them.
struct Bases<'a>(&'a LiveScorer);

impl Bases<'_> {
    fn column(&self, column: RankerScore<'_>, candidates: &[u32], out: &mut [f32]) {
        let LiveScorer { bundle, said, .. } = self.0;
        Ranker::score_column(&bundle.base, column, said, candidates, out);
    }
}

impl BaseScores for Bases<'_> {
    fn long(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        self.column(RankerScore::Long(history), candidates, out);
    }

    fn factors(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        self.column(RankerScore::Factors(history), candidates, out);
    }

    fn content(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        self.column(RankerScore::Content(history), candidates, out);
    }

    fn segment(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        self.column(RankerScore::Segment(history), candidates, out);
    }

    fn sequence(&mut self, latest: &[u32], candidates: &[u32], out: &mut [f32]) {
        self.column(RankerScore::Sequence(latest), candidates, out);
    }
}

#[cfg(test)]
mod tests {
    use novastream_models::recommender::{
        BaseModels, Blend, BlendPart, Logit, LogitColumn, Popularity, RecommenderConfig,
        ScorerKind, Trees,
    };

    use super::*;

    fn bundle(features: Vec<String>) -> Arc<RecommenderBundle> {
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
                shares: vec![0.5, 0.3, 0.2],
            }),
            ..BaseModels::default()
        };
        let items = ["a", "b", "c"].map(str::to_owned).to_vec();
        let mut bundle = RecommenderBundle::new(config, items, base);
        // Own count decides.
        let columns = (0..FEATURES.len()).map(|place| LogitColumn {
            centre: 0.0,
            scale: 1.0,
            weight: f32::from(u8::from(place == 0)),
        });
        bundle.ranker = Some(Ranker {
            features,
            step_seconds: 1.0,
            dims: 1,
            item_vectors: vec![1.0, 0.5, -1.0],
            logit: Logit {
                columns: columns.collect(),
            },
            trees: Trees::default(),
        });
        Arc::new(bundle)
    }

    fn scorer(features: Vec<String>) -> LiveScorer {
        let clock = HourClock::new(1.0).unwrap();
        let mut scorer = LiveScorer::new(bundle(features), clock, HistoryLimits::default());
        for time in [100, 5_000] {
            scorer.observe(Interaction {
                user: 4,
                item: 2,
                time,
                group: None,
            });
        }
        scorer.advance(20_000);
        scorer
    }

    #[test]
    fn recommender_live_lists_put_own_channels_first_and_say_why() {
        let scorer = scorer(FeatureNames::current().into_vec());
        let (mut scratch, mut out, mut views) = (Scratch::default(), Vec::new(), Vec::new());
        scorer.score_with_views(4, 20_000, &[0, 2, 7], &mut scratch, &mut out, &mut views);
        assert!(scorer.has_ranker() && out[1] > out[0]);
        let known: Vec<bool> = views.iter().map(|view| view.known).collect();
        assert_eq!(known, [true, true, false]);
        assert!((views[1].own_log_count - 3.0_f32.ln()).abs() < 1e-6);
        assert!((views[0].base_score - 0.5).abs() < 1e-6);
        let mut same = Vec::new();
        scorer.score(4, 20_000, &[0, 2, 7], &mut scratch, &mut same);
        assert_eq!(out, same);
    }

    #[test]
    fn recommender_ranker_for_other_features_leaves_the_list_to_the_blend() {
        let scorer = scorer(vec!["other".to_owned()]);
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        scorer.score(4, 20_000, &[0, 2, 7], &mut scratch, &mut out);
        assert!(!scorer.has_ranker());
        assert_eq!(out, [0.5, 0.2, 0.0]);
    }
}
