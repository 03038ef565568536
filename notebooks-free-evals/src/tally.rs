//! Scores of many files, added up by label and category.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use novastream_inference::{Category, CategoryResult, Outcome};
use novastream_training::metrics::{auc, average_precision};
use serde::Serialize;

use crate::report::{Table, cell, percent};
use crate::targets::Targets;

/// One category's scores over a group of files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryReport {
    /// Files with a score.
    pub n: usize,
    /// Mean of the scores.
    pub mean: f64,
    /// Highest score.
    pub max: f64,
    /// Highest single observation; above `max` where the score had to be confirmed over time.
    pub peak: f64,
    /// Share of the files with a score above 0.5.
    pub over_half_share: f64,
    /// Share of the files that the policy sends to a human or acts on.
    pub review_share: f64,
    /// Share of the files that the policy acts on.
    pub act_share: f64,
}

/// A group of files: one label's, or all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    /// Files that were evaluated.
    pub n: usize,
    /// Share of them that some category sends to a human or acts on.
    pub review_share: f64,
    /// Share of them that some category acts on.
    pub act_share: f64,
    /// Every category with a score.
    pub categories: BTreeMap<Category, CategoryReport>,
}

/// How well a score orders positives before negatives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranking {
    /// Scored files.
    pub n: usize,
    /// Positives among them.
    pub pos: usize,
    /// The chance that a positive scores above a negative, ties counting half.
    pub auc: f64,
    /// Precision at every threshold, weighted by the recall it adds.
    pub average_precision: f64,
}

/// A category that labels of the folder stand for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetReport {
    /// Those labels; their files are the positives, all others the negatives.
    pub labels: BTreeSet<String>,
    /// `evaluated`; `not_evaluated` when no loaded model scores the category; `one_sided` when the
    /// folder holds only positives.
    pub status: &'static str,
    /// How well the category's score finds the positives.
    #[serde(flatten)]
    pub ranking: Option<Ranking>,
}

/// Everything that was added up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TallyReport {
    /// All files.
    pub all: GroupReport,
    /// By label.
    pub labels: BTreeMap<String, GroupReport>,
    /// Categories that labels stand for.
    pub targets: BTreeMap<Category, TargetReport>,
    /// Categories that no loaded model, list or rule gave a score for.
    pub not_evaluated: Vec<Category>,
}

/// One file's result in one category.
#[derive(Debug, Clone, Copy)]
struct Scored {
    score: f32,
    peak: f32,
    outcome: Outcome,
}

/// Adds up verdicts. Keeps one score per file and category.
#[derive(Debug, Default)]
pub struct Tally {
    files: Vec<(String, BTreeMap<Category, Scored>)>,
}

impl Tally {
    /// Adds a file's categories.
    pub fn add(&mut self, label: &str, categories: &BTreeMap<Category, CategoryResult>) {
        let scored = |(category, result): (&Category, &CategoryResult)| {
            let score = result.score?;
            let peak = result.peak.unwrap_or(score);
            Some((
                *category,
                Scored {
                    score,
                    peak,
                    outcome: result.outcome,
                },
            ))
        };
        self.files.push((
            label.to_owned(),
            categories.iter().filter_map(scored).collect(),
        ));
    }

    /// The sums, with rankings for the categories that labels stand for.
    pub fn report(&self, targets: &Targets) -> TallyReport {
        let mut by_label: BTreeMap<&str, Vec<&BTreeMap<Category, Scored>>> = BTreeMap::new();
        for (label, scores) in &self.files {
            by_label.entry(label).or_default().push(scores);
        }
        let all: Vec<_> = self.files.iter().map(|(_, s)| s).collect();
        let all = group(&all);
        let mut wanted: BTreeMap<Category, BTreeSet<String>> = BTreeMap::new();
        for label in by_label.keys() {
            if let Some(category) = targets.category(label) {
                wanted
                    .entry(category)
                    .or_default()
                    .insert((*label).to_owned());
            }
        }
        let target = |(category, labels)| (category, self.target(category, labels));
        let missing = |c: &Category| !all.categories.contains_key(c);
        TallyReport {
            labels: by_label
                .iter()
                .map(|(l, s)| ((*l).to_owned(), group(s)))
                .collect(),
            targets: wanted.into_iter().map(target).collect(),
            not_evaluated: Category::ALL.into_iter().filter(missing).collect(),
            all,
        }
    }

