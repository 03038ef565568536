//! Raw input to model input: the same code in training and in serving.
//!
//! Pictures, sound, text and media containers come in; tensors' raw values, hashes and normalised
//! text go out. Nothing here knows a model.

pub mod audio;
pub mod interactions;
pub mod media;
pub mod pdq;
pub mod picture;
pub mod text;
