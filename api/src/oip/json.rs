//! Infer requests and answers as JSON, with tensors in it or as bytes after it.

use std::collections::HashMap;

use novastream_inference::backend::NamedTensor;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Wishes, invalid, tensors};
use crate::error::{ApiError, ErrorCode};

/// Most tensors of one request.
const MAX_TENSORS: usize = 64;

type Parameters = Map<String, Value>;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Option<Vec<Wanted>>,
}

#[derive(Debug, Deserialize)]
struct Input {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    data: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// A request that was read.
#[derive(Debug)]
pub struct Asked {
    /// The caller's name for it.
    pub id: Option<String>,
    /// The tensors.
    pub inputs: Vec<NamedTensor>,
    /// Priority and timeout.
    pub wishes: Wishes,
    /// The outputs that are wanted, each with whether as bytes; all of them when there is none.
    wanted: Option<Vec<(String, bool)>>,
    /// Whether outputs that are not named are wanted as bytes.
    binary: bool,
}

/// Reads a request; `header` is the length of the JSON where bytes follow it.
///
/// # Errors
/// `invalid_json`, `invalid_header`, `tensor_invalid`.
pub fn read(body: &[u8], header: Option<usize>) -> Result<Asked, ApiError> {
    let (text, mut bytes) = match header {
        None => (body, &[][..]),
        Some(length) => body.split_at_checked(length).ok_or_else(|| {
            let detail = format!(
                "inference-header-content-length is {length}; the body has {} bytes",
                body.len()
            );
            ApiError::new(ErrorCode::InvalidHeader, detail)
        })?,
    };
    let request: Request = serde_json::from_slice(text)
        .map_err(|e| ApiError::new(ErrorCode::InvalidJson, e.to_string()))?;
    if request.inputs.len() > MAX_TENSORS {
        return Err(invalid(format!("a request may have {MAX_TENSORS} inputs")));
    }
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for input in request.inputs {
        let Input {
            name,
            shape,
            datatype,
            parameters,
            data,
        } = input;
        let kind = tensors::named(&datatype)?;
        let values = match (number(&parameters, "binary_data_size")?, data) {
            (Some(_), Some(_)) => {
                return Err(invalid(format!("`{name}` has both `data` and binary data")));
            }
            (None, None) => return Err(invalid(format!("`{name}` has no data"))),
            (None, Some(data)) => tensors::from_json(&name, kind, &data)?,
            (Some(size), None) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                let (own, rest) = bytes.split_at_checked(size).ok_or_else(|| {
                    invalid(format!(
                        "`{name}`: {size} bytes are announced, {} came",
                        bytes.len()
                    ))
                })?;
                bytes = rest;
                tensors::from_bytes(&name, kind, own)?
            }
        };
        let tensor = tensors::tensor(&name, tensors::shape(&shape)?, values)?;
        inputs.push(NamedTensor { name, tensor });
    }
    if !bytes.is_empty() {
        return Err(invalid(format!("{} bytes belong to no input", bytes.len())));
    }
    let binary = flag(&request.parameters, "binary_data_output")?.unwrap_or(false);
    let wanted = request.outputs.filter(|o| !o.is_empty()).map(|outputs| {
        let one = |output: Wanted| {
            if number(&output.parameters, "classification")?.is_some_and(|n| n > 0) {
                return Err(invalid("the classification extension is not spoken here"));
            }
            let binary = flag(&output.parameters, "binary_data")?.unwrap_or(binary);
            Ok((output.name, binary))
        };
        outputs.into_iter().map(one).collect::<Result<Vec<_>, _>>()
    });
    Ok(Asked {
        id: request.id,
        inputs,
        wishes: Wishes {
            priority: number(&request.parameters, "priority")?.unwrap_or(0),
            timeout_us: number(&request.parameters, "timeout")?.unwrap_or(0),
        },
        wanted: wanted.transpose()?,
        binary,
    })
}

fn number(parameters: &Parameters, name: &str) -> Result<Option<u64>, ApiError> {
    parameters
        .get(name)
        .map(|v| {
            v.as_u64()
                .ok_or_else(|| invalid(format!("`{name}` must be a whole number")))
        })
        .transpose()
}

fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, ApiError> {
    parameters
        .get(name)
        .map(|v| {
            v.as_bool()
                .ok_or_else(|| invalid(format!("`{name}` must be true or false")))
        })
        .transpose()
}

/// An answer's body; with the length of its JSON where bytes follow that.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// For `inference-header-content-length`.
    pub header: Option<usize>,
}

