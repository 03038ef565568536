//! Tensors as the protocol writes them: names of types, raw bytes, JSON values.

use novastream_inference::backend::{Tensor, TensorData};
use novastream_inference::engine::DataType;
use serde_json::Value;

use super::invalid;
use crate::error::ApiError;

/// The protocol's name of a type.
pub const fn name(data: DataType) -> &'static str {
    match data {
        DataType::F32 => "FP32",
        DataType::I64 => "INT64",
        DataType::U8 => "UINT8",
        DataType::Bytes => "BYTES",
    }
}

/// The type that the protocol calls `name`.
///
/// # Errors
/// `tensor_invalid`: no model here takes it.
pub fn named(name: &str) -> Result<DataType, ApiError> {
    match name {
        "FP32" => Ok(DataType::F32),
        "INT64" => Ok(DataType::I64),
        "UINT8" => Ok(DataType::U8),
        "BYTES" => Ok(DataType::Bytes),
        other => Err(invalid(format!(
            "no model here takes the datatype `{other}`; FP32, INT64, UINT8 and BYTES are taken"
        ))),
    }
}

/// A shape in the protocol's integers.
///
/// # Errors
/// `tensor_invalid`: an axis is negative.
pub fn shape(axes: &[i64]) -> Result<Vec<usize>, ApiError> {
    axes.iter()
        .map(|d| {
            usize::try_from(*d)
                .map_err(|_| invalid(format!("the shape {axes:?} has a negative axis")))
        })
        .collect()
}

/// A tensor of its shape and values.
///
/// # Errors
/// `tensor_invalid`: the values do not fill the shape.
pub fn tensor(name: &str, shape: Vec<usize>, data: TensorData) -> Result<Tensor, ApiError> {
    Tensor::new(shape, data).map_err(|e| invalid(format!("`{name}`: {e}")))
}

/// Values in little-endian order; byte strings each after their length in four bytes.
///
/// # Errors
/// `tensor_invalid`: the bytes do not divide into such values.
pub fn from_bytes(name: &str, data: DataType, bytes: &[u8]) -> Result<TensorData, ApiError> {
    let whole = |width: usize| {
        if bytes.len().is_multiple_of(width) {
            Ok(())
        } else {
            Err(invalid(format!(
                "`{name}`: {} bytes do not divide into values of {width}",
                bytes.len()
            )))
        }
    };
    Ok(match data {
        DataType::F32 => {
            whole(4)?;
            let values = bytes.as_chunks::<4>().0.iter();
            TensorData::F32(values.map(|b| f32::from_le_bytes(*b)).collect())
        }
        DataType::I64 => {
            whole(8)?;
            let values = bytes.as_chunks::<8>().0.iter();
            TensorData::I64(values.map(|b| i64::from_le_bytes(*b)).collect())
        }
        DataType::U8 => TensorData::U8(bytes.to_vec()),
        DataType::Bytes => {
            let mut rest = bytes;
            let mut strings = Vec::new();
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = u32::from_le_bytes(*length) as usize;
                let Some((string, after)) = after.split_at_checked(length) else {
                    return Err(invalid(format!("`{name}`: a byte string is cut short")));
                };
                strings.push(string.to_vec());
                rest = after;
            }
            if !rest.is_empty() {
                return Err(invalid(format!("`{name}`: a byte string has no length")));
            }
            TensorData::Bytes(strings)
        }
    })
}