    fn target(&self, category: Category, labels: BTreeSet<String>) -> TargetReport {
        let scored: Vec<(f32, bool)> = self
            .files
            .iter()
            .filter_map(|(l, s)| s.get(&category).map(|s| (s.score, labels.contains(l))))
            .collect();
        let ranking = ranking(&scored);
        let status = match (&ranking, scored.is_empty()) {
            (Some(_), _) => "evaluated",
            (None, true) => "not_evaluated",
            (None, false) => "one_sided",
        };
        TargetReport {
            labels,
            status,
            ranking,
        }
    }
}

/// `None` without at least one positive and one negative.
fn ranking(scored: &[(f32, bool)]) -> Option<Ranking> {
    Some(Ranking {
        n: scored.len(),
        pos: scored.iter().filter(|(_, positive)| *positive).count(),
        auc: auc(scored)?,
        average_precision: average_precision(scored)?,
    })
}

fn group(files: &[&BTreeMap<Category, Scored>]) -> GroupReport {
    let share = |n: usize| n as f64 / files.len().max(1) as f64;
    let reaches = |outcome: Outcome| {
        share(
            files
                .iter()
                .filter(|f| f.values().any(|s| s.outcome >= outcome))
                .count(),
        )
    };
    let categories = Category::ALL.into_iter().filter_map(|category| {
        let scored: Vec<Scored> = files
            .iter()
            .filter_map(|f| f.get(&category).copied())
            .collect();
        (!scored.is_empty()).then(|| (category, category_report(&scored)))
    });
    GroupReport {
        n: files.len(),
        review_share: reaches(Outcome::Review),
        act_share: reaches(Outcome::Act),
        categories: categories.collect(),
    }
}

fn category_report(scored: &[Scored]) -> CategoryReport {
    let n = scored.len();
    let share =
        |test: fn(&Scored) -> bool| scored.iter().filter(|s| test(s)).count() as f64 / n as f64;
    CategoryReport {
        n,
        mean: scored.iter().map(|s| f64::from(s.score)).sum::<f64>() / n as f64,
        max: scored
            .iter()
            .map(|s| f64::from(s.score))
            .fold(0.0, f64::max),
        peak: scored.iter().map(|s| f64::from(s.peak)).fold(0.0, f64::max),
        over_half_share: share(|s| s.score > 0.5),
        review_share: share(|s| s.outcome >= Outcome::Review),
        act_share: share(|s| s.outcome == Outcome::Act),
    }
}

