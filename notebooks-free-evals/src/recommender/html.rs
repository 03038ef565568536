//! The report as a page with plots, which needs nothing else to be read.

use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;

use super::report::{Outcome, RecommenderReport};
use crate::error::EvalError;

const SIZE: (u32, u32) = (560, 340);
const INK: RGBColor = RGBColor(31, 78, 121);
const PALE: RGBColor = RGBColor(190, 190, 190);

/// Writes the page.
pub(super) fn write(path: &Path, report: &RecommenderReport) -> Result<(), EvalError> {
    let page = page(report)?;
    std::fs::write(path, page).map_err(EvalError::io("write", path))
}

fn page(report: &RecommenderReport) -> Result<String, EvalError> {
    let outcome = &report.outcome;
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Recommender</title>\
         <style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
         table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .8rem;text-align:right;\
         border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
         svg{max-width:100%;height:auto}</style><h1>Recommender</h1>",
    );
    let rate = crate::report::cell(outcome.events_per_cpu_second, 0);
    let text = format!(
        "{} · {} skipped · {rate} per CPU second",
        report.head.line(),
        outcome.skipped
    );
    // Writing to a String can't fail.
    let _ = write!(out, "<p>{}</p>", escape(&text));
    if let Some(comparison) = &report.comparison {
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

fn table(out: &mut String, rows: &[Vec<String>]) {
    out.push_str("<table>");
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<{tag}>{}</{tag}>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn plot(draw: impl Fn(&Area<'_>) -> Drawn) -> Result<String, EvalError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area)
        .and_then(|()| area.present().map_err(Into::into))
        .map_err(|error| EvalError::internal(format!("can't draw a plot: {error}")))?;
    drop(area);
    Ok(svg)
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
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..1.0_f64, 0.0..1.0_f64)?;
    chart
        .configure_mesh()
        .x_desc("chance given")
        .y_desc("share right")
        .draw()?;
    chart.draw_series(LineSeries::new(
        [(0.0, 0.0), (1.0, 1.0)],
        PALE.stroke_width(1),
    ))?;
    let points: Vec<(f64, f64)> = outcome
        .calibration
        .iter()
        .map(|bin| (bin.chance, bin.right))
        .collect();
    chart.draw_series(LineSeries::new(points.iter().copied(), INK.stroke_width(2)))?;
    chart.draw_series(
        points
            .into_iter()
            .map(|point| Circle::new(point, 3, INK.filled())),
    )?;
    Ok(())
}
