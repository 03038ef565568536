//! Functional tests of hate detection: many short sentences, each of a kind that says what it
//! tests (Röttger et al. 2021). The sentences are ours; `samples/functional.toml` holds them.

use serde::Deserialize;

const CASES: &str = include_str!("../samples/functional.toml");
/// The kind from which spelling kinds are made.
const PLAIN: &str = "plain-attack";

/// One test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionalCase {
    /// What it tests.
    pub kind: String,
    /// The sentence.
    pub text: String,
    /// Whether it is hateful.
    pub hateful: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
    kinds: Vec<Kind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    people: String,
    person: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    name: String,
    hateful: bool,
    templates: Vec<String>,
}

/// All cases, kind by kind, in the same order every time: each template once for every group, and
/// the plain attacks again in five spellings.
pub fn functional_cases() -> Vec<FunctionalCase> {
    // A test reads the file that is compiled in; an unreadable one gives no cases.
    toml::from_str(CASES)
        .map(|file| cases(&file))
        .unwrap_or_default()
}

fn cases(file: &File) -> Vec<FunctionalCase> {
    let mut out = Vec::new();
    for kind in &file.kinds {
        for template in &kind.templates {
            let mut push = |text: String| {
                out.push(FunctionalCase {
                    kind: kind.name.clone(),
                    text,
                    hateful: kind.hateful,
                });
            };
            if template.contains("{people}") || template.contains("{person}") {
                for group in &file.groups {
                    let text = template.replace("{people}", &group.people);
                    push(text.replace("{person}", &group.person));
                }
            } else {
                push(template.clone());
            }
        }
    }
    let plain: Vec<FunctionalCase> = out.iter().filter(|c| c.kind == PLAIN).cloned().collect();
    for (kind, spell) in SPELLINGS {
        out.extend(plain.iter().map(|case| FunctionalCase {
            kind: (*kind).to_owned(),
            text: spell(&case.text),
            hateful: case.hateful,
        }));
    }
    out
}

type Spell = fn(&str) -> String;

const SPELLINGS: &[(&str, Spell)] = &[
    ("letters-swapped", |text| each_long_word(text, swapped)),
    ("letter-missing", |text| each_long_word(text, without_one)),
    ("blanks-missing", |text| text.replacen(' ', "", 2)),
    ("letters-apart", |text| longest_word(text, apart)),
    ("leet", |text| each_long_word(text, leet)),
];

/// Rewrites the words of six letters or more.
fn each_long_word(text: &str, rewrite: Spell) -> String {
    let words = text.split(' ').map(|word| {
        if word.chars().count() >= 6 {
            rewrite(word)
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn longest_word(text: &str, rewrite: Spell) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let longest = (0..words.len()).max_by_key(|at| words[*at].len());
    let rewritten = words.iter().enumerate().map(|(at, word)| {
        if Some(at) == longest {
            rewrite(word)
        } else {
            (*word).to_owned()
        }
    });
    rewritten.collect::<Vec<_>>().join(" ")
}

fn swapped(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    letters.swap(middle - 1, middle);
    letters.into_iter().collect()
}

fn without_one(word: &str) -> String {
    let middle = word.chars().count() / 2;
    let kept = word.chars().enumerate().filter(|(at, _)| *at != middle);
    kept.map(|(_, ch)| ch).collect()
}

fn apart(word: &str) -> String {
    let letters: Vec<String> = word.chars().map(String::from).collect();
    letters.join(" ")
}

fn leet(word: &str) -> String {
    let sign = |ch| match ch {
        'a' => '4',
        'e' => '3',
        'i' => '1',
        'o' => '0',
        _ => ch,
    };
    // One sign a word, its first: more would be a riddle.
    let mut done = false;
    word.chars()
        .map(|ch| {
            let new = sign(ch);
            if done || new == ch {
                return ch;
            }
            done = true;
            new
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::counterfactual::counterfactuals;

    #[test]
    fn every_kind_has_cases_of_one_label() {
        let cases = functional_cases();
        let mut kinds: BTreeMap<&str, (usize, BTreeSet<bool>)> = BTreeMap::new();
        for case in &cases {
            assert!(!case.text.contains(['{', '}']), "{}", case.text);
            let kind = kinds.entry(&case.kind).or_default();
            kind.0 += 1;
            kind.1.insert(case.hateful);
        }
        assert!(kinds.len() >= 28, "{}", kinds.len());
        for (name, (count, labels)) in &kinds {
            assert!(*count >= 6 && labels.len() == 1, "{name}: {count}");
        }
        let hateful = cases.iter().filter(|case| case.hateful).count();
        assert!(hateful * 4 > cases.len() && hateful * 5 < 4 * cases.len());
    }

    #[test]
    fn spellings_change_the_text() {
        let cases = functional_cases();
        let of = |kind: &str| -> Vec<&str> {
            let own = cases.iter().filter(|case| case.kind == kind);
            own.map(|case| case.text.as_str()).collect()
        };
        let plain = of(PLAIN);
        for (kind, _) in SPELLINGS {
            let spelled = of(kind);
            assert_eq!(spelled.len(), plain.len());
            assert!(spelled.iter().zip(&plain).all(|(a, b)| a != b), "{kind}");
        }
        assert_eq!(leet("revolting"), "r3volting");
        assert_eq!(swapped("people"), "pepole");
    }

    #[test]
    fn no_case_is_trained_on() {
        let trained: BTreeSet<String> = counterfactuals().into_iter().map(|r| r.text).collect();
        for case in functional_cases() {
            assert!(!trained.contains(&case.text), "{}", case.text);
        }
    }
}
