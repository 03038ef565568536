//! ONNX Runtime, loaded from a shared library at run time.

use std::{
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use novastream_models::manifest::Dim;
use novastream_models::onnx::{Attr, GraphBuilder, Values, encode};

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{Session as OrtSession, SessionInputValue, builder::GraphOptimizationLevel},
    value::{Tensor as OrtTensor, TensorElementType},
};

use super::{BackendError, NamedTensor, Session, Tensor, TensorData, guarded, pool::Pool};

const NAME: &str = "onnxruntime";

/// The one environment of this process; ONNX Runtime allows no second.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Proof that the library is loaded. Nothing else in this program touches `ort`, because `ort`
/// panics when it is used with no library.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
}

impl OnnxRuntime {
    /// Loads the library at `path`. A process holds one library: later calls answer the one that
    /// is loaded, whatever their path.
    ///
    /// # Errors
    /// [`BackendError::Library`] if the file is missing, is not ONNX Runtime, or is older than the
    /// interface this program was built for. Another path may be tried afterwards.
    pub fn load(path: &Path) -> Result<Self, BackendError> {
        let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = slot.as_ref() {
            return Ok(Self {
                environment: environment.clone(),
            });
        }
        let fail = |message: String| BackendError::Library {
            path: path.to_owned(),
            message,
        };
        // An absolute path: a relative one would be looked up beside the executable first.
        let full = path.canonicalize().map_err(|e| fail(e.to_string()))?;
        let environment = guarded(|| {
            ort::init_from(&full)
                .map_err(|e| fail(e.to_string()))?
                .with_name("novastream")
                .with_telemetry(false)
                .build()
                .map_err(|e| fail(e.to_string()))
        })?;
        environment.set_log_level(LogLevel::Warning);
        *slot = Some(environment.clone());
        Ok(Self { environment })
    }

    /// Loads a graph with `width` sessions of `threads` threads each.
    ///
    /// # Errors
    /// [`BackendError::Load`] if the engine refuses the bytes.
    pub fn session(
        &self,
        graph: &[u8],
        threads: usize,
        width: usize,
    ) -> Result<OnnxSession, BackendError> {
        self.sessions(graph, threads, width, false)
    }

    /// The same, for graphs whose eight-bit products must be exact. On processors without VNNI the
    /// fast kernels for products of unsigned with signed bytes add pairs in 16 bits and saturate;
    /// these take slower ones that do not.
    ///
    /// # Errors
    /// As [`OnnxRuntime::session`].
    pub fn exact_session(
        &self,
        graph: &[u8],
        threads: usize,
        width: usize,
    ) -> Result<OnnxSession, BackendError> {
        self.sessions(graph, threads, width, true)
    }

    /// Whether the fast kernels saturate on this processor, found out once by a product of the largest
    /// numbers. `true` where that can't be found out: exact kernels are right everywhere.
    pub fn saturates(&self) -> bool {
        static SATURATES: OnceLock<bool> = OnceLock::new();
        *SATURATES.get_or_init(|| {
            let saturates = self.probe().unwrap_or_else(|error| {
                tracing::warn!(%error, "can't tell whether eight-bit products saturate");
                true
            });
            tracing::debug!(saturates, "eight-bit products");
            saturates
        })
    }

    /// Rows of 255 times columns of 127, quantised as the encoder's graph is.
    fn probe(&self) -> Result<bool, BackendError> {
        const K: usize = 64;
        const N: usize = 16;
        let mut graph = GraphBuilder::new("probe");
        graph.input("x", &[Dim::Fixed(1), Dim::Fixed(K as u64)]);
        graph.output("sum", &[Dim::Fixed(1), Dim::Fixed(N as u64)]);
        let parts = ["steps", "scale", "zero"];
        graph.node_of_many("DynamicQuantizeLinear", &parts, &["x"], &[]);
        graph.constant("weights", &[K, N], &Values::I8(vec![127; K * N]));
        graph.constant("weights.zero", &[], &Values::I8(vec![0]));
        let inputs = ["steps", "weights", "zero", "weights.zero"];
        graph.node("MatMulInteger", "product", &inputs, &[]);
        graph.node("Cast", "sum", &["product"], &[("to", Attr::Int(1))]);
        let session = self.session(&encode(&graph.finish()), 1, 1)?;
        let input = NamedTensor::f32("x", vec![1, K], vec![1.0; K])?;
        let mut outputs = session.run(vec![input])?;
        let (_, sums) = super::take_f32(&mut outputs, "sum")?;
        let exact = (K * 255 * 127) as f32;
        Ok(sums.iter().any(|sum| *sum != exact))
    }

