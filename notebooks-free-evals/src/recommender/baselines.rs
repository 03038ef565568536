//! What stands beside the model in the same table, on the same lists.

use std::collections::BTreeMap;

use novastream_features::interactions::{FEATURES, Rows};
use novastream_inference::recommend::{LiveScorer, Scratch};
use novastream_models::recommender::Scorer;
use novastream_training::recommender::ranker::interaction;

use super::figures::{HitFigures, Placed, rank};
use super::live::Window;
use super::report::Beside;

/// Most lists of the ablation: every one is scored once for each group of features.
const ABLATION_LISTS: usize = 1500;

/// Groups of features that the ablation silences, by the beginnings of their names.
const GROUPS: [(&str, &[&str]); 5] = [
    ("without own history", &["own_"]),
    ("without channel activity", &["channel_"]),
    ("without base scores", &["score_"]),
    ("without similar people", &["similar_"]),
    ("without community", &["group_"]),
];

/// Figures of others on the lists of a window.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub baselines: BTreeMap<String, Beside>,
    /// Parts of the ranker silenced, not trained again: what the model leans on.
    pub ablation: BTreeMap<String, HitFigures>,
}

#[derive(Default)]
struct Table(BTreeMap<&'static str, Vec<Placed>>);

impl Table {
    fn add(&mut self, name: &'static str, scores: &[f32], target: usize, base: Placed) {
        let rank = rank(scores, target);
        self.0
            .entry(name)
            .or_default()
            .push(Placed { rank, ..base });
    }
}

impl Others {
    /// Replays the window from `start`.
    pub(super) fn judge(start: &LiveScorer, window: &Window<'_>, with_ablation: bool) -> Self {
        let mut scorer = start.clone();
        let (mut scratch, mut views) = (Scratch::default(), Vec::new());
        let (mut scores, mut silenced, mut ablated) = (Vec::new(), Vec::new(), Vec::new());
        let (mut table, mut ablation) = (Table::default(), Table::default());
        let stride = window.events.len().div_ceil(ABLATION_LISTS).max(1);
        let groups: Vec<(&'static str, Vec<usize>)> = GROUPS
            .iter()
            .map(|(name, parts)| (*name, columns(parts)))
            .collect();
        let bundle = start.bundle();
        let ranker = bundle.ranker.as_ref().filter(|_| start.has_ranker());
        for (number, event) in window.events.iter().enumerate() {
            scorer.advance(event.time);
            if let Some((list, target)) = window.list(event) {
                scorer.score_with_views(
                    event.user,
                    event.time,
                    list,
                    &mut scratch,
                    &mut scores,
                    &mut views,
                );
                let placed = Placed {
                    user: event.user,
                    rank: 0.0,
                    repeat: scorer.history().count(event.user, event.item) > 0,
                };
                let rows = LiveScorer::rows(&scratch).values();
                silenced.clear();
                silenced.extend(list.iter().map(|item| chance(number, *item)));
                table.add("random", &silenced, target, placed);
                if let Some(popularity) = &bundle.base.popularity {
                    popularity.score(&[], list, &mut silenced);
                    table.add("popularity", &silenced, target, placed);
                    for (score, view) in silenced.iter_mut().zip(&views) {
                        // Shares are at most 1, and counts differ by more than that once scaled.
                        *score += 1e3 * view.own_log_count;
                    }
                    table.add("own counts, then popularity", &silenced, target, placed);
                }
                for (score, view) in silenced.iter_mut().zip(&views) {
                    *score = view.base_score;
                }
                table.add("EASE alone", &silenced, target, placed);
                if let Some(ranker) = ranker {
                    ranker.logit.score(rows, &mut silenced);
                    table.add("conditional logit", &silenced, target, placed);
                    if with_ablation && number % stride == 0 {
                        ablation.add("whole model", &scores, target, placed);
                        for (name, columns) in &groups {
                            ablated.clear();
                            ablated.extend_from_slice(rows);
                            silence(&mut ablated, columns);
                            ranker.score(&ablated, &mut silenced);
                            ablation.add(name, &silenced, target, placed);
                        }
                    }
                }
            }
            scorer.observe(interaction(event));
        }
        let figures = |(name, placed): (&'static str, Vec<Placed>)| {
            (name.to_owned(), HitFigures::of(&placed))
        };
        Self {
            baselines: table
                .0
                .into_iter()
                .map(|(name, placed)| (name.to_owned(), Beside::of(&placed)))
                .collect(),
            ablation: ablation.0.into_iter().map(figures).collect(),
        }
    }
}

/// A number in 0..1 that depends on nothing that matters.
fn chance(number: usize, item: u32) -> f32 {
    let mut word = (number as u64) << 32 | u64::from(item);
    for _ in 0..2 {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
    }
    (word >> 40) as f32 / (1_u64 << 24) as f32
}

fn columns(beginnings: &[&str]) -> Vec<usize> {
    let wanted = |name: &str| beginnings.iter().any(|start| name.starts_with(start));
    (0..FEATURES.len())
        .filter(|at| wanted(FEATURES[*at]))
        .collect()
}

/// Gives all candidates the mean of each column, so that it can't tell them apart.
fn silence(rows: &mut [f32], columns: &[usize]) {
    let count = (rows.len() / Rows::WIDTH).max(1) as f32;
    for column in columns {
        let sum: f32 = rows.chunks_exact(Rows::WIDTH).map(|row| row[*column]).sum();
        for row in rows.chunks_exact_mut(Rows::WIDTH) {
            row[*column] = sum / count;
        }
    }
}
