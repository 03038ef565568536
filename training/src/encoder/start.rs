//! What a run starts from: a pretrained BERT, or a chat encoder that an earlier run made.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use novastream_datasets::chat::head_index;
use novastream_features::text::EncoderText;
use novastream_models::catalog::catalog_entry;
use novastream_models::encoder::pack::{VOCABULARY_FILE, WEIGHTS_FILE};
use novastream_models::encoder::{
    ChatEncoder, EncoderConfig, EncoderError, HEAD_BIAS, HEAD_WEIGHT, import_bert, layer_names,
};
use novastream_models::store::ArtifactStore;

use super::{EncoderArgs, SHAPE};
use crate::chat::TrainError;

/// The catalogue's name of the encoder that training starts from where nothing else is named.
const BASE: &str = "minilm-l6-v2";

/// What a run starts from.
pub(super) struct Start {
    pub config: EncoderConfig,
    pub shape: EncoderText,
    pub weights: Weights,
    pub vocabulary: String,
}

/// Weights at the start.
pub(super) enum Weights {
    /// To be trained: the encoder's by name, and outputs that are known already.
    ToTrain(HashMap<String, Tensor>, Vec<Output>),
    /// Trained before.
    Packed(Box<ChatEncoder>),
}

/// One column of an output layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its place among all chat heads.
    pub head: usize,
    /// One number a dimension of the encoder.
    pub weight: Vec<f32>,
    /// The output's constant.
    pub bias: f32,
}

pub(super) fn read(args: &EncoderArgs) -> Result<Start, TrainError> {
    let start = whole(args)?;
    if args.keep_layers.is_empty() {
        return Ok(start);
    }
    keep(start, &args.keep_layers)
}

fn whole(args: &EncoderArgs) -> Result<Start, TrainError> {
    match (&args.from, &args.warm_start, &args.base) {
        (Some(dir), _, _) => finished(dir),
        (None, Some(dir), _) => earlier(dir),
        (None, None, Some(dir)) => bert(|name| file(dir, name)),
        (None, None, None) => {
            let entry =
                catalog_entry(BASE).ok_or_else(|| TrainError::NoBase("no such model".into()))?;
            let store = ArtifactStore::from_env();
            bert(|name| {
                let read = store.read(&entry, name);
                read.map_err(|error| TrainError::NoBase(error.to_string()))
            })
        }
    }
}

fn file(dir: &Path, name: &str) -> Result<Vec<u8>, TrainError> {
    let path = dir.join(name);
    std::fs::read(&path).map_err(|source| TrainError::Io { path, source })
}

