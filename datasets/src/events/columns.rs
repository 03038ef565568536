//! Which column holds what.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::DatasetError;

const USER: [&str; 7] = [
    "user",
    "user_id",
    "userid",
    "uid",
    "viewer",
    "viewer_id",
    "member_id",
];
const ITEM: [&str; 14] = [
    "item",
    "item_id",
    "itemid",
    "iid",
    "streamer",
    "streamer_id",
    "stream_id",
    "channel",
    "channel_id",
    "movie",
    "movie_id",
    "movieid",
    "product_id",
    "asin",
];
const TIME: [&str; 10] = [
    "time",
    "timestamp",
    "ts",
    "at",
    "start",
    "step",
    "datetime",
    "date",
    "created_at",
    "event_time",
];
const GROUP: [&str; 4] = ["group", "community", "category", "community_id"];

/// Column names, as the user gave them. What is not given is looked up among common names
/// (`user`, `user_id`, `userID`…; case does not matter), except the weight: whether a number
/// column means strength is for the user to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventColumns {
    /// Who.
    pub user: Option<String>,
    /// What.
    pub item: Option<String>,
    /// When; without it the order of the file is the time.
    pub time: Option<String>,
    /// How much: a rating, minutes watched, a count.
    pub weight: Option<String>,
    /// Category or community of the event.
    pub group: Option<String>,
}

/// Columns found in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub user: String,
    pub item: String,
    pub time: Option<String>,
    pub weight: Option<String>,
    pub group: Option<String>,
}

impl Resolved {
    /// The columns that are there, in the order user, item, time, weight, group.
    pub fn wanted(&self) -> Vec<String> {
        let optional = [&self.time, &self.weight, &self.group];
        [&self.user, &self.item]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .cloned()
            .collect()
    }

    /// Where time, weight and group are among the wanted columns.
    pub fn places(&self) -> [Option<usize>; 3] {
        let mut next = 2;
        [&self.time, &self.weight, &self.group].map(|column| {
            column.as_ref().map(|_| {
                next += 1;
                next - 1
            })
        })
    }
}

impl EventColumns {
    /// Finds the columns in a file that has `found`.
    pub(super) fn resolve(&self, path: &Path, found: &[String]) -> Result<Resolved, DatasetError> {
        let need = |given: &Option<String>, usual: &[&str]| {
            pick(path, given.as_deref(), usual, found)?
                .ok_or_else(|| missing(path, usual[0], found))
        };
        let maybe =
            |given: &Option<String>, usual: &[&str]| pick(path, given.as_deref(), usual, found);
        Ok(Resolved {
            user: need(&self.user, &USER)?,
            item: need(&self.item, &ITEM)?,
            time: maybe(&self.time, &TIME)?,
            weight: maybe(&self.weight, &[])?,
            group: maybe(&self.group, &GROUP)?,
        })
    }

    /// Time and item columns of an availability file.
    pub(super) fn resolve_availability(
        &self,
        path: &Path,
        found: &[String],
    ) -> Result<(String, String), DatasetError> {
        let either = |given: &Option<String>, usual: &[&str]| {
            let given = given
                .as_deref()
                .filter(|name| found.iter().any(|f| f == name));
            pick(path, given, usual, found)?.ok_or_else(|| missing(path, usual[0], found))
        };
        Ok((either(&self.time, &TIME)?, either(&self.item, &ITEM)?))
    }

    /// The item column of any file keyed by item.
    pub(super) fn resolve_item(
        &self,
        path: &Path,
        found: &[String],
    ) -> Result<String, DatasetError> {
        let given = self
            .item
            .as_deref()
            .filter(|name| found.iter().any(|f| f == name));
        pick(path, given, &ITEM, found)?.ok_or_else(|| missing(path, ITEM[0], found))
    }

    /// The user column of any file keyed by user.
    pub(super) fn resolve_user(
        &self,
        path: &Path,
        found: &[String],
    ) -> Result<String, DatasetError> {
        let given = self
            .user
            .as_deref()
            .filter(|name| found.iter().any(|f| f == name));
        pick(path, given, &USER, found)?.ok_or_else(|| missing(path, USER[0], found))
    }
}

/// A given column must be there; otherwise the first usual name that is.
fn pick(
    path: &Path,
    given: Option<&str>,
    usual: &[&str],
    found: &[String],
) -> Result<Option<String>, DatasetError> {
    if let Some(given) = given {
        return if found.iter().any(|name| name == given) {
            Ok(Some(given.to_owned()))
        } else {
            Err(missing(path, given, found))
        };
    }
    let known = usual
        .iter()
        .find_map(|usual| found.iter().find(|name| name.eq_ignore_ascii_case(usual)));
    Ok(known.cloned())
}

fn missing(path: &Path, column: &str, found: &[String]) -> DatasetError {
    DatasetError::MissingColumn {
        path: path.to_owned(),
        column: column.to_owned(),
        found: found.to_vec(),
    }
}
