//! Pooled features of pictures from both networks, computed on Candle and kept between runs.

use std::path::{Path, PathBuf};

use novastream_features::picture::{RgbImage, resize_bilinear_align_corners};
use novastream_models::candle_graph::CandleGraph;
use novastream_models::catalog::catalog_entry;
use novastream_models::frame_heads::{JOINT_BASE, SCREEN_BASE};
use novastream_models::import::MODEL_FILE;
use novastream_models::store::ArtifactStore;

use super::FramesTrainError;

const SIDE: usize = 224;

/// Features of one view.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The small network's.
    pub small: Vec<f32>,
    /// The large network's.
    pub large: Vec<f32>,
}

/// Makes features of pictures.
pub trait Extractor {
    /// Features of each picture, in order.
    fn extract(&self, pictures: &[RgbImage]) -> Result<Vec<Features>, FramesTrainError>;
    /// What the features come from, for the cache.
    fn id(&self) -> String;
}

/// The two networks of the catalogue on Candle.
#[derive(Debug)]
pub struct Networks {
    small: CandleGraph,
    large: CandleGraph,
    id: String,
}

impl Networks {
    /// Loads both from a store of pulled models.
    pub fn load(store: &ArtifactStore) -> Result<Self, FramesTrainError> {
        let load = |name: &str| -> Result<(CandleGraph, String), FramesTrainError> {
            let missing = |message: String| FramesTrainError::NoBase {
                name: name.to_owned(),
                message,
            };
            let manifest =
                catalog_entry(name).ok_or_else(|| missing("not in the catalogue".to_owned()))?;
            let bytes = store
                .read(&manifest, MODEL_FILE)
                .map_err(|e| missing(e.to_string()))?;
            let graph = CandleGraph::load(&bytes).map_err(|e| missing(e.to_string()))?;
            Ok((graph, manifest.id()))
        };
        let ((small, a), (large, b)) = (load(SCREEN_BASE)?, load(JOINT_BASE)?);
        Ok(Self {
            small,
            large,
            id: format!("{a}+{b}"),
        })
    }
}

impl Extractor for Networks {
    fn extract(&self, pictures: &[RgbImage]) -> Result<Vec<Features>, FramesTrainError> {
        let mut pixels = Vec::with_capacity(pictures.len() * SIDE * SIDE * 3);
        for picture in pictures {
            let side = SIDE as u32;
            resize_bilinear_align_corners(picture, side, side, &mut pixels, 1.0 / 255.0);
        }
        let n = pictures.len();
        let run = |graph: &CandleGraph| -> Result<Vec<Vec<f32>>, FramesTrainError> {
            let shape = vec![n, SIDE, SIDE, 3];
            let outputs = graph.run(vec![("image".to_owned(), shape, pixels.clone())])?;
            let values = outputs
                .into_iter()
                .find(|(name, ..)| name == "features")
                .map(|(_, _, values)| values)
                .unwrap_or_default();
            let length = (values.len() / n.max(1)).max(1);
            Ok(values.chunks_exact(length).map(<[f32]>::to_vec).collect())
        };
        let (small, large) = (run(&self.small)?, run(&self.large)?);
        let pairs = small.into_iter().zip(large);
        Ok(pairs
            .map(|(small, large)| Features { small, large })
            .collect())
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// Features in files, one a picture.
#[derive(Debug)]
pub struct Cache {
    dir: Option<PathBuf>,
}

impl Cache {
    /// A cache in `dir`; with `None` nothing is kept.
    pub fn new(dir: Option<&Path>) -> Result<Self, FramesTrainError> {
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir).map_err(|source| FramesTrainError::Io {
                path: dir.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            dir: dir.map(Path::to_owned),
        })
    }

    /// What is kept under `key`; anything damaged counts as nothing.
    pub fn get(&self, key: &str) -> Option<Vec<Features>> {
        let bytes = std::fs::read(self.dir.as_ref()?.join(key)).ok()?;
        let (head, values) = bytes.split_at_checked(12)?;
        let numbers: Vec<usize> = head
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b) as usize)
            .collect();
        let &[n, small, large] = numbers.as_slice() else {
            return None;
        };
        let length = small.checked_add(large).filter(|l| *l > 0)?;
        if n.checked_mul(length)?.checked_mul(4)? != values.len() {
            return None;
        }
        let floats: Vec<f32> = values
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let views = floats.chunks_exact(length);
        Some(
            views
                .map(|v| Features {
                    small: v[..small].to_vec(),
                    large: v[small..].to_vec(),
                })
                .collect(),
        )
    }

    /// Keeps features; whole or not at all.
    pub fn put(&self, key: &str, features: &[Features]) -> Result<(), FramesTrainError> {
        let (Some(dir), Some(first)) = (&self.dir, features.first()) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for number in [features.len(), first.small.len(), first.large.len()] {
            bytes.extend((number as u32).to_le_bytes());
        }
        for view in features {
            for value in view.small.iter().chain(&view.large) {
                bytes.extend(value.to_le_bytes());
            }
        }
        let (path, part) = (dir.join(key), dir.join(format!("{key}.part")));
        std::fs::write(&part, bytes)
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|source| FramesTrainError::Io { path, source })
    }
}
