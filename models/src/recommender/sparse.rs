//! A matrix of few entries a row, and scoring by adding rows.

/// Compressed rows: row `r` has the entries `starts[r]..starts[r + 1]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseRows {
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
    packed: Packed,
}

/// The entries once more, as adding rows wants them: half the memory traffic, which is what bounds it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Packed {
    /// The column in the upper half, the value in steps of its row in the lower (signed); empty
    /// where columns need more than sixteen bits.
    entries: Vec<u32>,
    /// What a step is worth, for each row: its largest size / 32,767.
    steps: Vec<f32>,
}

impl Packed {
    fn new(starts: &[u32], columns: &[u32], values: &[f32], width: usize) -> Self {
        if width > usize::from(u16::MAX) + 1 {
            return Self::default();
        }
        let mut packed = Self {
            entries: Vec::with_capacity(columns.len()),
            steps: Vec::with_capacity(starts.len()),
        };
        for range in starts.windows(2) {
            let range = range[0] as usize..range[1] as usize;
            let largest = values[range.clone()]
                .iter()
                .fold(0.0f32, |a, b| a.max(b.abs()));
            // Divides no value by zero; a row of zeros is all steps of zero.
            let step = (largest / f32::from(i16::MAX)).max(f32::MIN_POSITIVE);
            packed.steps.push(step);
            for (column, value) in columns[range.clone()].iter().zip(&values[range]) {
                let steps = (value / step).round() as i16;
                packed.entries.push(column << 16 | u32::from(steps as u16));
            }
        }
        packed
    }
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
        fits.then(|| Self {
            packed: Packed::new(&starts, &columns, &values, width),
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
    /// [`SparseRows::width`] long. Up to 65,536 columns, values count to 1/32,767 of their row's
    /// largest.
    pub fn add_rows(&self, history: &[(u32, f32)], sums: &mut [f32]) {
        let sums = &mut sums[..self.width];
        for &(item, weight) in history {
            if let Some(step) = self.packed.steps.get(item as usize) {
                let range =
                    self.starts[item as usize] as usize..self.starts[item as usize + 1] as usize;
                let weight = weight * step;
                for entry in &self.packed.entries[range] {
                    let steps = f32::from(*entry as u16 as i16);
                    sums[(entry >> 16) as usize] += weight * steps;
                }
                continue;
            }
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
