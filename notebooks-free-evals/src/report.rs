//! What every report has in common: its head, the machine, and a table for people.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::error::EvalError;

/// The machine that the figures come from.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor as the system names it, or the architecture where it does not.
    pub cpu: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: model_name(&info).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        }
    }
}

/// The first `model name` of a `/proc/cpuinfo`.
fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|l| l.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The head of every report; flattened into its JSON object.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// The subcommand.
    pub command: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// `name@version` of every model that took part, sorted.
    pub models: Vec<String>,
}

impl Head {
    /// The head of a report that `command` makes on this machine.
    pub fn new(command: &'static str, models: Vec<String>) -> Self {
        Self {
            command,
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::here(),
            models,
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let models = if self.models.is_empty() {
            "no model".to_owned()
        } else {
            self.models.join(", ")
        };
        format!(
            "{} {} · {models} · {} × {}",
            self.command, self.version, self.machine.cores, self.machine.cpu
        )
    }
}

/// A report that can be printed for programs and for people.
pub trait Report: Serialize {
    /// Writes the report for people: lines of text, each ending in a newline.
    fn write_text(&self, out: &mut String) -> std::fmt::Result;

    /// The report for people.
    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String can't fail.
        let _ = self.write_text(&mut out);
        out
    }

    /// Whether the work was done; a report that only says why not is printed and then an error.
    fn done(&self) -> Result<(), EvalError> {
        Ok(())
    }
}

/// Prints `report` on stdout: one JSON object on one line with `json`, else text. Then answers
/// [`Report::done`].
pub fn print(report: &impl Report, json: bool) -> Result<(), EvalError> {
    let rendered = if json {
        let mut line = serde_json::to_string(report)
            .map_err(|e| EvalError::internal(format!("can't write the report as JSON: {e}")))?;
        line.push('\n');
        line
    } else {
        report.text()
    };
    // `print!` would panic when the reader has gone away.
    let mut out = std::io::stdout().lock();
    out.write_all(rendered.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| EvalError::internal(format!("can't write to stdout: {e}")))?;
    report.done()
}

/// Columns aligned by blanks: the first to the left, the others to the right.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of column names.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            rows: vec![columns.into_iter().map(str::to_owned).collect()],
        }
    }

    /// Adds a line; it may be shorter than the others.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, indented by two blanks, each ending in a newline.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(c));
            cells.map(|s| s.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::from("  ");
            for (c, cell) in row.iter().enumerate() {
                let _ = match c {
                    0 => write!(line, "{cell:<w$}", w = widths[c]),
                    _ => write!(line, "  {cell:>w$}", w = widths[c]),
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// A number with `digits` decimals, or `-` where there is none.
pub fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

/// A share as a percentage with one decimal, or `-` where there is none.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |s| format!("{:.1} %", s * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_short_rows_are_fine() {
        let mut table = Table::new(["label", "n", "max"]);
        table.row(["calm".into(), "12".into(), "0.5".into()]);
        table.row(["übung".into(), "3".into()]);
        assert_eq!(
            table.render(),
            "  label   n  max\n  calm   12  0.5\n  übung   3\n"
        );
        assert_eq!(Table::default().render(), "");
    }

    #[test]
    fn the_processor_is_named() {
        assert_eq!(
            model_name("x: 1\nmodel name\t: Some CPU @ 2 GHz\n").unwrap(),
            "Some CPU @ 2 GHz"
        );
        assert_eq!(model_name("processor: 0\n"), None);
        let machine = Machine::here();
        assert!(machine.cores >= 1 && !machine.cpu.is_empty());
    }

    #[test]
    fn missing_numbers_show_as_a_dash() {
        assert_eq!(cell(Some(1.25), 1), "1.2");
        assert_eq!(cell(None, 3), "-");
        assert_eq!(percent(Some(0.0263)), "2.6 %");
    }
}
