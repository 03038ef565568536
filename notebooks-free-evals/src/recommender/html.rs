//! The report as a page with plots, which needs nothing else to be read.

use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;

use super::report::{Outcome, RecommenderReport};
use crate::error::EvalError;
use crate::page::{self, Area, Drawn, INK, PALE, escape, plot, table};

/// Writes the page.
pub(super) fn write(path: &Path, report: &RecommenderReport) -> Result<(), EvalError> {
    let page = page(report)?;
    std::fs::write(path, page).map_err(EvalError::io("write", path))
}

fn page(report: &RecommenderReport) -> Result<String, EvalError> {
    let outcome = &report.outcome;
    let mut out = page::head("Recommender");
    let rate = crate::report::cell(outcome.events_per_cpu_second, 0);
    let text = format!(
        "{} · {} skipped · {rate} per CPU second",
        report.head.line(),
        outcome.skipped
    );
    page::paragraph(&mut out, &text);
    if let Some(comparison) = &report.comparison {
        // Writing to a String can't fail.
        let _ = write!(out, "<p><b>{}</b></p>", escape(&comparison.line()));
    }
    table(&mut out, &report.main_table());
    if !outcome.intervals.is_empty() {
        let mut rows = vec![vec!["95 % interval".to_owned(), "from".into(), "to".into()]];
        for (name, [low, high]) in &outcome.intervals {
            rows.push(vec![
                name.clone(),
                format!("{low:.4}"),
                format!("{high:.4}"),
            ]);
        }
        table(&mut out, &rows);
    }
    for (title, part) in [
        ("Silenced features", &outcome.ablation),
        ("Segments", &outcome.segments),
    ] {
        if part.is_empty() {
            continue;
        }
        let names = [title, "n", "HR@1", "HR@10", "NDCG@10"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for (name, hits) in part {
            let figures = [hits.hr1, hits.hr10, hits.ndcg10].map(|value| format!("{value:.4}"));
            rows.push([vec![name.clone(), hits.n.to_string()], figures.to_vec()].concat());
        }
        table(&mut out, &rows);
    }
    if let Some(sampled) = outcome.sampled {
        let _ = write!(
            out,
            "<p>Sampled negatives only: HR@10 {:.4}, NDCG@10 {:.4}</p>",
            sampled.hr10, sampled.ndcg10
        );
    }
    if let Some(spread) = outcome.spread {
        let mut rows = vec![vec!["What is shown".to_owned(), String::new()]];
        for (name, value) in spread.rows() {
            rows.push(vec![name.to_owned(), format!("{value:.3}")]);
        }
        table(&mut out, &rows);
    }
    if !outcome.cases.is_empty() {
        out.push_str("<h2>Hits by length of the list</h2>");
        out.push_str(&plot(|area| depth(area, outcome))?);
    }
    if !outcome.calibration.is_empty() {
        out.push_str("<h2>Chance of the first item, given and found</h2>");
        out.push_str(&plot(|area| calibration(area, outcome))?);
        let error = crate::report::cell(outcome.calibration_error, 4);
        let _ = write!(out, "<p>Mean distance from the line: {error}</p>");
    }
    if !outcome.most_shown.is_empty() {
        let mut rows = vec![vec!["Shown most".to_owned(), "share of places".into()]];
        for (name, share) in &outcome.most_shown {
            rows.push(vec![name.clone(), format!("{share:.4}")]);
        }
        table(&mut out, &rows);
    }
    out.push_str("</html>\n");
    Ok(out)
}

/// Share of targets within the first n, for n to 30: all, repeat and new.
fn depth(area: &Area<'_>, outcome: &Outcome) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(44)
        .build_cartesian_2d(1.0..30.0_f64, 0.0..1.0_f64)?;
    chart
        .configure_mesh()
        .x_desc("n")
        .y_desc("share within n")
        .draw()?;
    let kinds: [(&str, RGBColor, Option<bool>); 3] = [
        ("all", INK, None),
        ("repeat", RGBColor(46, 125, 50), Some(true)),
        ("new", RGBColor(198, 89, 17), Some(false)),
    ];
    for (name, colour, repeat) in kinds {
        let kept = |case: &&super::case::Case| repeat.is_none_or(|r| case.placed.repeat == r);
        let ranks: Vec<f64> = outcome
            .cases
            .iter()
            .filter(kept)
            .map(|case| case.placed.rank)
            .collect();
        if ranks.is_empty() || (name == "new" && outcome.new.is_none()) {
            continue;
        }
        let line = (1..=30).map(|n| {
            let within = ranks.iter().filter(|rank| **rank < f64::from(n)).count();
            (f64::from(n), within as f64 / ranks.len() as f64)
        });
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .border_style(PALE)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

fn calibration(area: &Area<'_>, outcome: &Outcome) -> Drawn {
    let points: Vec<(f64, f64)> = outcome
        .calibration
        .iter()
        .map(|bin| (bin.chance, bin.right))
        .collect();
    page::reliability(area, &points, "chance given", "share right")
}
