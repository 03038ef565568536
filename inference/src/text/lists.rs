//! Term lists: what an operator wants caught, or left alone, word for word.
//!
//! Two forms. Lines of `CATEGORY<TAB>SEVERITY<TAB>TERM` (`allow<TAB>-<TAB>TERM` for exceptions, `#`
//! for comments), or TOML:
//!
//! ```toml
//! allow = ["scunthorpe"]
//! [[term]]
//! category = "harassment"
//! severity = 2
//! term = "some phrase"
//! ```
//!
//! A term matches whole words only, so a listed word inside an innocent one is not found. It is
//! looked for in the text as written and in its normalised form, where disguises are undone.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use aho_corasick::{AhoCorasick, MatchKind};
use novastream_features::text::{Normalized, Normalizer, language::Language};
use serde::Deserialize;

use crate::{category::Category, verdict::TextForm};

/// Scores of severities 1 to 4: a trace, for review, over most act thresholds, far over them.
const SCORES: [f32; 4] = [0.3, 0.6, 0.85, 0.97];

/// One listed term.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    category: Category,
    severity: u8,
    text: String,
}

/// A found term.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListHit {
    pub category: Category,
    pub score: f32,
    /// Bytes of the original text.
    pub range: Range<usize>,
    pub form: TextForm,
    pub term: String,
}

/// A compiled list.
#[derive(Debug)]
pub(crate) struct TermList {
    name: String,
    /// The language that it is for, an ISO 639-1 code; `None` is for every message.
    language: Option<&'static str>,
    terms: Vec<Term>,
    raw: AhoCorasick,
    normalized: AhoCorasick,
    allowed: AhoCorasick,
}

