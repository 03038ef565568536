//! The report for people: the same tables on the terminal and on the page.

use std::fmt::Write as _;

use super::{ChatReport, TierFigures};
use crate::report::{Report, Table, cell, percent};

impl Report for ChatReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        for file in &self.files {
            writeln!(out, "\n{}", file.line())?;
            if file.figures.heads.is_empty() {
                writeln!(out, "  no labels for the model's heads")?;
            }
            for rows in file.tables() {
                write_table(out, &rows);
            }
            if !file.figures.not_evaluated.is_empty() {
                let missing = file.figures.not_evaluated.join(", ");
                writeln!(out, "  not evaluated: {missing}")?;
            }
        }
        for (title, rows) in self.tables() {
            writeln!(out, "\n{title}")?;
            write_table(out, &rows);
        }
        Ok(())
    }
}

fn write_table(out: &mut String, rows: &[Vec<String>]) {
    let Some((names, rows)) = rows.split_first() else {
        return;
    };
    let mut table = Table::new(names.iter().map(String::as_str));
    for row in rows {
        table.row(row.iter().cloned());
    }
    out.push_str(&table.render());
}

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

impl ChatReport {
    /// Tables over all files, with their titles.
    pub(super) fn tables(&self) -> Vec<(String, Vec<Vec<String>>)> {
        let mut out = Vec::new();
        if let Some(functional) = &self.functional {
            let title = format!(
                "functional tests of hate detection: {} cases, balanced accuracy {:.3}",
                functional.n, functional.balanced_accuracy
            );
            let mut rows = vec![names(["kind", "hateful", "n", "right"])];
            for (kind, figures) in &functional.kinds {
                rows.push(vec![
                    kind.clone(),
                    if figures.hateful { "yes" } else { "no" }.to_owned(),
                    figures.n.to_string(),
                    cell(Some(figures.right), 3),
                ]);
            }
            out.push((title, rows));
        }
        if let Some(identity) = &self.identity {
            let title = format!(
                "innocent messages that are flagged, by the identity they name; of all {}: {}",
                identity.innocent,
                percent(Some(identity.flagged))
            );
            let mut rows = vec![names(["term", "innocent", "flagged"])];
            for term in &identity.terms {
                rows.push(vec![
                    term.term.to_owned(),
                    term.innocent.to_string(),
                    percent(Some(term.flagged)),
                ]);
            }
            if rows.len() > 1 {
                out.push((title, rows));
            }
        }
        out
    }
}

impl TierFigures {
    /// What the file is and how fast it went.
    pub(super) fn line(&self) -> String {
        let rate = cell(self.figures.texts_per_cpu_second, 0);
        format!(
            "{}: {} rows, {rate} texts per CPU second, {} by the encoder",
            self.figures.file,
            self.figures.rows,
            percent(self.encoder_share)
        )
    }

    /// The file's tables, each with its line of column names.
    pub(super) fn tables(&self) -> Vec<Vec<Vec<String>>> {
        let mut out = Vec::new();
        if !self.figures.heads.is_empty() {
            let mut rows = vec![names([
                "head", "n", "pos", "auc", "ap", "f1", "accuracy", "balanced", "ece",
            ])];
            for (head, figures) in &self.figures.heads {
                rows.push(vec![
                    head.clone(),
                    figures.n.to_string(),
                    figures.pos.to_string(),
                    cell(figures.auc, 4),
                    cell(figures.average_precision, 4),
                    cell(Some(figures.f1), 4),
                    cell(Some(figures.accuracy), 4),
                    cell(figures.balanced_accuracy, 4),
                    cell(self.calibration.get(head).map(|own| own.ece), 4),
                ]);
            }
            out.push(rows);
        }
        if let Some(classes) = &self.three_class {
            out.push(vec![
                names([
                    "three classes",
                    "n",
                    "macro F1",
                    "hateful",
                    "offensive",
                    "neither",
                ]),
                vec![
                    String::new(),
                    classes.n.to_string(),
                    cell(Some(classes.macro_f1), 4),
                    cell(Some(classes.hateful), 4),
                    cell(Some(classes.offensive), 4),
                    cell(Some(classes.neither), 4),
                ],
            ]);
        }
        if let Some(seen) = &self.evasion {
            let mut rows = vec![names(["disguise", "recall at 5 %", "innocent flagged"])];
            rows.push(vec![
                "none".to_owned(),
                cell(seen.recall_plain, 3),
                "0.050".to_owned(),
            ]);
            for (name, figures) in &seen.disguises {
                rows.push(vec![
                    name.clone(),
                    cell(figures.recall, 3),
                    cell(figures.innocent_flagged, 3),
                ]);
            }
            out.push(rows);
        }
        if !self.tiers.is_empty() {
            let mut rows = vec![names([
                "tier",
                "toxicity auc",
                "texts per CPU second",
                "by the encoder",
            ])];
            for (tier, line) in &self.tiers {
                rows.push(vec![
                    (*tier).to_owned(),
                    cell(line.toxicity_auc, 4),
                    cell(line.texts_per_cpu_second, 0),
                    percent(line.encoder_share),
                ]);
            }
            out.push(rows);
        }
        out
    }
}
