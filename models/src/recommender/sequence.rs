//! What follows the latest starts: one block of causal self-attention.
//!
//! W. Kang, J. McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with the
//! normalisation before each part. It is trained with Candle; scoring asks for the last place alone,
//! which takes a few products of small matrices and no framework.

use std::collections::BTreeMap;

use super::TensorFile;
use super::factors::dot;

/// Names of the arrays, with their shapes in dims (`d`), length (`l`) and items (`n`).
pub const SEQUENCE_ARRAYS: [(&str, [Axis; 2]); 15] = [
    ("items", [Axis::Items, Axis::Dims]),
    ("places", [Axis::Length, Axis::Dims]),
    ("query", [Axis::Dims, Axis::Dims]),
    ("key", [Axis::Dims, Axis::Dims]),
    ("value", [Axis::Dims, Axis::Dims]),
    ("norm1.scale", [Axis::One, Axis::Dims]),
    ("norm1.shift", [Axis::One, Axis::Dims]),
    ("norm2.scale", [Axis::One, Axis::Dims]),
    ("norm2.shift", [Axis::One, Axis::Dims]),
    ("norm3.scale", [Axis::One, Axis::Dims]),
    ("norm3.shift", [Axis::One, Axis::Dims]),
    ("inner", [Axis::Dims, Axis::Dims]),
    ("inner.shift", [Axis::One, Axis::Dims]),
    ("outer", [Axis::Dims, Axis::Dims]),
    ("outer.shift", [Axis::One, Axis::Dims]),
];

/// Added to variances before the root.
pub const SEQUENCE_EPSILON: f32 = 1e-5;

/// One axis of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// 1.
    One,
    /// Length of a vector.
    Dims,
    /// Places in a sequence.
    Length,
    /// Size of the catalogue.
    Items,
}

/// A trained sequence model.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    dims: usize,
    length: usize,
    count: usize,
    arrays: BTreeMap<&'static str, Vec<f32>>,
}

impl Sequence {
    /// Joins the arrays of [`SEQUENCE_ARRAYS`], each row after row; a matrix maps a row vector from
    /// the left. `None` when one is missing, too short or long, or holds what is not a number.
    pub fn new(
        dims: usize,
        length: usize,
        items: usize,
        mut arrays: BTreeMap<String, Vec<f32>>,
    ) -> Option<Self> {
        let size = |axis| match axis {
            Axis::One => 1,
            Axis::Dims => dims,
            Axis::Length => length,
            Axis::Items => items,
        };
        let mut known = BTreeMap::new();
        for (name, [height, width]) in SEQUENCE_ARRAYS {
            let values = arrays.remove(name)?;
            let fits = values.len() == size(height).checked_mul(size(width))?;
            if !fits || values.iter().any(|value| !value.is_finite()) {
                return None;
            }
            known.insert(name, values);
        }
        (dims > 0 && length > 0).then_some(Self {
            dims,
            length,
            count: items,
            arrays: known,
        })
    }

    /// Length of a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Places in a sequence; of longer ones the latest count.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Size of the catalogue.
    pub fn items(&self) -> usize {
        self.count
    }

    fn array(&self, name: &str) -> &[f32] {
        // `new` made sure that all are there.
        self.arrays.get(name).map_or(&[], Vec::as_slice)
    }

    /// Scores candidates by what was started last, the oldest first. Items that the model does not
    /// know are left out of the sequence and score 0.
    pub fn score(&self, latest: &[u32], candidates: &[u32], out: &mut [f32]) {
        out.fill(0.0);
        let known: Vec<u32> = latest
            .iter()
            .copied()
            .filter(|item| (*item as usize) < self.count)
            .collect();
        let latest = &known[known.len().saturating_sub(self.length)..];
        if latest.is_empty() {
            return;
        }
        let state = self.state(latest);
        for (score, item) in out.iter_mut().zip(candidates) {
            let from = *item as usize * self.dims;
            let vector = self.array("items").get(from..from + self.dims);
            *score = vector.map_or(0.0, |vector| dot(vector, &state));
        }
    }

