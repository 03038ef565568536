//! Engines that run the encoder over packed texts, behind the same inputs as its graph.

use novastream_models::encoder::{EncoderError, Int8Classifier, Packed, TextClassifier};

use crate::backend::{
    BackendError, NATIVE_ENGINE, NamedTensor, Session, Tensor, TensorData, guarded,
};

/// What runs packed texts.
pub(crate) trait Classifier: Send + Sync {
    /// Its name.
    const ENGINE: &'static str;

    /// One row of logits a text.
    fn logits(&self, texts: &Packed) -> Result<Vec<Vec<f32>>, EncoderError>;
}

/// The weights as floats, in Candle.
impl Classifier for TextClassifier {
    const ENGINE: &'static str = "candle";

    fn logits(&self, texts: &Packed) -> Result<Vec<Vec<f32>>, EncoderError> {
        self.logits(texts)
    }
}

/// The weights in eight bits, by kernels of our own.
impl Classifier for Int8Classifier {
    const ENGINE: &'static str = NATIVE_ENGINE;

    fn logits(&self, texts: &Packed) -> Result<Vec<Vec<f32>>, EncoderError> {
        self.logits(texts)
    }
}

/// Texts of a batch are packed, their padding is not computed.
pub(crate) struct PackedSession<C>(pub C);

impl<C: Classifier> Session for PackedSession<C> {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        guarded(|| {
            let shape = inputs
                .first()
                .map_or_else(Vec::new, |i| i.tensor.shape.clone());
            let [texts, length] = shape.as_slice() else {
                return Err(wrong("ids", "needs texts and a length".to_owned()));
            };
            let [ids, mask, own] =
                ["ids", "mask", "own"].map(|name| integers(&inputs, name, &shape));
            let (ids, mask, own) = (ids?, mask?, own?);
            let mut packed = Packed::default();
            for row in (0..*texts).map(|at| at * length..(at + 1) * length) {
                let (mut mine, mut context) = (Vec::new(), Vec::new());
                for at in row {
                    let id = u32::try_from(ids[at])
                        .map_err(|_| wrong("ids", format!("holds the token {}", ids[at])))?;
                    match (mask[at], own[at]) {
                        (0, _) => {}
                        (_, 0) => context.push(id),
                        _ => mine.push(id),
                    }
                }
                packed.push(&mine, &context).map_err(failed::<C>)?;
            }
            let rows = self.0.logits(&packed).map_err(failed::<C>)?;
            let heads = rows.first().map_or(0, Vec::len);
            let values = rows.concat();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(wrong(
                    "logits",
                    "holds a value that is no number".to_owned(),
                ));
            }
            Ok(vec![NamedTensor {
                name: "logits".to_owned(),
                tensor: Tensor::f32(vec![*texts, heads], values)?,
            }])
        })
    }

    fn backend(&self) -> &'static str {
        C::ENGINE
    }
}

fn integers<'a>(
    inputs: &'a [NamedTensor],
    name: &str,
    shape: &[usize],
) -> Result<&'a [i64], BackendError> {
    let input = inputs.iter().find(|i| i.name == name);
    match input.map(|i| &i.tensor) {
        Some(Tensor {
            shape: found,
            data: TensorData::I64(values),
        }) if found == shape => Ok(values),
        Some(_) => Err(wrong(name, format!("must be int64 of the shape {shape:?}"))),
        None => Err(wrong(name, "is missing".to_owned())),
    }
}

fn failed<C: Classifier>(error: EncoderError) -> BackendError {
    BackendError::Run {
        backend: C::ENGINE,
        message: error.to_string(),
    }
}

fn wrong(name: &str, message: String) -> BackendError {
    BackendError::Tensor {
        name: name.to_owned(),
        message,
    }
}
