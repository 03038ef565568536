//! Implicit matrix factorisation.
//!
//! Y. Hu, Y. Koren, C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets",
//! ICDM 2008; regularisation and the weight of what was not taken as in S. Rendle et al.,
//! "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.

use super::Scorer;

/// Steps of conjugate gradients for a new history; the factors are well conditioned.
const FOLD_IN_STEPS: usize = 8;

/// Item factors, and what is needed to place a new history among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    dims: usize,
    /// One vector of `dims` numbers an item.
    vectors: Vec<f32>,
    /// `unobserved · VᵀV`, `dims × dims`.
    gram: Vec<f32>,
    /// Weight of every item that was not taken.
    unobserved: f32,
    /// Regularisation per unit of a user's frequency.
    regularisation: f32,
    /// Power of the frequency in the regularisation.
    exponent: f32,
}

impl Factors {
    /// Makes the model from item factors. `None` when the sizes do not fit or a number is not
    /// finite.
    pub fn new(
        dims: usize,
        vectors: Vec<f32>,
        unobserved: f32,
        regularisation: f32,
        exponent: f32,
    ) -> Option<Self> {
        let finite = |value: &f32| value.is_finite();
        let fits = dims > 0
            && vectors.len().is_multiple_of(dims)
            && vectors.iter().all(finite)
            && [unobserved, regularisation, exponent].iter().all(finite);
        if !fits {
            return None;
        }
        let mut gram = vec![0.0_f64; dims * dims];
        for item in vectors.chunks_exact(dims) {
            for (row, a) in gram.chunks_exact_mut(dims).zip(item) {
                for (cell, b) in row.iter_mut().zip(item) {
                    *cell += f64::from(*a) * f64::from(*b);
                }
            }
        }
        let gram = gram
            .iter()
            .map(|value| (value * f64::from(unobserved)) as f32)
            .collect();
        Some(Self {
            dims,
            vectors,
            gram,
            unobserved,
            regularisation,
            exponent,
        })
    }

    /// Length of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// All item vectors, item after item.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// Weight of what was not taken, regularisation and its exponent.
    pub fn settings(&self) -> [f32; 3] {
        [self.unobserved, self.regularisation, self.exponent]
    }

    /// The vector of an item, if known.
    pub fn item(&self, item: u32) -> Option<&[f32]> {
        let from = item as usize * self.dims;
        self.vectors.get(from..from + self.dims)
    }

    /// The vector of a user with this history: the least-squares solution that training would
    /// give, by conjugate gradients. All zeros for an empty history.
    pub fn fold_in(&self, history: &[(u32, f32)], user: &mut Vec<f32>) {
        let dims = self.dims;
        user.clear();
        user.resize(dims, 0.0);
        let known: Vec<(&[f32], f32)> = history
            .iter()
            .filter_map(|(item, weight)| Some((self.item(*item)?, *weight)))
            .collect();
        if known.is_empty() {
            return;
        }
        let frequency = known.len() as f32 + self.unobserved * self.items() as f32;
        let ridge = self.regularisation * frequency.powf(self.exponent);
        let mut residual = vec![0.0; dims];
        for (item, weight) in &known {
            axpy(*weight, item, &mut residual);
        }
        let mut direction = residual.clone();
        let mut image = vec![0.0; dims];
        let mut norm = dot(&residual, &residual);
        let target = norm * 1e-10;
        for _ in 0..FOLD_IN_STEPS {
            if norm <= target {
                break;
            }
            for (out, row) in image.iter_mut().zip(self.gram.chunks_exact(dims)) {
                *out = dot(row, &direction);
            }
            axpy(ridge, &direction, &mut image);
            for (item, weight) in &known {
                axpy(weight * dot(item, &direction), item, &mut image);
            }
            let curvature = dot(&direction, &image);
            if curvature <= 0.0 {
                break;
            }
            let step = norm / curvature;
            axpy(step, &direction, user);
            axpy(-step, &image, &mut residual);
            let next = dot(&residual, &residual);
            let turn = next / norm;
            norm = next;
            for (d, r) in direction.iter_mut().zip(&residual) {
                *d = r + turn * *d;
            }
        }
    }
}

impl Scorer for Factors {
    fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        let mut user = Vec::new();
        self.fold_in(history, &mut user);
        for (score, item) in out.iter_mut().zip(candidates) {
            *score = self.item(*item).map_or(0.0, |vector| dot(vector, &user));
        }
    }

    fn items(&self) -> usize {
        self.vectors.len() / self.dims
    }
}

/// Dot product in eight lanes, whose sum is always taken in the same order.
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

fn axpy(scale: f32, from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
}
