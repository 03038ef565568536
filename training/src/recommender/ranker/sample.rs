//! From a stretch of the past to lists.

use std::collections::HashMap;

use novastream_datasets::events::{Availability, Event};
use novastream_features::interactions::{
    BaseScores, History, HistoryLimits, HourClock, Interaction, ItemVectors, Rows,
};
use novastream_models::recommender::{BaseModels, Ranker, RankerScore};
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};

use super::lists::Lists;
use super::{FitError, RankerInput, item_vectors};

/// How the past becomes lists.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SampleParams {
    /// Stretches before the end of training, each with base models of its own.
    pub stretches: usize,
    /// Share of all events that one stretch holds, above 0.
    pub share: f64,
    /// Most lists of one stretch; beyond it they are thinned evenly.
    pub most_lists: usize,
    /// The best candidates by each of several signs that are always kept.
    pub keep_best: usize,
    /// How many of the other candidates are drawn; they count for those left out.
    pub others: usize,
}

impl Default for SampleParams {
    fn default() -> Self {
        Self {
            stretches: 6,
            share: 0.045,
            most_lists: 8_000,
            keep_best: 12,
            others: 30,
        }
    }
}

/// Columns that hold ranks, by which candidates are kept: activity, base score, similar people.
const RANK_COLUMNS: [&str; 3] = [
    "channel_stream_rank",
    "score_long_rank",
    "similar_recent_rank",
];

/// Part of the past: events by position, and the time at which the part begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First event.
    pub from: usize,
    /// Event after the last.
    pub to: usize,
    /// Time of the first event: base models see what was before.
    pub start: i64,
}

impl SampleParams {
    /// The latest stretches before `until`, the oldest first; they leave at least half of the
    /// past to the base models.
    pub fn stretches(&self, events: &[Event], until: i64) -> Vec<Stretch> {
        let events = &events[..events.partition_point(|event| event.time < until)];
        let length = ((events.len() as f64 * self.share) as usize).max(1);
        let mut stretches = Vec::new();
        let mut to = events.len();
        for _ in 0..self.stretches {
            let Some(first) = to.checked_sub(length).and_then(|from| events.get(from)) else {
                break;
            };
            // A stretch begins with a whole step of time.
            let from = events.partition_point(|event| event.time < first.time);
            if from < events.len() / 2 || from >= to {
                break;
            }
            stretches.push(Stretch {
                from,
                to,
                start: first.time,
            });
            to = from;
        }
        stretches.reverse();
        stretches
    }

    /// Replays the past and turns the events of a stretch into lists.
    pub(super) fn lists(
        &self,
        input: &RankerInput<'_>,
        clock: HourClock,
        dims: usize,
        stretch: Stretch,
    ) -> Result<Lists, FitError> {
        let past = &input.events[..stretch.from];
        let models = (input.fit_base)(past, stretch.start)?;
        let vectors = item_vectors(past, input.users, input.items, dims, input.seed);
        let vectors = ItemVectors::new(dims, vectors).unwrap_or_default();
        let mut history = History::new(clock, HistoryLimits::default(), vectors);
        for event in past {
            history.observe(interaction(event));
        }
        let asked = &input.events[stretch.from..stretch.to];
        let by_rule = Availability::from_events(
            input.events,
            input.clock,
            asked.iter().map(|event| event.time),
        );
        let mut rng = SmallRng::seed_from_u64(input.seed ^ stretch.start as u64);
        let thin = self.most_lists as f64 / asked.len().max(1) as f64;
        let (mut lists, mut rows) = (Lists::default(), Rows::default());
        let mut scores = Bases(&models);
        for event in asked {
            history.advance(event.time);
            if thin >= 1.0 || rng.random_bool(thin) {
                let live = candidates(event, input.availability, &by_rule);
                if let Some((live, target)) = live {
                    history.features(event.user, event.time, live, &mut scores, &mut rows);
                    self.keep(&rows, target, event.user, &mut rng, &mut lists);
                }
            }
            history.observe(interaction(event));
        }
        Ok(lists)
    }

    /// Keeps the chosen row, own items, the best by every sign, and some of the others.
    fn keep(&self, rows: &Rows, target: usize, user: u32, rng: &mut SmallRng, lists: &mut Lists) {
        let all: Vec<&[f32]> = rows.iter().collect();
        let mut keep: Vec<bool> = all.iter().map(|row| row[0] > 0.0).collect();
        keep[target] = true;
        let mut order: Vec<usize> = (0..all.len()).collect();
        for column in rank_columns() {
            // Equal ranks, as of all that nobody similar touched, must not keep the whole list.
            order.sort_by(|a, b| all[*a][column].total_cmp(&all[*b][column]).then(a.cmp(b)));
            for at in order.iter().take(self.keep_best) {
                keep[*at] = true;
            }
        }
        let (kept, others): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|at| keep[*at]);
        let first = lists.rows();
        let mut chosen = first;
        for (place, at) in kept.into_iter().enumerate() {
            if at == target {
                chosen = first + place;
            }
            lists.push_row(all[at], 1.0);
        }
        let drawn = others.len().min(self.others);
        let weight = others.len() as f32 / drawn.max(1) as f32;
        for at in index::sample(rng, others.len(), drawn) {
            lists.push_row(all[others[at]], weight);
        }
        lists.end_list(user, chosen);
    }
}

/// The base models of a stretch as the features ask for them.
struct Bases<'a>(&'a BaseModels);

impl BaseScores for Bases<'_> {
    fn long(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        Ranker::score_column(
            self.0,
            RankerScore::Long(history),
            &HashMap::new(),
            candidates,
            out,
        );
    }

    fn factors(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        let column = RankerScore::Factors(history);
        Ranker::score_column(self.0, column, &HashMap::new(), candidates, out);
    }

    fn content(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        let column = RankerScore::Content(history);
        Ranker::score_column(self.0, column, &HashMap::new(), candidates, out);
    }

    fn segment(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        let column = RankerScore::Segment(history);
        Ranker::score_column(self.0, column, &HashMap::new(), candidates, out);
    }

    fn sequence(&mut self, latest: &[u32], candidates: &[u32], out: &mut [f32]) {
        let column = RankerScore::Sequence(latest);
        Ranker::score_column(self.0, column, &HashMap::new(), candidates, out);
    }
}

fn rank_columns() -> Vec<usize> {
    let place = |name: &&str| {
        novastream_features::interactions::FEATURES
            .iter()
            .position(|known| known == name)
    };
    RANK_COLUMNS.iter().filter_map(place).collect()
}

/// What was live at an event, and where the chosen item is in it; `None` when it was not there
/// or alone.
fn candidates<'a>(
    event: &Event,
    known: Option<&'a Availability>,
    by_rule: &'a Availability,
) -> Option<(&'a [u32], usize)> {
    let find = |list: &'a [u32]| Some((list, list.binary_search(&event.item).ok()?));
    known
        .and_then(|known| known.at(event.time))
        .and_then(find)
        .or_else(|| by_rule.at(event.time).and_then(find))
        .filter(|(list, _)| list.len() > 1)
}

/// An event as the features take it.
pub fn interaction(event: &Event) -> Interaction {
    Interaction {
        user: event.user,
        item: event.item,
        time: event.time,
        group: event.group,
    }
}
