//! Logistic heads on YAMNet's embeddings of a recording.

use std::collections::HashMap;

use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};

use super::SoundModelError;

/// File name of the weights inside a model folder.
pub const HEAD_FILE: &str = "head.safetensors";
/// Metadata key of the labels.
const LABELS: &str = "labels";

/// The mean over windows of each embedding value, then the highest: what a head looks at.
/// `embeddings` holds whole windows of `width` values; no window gives zeros.
pub fn pool(embeddings: &[f32], width: usize) -> Vec<f32> {
    let windows = embeddings.len() / width.max(1);
    let mut pooled = vec![0.0_f32; 2 * width];
    let (mean, top) = pooled.split_at_mut(width);
    if windows > 0 {
        top.fill(f32::NEG_INFINITY);
    }
    for window in embeddings.chunks_exact(width.max(1)) {
        for i in 0..width {
            mean[i] += window[i] / windows as f32;
            top[i] = top[i].max(window[i]);
        }
    }
    pooled
}

/// One softmax over labels: multinomial logistic regression on standardised features.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundHead {
    labels: Vec<String>,
    features: usize,
    /// `[labels, features]`, standardisation folded in.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl SoundHead {
    /// # Errors
    /// [`SoundModelError::Shape`] if the numbers do not fit the labels, [`SoundModelError::Invalid`] for fewer than two
    /// labels or a weight that is no number.
    pub fn new(
        labels: Vec<String>,
        weights: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<Self, SoundModelError> {
        let features = weights.len() / labels.len().max(1);
        if features == 0 || features * labels.len() != weights.len() || bias.len() != labels.len() {
            return Err(SoundModelError::Shape {
                name: "weight".to_owned(),
                found: vec![weights.len(), bias.len()],
                expected: vec![labels.len() * features.max(1), labels.len()],
            });
        }
        if labels.len() < 2 || weights.iter().chain(&bias).any(|w| !w.is_finite()) {
            return Err(SoundModelError::Invalid(
                "a head needs two labels and finite weights".to_owned(),
            ));
        }
        Ok(Self {
            labels,
            features,
            weights,
            bias,
        })
    }

    /// Its classes in order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Values of a pooled recording.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Shares of the labels, which sum to 1, for a recording pooled by [`pool`]. Values that are
    /// missing count as 0.
    pub fn scores(&self, pooled: &[f32]) -> Vec<f32> {
        let logits: Vec<f32> = self
            .weights
            .chunks_exact(self.features)
            .zip(&self.bias)
            .map(|(row, bias)| bias + row.iter().zip(pooled).map(|(w, x)| w * x).sum::<f32>())
            .collect();
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|z| (z - top).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.into_iter().map(|p| p / sum).collect()
    }

    /// The file's bytes; the same head always gives the same.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SoundModelError> {
        let labels = serde_json::to_string(&self.labels)
            .map_err(|e| SoundModelError::Invalid(e.to_string()))?;
        let bytes =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let (weights, bias) = (bytes(&self.weights), bytes(&self.bias));
        let n = self.labels.len();
        let views = [
            (
                "weight",
                TensorView::new(Dtype::F32, vec![n, self.features], &weights)?,
            ),
            ("bias", TensorView::new(Dtype::F32, vec![n], &bias)?),
        ];
        let metadata = HashMap::from([(LABELS.to_owned(), labels)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads a file that [`SoundHead::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SoundModelError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let labels = header.metadata().as_ref().and_then(|m| m.get(LABELS));
        let labels = labels.ok_or_else(|| SoundModelError::Missing(LABELS.to_owned()))?;
        let labels: Vec<String> = serde_json::from_str(labels)
            .map_err(|e| SoundModelError::Invalid(format!("the labels: {e}")))?;
        let file = SafeTensors::deserialize(bytes)?;
        let floats = |name: &str| -> Result<Vec<f32>, SoundModelError> {
            let view = file
                .tensor(name)
                .map_err(|_| SoundModelError::Missing(name.to_owned()))?;
            if view.dtype() != Dtype::F32 {
                return Err(SoundModelError::Invalid(format!("{name} is not float")));
            }
            let (values, _) = view.data().as_chunks::<4>();
            Ok(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        Self::new(labels, floats("weight")?, floats("bias")?)
    }
}
