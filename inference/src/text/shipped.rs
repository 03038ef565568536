//! The lists that ship with the program.
//!
//! English profanity with severities, and obscene words of 23 more languages, each for messages in its
//! own language only: many a word is obscene in one language and harmless in another. The files'
//! first lines name their source and licence.

use novastream_features::text::Normalizer;

use super::lists::{TermList, TextListError};

/// Name, language, and the list itself.
const LISTS: [(&str, &str, &str); 25] = [
    (
        "profanity-en",
        "en",
        include_str!("../../lists/profanity-en.tsv"),
    ),
    (
        "ldnoobw-ar",
        "ar",
        include_str!("../../lists/ldnoobw/ar.tsv"),
    ),
    (
        "ldnoobw-cs",
        "cs",
        include_str!("../../lists/ldnoobw/cs.tsv"),
    ),
    (
        "ldnoobw-da",
        "da",
        include_str!("../../lists/ldnoobw/da.tsv"),
    ),
    (
        "ldnoobw-de",
        "de",
        include_str!("../../lists/ldnoobw/de.tsv"),
    ),
    (
        "ldnoobw-es",
        "es",
        include_str!("../../lists/ldnoobw/es.tsv"),
    ),
    (
        "ldnoobw-fa",
        "fa",
        include_str!("../../lists/ldnoobw/fa.tsv"),
    ),
    (
        "ldnoobw-fi",
        "fi",
        include_str!("../../lists/ldnoobw/fi.tsv"),
    ),
    (
        "ldnoobw-fil",
        "fil",
        include_str!("../../lists/ldnoobw/fil.tsv"),
    ),
    (
        "ldnoobw-fr",
        "fr",
        include_str!("../../lists/ldnoobw/fr.tsv"),
    ),
    (
        "ldnoobw-fr-CA",
        "fr",
        include_str!("../../lists/ldnoobw/fr-CA.tsv"),
    ),
    (
        "ldnoobw-hi",
        "hi",
        include_str!("../../lists/ldnoobw/hi.tsv"),
    ),
    (
        "ldnoobw-hu",
        "hu",
        include_str!("../../lists/ldnoobw/hu.tsv"),
    ),
    (
        "ldnoobw-it",
        "it",
        include_str!("../../lists/ldnoobw/it.tsv"),
    ),
    (
        "ldnoobw-ja",
        "ja",
        include_str!("../../lists/ldnoobw/ja.tsv"),
    ),
    (
        "ldnoobw-ko",
        "ko",
        include_str!("../../lists/ldnoobw/ko.tsv"),
    ),
    (
        "ldnoobw-nl",
        "nl",
        include_str!("../../lists/ldnoobw/nl.tsv"),
    ),
    (
        "ldnoobw-no",
        "no",
        include_str!("../../lists/ldnoobw/no.tsv"),
    ),
    (
        "ldnoobw-pl",
        "pl",
        include_str!("../../lists/ldnoobw/pl.tsv"),
    ),
    (
        "ldnoobw-pt",
        "pt",
        include_str!("../../lists/ldnoobw/pt.tsv"),
    ),
    (
        "ldnoobw-ru",
        "ru",
        include_str!("../../lists/ldnoobw/ru.tsv"),
    ),
    (
        "ldnoobw-sv",
        "sv",
        include_str!("../../lists/ldnoobw/sv.tsv"),
    ),
    (
        "ldnoobw-th",
        "th",
        include_str!("../../lists/ldnoobw/th.tsv"),
    ),
    (
        "ldnoobw-tr",
        "tr",
        include_str!("../../lists/ldnoobw/tr.tsv"),
    ),
    (
        "ldnoobw-zh",
        "zh",
        include_str!("../../lists/ldnoobw/zh.tsv"),
    ),
];

/// The lists, compiled.
///
/// # Errors
/// None in a released build: a test compiles every list.
pub(crate) fn lists(normalizer: Normalizer) -> Result<Vec<TermList>, TextListError> {
    LISTS
        .into_iter()
        .map(|(name, language, text)| TermList::shipped(name, language, text, normalizer))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_compiles_and_names_its_source() {
        let lists = lists(Normalizer::new()).unwrap();
        assert_eq!(lists.len(), LISTS.len());
        for (name, _, text) in LISTS {
            let head: Vec<&str> = text.lines().take_while(|l| l.starts_with('#')).collect();
            let head = head.join(" ");
            assert!(
                head.contains("https://") && head.contains("copyright"),
                "{name}"
            );
            assert!(head.contains("MIT") || head.contains("CC BY 4.0"), "{name}");
            assert!(text.lines().count() > 5, "{name}");
        }
    }
}
