//! Candle: the fallback that needs no shared library.

use novastream_models::candle_graph::CandleGraph;

use super::{BackendError, NamedTensor, Session, TensorData, finite, guarded};

const NAME: &str = "candle";

/// A graph in Candle. It runs the operators that our importers write.
#[derive(Debug)]
pub struct CandleSession {
    graph: CandleGraph,
}

impl CandleSession {
    /// Loads an ONNX file.
    ///
    /// # Errors
    /// [`BackendError::Load`] if the file is not ONNX or holds an operator that Candle's side
    /// lacks.
    pub fn load(graph: &[u8]) -> Result<Self, BackendError> {
        guarded(|| {
            CandleGraph::load(graph)
                .map(|graph| Self { graph })
                .map_err(|e| BackendError::Load {
                    backend: NAME,
                    message: e.to_string(),
                })
        })
    }
}

impl Session for CandleSession {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        guarded(|| {
            let inputs = inputs
                .into_iter()
                .map(|NamedTensor { name, tensor }| match tensor.data {
                    TensorData::F32(values) => Ok((name, tensor.shape, values)),
                    _ => Err(BackendError::Tensor {
                        name,
                        message: "must be f32".to_owned(),
                    }),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let outputs = self.graph.run(inputs).map_err(|e| BackendError::Run {
                backend: NAME,
                message: e.to_string(),
            })?;
            finite(outputs)
        })
    }

    fn backend(&self) -> &'static str {
        NAME
    }
}
