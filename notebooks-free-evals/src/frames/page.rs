//! The report as a page with precision-recall curves and the worst false alarms as thumbnails,
//! which needs nothing else to be read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use novastream_features::picture::{ImageLimits, decode_image, resize_area};
use plotters::prelude::*;

use crate::error::EvalError;

const SIZE: (u32, u32) = (560, 340);
const INK: RGBColor = RGBColor(31, 78, 121);
/// Thumbnails on the page.
const ALARMS: usize = 24;
/// Longer side of one in pixels.
const THUMBNAIL: u32 = 160;

/// Scores and whether each is a positive's.
pub(super) struct Curve {
    pub title: String,
    pub points: Vec<(f32, bool)>,
}

/// A picture of everyday things and what it was taken for.
pub(super) struct Alarm {
    pub what: String,
    pub score: f32,
    pub path: PathBuf,
}

/// Writes the page.
pub(super) fn write(
    path: &Path,
    text: &str,
    curves: &[Curve],
    alarms: Vec<Alarm>,
) -> Result<(), EvalError> {
    std::fs::write(path, page(text, curves, alarms)?).map_err(EvalError::io("write", path))
}

fn page(text: &str, curves: &[Curve], mut alarms: Vec<Alarm>) -> Result<String, EvalError> {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Frames</title>\
         <style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
         pre{overflow-x:auto}svg{max-width:100%;height:auto}figure{display:inline-block;margin:.4rem;\
         font-size:.85rem}figcaption{max-width:160px;overflow-wrap:anywhere}</style><h1>Frames</h1>",
    );
    // Writing to a String can't fail.
    let _ = write!(out, "<pre>{}</pre>", escape(text));
    for curve in curves {
        let line = precision_recall(&curve.points);
        if !line.is_empty() {
            let _ = write!(
                out,
                "<h2>{}: precision by recall</h2>",
                escape(&curve.title)
            );
            out.push_str(&plot(&line)?);
        }
    }
    alarms.sort_by(|a, b| b.score.total_cmp(&a.score));
    alarms.truncate(ALARMS);
    if !alarms.is_empty() {
        out.push_str("<h2>Highest scores of everyday pictures</h2>");
    }
    for alarm in &alarms {
        let Some(thumbnail) = thumbnail(&alarm.path) else {
            continue;
        };
        let name = alarm.path.file_name().unwrap_or_default().to_string_lossy();
        let _ = write!(
            out,
            "<figure><img alt=\"\" src=\"data:image/jpeg;base64,{}\"><figcaption>{} {:.3}<br>{}</figcaption></figure>",
            STANDARD.encode(thumbnail),
            escape(&alarm.what),
            alarm.score,
            escape(&name)
        );
    }
    out.push_str("</html>\n");
    Ok(out)
}

/// A small JPEG; `None` where the file can't be read any more.
fn thumbnail(path: &Path) -> Option<Vec<u8>> {
    let image = decode_image(&std::fs::read(path).ok()?, &ImageLimits::default()).ok()?;
    let longer = image.width.max(image.height).max(1);
    let side = |length: u32| (u64::from(length) * u64::from(THUMBNAIL) / u64::from(longer)) as u32;
    let small = resize_area(&image, side(image.width), side(image.height));
    small.encode_jpeg(70).ok()
}

/// (recall, precision) at every threshold; empty without at least one positive and one negative.
fn precision_recall(points: &[(f32, bool)]) -> Vec<(f64, f64)> {
    let positives = points.iter().filter(|p| p.1).count();
    if positives == 0 || positives == points.len() {
        return Vec::new();
    }
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut found, mut called) = (0, 0);
    let mut line = Vec::new();
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        found += tied.iter().filter(|p| p.1).count();
        called += tied.len();
        line.push((
            found as f64 / positives as f64,
            found as f64 / called as f64,
        ));
    }
    line
}

fn plot(line: &[(f64, f64)]) -> Result<String, EvalError> {
    let mut svg = String::new();
    let draw = |area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>| -> Result<(), Box<dyn std::error::Error>> {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..1.0_f64, 0.0..1.0_f64)?;
        chart.configure_mesh().x_desc("recall").y_desc("precision").draw()?;
        chart.draw_series(LineSeries::new(line.iter().copied(), INK.stroke_width(2)))?;
        Ok(())
    };
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area)
        .and_then(|()| area.present().map_err(Into::into))
        .map_err(|error| EvalError::internal(format!("can't draw a plot: {error}")))?;
    drop(area);
    Ok(svg)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_ends_at_full_recall() {
        let line = precision_recall(&[(0.9, true), (0.8, false), (0.7, true), (0.1, false)]);
        assert_eq!(line, [(0.5, 1.0), (0.5, 0.5), (1.0, 2.0 / 3.0), (1.0, 0.5)]);
        assert!(precision_recall(&[(0.9, true)]).is_empty());
    }

    #[test]
    fn a_page_shows_curves_and_names_without_markup() {
        let curve = Curve {
            title: "<guns>".to_owned(),
            points: vec![(0.9, true), (0.1, false)],
        };
        let alarm = Alarm {
            what: "guns".to_owned(),
            score: 0.7,
            path: PathBuf::from("no/such.jpg"),
        };
        let page = page("a & b", &[curve], vec![alarm]).unwrap();
        assert!(
            page.contains("&lt;guns&gt;") && page.contains("<svg") && page.contains("a &amp; b")
        );
        assert!(!page.contains("<figure>"));
    }
}
