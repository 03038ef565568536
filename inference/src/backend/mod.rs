//! Engines that run a graph, behind one small trait.
//!
//! ONNX Runtime runs every model; Candle runs those that our importers wrote, on the same files,
//! and is there when no shared library is. Kernels of our own run the picture networks faster.

mod candle;
mod native;
mod onnx;
mod pool;
mod tensor;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::{
    candle::CandleSession,
    native::NativeSession,
    onnx::{OnnxRuntime, OnnxSession},
    tensor::{NamedTensor, Tensor, TensorData},
};

pub(crate) use self::native::NATIVE_ENGINE;

/// A loaded graph. Calls may come from many threads at once; those over the session's width wait.
pub trait Session: Send + Sync {
    /// Runs the graph.
    ///
    /// # Errors
    /// [`BackendError`]: an input is missing or misshapen, the engine failed or panicked, or a
    /// float output holds a value that is no number.
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError>;

    /// The engine's name, `native`, `onnxruntime` or `candle`.
    fn backend(&self) -> &'static str;
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The text encoder and the picture networks on our own kernels where the processor has AVX2 and
    /// FMA; everything else on ONNX Runtime if its library loads, else Candle.
    #[default]
    Auto,
    /// ONNX Runtime only.
    Onnx,
    /// Candle only; models that it cannot run are not loaded.
    Candle,
}

/// Why a graph could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The shared library is missing, too old or not ONNX Runtime.
    #[error("ONNX Runtime cannot be loaded from {path}: {message}", path = path.display())]
    Library {
        /// The path that was tried.
        path: PathBuf,
        /// The loader's words.
        message: String,
    },
    /// The engine refused the graph.
    #[error("{backend} cannot load the graph: {message}")]
    Load {
        /// The engine.
        backend: &'static str,
        /// Its words.
        message: String,
    },
    /// The engine failed on an input.
    #[error("{backend} cannot run the graph: {message}")]
    Run {
        /// The engine.
        backend: &'static str,
        /// Its words.
        message: String,
    },
    /// A tensor is missing or does not have the agreed type or shape.
    #[error("tensor `{name}`: {message}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Code below the trait panicked; the session stays usable.
    #[error("the model call panicked: {0}")]
    Panicked(String),
    /// Too much waits for the model already; nothing was computed.
    #[error("the model's queue is full")]
    Overloaded,
    /// The deadline passed before the model's answer was there.
    #[error("the deadline passed while the model was waited for")]
    Late,
    /// The model takes no more work.
    #[error("the model was unloaded")]
    Unloaded,
}

impl BackendError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Library { .. } => "runtime_library",
            Self::Load { .. } => "model_load",
            Self::Run { .. } => "model_run",
            Self::Tensor { .. } => "model_tensor",
            Self::Panicked(_) => "model_panicked",
            Self::Overloaded => "overloaded",
            Self::Late => "deadline_exceeded",
            Self::Unloaded => "model_not_loaded",
        }
    }
}

/// Runs `work` and turns a panic into an error.
pub(crate) fn guarded<T>(
    work: impl FnOnce() -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    // What `work` leaves behind is either dropped with it or a pooled session, which holds no
    // state between runs.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(BackendError::Panicked(message))
    })
}

/// Outputs of an engine that answers floats.
pub(crate) fn finite(
    outputs: Vec<(String, Vec<usize>, Vec<f32>)>,
) -> Result<Vec<NamedTensor>, BackendError> {
    outputs
        .into_iter()
        .map(|(name, shape, values)| {
            if values.iter().any(|v| !v.is_finite()) {
                let message = "holds a value that is no number".to_owned();
                return Err(BackendError::Tensor { name, message });
            }
            Ok(NamedTensor {
                tensor: Tensor::f32(shape, values)?,
                name,
            })
        })
        .collect()
}

/// Takes the output called `name` as `(shape, values)`.
pub(crate) fn take_f32(
    outputs: &mut Vec<NamedTensor>,
    name: &str,
) -> Result<(Vec<usize>, Vec<f32>), BackendError> {
    let fail = |message: String| BackendError::Tensor {
        name: name.to_owned(),
        message,
    };
    let at = outputs.iter().position(|o| o.name == name).ok_or_else(|| {
        let have: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        fail(format!("is not among the outputs {have:?}"))
    })?;
    let tensor = outputs.swap_remove(at).tensor;
    match tensor.data {
        TensorData::F32(values) => Ok((tensor.shape, values)),
        _ => Err(fail("is not f32".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let result = guarded::<()>(|| panic!("boom {}", 1));
        assert!(matches!(result, Err(BackendError::Panicked(m)) if m == "boom 1"));
    }

    #[test]
    fn outputs_are_taken_by_name() {
        let tensor = Tensor::f32(vec![1, 2], vec![0.5, 0.5]).unwrap();
        let mut outputs = vec![NamedTensor {
            name: "scores".into(),
            tensor,
        }];
        assert_eq!(
            take_f32(&mut outputs, "other").unwrap_err().code(),
            "model_tensor"
        );
        assert_eq!(take_f32(&mut outputs, "scores").unwrap().0, [1, 2]);
    }
}