/// The opposite of [`from_bytes`], added to `out`; answers how many bytes.
pub fn to_bytes(data: &TensorData, out: &mut Vec<u8>) -> usize {
    let before = out.len();
    match data {
        TensorData::F32(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        TensorData::I64(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        TensorData::U8(values) => out.extend(values),
        TensorData::Bytes(strings) => {
            for string in strings {
                out.extend((string.len() as u32).to_le_bytes());
                out.extend(string);
            }
        }
    }
    out.len() - before
}

/// Values out of JSON, flat or nested as the shape is.
///
/// # Errors
/// `tensor_invalid`: a value is of another type.
pub fn from_json(name: &str, data: DataType, value: &Value) -> Result<TensorData, ApiError> {
    fn leaves<T>(
        value: &Value,
        read: &impl Fn(&Value) -> Option<T>,
        out: &mut Vec<T>,
    ) -> Option<()> {
        match value {
            Value::Array(values) => values.iter().try_for_each(|v| leaves(v, read, out)),
            leaf => {
                out.push(read(leaf)?);
                Some(())
            }
        }
    }
    fn all<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        let mut out = Vec::new();
        value.is_array().then(|| leaves(value, &read, &mut out))??;
        Some(out)
    }
    let read = match data {
        DataType::F32 => all(value, |v| Some(v.as_f64()? as f32)).map(TensorData::F32),
        DataType::I64 => all(value, Value::as_i64).map(TensorData::I64),
        DataType::U8 => all(value, |v| u8::try_from(v.as_u64()?).ok()).map(TensorData::U8),
        DataType::Bytes => {
            all(value, |v| Some(v.as_str()?.as_bytes().to_vec())).map(TensorData::Bytes)
        }
    };
    read.ok_or_else(|| {
        let kind = self::name(data);
        invalid(format!(
            "`{name}`: `data` must be an array of {kind} values"
        ))
    })
}

/// The opposite of [`from_json`], flat. Byte strings that are no text lose what is none.
pub fn to_json(data: &TensorData) -> Value {
    match data {
        TensorData::F32(values) => values.iter().copied().collect(),
        TensorData::I64(values) => values.iter().copied().collect(),
        TensorData::U8(values) => values.iter().copied().collect(),
        TensorData::Bytes(strings) => strings
            .iter()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_data() -> impl Strategy<Value = TensorData> {
        prop_oneof![
            prop::collection::vec(-1e6f32..1e6, 0..20).prop_map(TensorData::F32),
            prop::collection::vec(any::<i64>(), 0..20).prop_map(TensorData::I64),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(TensorData::U8),
            prop::collection::vec(".{0,12}", 0..8)
                .prop_map(|v| TensorData::Bytes(v.into_iter().map(String::into_bytes).collect())),
        ]
    }

    proptest! {
        #[test]
        fn both_forms_read_back_as_they_were(data in any_data()) {
            let kind = DataType::of(&data);
            let mut bytes = Vec::new();
            prop_assert_eq!(to_bytes(&data, &mut bytes), bytes.len());
            prop_assert_eq!(&from_bytes("x", kind, &bytes).unwrap(), &data);
            prop_assert_eq!(&from_json("x", kind, &to_json(&data)).unwrap(), &data);
            prop_assert_eq!(named(name(kind)).unwrap(), kind);
        }

        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for kind in [DataType::F32, DataType::I64, DataType::U8, DataType::Bytes] {
                if let Ok(data) = from_bytes("x", kind, &bytes) {
                    let mut again = Vec::new();
                    to_bytes(&data, &mut again);
                    prop_assert_eq!(&again, &bytes);
                }
            }
        }
    }

    #[test]
    fn json_may_be_nested_and_must_be_of_the_type() {
        let nested = json!([[1, 2], [3, 4]]);
        let read = |kind, value: &Value| from_json("x", kind, value);
        assert_eq!(
            read(DataType::I64, &nested).unwrap(),
            TensorData::I64(vec![1, 2, 3, 4])
        );
        assert!(read(DataType::U8, &json!([256])).is_err());
        assert!(read(DataType::I64, &json!([1.5])).is_err());
        assert!(read(DataType::Bytes, &json!([1])).is_err());
        assert!(read(DataType::F32, &json!(1.0)).is_err());
        assert!(named("FP16").is_err());
        assert!(shape(&[2, -1]).is_err());
    }
}
