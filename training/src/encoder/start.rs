//! What a run starts from: a pretrained BERT, or a chat encoder that an earlier run made.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use novastream_datasets::chat::head_index;
use novastream_features::text::EncoderText;
use novastream_models::catalog::catalog_entry;
use novastream_models::encoder::pack::{VOCABULARY_FILE, WEIGHTS_FILE};
use novastream_models::encoder::{
    ChatEncoder, EncoderConfig, EncoderError, HEAD_BIAS, HEAD_WEIGHT, import_bert,
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