/// Why a list was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TextListError {
    /// The file could not be read.
    #[error("cannot read the text list {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// An entry is not as described above.
    #[error("{path}, entry {entry}: {problem}", path = path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The line or `[[term]]`, from 1.
        entry: usize,
        /// What is wrong and what to write.
        problem: String,
    },
    /// Not TOML, or the matcher cannot hold the terms.
    #[error("{path}: {problem}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl TextListError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "text_list_unreadable",
            Self::Entry { .. } => "text_list_entry",
            Self::Invalid { .. } => "text_list_invalid",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlList {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    term: Vec<TomlTerm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlTerm {
    category: String,
    severity: u8,
    term: String,
}

impl TermList {
    /// Loads and compiles a list; its name is the file's.
    pub(crate) fn load(path: &Path, normalizer: Normalizer) -> Result<Self, TextListError> {
        let text = fs::read_to_string(path).map_err(|source| TextListError::Read {
            path: path.to_owned(),
            source,
        })?;
        let (terms, allow) = if path.extension().is_some_and(|e| e == "toml") {
            parse_toml(path, &text)?
        } else {
            parse_lines(path, &text)?
        };
        let name = path
            .file_stem()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Self::compile(name, None, terms, &allow, normalizer).map_err(|problem| {
            TextListError::Invalid {
                path: path.to_owned(),
                problem,
            }
        })
    }

    /// Compiles a list that ships with the program, for messages in `language`.
    pub(super) fn shipped(
        name: &str,
        language: &'static str,
        text: &str,
        normalizer: Normalizer,
    ) -> Result<Self, TextListError> {
        let path = Path::new(name);
        let (terms, allow) = parse_lines(path, text)?;
        Self::compile(name.to_owned(), Some(language), terms, &allow, normalizer).map_err(
            |problem| TextListError::Invalid {
                path: path.to_owned(),
                problem,
            },
        )
    }

    /// Whether the list is for messages in a language.
    pub(super) fn is_for(&self, language: Language) -> bool {
        self.language.is_none_or(|own| language.code() == Some(own))
    }

    fn compile(
        name: String,
        language: Option<&'static str>,
        terms: Vec<Term>,
        allow: &[String],
        normalizer: Normalizer,
    ) -> Result<Self, String> {
        let build = |patterns: Vec<String>| {
            AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(true)
                .build(patterns)
                .map_err(|e| e.to_string())
        };
        let raw = build(terms.iter().map(|t| t.text.clone()).collect())?;
        let normal = |text: &str| normalizer.normalize(text).text;
        let normalized = build(terms.iter().map(|t| normal(&t.text)).collect())?;
        let allowed = build(allow.to_vec())?;
        Ok(Self {
            name,
            language,
            terms,
            raw,
            normalized,
            allowed,
        })
    }

    /// `list:NAME`, as evidence names it.
    pub(crate) fn model(&self) -> String {
        format!("list:{}", self.name)
    }

    /// The categories that the list has terms for.
    pub(crate) fn categories(&self) -> BTreeSet<Category> {
        self.terms.iter().map(|t| t.category).collect()
    }

    /// Every whole-word hit outside the exceptions, in order of place; a term that is found in
    /// both forms at the same place counts once, as written.
    pub(crate) fn find(&self, raw: &str, normalized: &Normalized) -> Vec<ListHit> {
        let exceptions: Vec<Range<usize>> = self
            .allowed
            .find_overlapping_iter(raw)
            .map(|m| m.range())
            .filter(|r| whole_word(raw, r))
            .collect();
        let mut hits: Vec<ListHit> = Vec::new();
        let mut add = |term: &Term, range: Range<usize>, form| {
            let excepted = exceptions
                .iter()
                .any(|e| e.start <= range.start && range.end <= e.end);
            let known = hits.iter().any(|h| {
                h.term == term.text && h.range.start < range.end && range.start < h.range.end
            });
            if !excepted && !known {
                hits.push(ListHit {
                    category: term.category,
                    score: SCORES[usize::from(term.severity).clamp(1, 4) - 1],
                    range,
                    form,
                    term: term.text.clone(),
                });
            }
        };
        for m in self.raw.find_overlapping_iter(raw) {
            if whole_word(raw, &m.range()) {
                add(
                    &self.terms[m.pattern().as_usize()],
                    m.range(),
                    TextForm::Raw,
                );
            }
        }
        if normalized.is_changed() {
            for m in self.normalized.find_overlapping_iter(&normalized.text) {
                if !m.is_empty() && whole_word(&normalized.text, &m.range()) {
                    let range = normalized.original_range(m.range());
                    add(
                        &self.terms[m.pattern().as_usize()],
                        range,
                        TextForm::Normalized,
                    );
                }
            }
        }
        hits.sort_by_key(|h| (h.range.start, h.range.end));
        hits
    }
}

/// Whether no letter or digit touches the range from outside. Scripts that write no spaces have no
/// such border.
fn whole_word(text: &str, range: &Range<usize>) -> bool {
    let touches = |outside: Option<char>, inside: Option<char>| {
        outside.is_some_and(char::is_alphanumeric) && !inside.is_some_and(writes_no_spaces)
    };
    let Some(inside) = text.get(range.clone()) else {
        return false;
    };
    let before = text.get(..range.start).and_then(|t| t.chars().next_back());
    let after = text.get(range.end..).and_then(|t| t.chars().next());
    !touches(before, inside.chars().next()) && !touches(after, inside.chars().next_back())
}

/// Thai, kana and Han. Korean writes spaces, but joins particles to the end of a word.
fn writes_no_spaces(ch: char) -> bool {
    matches!(ch as u32, 0xE00..=0xE7F | 0x3040..=0x30FF | 0x3400..=0x9FFF | 0xAC00..=0xD7AF)
}

fn checked(category: &str, severity: Option<u8>, term: &str) -> Result<Term, String> {
    let category: Category = category
        .parse()
        .map_err(|e: crate::category::UnknownCategory| e.to_string())?;
    let severity = severity
        .filter(|s| (1..=4).contains(s))
        .ok_or_else(|| "the severity must be 1, 2, 3 or 4".to_owned())?;
    let text = term.trim().to_lowercase();
    if text.is_empty() {
        return Err("the term is empty".to_owned());
    }
    Ok(Term {
        category,
        severity,
        text,
    })
}

type Parsed = (Vec<Term>, Vec<String>);

fn parse_lines(path: &Path, text: &str) -> Result<Parsed, TextListError> {
    let (mut terms, mut allow) = (Vec::new(), Vec::new());
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |problem: String| TextListError::Entry {
            path: path.to_owned(),
            entry: i + 1,
            problem,
        };
        let mut parts = line.splitn(3, '\t');
        let (Some(category), Some(severity), Some(term)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(fail(
                "write CATEGORY, SEVERITY and TERM with a tab between".to_owned(),
            ));
        };
        if category == "allow" {
            allow.push(term.trim().to_lowercase());
        } else {
            terms.push(checked(category, severity.trim().parse().ok(), term).map_err(fail)?);
        }
    }
    allow.retain(|a| !a.is_empty());
    Ok((terms, allow))
}