impl TallyReport {
    /// Writes the sums for people: one line per label and category, then the rankings.
    pub fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let mut table = Table::new([
            "label", "category", "n", "mean", "max", "> 0.5", "review", "act",
        ]);
        let names = self
            .labels
            .iter()
            .map(|(l, g)| (if l.is_empty() { "(none)" } else { l }, g));
        // One label is all there is: no need to say it twice.
        let all = (self.labels.len() != 1).then_some(("all", &self.all));
        for (name, group) in names.chain(all) {
            for (category, r) in &group.categories {
                table.row([
                    name.to_owned(),
                    category.to_string(),
                    r.n.to_string(),
                    cell(Some(r.mean), 4),
                    cell(Some(r.max), 4),
                    percent(Some(r.over_half_share)),
                    percent(Some(r.review_share)),
                    percent(Some(r.act_share)),
                ]);
            }
            let any = [group.review_share, group.act_share].map(|s| percent(Some(s)));
            let cells = [
                "any".into(),
                group.n.to_string(),
                String::new(),
                String::new(),
                String::new(),
            ];
            table.row([name.to_owned()].into_iter().chain(cells).chain(any));
        }
        out.push_str(&table.render());
        for (category, target) in &self.targets {
            let labels: Vec<&str> = target.labels.iter().map(String::as_str).collect();
            let found = match &target.ranking {
                Some(r) => format!(
                    "AUC {:.4}, average precision {:.4} ({} of {})",
                    r.auc, r.average_precision, r.pos, r.n
                ),
                None => target.status.replace('_', " "),
            };
            write!(out, "\n  {category} in {}: {found}", labels.join(", "))?;
        }
        if !self.targets.is_empty() {
            out.push('\n');
        }
        let missing: Vec<&str> = self.not_evaluated.iter().map(|c| c.as_str()).collect();
        if !missing.is_empty() {
            writeln!(out, "\n  not evaluated: {}", missing.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use novastream_inference::Status;

    use super::*;

    fn result(score: Option<f32>, peak: Option<f32>, outcome: Outcome) -> CategoryResult {
        let status = if score.is_some() {
            Status::Scored
        } else {
            Status::NotEvaluated
        };
        CategoryResult {
            status,
            score,
            peak,
            review: 0.5,
            act: 0.8,
            severity: None,
            outcome,
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for (label, sexual, outcome) in [
            ("calm", 0.1, Outcome::None),
            ("calm", 0.7, Outcome::Review),
            ("sexual", 0.9, Outcome::Act),
            ("sexual", 0.6, Outcome::Review),
        ] {
            let categories = [
                (Category::Sexual, result(Some(sexual), None, outcome)),
                (
                    Category::DangerousSound,
                    result(Some(0.0), Some(0.4), Outcome::None),
                ),
                (Category::Weapons, result(None, None, Outcome::None)),
            ];
            tally.add(label, &categories.into());
        }
        tally
    }

    #[test]
    fn shares_are_of_the_files_of_a_label() {
        let report = tally().report(&Targets::default());
        let calm = &report.labels["calm"];
        assert_eq!((calm.n, calm.review_share, calm.act_share), (2, 0.5, 0.0));
        let sexual = &calm.categories[&Category::Sexual];
        assert_eq!(
            (sexual.n, sexual.over_half_share, sexual.review_share),
            (2, 0.5, 0.5)
        );
        assert!((sexual.mean - 0.4).abs() < 1e-6 && (sexual.max - 0.7).abs() < 1e-6);
        assert_eq!(
            (report.all.n, report.all.review_share, report.all.act_share),
            (4, 0.75, 0.25)
        );
        let sound = &report.all.categories[&Category::DangerousSound];
        assert!((sound.peak - 0.4).abs() < 1e-6 && sound.max == 0.0);
    }

    #[test]
    fn a_category_without_scores_is_not_evaluated_rather_than_zero() {
        let targets = Targets::parse(&["calm=weapons".into()]).unwrap();
        let report = tally().report(&targets);
        assert!(report.not_evaluated.contains(&Category::Weapons));
        assert!(!report.not_evaluated.contains(&Category::Sexual));
        assert!(!report.all.categories.contains_key(&Category::Weapons));
        assert_eq!(report.targets[&Category::Weapons].status, "not_evaluated");
        let mut text = String::new();
        report.write_text(&mut text).unwrap();
        assert!(text.contains("weapons in calm: not evaluated"), "{text}");
    }

    #[test]
    fn labels_named_like_a_category_are_ranked() {
        let report = tally().report(&Targets::default());
        let target = &report.targets[&Category::Sexual];
        assert_eq!(target.status, "evaluated");
        let ranking = target.ranking.unwrap();
        assert_eq!((ranking.n, ranking.pos, ranking.auc), (4, 2, 0.75));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["targets"]["sexual"]["auc"], 0.75);

        let mut positives = Tally::default();
        positives.add(
            "sexual",
            &[(Category::Sexual, result(Some(0.9), None, Outcome::Act))].into(),
        );
        let report = positives.report(&Targets::default());
        assert_eq!(report.targets[&Category::Sexual].status, "one_sided");
    }

    #[test]
    fn nothing_added_up_is_all_not_evaluated() {
        let report = Tally::default().report(&Targets::default());
        assert_eq!(report.not_evaluated.len(), Category::ALL.len());
        assert_eq!((report.all.n, report.all.review_share), (0, 0.0));
    }
}
