//! Model cards: a manifest as a page for people.

use std::fmt::Write as _;

use crate::manifest::{Contract, Manifest, TensorSpec};

/// File name of a card inside a model folder.
pub const CARD_FILE: &str = "MODEL_CARD.md";

/// Labels beyond this number are counted, not listed.
const MAX_LABELS: usize = 40;

/// The card as Markdown. It follows from the manifest alone, so the same manifest always gives
/// the same bytes and a test can compare a committed card with its manifest.
pub fn model_card(manifest: &Manifest) -> String {
    let mut card = Card(String::new());
    card.line(&format!("# {}", manifest.id()));
    card.line(&format!(
        "<!-- Generated from {}; edit that. -->",
        crate::manifest::MANIFEST_FILE
    ));
    card.line(&manifest.description);
    card.table(
        ["", ""],
        [
            ["task".to_owned(), manifest.task.to_string()],
            ["licence".to_owned(), manifest.licence.clone()],
        ],
    );
    card.contract(&manifest.contract);
    if !manifest.labels.is_empty() {
        card.line(&format!("## Labels ({})", manifest.labels.len()));
        let listed = &manifest.labels[..manifest.labels.len().min(MAX_LABELS)];
        let more = if listed.len() < manifest.labels.len() {
            ", …"
        } else {
            ""
        };
        card.line(&format!("{}{more}", listed.join(", ")));
    }
    card.figures("Measured", "figure", &manifest.metrics);
    card.figures("Shipped thresholds", "label", &manifest.thresholds);
    if !manifest.limits.is_empty() {
        card.line("## Limits");
        card.line(&manifest.limits);
    }
    if !manifest.files.is_empty() {
        card.line("## Files");
        let rows = manifest.files.iter().map(|f| {
            let machine = f
                .platform
                .as_ref()
                .map(|p| format!(" ({p})"))
                .unwrap_or_default();
            [
                format!("{}{machine}", f.path),
                f.size.to_string(),
                format!("`{}`", f.sha256),
            ]
        });
        card.table(["file", "bytes", "sha256"], rows);
    }
    if !manifest.sources.is_empty() {
        card.line("## Sources, in the order tried");
        let list: Vec<_> = manifest.sources.iter().map(|s| format!("- {s}")).collect();
        card.line(&list.join("\n"));
    }
    card.0.truncate(card.0.trim_end().len());
    card.0.push('\n');
    card.0
}

struct Card(String);

impl Card {
    /// A block and an empty line.
    fn line(&mut self, text: &str) {
        self.0.push_str(text.trim());
        self.0.push_str("\n\n");
    }

    fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let row = |cells: &[String]| {
            let cells: Vec<_> = cells
                .iter()
                .map(|c| c.replace('|', "\\|").replace('\n', " "))
                .collect();
            format!("| {} |\n", cells.join(" | "))
        };
        self.0.push_str(&row(&head.map(str::to_owned)));
        self.0.push_str(&["|", &"---|".repeat(N), "\n"].concat());
        for cells in rows {
            self.0.push_str(&row(&cells));
        }
        self.0.push('\n');
    }

    fn contract(&mut self, contract: &Contract) {
        let tensors = |list: &[TensorSpec], way: &str| {
            let row = |t: &TensorSpec| {
                let shape: Vec<_> = t.shape.iter().map(ToString::to_string).collect();
                let kind = format!("{} [{}]", t.dtype, shape.join(", "));
                [way.to_owned(), t.name.clone(), kind, t.description.clone()]
            };
            list.iter().map(row).collect::<Vec<_>>()
        };
        let rows = [
            tensors(&contract.inputs, "in"),
            tensors(&contract.outputs, "out"),
        ]
        .concat();
        if !rows.is_empty() {
            self.line("## Contract");
            self.table(["", "name", "type", "meaning"], rows);
        }
    }

    fn figures(
        &mut self,
        title: &str,
        column: &str,
        figures: &std::collections::BTreeMap<String, f64>,
    ) {
        if figures.is_empty() {
            return;
        }
        self.line(&format!("## {title}"));
        let rows = figures
            .iter()
            .map(|(name, value)| [name.clone(), figure(*value)]);
        self.table([column, "value"], rows);
    }
}

/// Whole numbers as they are, others with four decimals at most.
fn figure(value: f64) -> String {
    let mut text = String::new();
    // Writing into a string can't fail.
    let _ = if value.fract() == 0.0 {
        write!(text, "{value}")
    } else {
        write!(text, "{value:.4}")
    };
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::catalog;

    #[test]
    fn card_says_what_the_manifest_says() {
        let text = r#"
            name = "demo"
            version = "1.0.0"
            task = "chat"
            licence = "Apache-2.0"
            description = "Scores chat."
            limits = "English only."
            labels = ["toxicity", "hate"]
            [metrics]
            auc = 0.91239
            rows = 12000
            [thresholds]
            toxicity = 0.5
            [[contract.inputs]]
            name = "text"
            dtype = "string"
            shape = ["N"]
            description = "a | b"
            [[files]]
            path = "w.bin"
            sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
            size = 3
        "#;
        let manifest = Manifest::from_toml(text, "test").expect("parses");
        let expected = "# demo@1.0.0\n\n<!-- Generated from manifest.toml; edit that. -->\n\n\
            Scores chat.\n\n|  |  |\n|---|---|\n| task | chat |\n| licence | Apache-2.0 |\n\n\
            ## Contract\n\n|  | name | type | meaning |\n|---|---|---|---|\n\
            | in | text | string [N] | a \\| b |\n\n## Labels (2)\n\ntoxicity, hate\n\n\
            ## Measured\n\n| figure | value |\n|---|---|\n| auc | 0.9124 |\n| rows | 12000 |\n\n\
            ## Shipped thresholds\n\n| label | value |\n|---|---|\n| toxicity | 0.5 |\n\n\
            ## Limits\n\nEnglish only.\n\n## Files\n\n| file | bytes | sha256 |\n|---|---|---|\n\
            | w.bin | 3 | `0000000000000000000000000000000000000000000000000000000000000000` |\n";
        assert_eq!(model_card(&manifest), expected);
    }

    #[test]
    fn every_catalog_entry_has_a_card() {
        for manifest in catalog() {
            let card = model_card(&manifest);
            assert!(
                card.contains(&manifest.limits) && card.contains("## Sources"),
                "{card}"
            );
            assert!(card.len() < 8000, "{}", manifest.id());
        }
    }
}
