//! Importers: foreign model formats turned into ONNX, deterministically.
//!
//! The same source bytes give the same imported bytes on every machine, so the lock file beside
//! them can name their hashes. Input is hostile until proven otherwise: corrupt files give an
//! [`ImportError`], never a panic or an allocation larger than the input warrants.

use std::collections::BTreeMap;

use crate::manifest::Importer;

mod nsfwjs;
mod tflite;
mod yamnet;

/// Name of the graph that every importer writes.
pub const MODEL_FILE: &str = "model.onnx";

/// A source file that can't be converted.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The manifest does not list a file that the importer needs.
    #[error("needs the file {0:?}")]
    MissingFile(&'static str),
    /// The JavaScript wrapper is not the expected one.
    #[error("{file}: {message}")]
    Script {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The weights do not fit their description.
    #[error("weights {name:?}: {message}")]
    Weights {
        /// The tensor.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A TFLite file with broken structure.
    #[error("flatbuffer: {0}")]
    Flatbuffer(&'static str),
    /// A layer or operator that the importer does not know, or knows otherwise.
    #[error("{layer}: {message}")]
    Layer {
        /// The layer or operator.
        layer: String,
        /// What is not supported.
        message: String,
    },
}

impl ImportError {
    /// Stable code for logs and API answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingFile(_) => "import_missing_file",
            Self::Script { .. } => "import_script",
            Self::Weights { .. } => "import_weights",
            Self::Flatbuffer(_) => "import_flatbuffer",
            Self::Layer { .. } => "import_layer",
        }
    }
}

/// Version of an importer's output. Raising it makes stores convert again.
pub fn version(importer: Importer) -> u32 {
    match importer {
        Importer::Nsfwjs | Importer::YamnetTflite => 1,
    }
}

/// Converts `sources` (file path → bytes) into files to write beside them.
pub fn run(
    importer: Importer,
    sources: &BTreeMap<String, Vec<u8>>,
) -> Result<BTreeMap<String, Vec<u8>>, ImportError> {
    let source = |name: &'static str| {
        sources
            .get(name)
            .map(Vec::as_slice)
            .ok_or(ImportError::MissingFile(name))
    };
    let model = match importer {
        Importer::Nsfwjs => {
            // A map is in order of names, which is the shards' order up to nine of them.
            let shards: Vec<&[u8]> = sources
                .iter()
                .filter(|(name, _)| name.starts_with("group1-shard"))
                .map(|(_, bytes)| bytes.as_slice())
                .collect();
            let name = match shards.len() {
                0 => return Err(ImportError::MissingFile("group1-shard1of1.min.js")),
                1 => "nsfw-mobilenet-v2",
                _ => "nsfw-mobilenet-v2-mid",
            };
            nsfwjs::import(source("model.min.js")?, &shards, name)?
        }
        Importer::YamnetTflite => yamnet::import(source("yamnet.tflite")?)?,
    };
    Ok(BTreeMap::from([(
        MODEL_FILE.to_owned(),
        crate::onnx::encode(&model),
    )]))
}
