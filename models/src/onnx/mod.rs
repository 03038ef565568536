//! ONNX files: the protobuf subset, a builder that writes graphs and a reader of constants.

mod builder;
pub mod proto;

pub use builder::{Attr, GraphBuilder};
use prost::Message;
use proto::{ModelProto, TensorProto, dtype};

/// Operator set that the builder writes: per-channel quantisation and `Softmax` over one axis.
pub const OPSET: i64 = 13;

/// A file that is not the ONNX that we understand.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Not protobuf of this schema.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A tensor's bytes do not fit its shape or type.
    #[error("tensor {name:?}: {message}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        message: String,
    },
}

impl OnnxError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Decode(_) => "onnx_decode",
            Self::Tensor { .. } => "onnx_tensor",
        }
    }
}

/// Reads a file.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    Ok(ModelProto::decode(bytes)?)
}

/// Writes a file. The same model always gives the same bytes.
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// A metadata value by key (`labels`, PP-OCR's `character`).
pub fn metadata<'a>(model: &'a ModelProto, key: &str) -> Option<&'a str> {
    let entry = model
        .metadata_props
        .iter()
        .find(|e| e.key.as_deref() == Some(key))?;
    entry.value.as_deref()
}

/// Values of a constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

impl Values {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn raw(&self) -> (i32, Vec<u8>) {
        match self {
            Self::F32(v) => (
                dtype::FLOAT,
                v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ),
            Self::U8(v) => (dtype::UINT8, v.clone()),
            Self::I8(v) => (dtype::INT8, v.iter().map(|x| *x as u8).collect()),
            Self::I32(v) => (
                dtype::INT32,
                v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ),
            Self::I64(v) => (
                dtype::INT64,
                v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ),
        }
    }
}

/// Shape and values of a constant kept in `raw_data`, checked against each other.
pub fn tensor_values(tensor: &TensorProto) -> Result<(Vec<usize>, Values), OnnxError> {
    let name = tensor.name.clone().unwrap_or_default();
    let fail = |message: &str| OnnxError::Tensor {
        name: name.clone(),
        message: message.into(),
    };
    let mut shape = Vec::with_capacity(tensor.dims.len());
    let mut count = 1_usize;
    for &dim in &tensor.dims {
        let dim = usize::try_from(dim).map_err(|_| fail("negative axis"))?;
        count = count.checked_mul(dim).ok_or_else(|| fail("too large"))?;
        shape.push(dim);
    }
    let raw = tensor
        .raw_data
        .as_deref()
        .ok_or_else(|| fail("values are not in raw_data"))?;
    let width = match tensor.data_type {
        Some(dtype::FLOAT | dtype::INT32) => 4,
        Some(dtype::UINT8 | dtype::INT8) => 1,
        Some(dtype::INT64) => 8,
        _ => return Err(fail("unsupported element type")),
    };
    if count.checked_mul(width) != Some(raw.len()) {
        return Err(fail("bytes do not fit the shape"));
    }
    let words = || raw.as_chunks::<4>().0.iter();
    let values = match tensor.data_type {
        Some(dtype::FLOAT) => Values::F32(words().map(|b| f32::from_le_bytes(*b)).collect()),
        Some(dtype::INT32) => Values::I32(words().map(|b| i32::from_le_bytes(*b)).collect()),
        Some(dtype::UINT8) => Values::U8(raw.to_vec()),
        Some(dtype::INT8) => Values::I8(raw.iter().map(|b| *b as i8).collect()),
        _ => Values::I64(
            raw.as_chunks::<8>()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
        ),
    };
    Ok((shape, values))
}

#[cfg(test)]
mod tests;
