//! Holds the stored verdicts against what the clip and the chat are known to contain.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    chat::LINES,
    clip::{Content, PARTS, Part},
};

/// After a part that is not calm, the window that may still hold some of it is not judged as calm.
const MARGIN_MS: i64 = 1_900;
/// Window borders are this exact.
const JITTER_MS: i64 = 100;

/// What the check found: one line per expectation.
#[derive(Default)]
pub struct Findings {
    pub met: Vec<String>,
    pub missed: Vec<String>,
}

impl Findings {
    /// Notes an expectation and whether it was met.
    pub fn note(&mut self, met: bool, text: String) {
        if met {
            self.met.push(text);
        } else {
            self.missed.push(text);
        }
    }
}

/// Compares every part of the clip with the stream's window verdicts.
///
/// `windows` are the verdicts of kind `window`, in order; the first one starts the stream.
pub fn stream(windows: &[Value], findings: &mut Findings) -> Result<()> {
    let Some(origin) = windows.first().and_then(|w| w["start_ms"].as_i64()) else {
        bail!("the server has no window verdict of the stream");
    };
    for part in &PARTS {
        let (start, end) = (i64::from(part.start_s) * 1000, i64::from(part.end_s) * 1000);
        let inside: Vec<&Value> = windows
            .iter()
            .filter(|w| overlaps(w, origin, start, end))
            .collect();
        let (name, category) = match part.content {
            Content::Calm => {
                calm(part, &inside, origin, findings);
                continue;
            }
            Content::BlockedPicture => ("blocklisted picture", "blocklisted-media"),
            Content::ScamText => ("scam on the screen", "scam"),
            Content::Siren => ("siren in the sound", "dangerous-sound"),
        };
        let caught = inside.iter().any(|w| {
            acted(w)
                && w["categories"][category]["outcome"]
                    .as_str()
                    .is_some_and(|o| o != "none")
        });
        findings.note(
            caught,
            format!("{name} at {}-{} s → {category}", part.start_s, part.end_s),
        );
    }
    Ok(())
}

/// Compares every chat line with its verdict.
pub fn chat(verdicts: &[Value], findings: &mut Findings) {
    for (line, verdict) in LINES.iter().zip(verdicts) {
        let wanted = if line.flagged { "flagged" } else { "allowed" };
        findings.note(
            acted(verdict) == line.flagged,
            format!("chat at {} s {wanted}: {:?}", line.at_s, line.text),
        );
    }
}

fn calm(part: &Part, inside: &[&Value], origin: i64, findings: &mut Findings) {
    let (start, end) = (i64::from(part.start_s) * 1000, i64::from(part.end_s) * 1000);
    let well_inside = |w: &&&Value| {
        let (from, to) = span(w, origin);
        let after_start = part.start_s == 0 || from >= start + MARGIN_MS;
        after_start && to <= end + JITTER_MS
    };
    let judged: Vec<&&Value> = inside.iter().filter(well_inside).collect();
    // No window at all would prove nothing.
    let quiet = !judged.is_empty() && judged.iter().all(|w| !acted(w));
    findings.note(
        quiet,
        format!(
            "calm at {}-{} s ({} windows)",
            part.start_s,
            part.end_s,
            judged.len()
        ),
    );
}

fn overlaps(window: &Value, origin: i64, start: i64, end: i64) -> bool {
    let (from, to) = span(window, origin);
    from < end && to > start
}

fn span(window: &Value, origin: i64) -> (i64, i64) {
    let at = |key: &str| window[key].as_i64().unwrap_or(origin) - origin;
    (at("start_ms"), at("end_ms"))
}

/// Whether a verdict asks for anything at all.
fn acted(verdict: &Value) -> bool {
    verdict["action"].as_str() != Some("allow") || verdict["review"].as_bool() == Some(true)
}