    /// The state at the last place.
    fn state(&self, latest: &[u32]) -> Vec<f32> {
        let dims = self.dims;
        let (items, places) = (self.array("items"), self.array("places"));
        let first = self.length - latest.len();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut last = vec![0.0; dims];
        let mut normed = vec![0.0; dims];
        for (offset, item) in latest.iter().enumerate() {
            let item = &items[*item as usize * dims..][..dims];
            let place = &places[(first + offset) * dims..][..dims];
            for ((last, item), place) in last.iter_mut().zip(item).zip(place) {
                *last = item + place;
            }
            self.norm("norm1", &last, &mut normed);
            keys.extend(self.product("key", &normed));
            values.extend(self.product("value", &normed));
        }
        let query = self.product("query", &normed);
        let scale = 1.0 / (dims as f32).sqrt();
        let mut weights: Vec<f32> = keys
            .chunks_exact(dims)
            .map(|key| dot(key, &query) * scale)
            .collect();
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for weight in &mut weights {
            *weight = (*weight - most).exp();
        }
        let sum: f32 = weights.iter().sum();
        for (weight, value) in weights.iter().zip(values.chunks_exact(dims)) {
            add(weight / sum, value, &mut last);
        }
        self.norm("norm2", &last, &mut normed);
        let mut inner = self.product("inner", &normed);
        add(1.0, self.array("inner.shift"), &mut inner);
        for value in &mut inner {
            *value = value.max(0.0);
        }
        add(1.0, &self.product("outer", &inner), &mut last);
        add(1.0, self.array("outer.shift"), &mut last);
        self.norm("norm3", &last, &mut normed);
        normed
    }

    fn product(&self, name: &str, vector: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.dims];
        for (value, row) in vector.iter().zip(self.array(name).chunks_exact(self.dims)) {
            add(*value, row, &mut out);
        }
        out
    }

    fn norm(&self, name: &str, vector: &[f32], out: &mut [f32]) {
        let count = vector.len() as f32;
        let mean = vector.iter().sum::<f32>() / count;
        let variance = vector.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count;
        let scale = 1.0 / (variance + SEQUENCE_EPSILON).sqrt();
        let (scales, shifts) = match name {
            "norm1" => ("norm1.scale", "norm1.shift"),
            "norm2" => ("norm2.scale", "norm2.shift"),
            _ => ("norm3.scale", "norm3.shift"),
        };
        let weights = self.array(scales).iter().zip(self.array(shifts));
        for ((out, value), (weight, shift)) in out.iter_mut().zip(vector).zip(weights) {
            *out = (value - mean) * scale * weight + shift;
        }
    }

    /// Puts the arrays into a file.
    pub(super) fn put(&self, tensors: &mut TensorFile) {
        tensors.put_u32("sequence.size", &[self.dims as u32, self.length as u32]);
        for (name, values) in &self.arrays {
            tensors.put_f32(&format!("sequence.{name}"), &[values.len()], values);
        }
    }

    /// Takes the model out of a file; the message says what does not fit.
    pub(super) fn take(items: usize, tensors: &mut TensorFile) -> Result<Option<Self>, String> {
        if !tensors.has("sequence.size") {
            return Ok(None);
        }
        let size = tensors.take_u32("sequence.size")?;
        let mut arrays = BTreeMap::new();
        for (name, _) in SEQUENCE_ARRAYS {
            let (_, values) = tensors.take_f32(&format!("sequence.{name}"))?;
            arrays.insert(name.to_owned(), values);
        }
        let model = match size.as_slice() {
            [dims, length] => Self::new(*dims as usize, *length as usize, items, arrays),
            _ => None,
        };
        model
            .map(Some)
            .ok_or_else(|| "sequence: the arrays do not fit together".to_owned())
    }
}

fn add(scale: f32, from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Sequence {
        let (dims, length, items) = (4, 3, 5);
        let mut state = 3_u32;
        let mut arrays = BTreeMap::new();
        for (name, [height, width]) in SEQUENCE_ARRAYS {
            let size = |axis| match axis {
                Axis::One => 1,
                Axis::Dims => dims,
                Axis::Length => length,
                Axis::Items => items,
            };
            let values = (0..size(height) * size(width)).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            });
            arrays.insert(name.to_owned(), values.collect());
        }
        Sequence::new(dims, length, items, arrays).expect("fits")
    }

    #[test]
    fn recommender_sequence_sees_the_order_and_the_latest_only() {
        let model = model();
        let ask = |latest: &[u32]| {
            let mut out = [9.0; 3];
            model.score(latest, &[0, 4, 77], &mut out);
            out
        };
        assert_ne!(ask(&[1, 2, 3]), ask(&[2, 1, 3]));
        assert_eq!(ask(&[1, 2, 3]), ask(&[4, 4, 0, 1, 2, 3]));
        assert_eq!(ask(&[1, 99, 2]), ask(&[1, 2]));
        assert_eq!(ask(&[]), [0.0; 3]);
        assert_eq!(ask(&[1])[2], 0.0);
    }

    #[test]
    fn recommender_sequence_survives_its_file() {
        let model = model();
        let mut tensors = TensorFile::default();
        model.put(&mut tensors);
        let bytes = tensors.to_bytes().expect("bytes");
        let mut read = TensorFile::from_bytes(&bytes).expect("reads");
        let again = Sequence::take(5, &mut read).expect("fits");
        assert_eq!(again, Some(model));
        let mut read = TensorFile::from_bytes(&bytes).expect("reads");
        assert!(Sequence::take(6, &mut read).is_err());
        assert_eq!(Sequence::take(5, &mut TensorFile::default()), Ok(None));
    }
}
