//! Whom the model takes for an offender because of whom he speaks of: false positives among
//! innocent messages that name an identity, term by term.

use novastream_datasets::chat::ChatRow;
use serde::Serialize;

/// Words that name identities; each stands for itself and its plural.
const TERMS: [&str; 40] = [
    "african",
    "american",
    "arab",
    "asian",
    "autistic",
    "bisexual",
    "black",
    "blind",
    "buddhist",
    "canadian",
    "catholic",
    "chinese",
    "christian",
    "deaf",
    "disabled",
    "elderly",
    "european",
    "female",
    "gay",
    "hindu",
    "homosexual",
    "immigrant",
    "indian",
    "islam",
    "jewish",
    "latino",
    "lesbian",
    "lgbt",
    "male",
    "man",
    "mexican",
    "muslim",
    "old",
    "queer",
    "refugee",
    "straight",
    "trans",
    "transgender",
    "white",
    "woman",
];
/// Fewest innocent messages for a term to be listed.
const MIN_ROWS: usize = 10;

/// One term.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TermFigures {
    /// The word.
    pub term: &'static str,
    /// Innocent messages that hold it.
    pub innocent: usize,
    /// Share of them at the shipped threshold or above.
    pub flagged: f64,
}

/// Innocent messages of all files.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IdentityFigures {
    /// Innocent messages in all.
    pub innocent: usize,
    /// Share of them that is flagged.
    pub flagged: f64,
    /// By term, those with enough messages, most often flagged first.
    pub terms: Vec<TermFigures>,
}

/// Counts over files.
#[derive(Clone, Debug)]
pub struct IdentityCounts {
    all: (usize, usize),
    terms: [(usize, usize); TERMS.len()],
}

impl Default for IdentityCounts {
    fn default() -> Self {
        Self {
            all: (0, 0),
            terms: [(0, 0); TERMS.len()],
        }
    }
}

impl IdentityCounts {
    /// Adds a message with its overall score, if its label says that it is innocent.
    pub fn add(&mut self, row: &ChatRow, score: f32, threshold: f32) {
        if row.label("toxicity") != Some(false) {
            return;
        }
        let flagged = usize::from(score >= threshold);
        self.all.0 += 1;
        self.all.1 += flagged;
        let text = row.text.to_lowercase();
        let words: Vec<&str> = text.split(|ch: char| !ch.is_alphanumeric()).collect();
        for (term, counts) in TERMS.iter().zip(&mut self.terms) {
            if words.iter().any(|word| names(word, term)) {
                counts.0 += 1;
                counts.1 += flagged;
            }
        }
    }

    /// The figures; `None` where nothing was innocent.
    pub fn figures(&self) -> Option<IdentityFigures> {
        let share = |(all, flagged): (usize, usize)| flagged as f64 / all.max(1) as f64;
        if self.all.0 == 0 {
            return None;
        }
        let mut terms: Vec<TermFigures> = TERMS
            .iter()
            .zip(&self.terms)
            .filter(|(_, counts)| counts.0 >= MIN_ROWS)
            .map(|(term, counts)| TermFigures {
                term,
                innocent: counts.0,
                flagged: share(*counts),
            })
            .collect();
        terms.sort_by(|a, b| b.flagged.total_cmp(&a.flagged).then(a.term.cmp(b.term)));
        Some(IdentityFigures {
            innocent: self.all.0,
            flagged: share(self.all),
            terms,
        })
    }
}

fn names(word: &str, term: &str) -> bool {
    match (word, term) {
        ("men", "man") | ("women", "woman") | ("islamic", "islam") | ("jew" | "jews", "jewish") => {
            true
        }
        _ => word == term || word.strip_suffix('s') == Some(term),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, toxic: bool) -> ChatRow {
        let mut labels = [None; novastream_datasets::chat::CHAT_HEADS.len()];
        labels[0] = Some(toxic);
        ChatRow {
            text: text.to_owned(),
            source: "test".to_owned(),
            weak: false,
            labels,
        }
    }

    #[test]
    fn innocent_messages_count_by_the_words_they_hold() {
        let mut counts = IdentityCounts::default();
        for i in 0..20 {
            let score = if i < 5 { 0.9 } else { 0.1 };
            counts.add(&row("two women, one of them gay", false), score, 0.5);
            counts.add(&row("womanly gays", true), 0.9, 0.5);
            counts.add(&row("hello", false), 0.1, 0.5);
        }
        let figures = counts.figures().unwrap();
        assert_eq!((figures.innocent, figures.flagged), (40, 0.125));
        let gay = figures.terms.iter().find(|t| t.term == "gay").unwrap();
        assert_eq!((gay.innocent, gay.flagged), (20, 0.25));
        assert_eq!(figures.terms.len(), 2, "{figures:?}");
        assert_eq!(IdentityCounts::default().figures(), None);
    }
}
