//! What a channel says of itself, as weighted terms.

/// Words and labels of one channel; what is not known is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemText<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its tags, separated by anything but letters, digits and dashes.
    pub tags: &'a str,
    /// Its category.
    pub category: &'a str,
}

/// Words of a title that are looked at.
const MOST_WORDS: usize = 64;
/// Longest term in bytes; longer words are cut off the list.
const LONGEST: usize = 40;
/// A tag is chosen with care, and a title has many words.
const TAG_WEIGHT: f32 = 2.0;
/// The category says much, but the same of many channels.
const CATEGORY_WEIGHT: f32 = 1.5;

/// The terms of a channel, each once with its weight, sorted by term. Words and tags share their
/// terms, so that a tag of one channel meets a word of another's title; a category is a term of
/// its own kind.
pub fn item_terms(text: ItemText<'_>) -> Vec<(String, f32)> {
    let mut terms: Vec<(String, f32)> = Vec::new();
    let words = text
        .title
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 2 && word.len() <= LONGEST);
    terms.extend(
        words
            .take(MOST_WORDS)
            .map(|word| (word.to_lowercase(), 1.0)),
    );
    let tags = text
        .tags
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .filter(|tag| !tag.is_empty() && tag.len() <= LONGEST);
    terms.extend(
        tags.take(MOST_WORDS)
            .map(|tag| (tag.to_lowercase(), TAG_WEIGHT)),
    );
    let category = text.category.trim().to_lowercase();
    if !category.is_empty() && category.len() <= LONGEST {
        terms.push((format!("category:{category}"), CATEGORY_WEIGHT));
    }
    terms.sort_by(|a, b| a.0.cmp(&b.0));
    terms.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.max(next.1);
        }
        same
    });
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_terms_are_words_tags_and_the_category() {
        let terms = item_terms(ItemText {
            title: "Blind PUZZLE runs, no. 7",
            tags: "puzzle any-percent",
            category: " Speedruns",
        });
        let expected = [
            ("any-percent", 2.0),
            ("blind", 1.0),
            ("category:speedruns", 1.5),
            ("puzzle", 2.0),
            ("runs", 1.0),
        ];
        let expected: Vec<(String, f32)> = expected
            .iter()
            .map(|(t, w)| ((*t).to_owned(), *w))
            .collect();
        assert_eq!(terms, expected);
        assert!(item_terms(ItemText::default()).is_empty());
        let long = "x".repeat(10_000) + &" word".repeat(1_000);
        let text = ItemText {
            title: &long,
            tags: &long,
            category: &long,
        };
        assert_eq!(item_terms(text), [("word".to_owned(), 2.0)]);
    }
}
