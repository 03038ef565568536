//! The report of `novastream-eval recommender`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::bootstrap::interval;
use super::case::Case;
use super::figures::{HitFigures, ListFigures, Placed, gain};
use super::options::{Protocol, RecommenderOptions};
use super::spread::Spread;
use super::verdict::Comparison;
use crate::report::{Head, Report, Table, cell};

/// Figures of somebody else on the same cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Beside {
    /// Single targets.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub hits: Option<HitFigures>,
    /// Targets that the user had taken before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<HitFigures>,
    /// Targets that were new to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<HitFigures>,
    /// Lists against sets.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub lists: Option<ListFigures>,
}

impl Beside {
    /// Figures of single targets, repeat and new apart.
    pub fn of(placed: &[Placed]) -> Self {
        let part = |repeat| HitFigures::of(placed.iter().filter(|p| p.repeat == repeat));
        Self {
            hits: Some(HitFigures::of(placed)),
            repeat: Some(part(true)),
            new: Some(part(false)),
            lists: None,
        }
    }

    /// The figures of a whole outcome.
    pub fn whole(outcome: &Outcome) -> Self {
        Self {
            hits: outcome.hits,
            repeat: outcome.repeat,
            new: outcome.new,
            lists: outcome.lists,
        }
    }

    /// Figures of lists.
    pub fn of_lists(lists: ListFigures) -> Self {
        Self {
            lists: Some(lists),
            ..Self::default()
        }
    }
}

/// Chance of the first item against how often it was right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Mean chance given.
    pub chance: f64,
    /// Share that was right.
    pub right: f64,
    /// Lists.
    pub n: usize,
}

/// Everything that was found about a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Single targets.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub hits: Option<HitFigures>,
    /// Lists against sets.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub lists: Option<ListFigures>,
    /// Targets that the user had taken before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<HitFigures>,
    /// Targets that were new to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<HitFigures>,
    /// Over sampled negatives only; never to be quoted alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<HitFigures>,
    /// 95 % intervals by user bootstrap.
    pub intervals: BTreeMap<String, [f64; 2]>,
    /// Events (live) or users judged per CPU second, with everything that serving does.
    pub events_per_cpu_second: Option<f64>,
    /// Events whose item was not in the list of what was live, or test rows of unknown users.
    pub skipped: usize,
    /// Start of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The others, on the same cases.
    pub baselines: BTreeMap<String, Beside>,
    /// Groups of features silenced, not trained again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ablation: BTreeMap<String, HitFigures>,
    /// Models trained again in other ways, on the same cases; with `--beside`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Beside>,
    /// Cold and warm users and channels, and groups.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub segments: BTreeMap<String, HitFigures>,
    /// How the lists are made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Chances against what happened, by tenths of the chance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<CalibrationBin>,
    /// Mean distance of chance and truth, weighed by lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_error: Option<f64>,
    /// The items shown most, with their share of shown places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub most_shown: Vec<(String, f64)>,
    /// The cases, for comparisons and plots.
    #[serde(skip)]
    pub cases: Vec<Case>,
    /// Figures of each user, for comparisons.
    #[serde(skip)]
    pub users: Vec<(u32, ListFigures)>,
}

impl Outcome {
    /// (user, NDCG@10) of each case, by which models are compared.
    pub fn primary(&self) -> Vec<(u32, f64)> {
        if self.cases.is_empty() {
            return self
                .users
                .iter()
                .map(|(user, figures)| (*user, figures.ndcg10))
                .collect();
        }
        self.cases
            .iter()
            .map(|case| (case.placed.user, gain(case.placed.rank)))
            .collect()
    }

    /// Adds the 95 % interval of a mean over cases of users.
    pub(super) fn interval(&mut self, name: &str, cases: impl IntoIterator<Item = (u32, f64)>) {
        if let Some(interval) = interval(cases) {
            self.intervals.insert(name.to_owned(), interval);
        }
    }
}

/// The answer of `novastream-eval recommender`.
#[derive(Debug, Serialize)]
pub struct RecommenderReport {
    /// Program, machine and model.
    #[serde(flatten)]
    pub head: Head,
    /// How it was judged.
    pub protocol: Protocol,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The decision, with `--compare`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

impl RecommenderReport {
    pub(super) fn new(
        options: &RecommenderOptions,
        model: String,
        outcome: Outcome,
        comparison: Option<Comparison>,
    ) -> Self {
        Self {
            head: Head::new("recommender", vec![model]),
            protocol: options.protocol,
            outcome,
            comparison,
        }
    }

