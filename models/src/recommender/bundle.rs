//! The folder that a recommender ships in.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Blend, Content, Ease, Factors, ItemKnn, Popularity, Ranker, RecommenderError, Scorer,
    ScorerKind, Segments, Sequence, SparseRows, TensorFile, Weighting,
};
use crate::manifest::{FileSpec, MANIFEST_FILE, Manifest, ManifestError, Task};

/// Item ids in the order of their numbers: a JSON list.
pub const ITEMS_FILE: &str = "items.json";
/// Settings that scoring needs: JSON.
pub const SETTINGS_FILE: &str = "recommender.json";
/// Arrays of the base models.
pub const WEIGHTS_FILE: &str = "base.safetensors";
/// Terms of the content model: a JSON list. Not there where items said nothing of themselves.
pub const TERMS_FILE: &str = "terms.json";
/// Groups of the items: JSON. Not there where events had none.
pub const GROUPS_FILE: &str = "groups.json";
/// Settings of the ranker: JSON. Not there where no ranker was trained.
pub const RANKER_SETTINGS_FILE: &str = "ranker.json";
/// Arrays of the ranker.
pub const RANKER_FILE: &str = "ranker.safetensors";

/// What scoring needs beside the arrays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecommenderConfig {
    /// How events become weights.
    pub weighting: Weighting,
    /// How base scores are joined.
    pub blend: Blend,
    /// Seconds in a step of time; `None` where time was only an order.
    pub step_seconds: Option<f64>,
    /// Latest time of the events that were learned from, in steps.
    pub trained_until: i64,
}

/// Which group an item belongs to, as its latest event said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemGroups {
    /// Groups by number.
    pub names: Vec<String>,
    /// Number of each item's group, where known.
    pub of: Vec<Option<u32>>,
}

/// The base models that were trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BaseModels {
    /// EASE.
    pub ease: Option<Ease>,
    /// Matrix factorisation.
    pub factors: Option<Factors>,
    /// Item neighbourhoods.
    pub knn: Option<ItemKnn>,
    /// Popularity.
    pub popularity: Option<Popularity>,
    /// What items say of themselves.
    pub content: Option<Content>,
    /// Audience segments.
    pub segments: Option<Segments>,
    /// What follows the latest starts.
    pub sequence: Option<Sequence>,
}

impl BaseModels {
    /// The scorer of a kind, if trained.
    pub fn get(&self, kind: ScorerKind) -> Option<&dyn Scorer> {
        fn up<T: Scorer>(model: Option<&T>) -> Option<&dyn Scorer> {
            model.map(|model| model as &dyn Scorer)
        }
        match kind {
            ScorerKind::Ease => up(self.ease.as_ref()),
            ScorerKind::Factors => up(self.factors.as_ref()),
            ScorerKind::ItemKnn => up(self.knn.as_ref()),
            ScorerKind::Popularity => up(self.popularity.as_ref()),
        }
    }
}

