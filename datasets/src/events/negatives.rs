//! Sampled negatives: for each user, items to rank the true one against.

use std::collections::BTreeMap;
use std::path::Path;

use super::{EventColumns, Interner, for_each_row};
use crate::DatasetError;

/// Reads a file with a user column and any number of other columns, each an item id. Users and
/// items that the interners do not know are left out (their number is the second answer): no
/// model could rank them.
pub fn load_negatives(
    path: &Path,
    columns: &EventColumns,
    users: &Interner,
    items: &Interner,
) -> Result<(BTreeMap<u32, Vec<u32>>, usize), DatasetError> {
    let mut negatives: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut unknown = 0;
    for_each_row(
        path,
        &mut |names| {
            let user = columns.resolve_user(path, names)?;
            let others = names.iter().filter(|name| **name != user).cloned();
            Ok(std::iter::once(user.clone()).chain(others).collect())
        },
        &mut |_, cells| {
            let Some(user) = cells[0].and_then(|name| users.get(name.trim())) else {
                unknown += 1;
                return Ok(());
            };
            let list = negatives.entry(user).or_default();
            for name in cells[1..].iter().flatten() {
                match items.get(name.trim()) {
                    Some(item) => list.push(item),
                    None => unknown += 1,
                }
            }
            Ok(())
        },
    )?;
    Ok((negatives, unknown))
}