    /// The main table: the model first, then the others.
    pub(super) fn main_table(&self) -> Vec<Vec<String>> {
        let outcome = &self.outcome;
        let model = Beside::whole(outcome);
        let others = outcome.baselines.iter().chain(&outcome.beside);
        let rows = std::iter::once(("this model", &model))
            .chain(others.map(|(name, beside)| (name.as_str(), beside)));
        let names: &[&str] = if outcome.lists.is_some() {
            &["", "MAP", "NDCG@10", "P@10", "R@10"]
        } else {
            &[
                "",
                "HR@1",
                "HR@5",
                "HR@10",
                "NDCG@10",
                "repeat HR@10",
                "new HR@10",
            ]
        };
        let mut table = vec![names.iter().map(|name| (*name).to_owned()).collect()];
        for (name, beside) in rows {
            let four = |value: Option<f64>| cell(value, 4);
            let values = if let Some(lists) = beside.lists {
                vec![lists.map, lists.ndcg10, lists.precision10, lists.recall10]
                    .into_iter()
                    .map(|value| four(Some(value)))
                    .collect()
            } else {
                let hits = beside.hits;
                let part = |part: Option<HitFigures>| {
                    four(part.filter(|part| part.n > 0).map(|part| part.hr10))
                };
                vec![
                    four(hits.map(|hits| hits.hr1)),
                    four(hits.map(|hits| hits.hr5)),
                    four(hits.map(|hits| hits.hr10)),
                    four(hits.map(|hits| hits.ndcg10)),
                    part(beside.repeat),
                    part(beside.new),
                ]
            };
            table.push([vec![name.to_owned()], values].concat());
        }
        table
    }
}

fn render(rows: Vec<Vec<String>>) -> String {
    let mut rows = rows.into_iter();
    let first = rows.next().unwrap_or_default();
    let mut table = Table::new(first.iter().map(String::as_str));
    for row in rows {
        table.row(row);
    }
    table.render()
}

impl Report for RecommenderReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let outcome = &self.outcome;
        writeln!(out, "{}", self.head.line())?;
        let n = outcome
            .hits
            .map_or(outcome.lists.map_or(0, |lists| lists.n), |hits| hits.n);
        let rate = cell(outcome.events_per_cpu_second, 0);
        writeln!(
            out,
            "{n} cases, {} skipped, {rate} per CPU second\n",
            outcome.skipped
        )?;
        out.push_str(&render(self.main_table()));
        for (name, [low, high]) in &outcome.intervals {
            writeln!(out, "  {name}: 95 % {low:.4} to {high:.4}")?;
        }
        if let Some(sampled) = outcome.sampled {
            writeln!(
                out,
                "\nsampled negatives only: HR@10 {:.4}, NDCG@10 {:.4}",
                sampled.hr10, sampled.ndcg10
            )?;
        }
        for (title, part) in [
            ("silenced features", &outcome.ablation),
            ("segments", &outcome.segments),
        ] {
            if part.is_empty() {
                continue;
            }
            let mut table = Table::new([title, "n", "HR@1", "HR@10", "NDCG@10"]);
            for (name, hits) in part {
                table.row([
                    name.clone(),
                    hits.n.to_string(),
                    cell(Some(hits.hr1), 4),
                    cell(Some(hits.hr10), 4),
                    cell(Some(hits.ndcg10), 4),
                ]);
            }
            write!(out, "\n{}", table.render())?;
        }
        if let Some(spread) = outcome.spread {
            writeln!(
                out,
                "\ncoverage {:.3}, novelty {:.2} bits, entropy {:.2} bits, Gini {:.3}, ten most \
                 shown take {:.3}; ln(1 + starts) of targets {:.2}, of hits {:.2}",
                spread.coverage,
                spread.novelty_bits,
                spread.entropy_bits,
                spread.gini,
                spread.top_ten_share,
                spread.popularity_of_targets,
                spread.popularity_of_hits
            )?;
        }
        if let Some(error) = outcome.calibration_error {
            writeln!(
                out,
                "calibration error of the first item's chance {error:.4}"
            )?;
        }
        if let Some(comparison) = &self.comparison {
            writeln!(out, "\n{}", comparison.line())?;
        }
        Ok(())
    }
}
