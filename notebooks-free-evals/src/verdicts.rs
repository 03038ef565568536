//! `novastream-eval verdicts`: the whole text path, as the service runs it, on labelled messages.
//!
//! Beside each category's figures stand those of the fast model alone, so that what lists, rules,
//! gates and the look at the language do is seen in one run; and how well each attribute that
//! Perspective's clients ask for orders the messages that carry such a label.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use novastream_datasets::chat::{CHAT_HEADS, ChatRow, load_chat};
use novastream_inference::{
    Attribute, Category, Moderator, ModeratorConfig, Outcome, Status, TextItem, Verdict,
};
use novastream_models::catalog::zoo;
use novastream_models::linear::LinearChatModel;
use novastream_models::manifest::Task;
use novastream_training::chat::evaluate::{THRESHOLD, score_rows};
use novastream_training::metrics::{auc, average_precision};
use serde::Serialize;

use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;
use crate::report::{Head, Report, Table, cell};

/// Messages judged at once.
const BATCH: usize = 256;

/// Attributes and the label that each is held against.
const ATTRIBUTES: [(&str, &str); 8] = [
    ("TOXICITY", "toxicity"),
    ("SEVERE_TOXICITY", "toxicity"),
    ("IDENTITY_ATTACK", "hate"),
    ("INSULT", "harassment"),
    ("PROFANITY", "profanity"),
    ("THREAT", "harassment/threatening"),
    ("SEXUALLY_EXPLICIT", "sexual"),
    ("SPAM", "spam"),
];

/// Options of `novastream-eval verdicts`.
#[derive(Debug, Clone, Args)]
pub struct VerdictOptions {
    /// Messages: CSV, JSONL or Parquet, plain or .gz, with labels as for `chat`
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The answer of `novastream-eval verdicts`.
#[derive(Debug, Serialize)]
pub struct VerdictReport {
    /// Program, machine and model.
    #[serde(flatten)]
    pub head: Head,
    /// Figures per file, in the order given.
    pub files: Vec<FileReport>,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// The file as it was named.
    pub file: String,
    /// Rows in it.
    pub rows: usize,
    /// Verdicts per second of CPU time.
    pub texts_per_cpu_second: Option<f64>,
    /// By category that the file labels.
    pub categories: BTreeMap<String, Figures>,
    /// By attribute that the file has a label for.
    pub attributes: BTreeMap<String, Figures>,
    /// False alarms on messages that are labelled not toxic, by category.
    pub clean: BTreeMap<String, Alarms>,
    /// Messages by the language that they were taken to be in.
    pub languages: BTreeMap<String, usize>,
}

/// How well scores order labelled messages.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Labelled messages with a score.
    pub n: usize,
    /// Positives among them.
    pub pos: usize,
    /// Labelled messages that were not evaluated.
    pub not_evaluated: usize,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Average precision.
    pub average_precision: Option<f64>,
    /// Area under the ROC curve of the fast model alone, on the same messages.
    pub auc_model: Option<f64>,
}

/// How often a category speaks up about messages that are fine.
#[derive(Debug, Default, Serialize)]
pub struct Alarms {
    /// Messages labelled not toxic.
    pub n: usize,
    /// At or over 0.5 with the model alone.
    pub over_half_model: usize,
    /// At or over 0.5.
    pub over_half: usize,
    /// At or over the policy's review threshold.
    pub review: usize,
    /// At or over the policy's act threshold.
    pub act: usize,
}

/// Judges every row of every file with the built-in policy and the zoo's models.
///
/// # Errors
/// A file cannot be read, or there is no chat model.
pub fn run(options: &VerdictOptions) -> Result<VerdictReport, EvalError> {
    let load = |e: String| EvalError::Load { message: e };
    let config = ModeratorConfig::from_env().map_err(|e| load(e.to_string()))?;
    let moderator = Moderator::load(config).map_err(|e| load(e.to_string()))?;
    let (id, model) = fast_model()?;
    let mut files = Vec::new();
    for path in &options.data {
        let rows = load_chat(path)?;
        let (alone, _) = score_rows(&model, &rows);
        let clock = CpuClock::start();
        let verdicts = judge(&moderator, &rows);
        let rate = per_second(rows.len(), clock.elapsed());
        let name = path.display().to_string();
        files.push(
            File {
                model: &model,
                rows: &rows,
                alone: &alone,
                verdicts: &verdicts,
            }
            .report(name, rate),
        );
    }
    Ok(VerdictReport {
        head: Head::new("verdicts", vec![id]),
        files,
    })
}

/// The newest linear chat model of the zoo, with its id.
///
/// # Errors
/// The zoo has none.
pub fn fast_model() -> Result<(String, LinearChatModel), EvalError> {
    let missing = |hint: String| EvalError::Model {
        wanted: "a linear chat model".to_owned(),
        hint,
    };
    let zoo = zoo().map_err(|e| missing(e.to_string()))?;
    zoo.iter()
        .rev()
        .filter(|(manifest, _)| manifest.task == Task::Chat)
        .find_map(|(manifest, dir)| Some((manifest.id(), LinearChatModel::load(dir).ok()?)))
        .ok_or_else(|| missing("the zoo has none".to_owned()))
}

fn judge(moderator: &Moderator, rows: &[ChatRow]) -> Vec<Verdict> {
    rows.chunks(BATCH)
        .flat_map(|rows| {
            let items: Vec<TextItem> = rows
                .iter()
                .map(|row| TextItem {
                    text: row.text.clone(),
                    ..TextItem::default()
                })
                .collect();
            moderator.text(&items, None)
        })
        .collect()
}

struct File<'a> {
    model: &'a LinearChatModel,
    rows: &'a [ChatRow],
    alone: &'a [Vec<f32>],
    verdicts: &'a [Verdict],
}

