//! Our own kernels: the picture networks in eight bits.

use novastream_models::convnet::ConvNet;

use super::{BackendError, NamedTensor, Session, TensorData, finite, guarded};

/// Name of our own kernels.
pub(crate) const NATIVE_ENGINE: &str = "native";

/// A picture network on our own kernels. Calls do not wait for each other; each runs on its thread.
pub struct NativeSession {
    network: ConvNet,
}

impl NativeSession {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// [`BackendError::Load`] if the file is not ONNX, its graph is not of the form that the kernels
    /// run, or the processor lacks their instructions.
    pub fn load(graph: &[u8]) -> Result<Self, BackendError> {
        guarded(|| {
            ConvNet::load(graph)
                .map(|network| Self { network })
                .map_err(|e| BackendError::Load {
                    backend: NATIVE_ENGINE,
                    message: e.to_string(),
                })
        })
    }
}

impl Session for NativeSession {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        guarded(|| {
            let wrong = |name: &str, message: &str| BackendError::Tensor {
                name: name.to_owned(),
                message: message.to_owned(),
            };
            let own = self.network.input().name.as_str();
            let input = match inputs.as_slice() {
                [input] if input.name == own => &input.tensor,
                [] => return Err(wrong(own, "is missing")),
                [other, ..] => return Err(wrong(&other.name, "the graph has no such input")),
            };
            let TensorData::F32(values) = &input.data else {
                return Err(wrong(own, "must be f32"));
            };
            let outputs = self.network.run(&input.shape, values);
            let outputs = outputs.map_err(|e| BackendError::Run {
                backend: NATIVE_ENGINE,
                message: e.to_string(),
            })?;
            finite(outputs)
        })
    }

    fn backend(&self) -> &'static str {
        NATIVE_ENGINE
    }
}
