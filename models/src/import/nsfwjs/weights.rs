//! Decodes TensorFlow.js weight shards: float32 values or linearly quantised integers, one after
//! the other in the manifest's order.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::import::ImportError;

/// One group of the weights manifest.
#[derive(Debug, Deserialize)]
pub struct Group {
    /// Its tensors in order.
    pub weights: Vec<Spec>,
}

/// One tensor's description.
#[derive(Debug, Deserialize)]
pub struct Spec {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Debug, Deserialize)]
struct Quantization {
    min: f64,
    scale: f64,
    dtype: String,
}

/// A decoded tensor in Keras layout.
#[derive(Debug)]
pub struct Tensor {
    /// Shape.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// Decodes all tensors of one group; `data` must be used up exactly.
pub fn decode(group: &Group, mut data: &[u8]) -> Result<BTreeMap<String, Tensor>, ImportError> {
    let mut tensors = BTreeMap::new();
    for spec in &group.weights {
        let fail = |message: &str| ImportError::Weights {
            name: spec.name.clone(),
            message: message.to_owned(),
        };
        if spec.dtype != "float32" {
            return Err(fail("only float32 is supported"));
        }
        let count = spec
            .shape
            .iter()
            .try_fold(1_usize, |n, d| n.checked_mul(*d));
        let width = match spec.quantization.as_ref().map(|q| q.dtype.as_str()) {
            None => 4,
            Some("uint8") => 1,
            Some("uint16") => 2,
            Some(_) => return Err(fail("unknown quantisation type")),
        };
        let bytes = count
            .and_then(|n| n.checked_mul(width))
            .ok_or_else(|| fail("too large"))?;
        let (mine, rest) = data
            .split_at_checked(bytes)
            .ok_or_else(|| fail("shard too short"))?;
        data = rest;
        let values = match &spec.quantization {
            None => mine
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Some(q) => {
                // As TensorFlow.js: double arithmetic, rounded to float once.
                let restore = |v: u16| (f64::from(v) * q.scale + q.min) as f32;
                if width == 1 {
                    mine.iter().map(|b| restore(u16::from(*b))).collect()
                } else {
                    let words = mine.as_chunks::<2>().0.iter();
                    words.map(|b| restore(u16::from_le_bytes(*b))).collect()
                }
            }
        };
        tensors.insert(
            spec.name.clone(),
            Tensor {
                shape: spec.shape.clone(),
                values,
            },
        );
    }
    if data.is_empty() {
        Ok(tensors)
    } else {
        Err(ImportError::Weights {
            name: "shard".to_owned(),
            message: format!("{} bytes too long", data.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(json: &str) -> Group {
        serde_json::from_str(json).expect("json")
    }

    #[test]
    fn quantised_and_plain_values_decode() {
        let group = group(
            r#"{"weights": [
                {"name": "a", "shape": [2, 1], "dtype": "float32",
                 "quantization": {"min": -1.0, "scale": 0.5, "dtype": "uint8"}},
                {"name": "b", "shape": [1], "dtype": "float32",
                 "quantization": {"min": 0.0, "scale": 2.0, "dtype": "uint16"}},
                {"name": "c", "shape": [], "dtype": "float32"}]}"#,
        );
        let mut data = vec![0, 4, 0, 1];
        data.extend(2.5_f32.to_le_bytes());
        let tensors = decode(&group, &data).expect("decodes");
        assert_eq!(tensors["a"].values, [-1.0, 1.0]);
        assert_eq!(tensors["a"].shape, [2, 1]);
        assert_eq!(tensors["b"].values, [512.0]);
        assert_eq!(tensors["c"].values, [2.5]);
        data.push(0);
        assert!(decode(&group, &data).is_err(), "a byte too many");
        assert!(decode(&group, &data[..7]).is_err(), "a byte too few");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let text = format!(
            r#"{{"weights": [{{"name": "a", "shape": [{0}, {0}], "dtype": "float32"}}]}}"#,
            u64::MAX
        );
        assert!(decode(&group(&text), &[]).is_err());
    }
}
