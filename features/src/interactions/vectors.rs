//! Items as points, so that users can be compared.

/// One vector of `dims` numbers an item; items past the end are at the origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemVectors {
    dims: usize,
    values: Vec<f32>,
    /// 1 / length of each vector, 0 at the origin.
    scales: Vec<f32>,
}

impl ItemVectors {
    /// Joins the vectors, item after item; `None` when they do not divide into `dims` or hold
    /// something that is not a number.
    pub fn new(dims: usize, values: Vec<f32>) -> Option<Self> {
        let fits = dims > 0 && values.len().is_multiple_of(dims);
        if !fits || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let scale = |vector: &[f32]| {
            let length = dot(vector, vector).sqrt();
            if length > 0.0 { 1.0 / length } else { 0.0 }
        };
        let scales = values.chunks_exact(dims).map(scale).collect();
        Some(Self {
            dims,
            values,
            scales,
        })
    }

    /// Length of a vector; 0 where there are none.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// All numbers, item after item.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// 1 / length of an item's vector.
    pub(super) fn scale(&self, item: u32) -> f32 {
        self.scales.get(item as usize).copied().unwrap_or(0.0)
    }

    /// An item's vector.
    pub(super) fn of(&self, item: u32) -> Option<&[f32]> {
        let from = item as usize * self.dims;
        self.values
            .get(from..from + self.dims)
            .filter(|vector| !vector.is_empty())
    }
}

/// Dot product in eight lanes, always summed in the same order.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
