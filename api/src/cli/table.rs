//! The live table of `watch`: time, modality, category, score, action, latency.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Instant;

use novastream_inference::{
    Action, Category, Evidence, EvidenceDetail, Kind, Modality, Outcome, Status, Verdict,
};

use crate::http::VerdictRecord;
use crate::watch::notable;

/// Turns verdicts into rows and counts them.
#[derive(Debug)]
pub struct Table {
    began: Instant,
    origin_ms: Option<i64>,
    colour: bool,
    tally: Tally,
}

/// What went by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Windows of the stream.
    pub windows: u64,
    /// Windows with an action or for review.
    pub notable: u64,
    /// Stretches that never arrived.
    pub gaps: u64,
    /// Chat messages.
    pub messages: u64,
    /// Chat messages with an action or for review.
    pub notable_messages: u64,
}

impl Table {
    /// An empty table; colours only on a terminal.
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            began: Instant::now(),
            origin_ms: None,
            colour,
            tally: Tally::default(),
        }
    }

    /// The line above the rows.
    pub fn header() -> String {
        columns(
            "time", "modality", "category", "score", "action", "latency", "",
        )
    }

    /// Counts so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The rows of a verdict: one for each thing it found, or one that says it is calm.
    pub fn rows(&mut self, record: &VerdictRecord) -> Vec<String> {
        let v = &record.verdict;
        self.count(v);
        let latency = latency(record);
        let paint = |row: String| {
            if self.colour {
                coloured(v.action, &row)
            } else {
                row
            }
        };
        let found = strongest(v);
        if found.is_empty() {
            let time = self.time(v, None);
            let (modality, category) = match v.kind {
                Kind::Gap => ("stream", "gap"),
                _ if v.degraded.iter().any(|d| d.reason.starts_with("shed")) => ("stream", "shed"),
                Kind::Text if v.degraded.is_empty() => ("text", "calm"),
                Kind::Text => ("text", "degraded"),
                _ if v.degraded.is_empty() => ("-", "calm"),
                _ => ("-", "degraded"),
            };
            let score = v.leading().and_then(|(_, r)| r.score);
            let detail = match (v.kind, &v.item_id) {
                (Kind::Gap, _) => v.degraded.first().map(|d| d.reason.clone()),
                (Kind::Text, Some(id)) => Some(id.clone()),
                _ => unjudged(v),
            };
            let action = action(v);
            let detail = detail.unwrap_or_default();
            return vec![paint(columns(
                &time,
                modality,
                category,
                &number(score),
                &action,
                &latency,
                &detail,
            ))];
        }
        found
            .iter()
            .map(|e| {
                let time = self.time(v, e.start_ms);
                let (modality, category) = (e.modality.as_str(), e.category.as_str());
                let detail = detail(v, e);
                paint(columns(
                    &time,
                    modality,
                    category,
                    &number(Some(e.score)),
                    &action(v),
                    &latency,
                    &detail,
                ))
            })
            .collect()
    }

    fn count(&mut self, v: &Verdict) {
        let notable = u64::from(notable(v));
        match v.kind {
            Kind::Text => {
                self.tally.messages += 1;
                self.tally.notable_messages += notable;
            }
            Kind::Gap => self.tally.gaps += 1,
            _ => {
                self.tally.windows += 1;
                self.tally.notable += notable;
            }
        }
        if self.origin_ms.is_none() {
            self.origin_ms = v.start_ms;
        }
    }

    /// Stream time since the first window; for chat the time since the table began.
    fn time(&self, v: &Verdict, at_ms: Option<i64>) -> String {
        let ms = match (at_ms.or(v.start_ms), self.origin_ms) {
            (Some(at), Some(origin)) => at - origin,
            _ => self.began.elapsed().as_millis() as i64,
        };
        let ms = ms.max(0);
        format!("{:02}:{:04.1}", ms / 60_000, (ms % 60_000) as f64 / 1000.0)
    }
}

/// The strongest evidence of each category that has an outcome, per modality.
fn strongest(v: &Verdict) -> Vec<&Evidence> {
    let mut best: BTreeMap<(Modality, Category), &Evidence> = BTreeMap::new();
    for e in &v.evidence {
        let matters = v
            .categories
            .get(&e.category)
            .is_some_and(|r| r.status == Status::Scored && r.outcome != Outcome::None);
        if matters {
            let slot = best.entry((e.modality, e.category)).or_insert(e);
            if e.score > slot.score {
                *slot = e;
            }
        }
    }
    let mut found: Vec<&Evidence> = best.into_values().collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

fn detail(v: &Verdict, e: &Evidence) -> String {
    let what = match &e.detail {
        Some(EvidenceDetail::ScreenText { text, .. } | EvidenceDetail::Speech { text, .. }) => {
            format!("“{}”", shorten(text, 40))
        }
        Some(EvidenceDetail::Pdq {
            list,
            label,
            distance,
            ..
        }) => {
            format!("{list}: {label}, distance {distance}")
        }
        Some(EvidenceDetail::Sound { group, label, .. }) => format!("{group}: {label}"),
        Some(EvidenceDetail::Label { label, .. }) => label.clone(),
        Some(EvidenceDetail::Rule { rule, .. }) => rule.clone(),
        Some(EvidenceDetail::Crowd { signals }) => signals.join(", "),
        Some(EvidenceDetail::TextSpan { .. }) | None => e.model.clone(),
    };
    match (&v.kind, &v.item_id) {
        (Kind::Text, Some(id)) => format!("{id}  {what}"),
        _ => what,
    }
}

/// The parts that could not judge, by name; the service's log and `/v1/models` say why.
fn unjudged(v: &Verdict) -> Option<String> {
    let mut parts: Vec<&str> = v.degraded.iter().map(|d| d.component.as_str()).collect();
    parts.dedup();
    (!parts.is_empty()).then(|| format!("not judged: {}", parts.join(", ")))
}

fn shorten(text: &str, most: usize) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    if clean.chars().count() <= most {
        return clean;
    }
    let mut short: String = clean.chars().take(most).collect();
    short.push('…');
    short
}

fn action(v: &Verdict) -> String {
    let mark = if v.review { "+review" } else { "" };
    format!("{}{mark}", v.action.as_str())
}

fn latency(record: &VerdictRecord) -> String {
    let total = f64::from(record.verdict.timings.total_ms);
    let ms = record.latency_ms.or_else(|| (total > 0.0).then_some(total));
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"))
}

fn number(score: Option<f32>) -> String {
    score.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"))
}

fn columns(
    time: &str,
    modality: &str,
    category: &str,
    score: &str,
    action: &str,
    latency: &str,
    detail: &str,
) -> String {
    format!("{time:>8}  {modality:<11}  {category:<22}  {score:>5}  {action:<13}  {latency:>8}  {detail}")
        .trim_end()
        .to_owned()
}

fn coloured(action: Action, row: &str) -> String {
    let code = match action {
        Action::Allow => return row.to_owned(),
        Action::Flag => 33,
        Action::Hold => 35,
        Action::Remove | Action::Suspend => 31,
    };
    format!("\x1b[{code}m{row}\x1b[0m")
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} windows ({} notable), {} gaps",
            self.windows, self.notable, self.gaps
        )?;
        if self.messages > 0 {
            write!(
                f,
                ", {} messages ({} notable)",
                self.messages, self.notable_messages
            )?;
        }
        Ok(())
    }
}