fn bert(read: impl Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<Start, TrainError> {
    let config = EncoderConfig::from_bert(&read("config.json")?)?;
    Ok(Start {
        weights: Weights::ToTrain(
            import_bert(&read("model.safetensors")?, &config)?,
            Vec::new(),
        ),
        shape: SHAPE,
        vocabulary: String::from_utf8_lossy(&read("vocab.txt")?).into_owned(),
        config,
    })
}

/// The start without the other layers. Layers of a fine-tuned encoder still work without their
/// neighbours (Sanh et al. 2019); what is lost, a teacher brings back.
fn keep(start: Start, layers: &[usize]) -> Result<Start, TrainError> {
    let all = start.config.layers;
    let rising = layers.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || layers.last().is_none_or(|last| *last >= all) {
        let message = format!("--keep-layers takes rising numbers below {all}, such as 0,2,4");
        return Err(TrainError::Usage(message));
    }
    let Weights::ToTrain(mut weights, outputs) = start.weights else {
        return Ok(start);
    };
    for layer in 0..all {
        let parts: Vec<_> = layer_names(layer)
            .map(|name| weights.remove(&name))
            .collect();
        // A kept layer moves down, to where nothing stands any more.
        if let Some(place) = layers.iter().position(|kept| *kept == layer) {
            let named = layer_names(place).zip(parts);
            weights.extend(named.filter_map(|(name, part)| Some((name, part?))));
        }
    }
    Ok(Start {
        config: EncoderConfig {
            layers: layers.len(),
            ..start.config
        },
        weights: Weights::ToTrain(weights, outputs),
        ..start
    })
}

/// A model folder as it ships: not trained further.
fn finished(dir: &Path) -> Result<Start, TrainError> {
    let model = ChatEncoder::from_bytes(&file(dir, WEIGHTS_FILE)?)?;
    let description = &model.description;
    Ok(Start {
        config: description.config,
        shape: EncoderText {
            own: description.own_tokens,
            context: description.context_tokens,
            emoji_names: description.emoji_names,
        },
        vocabulary: String::from_utf8_lossy(&file(dir, VOCABULARY_FILE)?).into_owned(),
        weights: Weights::Packed(Box::new(model)),
    })
}

/// For each of the packed encoder's outputs, its place among all heads.
pub(super) fn places(model: &ChatEncoder) -> Vec<Option<usize>> {
    let heads = model.description.heads.iter();
    heads.map(|head| head_index(&head.name)).collect()
}

/// A model folder whose training goes on. The eight bits become floats: training soon moves them
/// off their steps.
fn earlier(dir: &Path) -> Result<Start, TrainError> {
    let model = ChatEncoder::from_bytes(&file(dir, WEIGHTS_FILE)?)?;
    let mut weights = model.to_weights()?;
    let mut take = |name: &str| {
        let tensor = weights.remove(name);
        tensor.ok_or_else(|| EncoderError::Missing(name.to_owned()))
    };
    let bias: Vec<f32> = take(HEAD_BIAS)?.to_vec1().map_err(EncoderError::from)?;
    let columns: Vec<Vec<f32>> = take(HEAD_WEIGHT)?
        .t()
        .and_then(|t| t.to_vec2())
        .map_err(EncoderError::from)?;
    let outputs = places(&model)
        .into_iter()
        .zip(columns.into_iter().zip(bias))
        .filter_map(|(head, (weight, bias))| {
            let head = head?;
            Some(Output { head, weight, bias })
        })
        .collect();
    Ok(Start {
        config: model.description.config,
        shape: SHAPE,
        weights: Weights::ToTrain(weights, outputs),
        vocabulary: String::from_utf8_lossy(&file(dir, VOCABULARY_FILE)?).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(layers: usize) -> Start {
        let config = EncoderConfig {
            vocabulary: 1,
            positions: 1,
            segments: 1,
            width: 1,
            inner: 1,
            layers,
            heads: 1,
        };
        let weights = (0..layers)
            .flat_map(|layer| layer_names(layer).map(move |name| (name, layer)))
            .map(|(name, layer)| {
                let value = Tensor::from_vec(vec![layer as f32], 1, &candle_core::Device::Cpu);
                (name, value.unwrap())
            })
            .collect();
        Start {
            config,
            shape: SHAPE,
            weights: Weights::ToTrain(weights, Vec::new()),
            vocabulary: String::new(),
        }
    }

    #[test]
    fn kept_layers_move_together_and_the_others_are_gone() {
        let kept = keep(start(6), &[1, 3, 5]).unwrap();
        assert_eq!(kept.config.layers, 3);
        let Weights::ToTrain(weights, _) = kept.weights else {
            unreachable!("it is to be trained")
        };
        assert_eq!(weights.len(), 3 * layer_names(0).count());
        for (place, layer) in [1.0, 3.0, 5.0].into_iter().enumerate() {
            for name in layer_names(place) {
                assert_eq!(weights[&name].to_vec1::<f32>().unwrap(), [layer]);
            }
        }
    }

    #[test]
    fn layers_that_are_not_there_or_out_of_order_are_refused() {
        for layers in [vec![6], vec![0, 0], vec![3, 1]] {
            let error = keep(start(6), &layers).err().unwrap();
            assert!(error.to_string().contains("below 6"), "{error}");
        }
    }
}
