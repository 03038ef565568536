//! Lists to learn from.

use novastream_features::interactions::Rows;

/// Feature rows of many lists; in each, one row was chosen.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Rows of [`Rows::WIDTH`] numbers.
    pub(super) values: Vec<f32>,
    /// How many candidates a row stands for: 1, or more where others were left out.
    pub(super) weights: Vec<f32>,
    /// First row of each list, and the end.
    pub(super) starts: Vec<usize>,
    /// The chosen row of each list, counted over all rows.
    pub(super) chosen: Vec<usize>,
    /// Who asked.
    pub(super) users: Vec<u32>,
}

impl Lists {
    /// Number of lists.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether there are no lists.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.weights.len()
    }

    /// The rows of a list.
    pub(super) fn range(&self, list: usize) -> std::ops::Range<usize> {
        self.starts[list]..self.starts[list + 1]
    }

    /// Adds a row to the list that is being made.
    pub(super) fn push_row(&mut self, row: &[f32], weight: f32) {
        self.values.extend_from_slice(row);
        self.weights.push(weight);
    }

    /// Ends the list that is being made; `chosen` counts over all rows.
    pub(super) fn end_list(&mut self, user: u32, chosen: usize) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.starts.push(self.weights.len());
        self.chosen.push(chosen);
        self.users.push(user);
    }

    /// Adds all lists of `other`.
    pub(super) fn append(&mut self, other: Self) {
        let base = self.weights.len();
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.values.extend(other.values);
        self.weights.extend(other.weights);
        self.starts
            .extend(other.starts.iter().skip(1).map(|at| at + base));
        self.chosen.extend(other.chosen.iter().map(|at| at + base));
        self.users.extend(other.users);
    }

    /// One feature of all rows.
    pub(super) fn column(&self, feature: usize) -> impl Iterator<Item = f32> {
        self.values
            .chunks_exact(Rows::WIDTH)
            .map(move |row| row[feature])
    }
}

/// Chances of each row of a list under scores: a softmax in which a row counts `weight` times.
/// Answers −ln of the chance of row `chosen` of the list.
pub(super) fn chances(scores: &[f32], weights: &[f32], chosen: usize, out: &mut [f32]) -> f32 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for ((out, score), weight) in out.iter_mut().zip(scores).zip(weights) {
        *out = weight * (score - top).exp();
        sum += *out;
    }
    for out in out.iter_mut() {
        *out /= sum;
    }
    -out[chosen].max(f32::MIN_POSITIVE).ln()
}
