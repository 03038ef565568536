//! What a model is: manifests, artifacts, importers, graphs and architectures.
//!
//! - [`manifest`]: the TOML that names a model, its files, hashes, sources, labels and contract;
//! - [`aliases`]: which version of a model is production, and which is on trial;
//! - [`golden`]: stored answers that a model must still give;
//! - [`catalog`]: the third-party models we know, and the zoo of models we trained;
//! - [`store`]: the folder that holds pulled artifacts, verified on every read;
//! - [`import`]: foreign formats (TensorFlow.js layers, TFLite) turned into ONNX;
//! - [`onnx`]: the subset of ONNX that the importers write and the fallback reads;
//! - [`candle_graph`]: runs that subset without ONNX Runtime;
//! - [`convnet`]: runs the picture networks of that subset in eight bits, faster;
//! - [`encoder`]: the text encoder, trained and run in Candle;
//! - [`sound`]: the sound network and heads on sound embeddings, trained and run;
//! - [`frame_heads`]: logistic heads on the features of the picture networks;
//! - [`whisper`]: speech to text, weights from the operator;
//! - [`linear`]: linear models over hashed n-grams;
//! - [`recommender`]: item-to-item, factor and ranking models, and the bundle they ship in;
//! - [`card`]: model cards made from manifests.

pub mod aliases;
pub mod candle_graph;
pub mod card;
pub mod catalog;
pub mod convnet;
pub mod encoder;
pub mod frame_heads;
pub mod golden;
pub mod import;
mod int8;
pub mod linear;
pub mod manifest;
pub mod onnx;
pub mod recommender;
pub mod sound;
pub mod store;
pub mod whisper;
