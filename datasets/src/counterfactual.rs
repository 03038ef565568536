//! Sentences that teach what identity words do not mean: the same words in attacks, in harmless
//! sentences, negated, quoted and opposed (counterfactual augmentation; Dixon et al. 2018, Vidgen
//! et al. 2021). Written by us, filled from templates in the same order every time.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::chat::{CHAT_HEADS, ChatRow, head_index};

/// Name of the rows' source.
pub const SOURCE: &str = "counterfactual";

const TEMPLATES: &str = include_str!("../samples/counterfactuals.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
    words: BTreeMap<String, Vec<String>>,
    sets: Vec<Set>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    people: String,
    person: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    #[allow(dead_code)]
    name: String,
    labels: BTreeMap<String, bool>,
    templates: Vec<String>,
}

/// All rows: each template once for every group (or a few times, where it names none), other
/// words taking turns.
pub fn counterfactuals() -> Vec<ChatRow> {
    // A test reads the file that is compiled in; an unreadable one gives no rows.
    toml::from_str(TEMPLATES)
        .map(|file| rows(&file))
        .unwrap_or_default()
}

/// Fillings of a template that names no group.
const WITHOUT_GROUP: usize = 4;

fn rows(file: &File) -> Vec<ChatRow> {
    let mut out: Vec<ChatRow> = Vec::new();
    let mut turn = 0;
    for set in &file.sets {
        let mut labels = [None; CHAT_HEADS.len()];
        for (head, label) in &set.labels {
            if let Some(index) = head_index(head) {
                labels[index] = Some(*label);
            }
        }
        for template in &set.templates {
            let grouped = template.contains("{people}") || template.contains("{person}");
            let worded = file.words.keys().any(|word| template.contains(&slot(word)));
            let fillings = match (grouped, worded) {
                (true, _) => file.groups.len(),
                (false, true) => WITHOUT_GROUP,
                (false, false) => 1,
            };
            for filling in 0..fillings {
                let mut text = template.clone();
                if let Some(group) = file.groups.get(filling) {
                    text = text.replace("{people}", &group.people);
                    text = text.replace("{person}", &group.person);
                }
                for (word, choices) in &file.words {
                    if let Some(choice) = choices.get(turn % choices.len().max(1)) {
                        text = text.replace(&slot(word), choice);
                    }
                }
                turn += 1;
                out.push(ChatRow {
                    text,
                    source: SOURCE.to_owned(),
                    weak: false,
                    labels,
                });
            }
        }
    }
    out
}

fn slot(word: &str) -> String {
    format!("{{{word}}}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_template_is_filled_and_labelled() {
        let file: File = toml::from_str(TEMPLATES).unwrap();
        for label in file.sets.iter().flat_map(|set| set.labels.keys()) {
            assert!(head_index(label).is_some(), "{label}");
        }
        let rows = counterfactuals();
        assert!(rows.len() > 1_000, "{}", rows.len());
        for row in &rows {
            assert!(!row.text.contains(['{', '}']), "{}", row.text);
            assert!(row.label("hate").is_some());
        }
        let hate = rows
            .iter()
            .filter(|row| row.label("hate") == Some(true))
            .count();
        assert!(hate * 4 > rows.len() && hate * 4 < 3 * rows.len(), "{hate}");
    }

    #[test]
    fn the_same_group_stands_on_both_sides() {
        let rows = counterfactuals();
        let with = |label| {
            let rows = rows
                .iter()
                .filter(move |row| row.label("hate") == Some(label));
            rows.filter(|row| row.text.contains("refugee")).count()
        };
        assert!(with(true) > 20 && with(false) > 20);
        let texts: BTreeSet<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        assert!(texts.len() * 10 > rows.len() * 9);
    }
}