/// A recommender, ready to score.
#[derive(Clone, Debug, PartialEq)]
pub struct RecommenderBundle {
    /// Settings.
    pub config: RecommenderConfig,
    /// Base models.
    pub base: BaseModels,
    /// The ranker of live lists, where times allowed one.
    pub ranker: Option<Ranker>,
    /// Groups of items, where events had them.
    pub groups: ItemGroups,
    items: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl RecommenderBundle {
    /// Joins settings, item ids in the order of their numbers, and models.
    pub fn new(config: RecommenderConfig, items: Vec<String>, base: BaseModels) -> Self {
        let numbers = items
            .iter()
            .zip(0..)
            .map(|(name, number)| (name.clone(), number))
            .collect();
        Self {
            config,
            base,
            ranker: None,
            groups: ItemGroups::default(),
            items,
            numbers,
        }
    }

    /// Item ids in the order of their numbers.
    pub fn items(&self) -> &[String] {
        &self.items
    }

    /// The number of an item id.
    pub fn item_number(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// The blend of base models: scores `candidates` into `out`, which is as long.
    pub fn score(&self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        out.fill(0.0);
        let mut scores = vec![0.0; candidates.len()];
        for part in &self.config.blend.parts {
            let Some(scorer) = self.base.get(part.kind) else {
                continue;
            };
            scorer.score(history, candidates, &mut scores);
            for (sum, score) in out.iter_mut().zip(&scores) {
                *sum += part.factor * score;
            }
        }
    }

    /// Writes the files into `dir`, which must exist, and answers their entries for the manifest.
    pub fn save(&self, dir: &Path) -> Result<Vec<FileSpec>, RecommenderError> {
        let mut tensors = TensorFile::default();
        put(&self.base, &mut tensors);
        let format = |name: &str, message: String| RecommenderError::Format {
            path: dir.join(name),
            message,
        };
        let json = |name: &str, text: serde_json::Result<Vec<u8>>| {
            text.map_err(|error| format(name, error.to_string()))
        };
        let mut contents = vec![
            (
                ITEMS_FILE,
                json(ITEMS_FILE, serde_json::to_vec(&self.items))?,
            ),
            (
                SETTINGS_FILE,
                json(SETTINGS_FILE, serde_json::to_vec_pretty(&self.config))?,
            ),
            (
                WEIGHTS_FILE,
                tensors
                    .to_bytes()
                    .map_err(|message| format(WEIGHTS_FILE, message))?,
            ),
        ];
        if let Some(content) = &self.base.content {
            let terms = serde_json::to_vec(content.terms());
            contents.push((TERMS_FILE, json(TERMS_FILE, terms)?));
        }
        if !self.groups.names.is_empty() {
            let groups = serde_json::to_vec(&self.groups);
            contents.push((GROUPS_FILE, json(GROUPS_FILE, groups)?));
        }
        if let Some(ranker) = &self.ranker {
            let mut tensors = TensorFile::default();
            ranker.put(&mut tensors);
            let arrays = tensors
                .to_bytes()
                .map_err(|message| format(RANKER_FILE, message))?;
            contents.push((
                RANKER_SETTINGS_FILE,
                json(RANKER_SETTINGS_FILE, ranker.head())?,
            ));
            contents.push((RANKER_FILE, arrays));
        }
        contents
            .into_iter()
            .map(|(name, bytes)| write(dir, name, &bytes))
            .collect()
    }

    /// Loads the bundle in `dir`: its manifest, then every file, whose hash must match.
    pub fn load(dir: &Path) -> Result<Self, RecommenderError> {
        let path = dir.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ManifestError::Read {
            path: path.clone(),
            source,
        })?;
        let manifest = Manifest::from_toml(&text, &path.display().to_string())?;
        if manifest.task != Task::Recommender {
            return Err(RecommenderError::NotRecommender {
                path: dir.to_owned(),
                task: manifest.task,
            });
        }
        let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for file in manifest.platform_files() {
            files.insert(&file.path, read(dir, file)?);
        }
        let format = |name: &str, message: String| RecommenderError::Format {
            path: dir.join(name),
            message,
        };
        let content = |name: &str| {
            files
                .get(name)
                .map(Vec::as_slice)
                .ok_or_else(|| format(name, "the manifest does not list it".to_owned()))
        };
        let json = |name: &str, error: serde_json::Error| format(name, error.to_string());
        let items: Vec<String> = serde_json::from_slice(content(ITEMS_FILE)?)
            .map_err(|error| json(ITEMS_FILE, error))?;
        let config = serde_json::from_slice(content(SETTINGS_FILE)?)
            .map_err(|error| json(SETTINGS_FILE, error))?;
        let terms: Vec<String> = match files.get(TERMS_FILE) {
            Some(text) => serde_json::from_slice(text).map_err(|error| json(TERMS_FILE, error))?,
            None => Vec::new(),
        };
        let base = TensorFile::from_bytes(content(WEIGHTS_FILE)?)
            .and_then(|mut tensors| take(&mut tensors, items.len(), terms))
            .map_err(|message| format(WEIGHTS_FILE, message))?;
        let mut bundle = Self::new(config, items, base);
        if let Some(text) = files.get(GROUPS_FILE) {
            bundle.groups =
                serde_json::from_slice(text).map_err(|error| json(GROUPS_FILE, error))?;
        }
        if let Some(head) = files.get(RANKER_SETTINGS_FILE) {
            let ranker = TensorFile::from_bytes(content(RANKER_FILE)?)
                .and_then(|mut tensors| Ranker::take(head, &mut tensors))
                .map_err(|message| format(RANKER_FILE, message))?;
            bundle.ranker = Some(ranker);
        }
        Ok(bundle)
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<FileSpec, RecommenderError> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).map_err(|source| RecommenderError::Io { path, source })?;
    Ok(FileSpec {
        path: name.to_owned(),
        sha256: hex::encode(Sha256::digest(bytes)),
        size: bytes.len() as u64,
        platform: None,
    })
}

fn read(dir: &Path, file: &FileSpec) -> Result<Vec<u8>, RecommenderError> {
    let path = dir.join(&file.path);
    let bytes = std::fs::read(&path).map_err(|source| RecommenderError::Io {
        path: path.clone(),
        source,
    })?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found == file.sha256 {
        Ok(bytes)
    } else {
        Err(RecommenderError::Corrupt {
            path,
            expected: file.sha256.clone(),
            found,
        })
    }
}

fn put(base: &BaseModels, tensors: &mut TensorFile) {
    match &base.ease {
        Some(Ease::Dense { items, weights }) => {
            tensors.put_f32("ease.weights", &[*items, *items], weights);
        }
        Some(Ease::Sparse(rows)) => put_rows("ease", rows, tensors),
        None => {}
    }
    if let Some(factors) = &base.factors {
        let dims = factors.dims();
        tensors.put_f32("factors.items", &[factors.items(), dims], factors.vectors());
        tensors.put_f32("factors.settings", &[3], &factors.settings());
    }
    if let Some(knn) = &base.knn {
        put_rows("knn", &knn.neighbours, tensors);
    }
    if let Some(popularity) = &base.popularity {
        let shares = &popularity.shares;
        tensors.put_f32("popularity.shares", &[shares.len()], shares);
    }
    if let Some(content) = &base.content {
        let rarity = content.rarity();
        tensors.put_f32("content.rarity", &[rarity.len()], rarity);
        put_rows("content", content.items(), tensors);
    }
    if let Some(segments) = &base.segments {
        let prior = segments.prior();
        tensors.put_f32("segments.prior", &[prior.len()], prior);
        let shape = [prior.len(), segments.items()];
        tensors.put_f32("segments.shares", &shape, segments.shares());
    }
    if let Some(sequence) = &base.sequence {
        sequence.put(tensors);
    }
}

fn take(tensors: &mut TensorFile, items: usize, terms: Vec<String>) -> Result<BaseModels, String> {
    let ease = if tensors.has("ease.weights") {
        let (shape, weights) = tensors.take_f32("ease.weights")?;
        if shape != [items, items] {
            return Err("ease.weights is not items × items".to_owned());
        }
        Some(Ease::Dense { items, weights })
    } else {
        take_rows("ease", items, items, tensors)?.map(Ease::Sparse)
    };
    let factors = if tensors.has("factors.items") {
        let (shape, vectors) = tensors.take_f32("factors.items")?;
        let (_, settings) = tensors.take_f32("factors.settings")?;
        let model = match (shape.as_slice(), settings.as_slice()) {
            ([height, dims], [unobserved, regularisation, exponent]) if *height == items => {
                Factors::new(*dims, vectors, *unobserved, *regularisation, *exponent)
            }
            _ => None,
        };
        Some(model.ok_or("factors.items does not fit")?)
    } else {
        None
    };
    let knn = take_rows("knn", items, items, tensors)?.map(|neighbours| ItemKnn { neighbours });
    let popularity = if tensors.has("popularity.shares") {
        let (_, shares) = tensors.take_f32("popularity.shares")?;
        if shares.len() != items {
            return Err("popularity.shares is not one number an item".to_owned());
        }
        Some(Popularity { shares })
    } else {
        None
    };
    let content = match take_rows("content", items, terms.len(), tensors)? {
        Some(rows) => {
            let (_, rarity) = tensors.take_f32("content.rarity")?;
            let model = Content::new(terms, rarity, rows);
            Some(model.ok_or("content: terms, rarity and rows do not fit together")?)
        }
        None => None,
    };
    let segments = if tensors.has("segments.prior") {
        let (_, prior) = tensors.take_f32("segments.prior")?;
        let (_, shares) = tensors.take_f32("segments.shares")?;
        let model = Segments::new(items, prior, shares);
        Some(model.ok_or("segments: priors and shares do not fit together")?)
    } else {
        None
    };
    Ok(BaseModels {
        ease,
        factors,
        knn,
        popularity,
        content,
        segments,
        sequence: Sequence::take(items, tensors)?,
    })
}

fn put_rows(name: &str, rows: &SparseRows, tensors: &mut TensorFile) {
    let (starts, columns, values) = rows.parts();
    tensors.put_u32(&format!("{name}.starts"), starts);
    tensors.put_u32(&format!("{name}.columns"), columns);
    tensors.put_f32(&format!("{name}.values"), &[values.len()], values);
}

fn take_rows(
    name: &str,
    height: usize,
    width: usize,
    tensors: &mut TensorFile,
) -> Result<Option<SparseRows>, String> {
    if !tensors.has(&format!("{name}.starts")) {
        return Ok(None);
    }
    let starts = tensors.take_u32(&format!("{name}.starts"))?;
    let columns = tensors.take_u32(&format!("{name}.columns"))?;
    let (_, values) = tensors.take_f32(&format!("{name}.values"))?;
    let rows = SparseRows::from_parts(width, starts, columns, values);
    rows.filter(|rows| rows.height() == height)
        .map(Some)
        .ok_or_else(|| format!("{name}: the rows do not fit together"))
}