/// The outputs that a request wants, in its order.
///
/// # Errors
/// `tensor_invalid`: it wants one that the model does not have.
pub fn chosen(wanted: &[String], outputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, ApiError> {
    if wanted.is_empty() {
        return Ok(outputs);
    }
    let mut by_name: HashMap<String, NamedTensor> =
        outputs.into_iter().map(|o| (o.name.clone(), o)).collect();
    wanted
        .iter()
        .map(|name| {
            let found = by_name.remove(name);
            found.ok_or_else(|| {
                invalid(format!(
                    "`{name}` is no output of this model, or is asked for twice"
                ))
            })
        })
        .collect()
}

/// Writes the answer to `asked`.
///
/// # Errors
/// As [`chosen`].
pub fn write(
    asked: &Asked,
    model: &str,
    version: &str,
    outputs: Vec<NamedTensor>,
) -> Result<Answer, ApiError> {
    let wanted = asked.wanted.as_deref().unwrap_or_default();
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    let mut bytes = Vec::new();
    let mut has_bytes = false;
    let mut listed = Vec::new();
    for NamedTensor { name, tensor } in chosen(&names, outputs)? {
        let binary = wanted.iter().find(|(n, _)| *n == name);
        let binary = binary.map_or(asked.binary, |(_, binary)| *binary);
        let kind = novastream_inference::engine::DataType::of(&tensor.data);
        let mut output = json!({
            "name": name,
            "shape": tensor.shape,
            "datatype": tensors::name(kind),
        });
        if binary {
            has_bytes = true;
            let size = tensors::to_bytes(&tensor.data, &mut bytes);
            output["parameters"] = json!({"binary_data_size": size});
        } else {
            output["data"] = tensors::to_json(&tensor.data);
        }
        listed.push(output);
    }
    let mut head = json!({"model_name": model, "model_version": version, "outputs": listed});
    if let Some(id) = &asked.id {
        head["id"] = json!(id);
    }
    let mut body = serde_json::to_vec(&head).map_err(ApiError::internal)?;
    let header = has_bytes.then_some(body.len());
    body.extend(bytes);
    Ok(Answer { body, header })
}

#[cfg(test)]
mod tests {
    use novastream_inference::backend::TensorData;

    use super::*;

    fn body(json: &Value, bytes: &[u8]) -> (Vec<u8>, usize) {
        let mut body = serde_json::to_vec(json).unwrap();
        let header = body.len();
        body.extend(bytes);
        (body, header)
    }

    #[test]
    fn tensors_come_in_the_json_or_after_it() {
        let (body, header) = body(
            &json!({"id": "7", "parameters": {"priority": 1, "binary_data_output": true},
                "inputs": [
                    {"name": "a", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}},
                    {"name": "b", "shape": [1, 2], "datatype": "BYTES", "data": [["x", "yz"]]},
                ],
                "outputs": [{"name": "o"}, {"name": "p", "parameters": {"binary_data": false}}]}),
            &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        );
        let asked = read(&body, Some(header)).unwrap();
        assert_eq!(asked.wishes.priority, 1);
        assert_eq!(asked.inputs[0].tensor.data, TensorData::I64(vec![1, 2]));
        assert_eq!(asked.inputs[1].tensor.shape, [1, 2]);
        let output = |name: &str| NamedTensor::f32(name, vec![1], vec![0.5]).unwrap();
        let answer = write(
            &asked,
            "m",
            "1",
            vec![output("p"), output("q"), output("o")],
        )
        .unwrap();
        let header = answer.header.unwrap();
        let head: Value = serde_json::from_slice(&answer.body[..header]).unwrap();
        assert_eq!(head["id"], "7");
        assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 4);
        assert_eq!(head["outputs"][1]["data"], json!([0.5]));
        assert_eq!(answer.body[header..], 0.5f32.to_le_bytes());
        assert!(
            write(&asked, "m", "1", vec![output("o")]).is_err(),
            "`p` is missing"
        );
    }

    #[test]
    fn requests_that_do_not_add_up_are_refused() {
        let input = |more: Value| {
            let mut input = json!({"name": "a", "shape": [1], "datatype": "UINT8"});
            for (key, value) in more.as_object().unwrap() {
                input[key] = value.clone();
            }
            json!({"inputs": [input]})
        };
        let refused = |json: &Value, bytes: &[u8]| {
            let (body, header) = body(json, bytes);
            read(&body, Some(header)).unwrap_err().code
        };
        let bad = ErrorCode::TensorInvalid;
        assert_eq!(refused(&input(json!({})), &[]), bad);
        assert_eq!(refused(&input(json!({"data": [1, 2]})), &[]), bad);
        assert_eq!(refused(&input(json!({"data": [1]})), &[9]), bad);
        assert_eq!(
            refused(&input(json!({"parameters": {"binary_data_size": 2}})), &[9]),
            bad
        );
        assert_eq!(
            refused(&input(json!({"datatype": "FP16", "data": [1]})), &[]),
            bad
        );
        assert_eq!(
            refused(&input(json!({"shape": [-1], "data": [1]})), &[]),
            bad
        );
        assert_eq!(refused(&json!([]), &[]), ErrorCode::InvalidJson);
        assert_eq!(
            read(b"{}", Some(9)).unwrap_err().code,
            ErrorCode::InvalidHeader
        );
    }

    proptest::proptest! {
        #[test]
        fn foreign_requests_are_refused_or_read(
            shape in proptest::collection::vec(-2i64..5, 0..4),
            kind in 0usize..6,
            size in proptest::option::of(0u64..40),
            data in proptest::option::of(proptest::collection::vec(-3i64..300, 0..6)),
            bytes in proptest::collection::vec(0u8..=255, 0..40),
            cut in 0usize..400,
        ) {
            let kind = ["FP32", "INT64", "UINT8", "BYTES", "FP16", ""][kind];
            let mut input = json!({"name": "x", "shape": shape, "datatype": kind});
            if let Some(size) = size {
                input["parameters"] = json!({"binary_data_size": size});
            }
            if let Some(data) = data {
                input["data"] = json!(data);
            }
            let (body, header) = body(&json!({"inputs": [input]}), &bytes);
            if let Ok(asked) = read(&body, Some(header)) {
                let tensor = &asked.inputs[0].tensor;
                assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
            }
            let _ = read(&body, Some(cut));
            let _ = read(&body[..cut.min(body.len())], None);
        }
    }
}
