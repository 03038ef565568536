//! The conditional logit: a weighted sum of the features, after each was squashed and scaled.
//!
//! D. McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.

use serde::{Deserialize, Serialize};

/// One column of a [`Logit`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitColumn {
    /// Subtracted first.
    pub centre: f32,
    /// Divides next, above 0; what is beyond ±[`REACH`] is cut.
    pub scale: f32,
    /// Weight in the sum.
    pub weight: f32,
}

/// Scaled values are cut at this distance from the centre.
pub const REACH: f32 = 4.0;

impl LogitColumn {
    /// The value as the sum sees it.
    pub fn squash(&self, value: f32) -> f32 {
        ((value - self.centre) / self.scale).clamp(-REACH, REACH)
    }
}

/// A linear choice model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logit {
    /// One a feature.
    pub columns: Vec<LogitColumn>,
}

impl Logit {
    /// Writes a score for each row into `out`; a softmax over a list turns them into chances.
    pub fn score(&self, rows: &[f32], out: &mut [f32]) {
        let width = self.columns.len().max(1);
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
            let columns = self.columns.iter().zip(row);
            *out = columns
                .map(|(column, value)| column.weight * column.squash(*value))
                .sum();
        }
    }

    /// Whether every number can be used.
    pub(super) fn is_sound(&self) -> bool {
        self.columns.iter().all(|column| {
            column.centre.is_finite()
                && column.weight.is_finite()
                && column.scale.is_finite()
                && column.scale > 0.0
        })
    }
}
