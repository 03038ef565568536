//! A matrix of few entries a row, and scoring by adding rows.

/// Compressed rows: row `r` has the entries `starts[r]..starts[r + 1]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseRows {
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl SparseRows {
    /// Builds from one list of (column, value) a row. `None` when a column is not below `width`
    /// or there are more than `u32::MAX` entries.
    pub fn from_rows(
        width: usize,
        rows: impl IntoIterator<Item = Vec<(u32, f32)>>,
    ) -> Option<Self> {
        let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in rows {
            for (column, value) in row {
                columns.push(column);
                values.push(value);
            }
            starts.push(u32::try_from(columns.len()).ok()?);
        }
        Self::from_parts(width, starts, columns, values)
    }

    /// Builds from its parts; `None` when they do not fit together.
    pub fn from_parts(
        width: usize,
        starts: Vec<u32>,
        columns: Vec<u32>,
        values: Vec<f32>,
    ) -> Option<Self> {
        let fits = starts.first() == Some(&0)
            && starts.last().map(|end| *end as usize) == Some(columns.len())
            && starts.is_sorted()
            && columns.len() == values.len()
            && columns.iter().all(|column| (*column as usize) < width)
            && values.iter().all(|value| value.is_finite());
        fits.then_some(Self {
            starts,
            columns,
            values,
            width,
        })
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Columns and values of a row; empty past the last.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        match (self.starts.get(row), self.starts.get(row + 1)) {
            (Some(from), Some(to)) => {
                let range = *from as usize..*to as usize;
                (&self.columns[range.clone()], &self.values[range])
            }
            _ => (&[], &[]),
        }
    }

    /// Row starts, columns and values, as stored.
    pub fn parts(&self) -> (&[u32], &[u32], &[f32]) {
        (&self.starts, &self.columns, &self.values)
    }

    /// Adds `weight · row` to the sums for each pair of the history. `sums` must be at least
    /// [`SparseRows::width`] long.
    pub fn add_rows(&self, history: &[(u32, f32)], sums: &mut [f32]) {
        let sums = &mut sums[..self.width];
        for &(item, weight) in history {
            let (columns, values) = self.row(item as usize);
            for (column, value) in columns.iter().zip(values) {
                sums[*column as usize] += weight * value;
            }
        }
    }

    /// Scores candidates as [`super::Scorer`] wants it.
    pub(super) fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        let mut sums = vec![0.0; self.width];
        self.add_rows(history, &mut sums);
        for (score, item) in out.iter_mut().zip(candidates) {
            *score = sums.get(*item as usize).copied().unwrap_or(0.0);
        }
    }
}
