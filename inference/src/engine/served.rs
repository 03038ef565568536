//! The models as other programs may call them: names, versions, tensors in and out.

use std::fmt;
use std::sync::Arc;

use super::stats::Snapshot;
use crate::backend::{BackendError, NamedTensor, Session, TensorData};

/// Types of tensors that models take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// 32-bit floats.
    F32,
    /// 64-bit integers.
    I64,
    /// Bytes.
    U8,
    /// Byte strings, such as texts.
    Bytes,
}

impl DataType {
    /// The type of values.
    pub fn of(data: &TensorData) -> Self {
        match data {
            TensorData::F32(_) => Self::F32,
            TensorData::I64(_) => Self::I64,
            TensorData::U8(_) => Self::U8,
            TensorData::Bytes(_) => Self::Bytes,
        }
    }
}

/// A tensor of a model's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub data: DataType,
    /// Its axes; -1 where any size does.
    pub shape: Vec<i64>,
}

/// What a served model says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// The name to call it by.
    pub name: String,
    /// Its only version.
    pub version: String,
    /// What runs it: `onnxruntime`, `candle` or `novastream`.
    pub platform: String,
    /// Every one of them is needed.
    pub inputs: Vec<TensorSpec>,
    /// All that can be asked for.
    pub outputs: Vec<TensorSpec>,
    /// Names of what the last axis of the first output counts.
    pub labels: Vec<String>,
}

/// A session that counts.
pub(crate) trait Counted: Session {
    fn counts(&self) -> Snapshot;
}

/// A model to be called.
pub struct ServedModel {
    card: ModelCard,
    session: Arc<dyn Counted>,
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.card.fmt(f)
    }
}

impl ServedModel {
    pub(crate) fn new(card: ModelCard, session: Arc<dyn Counted>) -> Self {
        Self { card, session }
    }

    /// What it says of itself.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What it has done, for every caller together.
    pub fn stats(&self) -> Snapshot {
        self.session.counts()
    }

    /// Runs it on behalf of this thread's [`Call`](super::Call), in batches with other callers.
    ///
    /// # Errors
    /// [`BackendError::Tensor`]: an input is missing, unknown or of another type or shape than the
    /// card says. Else as [`Session::run`].
    pub fn infer(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        let wrong = |name: &str, message: String| {
            Err(BackendError::Tensor {
                name: name.to_owned(),
                message,
            })
        };
        for (at, input) in inputs.iter().enumerate() {
            let Some(spec) = self.card.inputs.iter().find(|s| s.name == input.name) else {
                return wrong(&input.name, "is no input of this model".to_owned());
            };
            if inputs[..at].iter().any(|i| i.name == input.name) {
                return wrong(&input.name, "came twice".to_owned());
            }
            let shape = &input.tensor.shape;
            let fits =
                |(have, want): (&usize, &i64)| *want < 0 || i64::try_from(*have) == Ok(*want);
            if DataType::of(&input.tensor.data) != spec.data {
                return wrong(&input.name, format!("must be of the type {:?}", spec.data));
            }
            if shape.len() != spec.shape.len() || !shape.iter().zip(&spec.shape).all(fits) {
                let message = format!("has the shape {shape:?}, not {:?}", spec.shape);
                return wrong(&input.name, message);
            }
        }
        if let Some(missing) = self
            .card
            .inputs
            .iter()
            .find(|s| inputs.iter().all(|i| i.name != s.name))
        {
            return wrong(&missing.name, "is missing".to_owned());
        }
        if inputs.iter().any(|i| i.tensor.shape.first() == Some(&0)) {
            return wrong("", "no rows came".to_owned());
        }
        self.session.run(inputs)
    }
}
