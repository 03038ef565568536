//! Tensors as they cross the backend trait: a shape and plain values, row-major.

use super::BackendError;

/// Values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Bytes.
    U8(Vec<u8>),
    /// Byte strings, such as texts. No graph here takes them.
    Bytes(Vec<Vec<u8>>),
}

impl TensorData {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::Bytes(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A shape and its values; the product of the shape is the number of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: TensorData,
}

impl Tensor {
    /// A tensor of `shape`.
    ///
    /// # Errors
    /// [`BackendError::Tensor`] if the number of values is not the product of the shape.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, BackendError> {
        let wanted = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if wanted == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(BackendError::Tensor {
                name: String::new(),
                message: format!("{} values do not fill the shape {shape:?}", data.len()),
            })
        }
    }

    /// A tensor of floats; errors as [`Tensor::new`].
    pub fn f32(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, BackendError> {
        Self::new(shape, TensorData::F32(values))
    }
}

/// A tensor and the graph's name for it.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Name of the graph's input or output.
    pub name: String,
    /// Shape and values.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// A named tensor of floats; errors as [`Tensor::new`].
    pub fn f32(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Result<Self, BackendError> {
        Ok(Self {
            name: name.to_owned(),
            tensor: Tensor::f32(shape, values)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_must_fit_its_values() {
        assert!(Tensor::f32(vec![2, 3], vec![0.0; 6]).is_ok());
        assert!(Tensor::f32(vec![2, 3], vec![0.0; 5]).is_err());
        assert!(Tensor::f32(vec![usize::MAX, 3], vec![0.0; 5]).is_err());
        assert!(Tensor::new(vec![], TensorData::I64(vec![7])).is_ok());
        assert!(TensorData::U8(vec![]).is_empty());
    }
}
