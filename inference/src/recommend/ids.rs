//! Names to numbers and back, bounded.

use std::collections::HashMap;

/// Gives every name a number, in the order in which they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Ids {
    pub(super) fn with(names: &[String]) -> Self {
        let mut ids = Self::default();
        for name in names {
            ids.number(name, usize::MAX);
        }
        ids
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of a number that was given out.
    pub(super) fn name(&self, number: u32) -> &str {
        self.names
            .get(number as usize)
            .map_or("", |name| name.as_ref())
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The number of a name, a new one unless there are `most` already.
    pub(super) fn number(&mut self, name: &str, most: usize) -> Option<u32> {
        if let Some(number) = self.find(name) {
            return Some(number);
        }
        if self.names.len() >= most {
            return None;
        }
        let number = u32::try_from(self.names.len()).ok()?;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_bounded() {
        let mut ids = Ids::with(&["a".into(), "b".into()]);
        assert_eq!(ids.number("b", 3), Some(1));
        assert_eq!(ids.number("c", 3), Some(2));
        assert_eq!(ids.number("d", 3), None);
        assert_eq!(ids.number("c", 3), Some(2));
        assert_eq!((ids.find("d"), ids.len()), (None, 3));
    }
}
