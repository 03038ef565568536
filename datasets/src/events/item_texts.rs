//! What items say of themselves: titles, tags, categories.

use std::cell::Cell;
use std::path::Path;

use super::{EventColumns, Interner, for_each_row};
use crate::DatasetError;

/// One item's words; what the file does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemWords {
    /// Its title.
    pub title: String,
    /// Its tags, as written.
    pub tags: String,
    /// Its category.
    pub category: String,
}

const TITLE: [&str; 2] = ["title", "name"];
const TAGS: [&str; 3] = ["tags", "genres", "labels"];
const CATEGORY: [&str; 2] = ["category", "group"];

/// Reads a file of items: a column that names the item as the events do, and any of title (or
/// name), tags (or genres) and category. Answers the words by item number; items that the events
/// do not have continue the numbering, and of an item that comes twice the last row counts.
pub fn load_item_words(
    path: &Path,
    columns: &EventColumns,
    items: &mut Interner,
) -> Result<Vec<ItemWords>, DatasetError> {
    let mut words: Vec<ItemWords> = vec![ItemWords::default(); items.len()];
    let places = Cell::new([None::<usize>; 3]);
    for_each_row(
        path,
        &mut |names| {
            let mut wanted = vec![columns.resolve_item(path, names)?];
            let mut found = [None; 3];
            for (place, usual) in found.iter_mut().zip([&TITLE[..], &TAGS, &CATEGORY]) {
                let known = usual
                    .iter()
                    .find_map(|usual| names.iter().find(|name| name.eq_ignore_ascii_case(usual)));
                *place = known.filter(|name| **name != wanted[0]).map(|name| {
                    wanted.push(name.clone());
                    wanted.len() - 1
                });
            }
            places.set(found);
            if wanted.len() == 1 {
                return Err(DatasetError::MissingColumn {
                    path: path.to_owned(),
                    column: TITLE[0].to_owned(),
                    found: names.to_vec(),
                });
            }
            Ok(wanted)
        },
        &mut |number, cells| {
            let bad =
                |message: &str| DatasetError::malformed(path, format!("row {number}: {message}"));
            let item = cells[0].map(str::trim).filter(|id| !id.is_empty());
            let item = item.ok_or_else(|| bad("no item"))?;
            let item = items.intern(item).ok_or_else(|| bad("too many items"))? as usize;
            if words.len() <= item {
                words.resize_with(item + 1, ItemWords::default);
            }
            let [title, tags, category] = places.get().map(|place| {
                let cell = place.and_then(|place| cells.get(place).copied().flatten());
                cell.unwrap_or_default().to_owned()
            });
            words[item] = ItemWords {
                title,
                tags,
                category,
            };
            Ok(())
        },
    )?;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_item_words_are_read_by_usual_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let path = file(
            "items.csv",
            "item_id,title,tags,category\nnew,\"Blitz, late\",blitz,chess\nold,,,\n",
        );
        let mut items: Interner = ["old"].into_iter().collect();
        let words = load_item_words(&path, &EventColumns::default(), &mut items).unwrap();
        assert_eq!((items.len(), words.len()), (2, 2));
        assert_eq!(words[0], ItemWords::default());
        assert_eq!(
            (&words[1].title[..], &words[1].category[..]),
            ("Blitz, late", "chess")
        );
        let movies = file(
            "movies.jsonl",
            "{\"movieId\": 3, \"genres\": [\"Drama\"]}\n",
        );
        let words = load_item_words(&movies, &EventColumns::default(), &mut items).unwrap();
        assert_eq!(words[2].tags, "[\"Drama\"]");
        let none = file("none.csv", "item,colour\na,red\n");
        let error = load_item_words(&none, &EventColumns::default(), &mut items).unwrap_err();
        assert_eq!(error.code(), "data_missing_column");
    }
}
