//! The report as a page with plots.

use std::path::Path;

use super::ChatReport;
use crate::error::EvalError;
use crate::page;

/// What evasion figures are to reach.
const RECALL_GOAL: f64 = 0.65;
/// Below this a kind of functional case is a blind spot.
const BLIND: f64 = 0.5;

/// Writes the page.
pub(super) fn write(path: &Path, report: &ChatReport) -> Result<(), EvalError> {
    std::fs::write(path, render(report)?).map_err(EvalError::io("write", path))
}

fn render(report: &ChatReport) -> Result<String, EvalError> {
    let mut out = page::head("Chat moderation");
    page::paragraph(&mut out, &report.head.line());
    for file in &report.files {
        page::heading(&mut out, &file.figures.file);
        page::paragraph(&mut out, &file.line());
        for table in file.tables() {
            page::table(&mut out, &table);
        }
        if let Some(own) = file.calibration.get("toxicity") {
            let points: Vec<(f64, f64)> = own
                .bins
                .iter()
                .map(|bin| (bin.score, bin.positive))
                .collect();
            page::paragraph(&mut out, "Reliability of the toxicity score");
            out.push_str(&page::plot(|area| {
                page::reliability(area, &points, "score given", "share toxic")
            })?);
        }
        if let Some(seen) = &file.evasion {
            let mut bars = vec![("no disguise".to_owned(), seen.recall_plain.unwrap_or(0.0))];
            let kinds = seen.disguises.iter();
            bars.extend(kinds.map(|(name, f)| (name.clone(), f.recall.unwrap_or(0.0))));
            out.push_str(&page::plot(|area| {
                page::bars(
                    area,
                    &bars,
                    Some(RECALL_GOAL),
                    "recall at 5 % false positives",
                )
            })?);
        }
    }
    for (title, rows) in report.tables() {
        page::heading(&mut out, &title);
        page::table(&mut out, &rows);
    }
    if let Some(functional) = &report.functional {
        let kinds = functional.kinds.iter();
        let bars: Vec<(String, f64)> = kinds.map(|(kind, f)| (kind.clone(), f.right)).collect();
        for part in bars.chunks(15) {
            out.push_str(&page::plot(|area| {
                page::bars(area, part, Some(BLIND), "share judged right")
            })?);
        }
    }
    out.push_str("</html>\n");
    Ok(out)
}
