//! What report pages have in common: one HTML file with tables and SVG plots, which needs nothing
//! else to be read.

use std::fmt::Write as _;

use plotters::prelude::*;

use crate::error::EvalError;

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (560, 340);
/// Colour of what a plot is about.
pub const INK: RGBColor = RGBColor(31, 78, 121);
/// Colour of what it is compared with.
pub const PALE: RGBColor = RGBColor(190, 190, 190);

/// Where a plot is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
/// What drawing answers.
pub type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The beginning of a page, up to and including its title.
pub fn head(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         table{{border-collapse:collapse;margin:1rem 0}}th,td{{padding:.2rem .8rem;text-align:right;\
         border-bottom:1px solid #ddd}}th:first-child,td:first-child{{text-align:left}}\
         svg{{max-width:100%;height:auto}}</style><h1>{0}</h1>",
        escape(title)
    )
}

/// A paragraph of plain text.
pub fn paragraph(out: &mut String, text: &str) {
    // Writing to a String can't fail.
    let _ = write!(out, "<p>{}</p>", escape(text));
}

/// A heading of the second rank.
pub fn heading(out: &mut String, text: &str) {
    let _ = write!(out, "<h2>{}</h2>", escape(text));
}

/// A table whose first row holds column names.
pub fn table(out: &mut String, rows: &[Vec<String>]) {
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

/// Text as it may stand in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// An SVG picture of one plot.
///
/// # Errors
/// The plot can't be drawn.
pub fn plot(draw: impl Fn(&Area<'_>) -> Drawn) -> Result<String, EvalError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area)
        .and_then(|()| area.present().map_err(Into::into))
        .map_err(|error| EvalError::internal(format!("can't draw a plot: {error}")))?;
    drop(area);
    Ok(svg)
}

/// A reliability diagram: points `(given, found)` beside the diagonal.
///
/// # Errors
/// The plot can't be drawn.
pub fn reliability(area: &Area<'_>, points: &[(f64, f64)], x: &str, y: &str) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..1.0_f64, 0.0..1.0_f64)?;
    chart.configure_mesh().x_desc(x).y_desc(y).draw()?;
    chart.draw_series(LineSeries::new(
        [(0.0, 0.0), (1.0, 1.0)],
        PALE.stroke_width(1),
    ))?;
    chart.draw_series(LineSeries::new(points.iter().copied(), INK.stroke_width(2)))?;
    let dots = points
        .iter()
        .map(|point| Circle::new(*point, 3, INK.filled()));
    chart.draw_series(dots)?;
    Ok(())
}

/// Horizontal bars from 0 to 1, one a name, the first on top, with a line at `mark`.
///
/// # Errors
/// The plot can't be drawn.
pub fn bars(area: &Area<'_>, bars: &[(String, f64)], mark: Option<f64>, x: &str) -> Drawn {
    let n = bars.len().max(1);
    // A name stands at the foot of its bar, which is a whole number; other marks have none.
    let name = |at: &f64| {
        let row = n as f64 - at.round() - 1.0;
        let whole = (at - at.round()).abs() < 1e-6 && (0.0..n as f64).contains(&row);
        let bar = whole.then_some(row as usize).and_then(|row| bars.get(row));
        bar.map_or_else(String::new, |bar| bar.0.clone())
    };
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..1.0_f64, 0.0..n as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc(x)
        .y_labels(n + 1)
        .y_label_formatter(&name)
        .draw()?;
    chart.draw_series(bars.iter().enumerate().map(|(row, (_, value))| {
        let top = (n - row) as f64;
        Rectangle::new([(0.0, top - 0.85), (*value, top - 0.15)], INK.filled())
    }))?;
    if let Some(mark) = mark {
        let line = [(mark, 0.0), (mark, n as f64)];
        chart.draw_series(LineSeries::new(line, RGBColor(198, 89, 17).stroke_width(2)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_escape_what_they_show() {
        let mut out = head("a < b");
        paragraph(&mut out, "<script>");
        table(
            &mut out,
            &[vec!["\"x\"".to_owned()], vec!["1 & 2".to_owned()]],
        );
        assert!(out.contains("a &lt; b") && out.contains("&lt;script&gt;"));
        assert!(out.contains("<th>&quot;x&quot;</th>") && out.contains("<td>1 &amp; 2</td>"));
    }

    #[test]
    fn plots_are_svg_and_name_their_bars() {
        let rows = [("leet".to_owned(), 0.7), ("spacing".to_owned(), 0.2)];
        let svg = plot(|area| bars(area, &rows, Some(0.65), "recall")).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("leet") && svg.contains("spacing"));
        let svg = plot(|area| reliability(area, &[(0.1, 0.2), (0.8, 0.7)], "x", "y")).unwrap();
        assert!(svg.contains("<circle"));
        assert!(plot(|area| bars(area, &[], None, "x")).is_ok());
    }
}