impl File<'_> {
    fn report(&self, file: String, rate: Option<f64>) -> FileReport {
        let score = |category: Category| {
            move |v: &Verdict| {
                v.categories
                    .get(&category)
                    .filter(|r| r.status == Status::Scored)
                    .and_then(|r| r.score)
            }
        };
        let mut categories = BTreeMap::new();
        for (label, name) in CHAT_HEADS.iter().enumerate() {
            if let Ok(category) = name.parse::<Category>()
                && let Some(figures) = self.figures(label, name, score(category))
            {
                categories.insert((*name).to_owned(), figures);
            }
        }
        let mut attributes = BTreeMap::new();
        for (name, label) in ATTRIBUTES {
            let index = CHAT_HEADS.iter().position(|head| *head == label);
            if let (Some(index), Some(attribute)) = (index, Attribute::named(name))
                && let Some(figures) = self.figures(index, label, |v| attribute.read(v))
            {
                attributes.insert(name.to_owned(), figures);
            }
        }
        let mut languages = BTreeMap::new();
        for verdict in self.verdicts {
            let language = verdict
                .language
                .clone()
                .unwrap_or_else(|| "unknown".to_owned());
            *languages.entry(language).or_insert(0) += 1;
        }
        FileReport {
            file,
            rows: self.rows.len(),
            texts_per_cpu_second: rate,
            categories,
            attributes,
            clean: [Category::Doxxing, Category::Illicit, Category::Scam]
                .into_iter()
                .map(|c| (c.as_str().to_owned(), self.alarms(c)))
                .collect(),
            languages,
        }
    }

    /// `None` where nothing is labelled or nothing was scored.
    fn figures(
        &self,
        label: usize,
        head: &str,
        score: impl Fn(&Verdict) -> Option<f32>,
    ) -> Option<Figures> {
        let head = self.model.head(head);
        let (mut scored, mut alone) = (Vec::new(), Vec::new());
        let mut not_evaluated = 0;
        for ((row, verdict), model) in self.rows.iter().zip(self.verdicts).zip(self.alone) {
            let Some(positive) = row.labels[label] else {
                continue;
            };
            let Some(value) = score(verdict) else {
                not_evaluated += 1;
                continue;
            };
            scored.push((value, positive));
            if let Some(head) = head {
                alone.push((model[head], positive));
            }
        }
        (!scored.is_empty()).then(|| Figures {
            n: scored.len(),
            pos: scored.iter().filter(|(_, p)| *p).count(),
            not_evaluated,
            auc: auc(&scored),
            average_precision: average_precision(&scored),
            auc_model: auc(&alone),
        })
    }

    fn alarms(&self, category: Category) -> Alarms {
        let mut alarms = Alarms::default();
        let head = self.model.head(category.as_str());
        for ((row, verdict), alone) in self.rows.iter().zip(self.verdicts).zip(self.alone) {
            let Some(result) = verdict.categories.get(&category) else {
                continue;
            };
            if row.label("toxicity") != Some(false) {
                continue;
            }
            alarms.n += 1;
            alarms.over_half_model += usize::from(head.is_some_and(|h| alone[h] >= THRESHOLD));
            alarms.over_half += usize::from(result.score.is_some_and(|s| s >= THRESHOLD));
            alarms.review += usize::from(result.outcome >= Outcome::Review);
            alarms.act += usize::from(result.outcome >= Outcome::Act);
        }
        alarms
    }
}

impl Report for VerdictReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        for file in &self.files {
            let rate = cell(file.texts_per_cpu_second, 0);
            writeln!(
                out,
                "\n{}: {} rows, {rate} verdicts per CPU second",
                file.file, file.rows
            )?;
            let columns = [
                "",
                "n",
                "pos",
                "not evaluated",
                "auc",
                "ap",
                "auc, model alone",
            ];
            let mut table = Table::new(columns);
            for (name, f) in file.categories.iter().chain(&file.attributes) {
                table.row([
                    name.clone(),
                    f.n.to_string(),
                    f.pos.to_string(),
                    f.not_evaluated.to_string(),
                    cell(f.auc, 4),
                    cell(f.average_precision, 4),
                    cell(f.auc_model, 4),
                ]);
            }
            out.push_str(&table.render());
            let columns = [
                "on clean messages",
                "n",
                "model ≥ 0.5",
                "≥ 0.5",
                "review",
                "act",
            ];
            let mut table = Table::new(columns);
            for (name, a) in file.clean.iter().filter(|(_, a)| a.n > 0) {
                let counts = [a.n, a.over_half_model, a.over_half, a.review, a.act];
                let cells = counts.map(|c| c.to_string());
                table.row([name.clone()].into_iter().chain(cells));
            }
            out.push_str(&table.render());
            let languages: Vec<String> = file
                .languages
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            writeln!(out, "  languages: {}", languages.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use novastream_datasets::sample::chat_sample_path;

    use super::*;

    #[test]
    fn the_shipped_sample_is_judged_as_the_service_would() {
        let options = VerdictOptions {
            data: vec![chat_sample_path()],
            json: true,
        };
        let report = run(&options).expect("report");
        let file = &report.files[0];
        assert!(
            file.categories["toxicity"].auc.expect("auc") > 0.9,
            "{file:?}"
        );
        assert!(
            file.attributes["TOXICITY"].auc.expect("auc") > 0.9,
            "{file:?}"
        );
        assert_eq!(file.languages.values().sum::<usize>(), file.rows);
        for alarms in file.clean.values() {
            assert!(alarms.n > 10 && alarms.act <= alarms.review, "{alarms:?}");
        }
        assert!(report.text().contains("verdicts per CPU second"));
    }
}
