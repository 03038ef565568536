//! Fitting the content model: terms, how rare they are, and the items' vectors.
//!
//! linfa-preprocessing has TF-IDF too, but only counts words of one text: no weights by field, no
//! categories, and its vectoriser would have to be in the serving binary with the regular
//! expressions and character tables that it brings. Here serving and training share
//! `features::interactions::item_terms`, and fitting is what is left.

use std::collections::BTreeMap;

use novastream_datasets::events::ItemWords;
use novastream_features::interactions::{ItemText, item_terms};
use novastream_models::recommender::{Content, SparseRows};

use super::FitError;

/// Unchecked settings of the content model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentParams {
    /// Most terms, the ones of most items first; at least 1.
    pub most_terms: usize,
}

impl Default for ContentParams {
    fn default() -> Self {
        Self { most_terms: 20_000 }
    }
}

/// Settings of the content model that were checked.
#[derive(Clone, Copy, Debug)]
pub struct ValidContentParams(ContentParams);

impl ContentParams {
    /// Checks the ranges.
    pub fn check(self) -> Result<ValidContentParams, FitError> {
        if self.most_terms == 0 {
            return Err(FitError::Params("content: at least one term"));
        }
        Ok(ValidContentParams(self))
    }
}

impl ValidContentParams {
    /// Fits the model over one entry an item; `None` where no item says anything.
    pub fn fit(&self, words: &[ItemWords]) -> Result<Option<Content>, FitError> {
        let terms: Vec<Vec<(String, f32)>> = words
            .iter()
            .map(|words| {
                item_terms(ItemText {
                    title: &words.title,
                    tags: &words.tags,
                    category: &words.category,
                })
            })
            .collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (term, _) in terms.iter().flatten() {
            *counts.entry(term).or_default() += 1;
        }
        if counts.is_empty() {
            return Ok(None);
        }
        let mut kept: Vec<(&str, usize)> = counts.into_iter().collect();
        kept.sort_by_key(|(term, count)| (std::cmp::Reverse(*count), *term));
        kept.truncate(self.0.most_terms);
        kept.sort_unstable();
        let documents = terms.iter().filter(|terms| !terms.is_empty()).count() as f32;
        let rarity = |count: usize| ((1.0 + documents) / (1.0 + count as f32)).ln() + 1.0;
        let names: Vec<String> = kept.iter().map(|(term, _)| (*term).to_owned()).collect();
        let rarity: Vec<f32> = kept.iter().map(|(_, count)| rarity(*count)).collect();
        let memory = FitError::Memory { items: words.len() };
        let empty = SparseRows::from_rows(names.len(), []);
        let Some(model) = empty.and_then(|rows| Content::new(names, rarity, rows)) else {
            return Err(memory);
        };
        let rows = terms.iter().map(|terms| model.vector(terms));
        let rows = SparseRows::from_rows(model.terms().len(), rows);
        let (names, rarity) = (model.terms().to_vec(), model.rarity().to_vec());
        rows.and_then(|rows| Content::new(names, rarity, rows))
            .map(Some)
            .ok_or(memory)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn words(title: &str, tags: &str, category: &str) -> ItemWords {
        ItemWords {
            title: title.to_owned(),
            tags: tags.to_owned(),
            category: category.to_owned(),
        }
    }

    #[test]
    fn recommender_content_finds_what_is_alike_and_rare_words_count_more() {
        let items = [
            words("blind puzzle routes", "puzzle", "speedruns"),
            words("puzzle night", "puzzle", "speedruns"),
            words("time trial laps", "racing", "speedruns"),
            words("piano requests", "piano", "music"),
            ItemWords::default(),
        ];
        let params = ContentParams::default().check().expect("valid");
        let model = params.fit(&items).expect("fits").expect("words");
        let mut out = [0.0; 4];
        model.score(&[(0, 1.0)], &[1, 2, 3, 4], &HashMap::new(), &mut out);
        assert!(out[0] > 0.4 && out[0] > out[1] && out[1] > 0.0, "{out:?}");
        assert_eq!(out[2..], [0.0, 0.0]);
        assert_eq!(params.fit(&[ItemWords::default()]).expect("fits"), None);
        assert!(ContentParams { most_terms: 0 }.check().is_err());
        let few = ContentParams { most_terms: 2 }.check().expect("valid");
        let few = few.fit(&items).expect("fits").expect("words");
        assert_eq!(few.terms(), ["category:speedruns", "puzzle"]);
    }
}
