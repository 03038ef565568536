//! The shapes that a model was last asked with, to warm its successor up with.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Distinct shapes that are remembered.
const KEPT: usize = 16;

/// Rows and padded lengths of batches, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Mutex<VecDeque<(usize, usize)>>);

impl Shapes {
    /// A batch of `rows` rows of `length` was run.
    pub(crate) fn saw(&self, rows: usize, length: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.back() == Some(&(rows, length)) {
            return;
        }
        kept.retain(|shape| *shape != (rows, length));
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((rows, length));
    }

    /// What is remembered.
    pub(crate) fn recent(&self) -> Vec<(usize, usize)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_distinct_recent_and_bounded() {
        let shapes = Shapes::default();
        for _ in 0..2 {
            for n in 0..100 {
                shapes.saw(1 + n % 20, 8);
            }
        }
        let recent = shapes.recent();
        assert_eq!(recent.len(), KEPT);
        assert_eq!(recent.last(), Some(&(20, 8)));
        assert!(!recent.contains(&(1, 8)), "{recent:?}");
    }
}
