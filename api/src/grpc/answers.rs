//! Between the protocol's messages and ours.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use novastream_inference::backend::{NamedTensor, TensorData};
use novastream_inference::engine::{DataType, ModelCard, TensorSpec};

use super::messages as m;
use crate::error::ApiError;
use crate::oip::{EXTENSIONS, Entry, SERVER, Wishes, invalid, tensors};

/// Most tensors of one request.
const MAX_TENSORS: usize = 64;

pub(super) fn server() -> m::ServerMetadata {
    m::ServerMetadata {
        name: SERVER.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

pub(super) fn model(card: &ModelCard, versions: Vec<String>) -> m::ModelMetadata {
    let list = |specs: &[TensorSpec]| {
        let one = |s: &TensorSpec| m::TensorMetadata {
            name: s.name.clone(),
            datatype: tensors::name(s.data).to_owned(),
            shape: s.shape.clone(),
        };
        specs.iter().map(one).collect()
    };
    m::ModelMetadata {
        name: card.name.clone(),
        versions,
        platform: card.platform.clone(),
        inputs: list(&card.inputs),
        outputs: list(&card.outputs),
    }
}

/// The number that the protocol's configuration has for a type.
const fn number(data: DataType) -> i32 {
    match data {
        DataType::U8 => 2,
        DataType::I64 => 9,
        DataType::F32 => 11,
        DataType::Bytes => 13,
    }
}

pub(super) fn config(card: &ModelCard) -> m::ConfigResponse {
    let input = |s: &TensorSpec| m::ConfigInput {
        name: s.name.clone(),
        data_type: number(s.data),
        dims: s.shape.clone(),
    };
    let output = |s: &TensorSpec| m::ConfigOutput {
        name: s.name.clone(),
        data_type: number(s.data),
        dims: s.shape.clone(),
    };
    let labels = m::ConfigParameter {
        string_value: card.labels.join("\n"),
    };
    m::ConfigResponse {
        config: Some(m::ModelConfig {
            name: card.name.clone(),
            platform: card.platform.clone(),
            backend: card.platform.clone(),
            input: card.inputs.iter().map(input).collect(),
            output: card.outputs.iter().map(output).collect(),
            parameters: HashMap::from([("labels".to_owned(), labels)]),
        }),
    }
}

pub(super) fn index(entry: &Entry) -> m::IndexModel {
    let card = entry.model.card();
    let (state, reason) = if entry.offered() {
        ("READY", "")
    } else {
        ("UNAVAILABLE", "unloaded")
    };
    m::IndexModel {
        name: card.name.clone(),
        version: card.version.clone(),
        state: state.to_owned(),
        reason: reason.to_owned(),
    }
}

pub(super) fn stats(entry: &Entry) -> m::ModelStatistics {
    let card = entry.model.card();
    let s = entry.model.stats();
    let span = |count: u64, ns: u64| Some(m::Span { count, ns });
    let ns = |time: Duration| time.as_nanos() as u64;
    let batches = s.by_size.iter().map(|(size, of)| m::BatchStatistics {
        batch_size: *size as u64,
        compute_infer: span(of.batches, ns(of.compute)),
    });
    m::ModelStatistics {
        name: card.name.clone(),
        version: card.version.clone(),
        last_inference: s.last_ms.unsigned_abs(),
        inference_count: s.answered,
        execution_count: s.by_size.values().map(|of| of.batches).sum(),
        inference_stats: Some(m::InferStatistics {
            success: span(s.answered, ns(s.queued + s.computed)),
            fail: span(s.failed + s.shed + s.late, ns(s.failed_time)),
            queue: span(s.answered, ns(s.queued)),
            compute_input: span(s.answered, entry.counts.read_ns.load(Ordering::Relaxed)),
            compute_infer: span(s.answered, ns(s.computed)),
            compute_output: span(s.answered, entry.counts.written_ns.load(Ordering::Relaxed)),
        }),
        batch_stats: batches.collect(),
    }
}

/// A request that was read.
pub(super) struct Read {
    pub id: String,
    pub inputs: Vec<NamedTensor>,
    pub wanted: Vec<String>,
    pub wishes: Wishes,
}

/// Reads a request. Tensors come raw, or as typed contents; not mixed.
pub(super) fn read(asked: m::InferRequest) -> Result<Read, ApiError> {
    if asked.inputs.len() > MAX_TENSORS {
        return Err(invalid(format!("a request may have {MAX_TENSORS} inputs")));
    }
    if !asked.raw.is_empty() && asked.raw.len() != asked.inputs.len() {
        let (raw, inputs) = (asked.raw.len(), asked.inputs.len());
        return Err(invalid(format!(
            "{raw} raw contents came for {inputs} inputs"
        )));
    }
    let mut inputs = Vec::with_capacity(asked.inputs.len());
    for (at, input) in asked.inputs.into_iter().enumerate() {
        let kind = tensors::named(&input.datatype)?;
        let data = match (asked.raw.get(at), input.contents) {
            (Some(_), Some(_)) => {
                return Err(invalid(format!(
                    "`{}` has raw and typed contents",
                    input.name
                )));
            }
            (None, None) => return Err(invalid(format!("`{}` has no data", input.name))),
            (Some(raw), None) => tensors::from_bytes(&input.name, kind, raw)?,
            (None, Some(contents)) => typed(&input.name, kind, contents)?,
        };
        let tensor = tensors::tensor(&input.name, tensors::shape(&input.shape)?, data)?;
        inputs.push(NamedTensor {
            name: input.name,
            tensor,
        });
    }
    let number = |name: &str| match asked.parameters.get(name).and_then(|p| p.choice.as_ref()) {
        None => Ok(0),
        Some(m::Choice::Uint64(n)) => Ok(*n),
        Some(m::Choice::Int64(n)) => {
            u64::try_from(*n).map_err(|_| invalid(format!("`{name}` is negative")))
        }
        Some(_) => Err(invalid(format!("`{name}` must be a whole number"))),
    };
    let classes = |o: &m::RequestedOutput| o.parameters.contains_key("classification");
    if asked.outputs.iter().any(classes) {
        return Err(invalid("the classification extension is not spoken here"));
    }
    Ok(Read {
        wishes: Wishes {
            priority: number("priority")?,
            timeout_us: number("timeout")?,
        },
        id: asked.id,
        inputs,
        wanted: asked.outputs.into_iter().map(|o| o.name).collect(),
    })
}

fn typed(name: &str, kind: DataType, contents: m::Contents) -> Result<TensorData, ApiError> {
    Ok(match kind {
        DataType::F32 => TensorData::F32(contents.fp32),
        DataType::I64 => TensorData::I64(contents.int64),
        DataType::Bytes => TensorData::Bytes(contents.bytes),
        DataType::U8 => {
            let bytes = contents.uint.into_iter().map(u8::try_from);
            let bytes = bytes.collect::<Result<_, _>>();
            TensorData::U8(bytes.map_err(|_| invalid(format!("`{name}` holds more than 255")))?)
        }
    })
}

/// Writes an answer, its tensors raw.
pub(super) fn write(card: &ModelCard, id: String, outputs: &[NamedTensor]) -> m::InferResponse {
    let raw = |tensor: &NamedTensor| {
        let mut bytes = Vec::new();
        tensors::to_bytes(&tensor.tensor.data, &mut bytes);
        bytes
    };
    let described = |output: &NamedTensor| m::OutputTensor {
        name: output.name.clone(),
        datatype: tensors::name(DataType::of(&output.tensor.data)).to_owned(),
        shape: output.tensor.shape.iter().map(|d| *d as i64).collect(),
    };
    m::InferResponse {
        model_name: card.name.clone(),
        model_version: card.version.clone(),
        id,
        raw: outputs.iter().map(raw).collect(),
        outputs: outputs.iter().map(described).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: m::InputTensor, raw: Vec<Vec<u8>>) -> m::InferRequest {
        m::InferRequest {
            inputs: vec![input],
            raw,
            ..m::InferRequest::default()
        }
    }

    fn input(datatype: &str, contents: Option<m::Contents>) -> m::InputTensor {
        m::InputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: vec![2],
            contents,
        }
    }

    #[test]
    fn tensors_come_raw_or_typed_but_not_both() {
        let typed = m::Contents {
            uint: vec![1, 2],
            int64: vec![3, 4],
            ..m::Contents::default()
        };
        let data = |request| read(request).map(|r| r.inputs[0].tensor.data.clone());
        let raw = vec![vec![7, 8]];
        assert_eq!(
            data(request(input("UINT8", None), raw.clone())).unwrap(),
            TensorData::U8(vec![7, 8])
        );
        assert_eq!(
            data(request(input("INT64", Some(typed.clone())), vec![])).unwrap(),
            TensorData::I64(vec![3, 4])
        );
        for bad in [
            request(input("UINT8", Some(typed.clone())), raw.clone()),
            request(input("UINT8", None), vec![]),
            request(input("UINT8", None), vec![vec![1], vec![2]]),
            request(input("FP32", Some(typed)), vec![]),
            request(input("BF16", None), raw),
        ] {
            assert_eq!(read(bad).err().unwrap().code.as_str(), "tensor_invalid");
        }
    }
}