fn parse_toml(path: &Path, text: &str) -> Result<Parsed, TextListError> {
    let list: TomlList = toml::from_str(text).map_err(|e| TextListError::Invalid {
        path: path.to_owned(),
        problem: e.to_string(),
    })?;
    let terms = list
        .term
        .iter()
        .enumerate()
        .map(|(i, t)| {
            checked(&t.category, Some(t.severity), &t.term).map_err(|problem| {
                TextListError::Entry {
                    path: path.to_owned(),
                    entry: i + 1,
                    problem,
                }
            })
        })
        .collect::<Result<_, _>>()?;
    let allow = list
        .allow
        .iter()
        .map(|a| a.trim().to_lowercase())
        .filter(|a| !a.is_empty());
    Ok((terms, allow.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, text: &str) -> Result<TermList, TextListError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        TermList::load(&path, Normalizer::new())
    }

    fn find(list: &TermList, text: &str) -> Vec<ListHit> {
        list.find(text, &Normalizer::new().normalize(text))
    }

    const TSV: &str =
        "# test\nharassment\t2\tidiot\nspam\t3\tbuy now\nprofanity\t1\tdamn\nallow\t-\tdamn good\n";

    #[test]
    fn whole_words_only_and_exceptions_hold() {
        let list = list("ours.tsv", TSV).unwrap();
        assert_eq!(list.model(), "list:ours");
        assert_eq!(list.categories().len(), 3);
        let hits = find(&list, "What an IDIOT, buy now!");
        assert_eq!(hits.len(), 2);
        assert_eq!(
            (hits[0].range.clone(), hits[0].form),
            (8..13, TextForm::Raw)
        );
        assert_eq!((hits[0].score, hits[1].score), (0.6, 0.85));
        assert!(find(&list, "idiotproof and nonidiot").is_empty());
        assert!(find(&list, "a damn good run").is_empty());
        assert_eq!(find(&list, "damn").len(), 1);
    }

    #[test]
    fn disguises_are_found_with_their_place() {
        let list = list("ours.tsv", TSV).unwrap();
        let text = "you \u{456}d\u{456}ot";
        let hits = find(&list, text);
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert_eq!(hits[0].form, TextForm::Normalized);
        assert_eq!(&text[hits[0].range.clone()], "\u{456}d\u{456}ot");
    }

    #[test]
    fn both_forms_say_the_same() {
        let toml = "allow = [\"damn good\"]\n[[term]]\ncategory = \"harassment\"\nseverity = 2\nterm = \"idiot\"\n";
        let list = list("ours.toml", toml).unwrap();
        assert_eq!(find(&list, "idiot")[0].score, 0.6);
    }

    #[test]
    fn scripts_without_spaces_have_no_word_borders() {
        let list = list("ours.tsv", "profanity\t2\t坏话\nprofanity\t2\tbad\n").unwrap();
        assert_eq!(find(&list, "他说坏话了").len(), 1);
        assert!(find(&list, "badge").is_empty());
    }

    #[test]
    fn bad_entries_are_named() {
        for (name, text, wanted) in [
            ("a.tsv", "harassment 2 idiot\n", "entry 1"),
            (
                "a.tsv",
                "\nharrassment\t2\tidiot\n",
                "did you mean `harassment`",
            ),
            ("a.tsv", "hate\t7\tx\n", "1, 2, 3 or 4"),
            (
                "a.toml",
                "[[term]]\ncategory = \"hate\"\nseverity = 1\nterm = \" \"\n",
                "empty",
            ),
            ("a.toml", "oops", "a.toml"),
        ] {
            let error = list(name, text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn an_empty_list_finds_nothing() {
        let list = list("ours.tsv", "").unwrap();
        assert!(find(&list, "anything, \u{456}diot").is_empty());
    }
}