    fn sessions(
        &self,
        graph: &[u8],
        threads: usize,
        width: usize,
        exact: bool,
    ) -> Result<OnnxSession, BackendError> {
        let sessions = (0..width.max(1))
            .map(|_| guarded(|| self.one(graph, threads, exact)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(OnnxSession {
            pool: Pool::new(sessions),
        })
    }

    fn one(&self, graph: &[u8], threads: usize, exact: bool) -> Result<OrtSession, BackendError> {
        let fail = |message: String| BackendError::Load {
            backend: NAME,
            message,
        };
        OrtSession::builder(&self.environment)
            .map_err(|e| fail(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| fail(e.to_string()))?
            .with_intra_threads(threads.max(1))
            .map_err(|e| fail(e.to_string()))?
            // Spinning threads would take the cores that decoding needs.
            .with_intra_op_spinning(false)
            .map_err(|e| fail(e.to_string()))?
            .with_config_entry("session.x64quantprecision", if exact { "1" } else { "0" })
            .map_err(|e| fail(e.to_string()))?
            .commit_from_memory(graph)
            .map_err(|e| fail(e.to_string()))
    }
}

/// A graph in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxSession {
    pool: Pool<OrtSession>,
}

impl Session for OnnxSession {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        guarded(|| {
            let inputs = inputs
                .into_iter()
                .map(|input| Ok((input.name, to_ort(input.tensor)?)))
                .collect::<Result<Vec<_>, BackendError>>()?;
            let mut session = self.pool.take();
            let outputs = session.run(inputs).map_err(run_failed)?;
            outputs
                .iter()
                .map(|(name, value)| {
                    let tensor = from_ort(name, &value)?;
                    Ok(NamedTensor {
                        name: name.to_owned(),
                        tensor,
                    })
                })
                .collect()
        })
    }

    fn backend(&self) -> &'static str {
        NAME
    }
}

fn run_failed(error: ort::Error) -> BackendError {
    BackendError::Run {
        backend: NAME,
        message: error.to_string(),
    }
}

fn to_ort(tensor: Tensor) -> Result<SessionInputValue<'static>, BackendError> {
    let shape = tensor.shape;
    Ok(match tensor.data {
        TensorData::F32(v) => OrtTensor::from_array((shape, v))
            .map_err(run_failed)?
            .into(),
        TensorData::I64(v) => OrtTensor::from_array((shape, v))
            .map_err(run_failed)?
            .into(),
        TensorData::U8(v) => OrtTensor::from_array((shape, v))
            .map_err(run_failed)?
            .into(),
        TensorData::Bytes(_) => {
            return Err(BackendError::Tensor {
                name: String::new(),
                message: "byte strings go into no graph".to_owned(),
            });
        }
    })
}

fn from_ort(name: &str, value: &ort::value::DynValue) -> Result<Tensor, BackendError> {
    let fail = |message: String| BackendError::Tensor {
        name: name.to_owned(),
        message,
    };
    let shape = |shape: &ort::value::Shape| shape.iter().map(|d| *d as usize).collect();
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            let (dims, values) = value.try_extract_tensor::<f32>().map_err(run_failed)?;
            if values.iter().any(|v| !v.is_finite()) {
                return Err(fail("holds a value that is no number".to_owned()));
            }
            Tensor::f32(shape(dims), values.to_vec())
        }
        Some(TensorElementType::Int64) => {
            let (dims, values) = value.try_extract_tensor::<i64>().map_err(run_failed)?;
            Tensor::new(shape(dims), TensorData::I64(values.to_vec()))
        }
        Some(TensorElementType::Uint8) => {
            let (dims, values) = value.try_extract_tensor::<u8>().map_err(run_failed)?;
            Tensor::new(shape(dims), TensorData::U8(values.to_vec()))
        }
        other => Err(fail(format!("has the unexpected type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_library_is_an_error_and_not_a_panic() {
        let missing = OnnxRuntime::load(Path::new("no/such/library.so"));
        // Another test of this process may have loaded the real one already.
        if let Err(error) = missing {
            assert_eq!(error.code(), "runtime_library");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("libonnxruntime.so");
        std::fs::write(&file, b"not a library").unwrap();
        if let Err(error) = OnnxRuntime::load(&file) {
            assert_eq!(error.code(), "runtime_library");
        }
    }
}
