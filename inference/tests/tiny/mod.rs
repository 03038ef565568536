//! Models of a few numbers.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use novastream_models::encoder::pack::{Description, Quantized, VOCABULARY_FILE, WEIGHTS_FILE};
use novastream_models::encoder::{ChatEncoder, ChatHead, EncoderConfig, Route};
use novastream_models::linear::{Head, LinearChatModel};
use novastream_models::manifest::{Contract, FileSpec, MANIFEST_FILE, Manifest, Task};
use novastream_models::store::sha256_hex;

pub const CONFIG: EncoderConfig = EncoderConfig {
    vocabulary: 60,
    positions: 20,
    segments: 2,
    width: 32,
    inner: 64,
    layers: 2,
    heads: 4,
};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn many(&mut self, n: usize, scale: f32, around: f32) -> Vec<f32> {
        (0..n).map(|_| around + scale * self.next()).collect()
    }
}

/// An encoder with two layers and random weights, for the heads `toxicity` and `hate`.
pub fn encoder() -> ChatEncoder {
    let mut numbers = Numbers(0x5EED);
    let mut matrices = BTreeMap::new();
    let mut floats = BTreeMap::new();
    let w = CONFIG.width;
    let mut matrix = |name: String, rows: usize, columns: usize, scales: usize| {
        let steps = numbers.many(rows * columns, 127.0, 0.0);
        let steps = steps.into_iter().map(|s| s as i8).collect();
        let scales = numbers.many(scales, 0.0005, 0.0015);
        let shape = [rows, columns];
        matrices.insert(
            name,
            Quantized {
                shape,
                steps,
                scales,
            },
        );
    };
    matrix(
        "embeddings.words".into(),
        CONFIG.vocabulary,
        w,
        CONFIG.vocabulary,
    );
    for layer in 0..CONFIG.layers {
        for (name, rows, columns) in [
            ("qkv", w, 3 * w),
            ("out", w, w),
            ("up", w, CONFIG.inner),
            ("down", CONFIG.inner, w),
        ] {
            matrix(format!("layers.{layer}.{name}"), rows, columns, columns);
        }
    }
    let mut norm = |numbers: &mut Numbers, name: String| {
        // What comes into the norm of the embeddings has no bias of its own.
        let bias = if name == "embeddings.norm" { 0.0 } else { 0.1 };
        let mut values = numbers.many(w, bias, 0.0);
        values.extend(numbers.many(w, 0.2, 1.0));
        values.extend(numbers.many(w, 0.1, 0.0));
        floats.insert(name, (vec![3, w], values));
    };
    norm(&mut numbers, "embeddings.norm".into());
    for layer in 0..CONFIG.layers {
        norm(&mut numbers, format!("layers.{layer}.attention_norm"));
        norm(&mut numbers, format!("layers.{layer}.norm"));
    }
    let mut put = |name: String, shape: Vec<usize>, scale| {
        let values = numbers.many(shape.iter().product(), scale, 0.0);
        floats.insert(name, (shape, values));
    };
    for layer in 0..CONFIG.layers {
        put(format!("layers.{layer}.qkv_bias"), vec![3 * w], 0.1);
        put(format!("layers.{layer}.up_bias"), vec![CONFIG.inner], 0.1);
    }
    put(
        "embeddings.positions".into(),
        vec![CONFIG.positions, w],
        0.1,
    );
    put("embeddings.segments".into(), vec![CONFIG.segments, w], 0.1);
    put("head.weight".into(), vec![w, 2], 0.5);
    put("head.bias".into(), vec![2], 0.5);
    let head = |name: &str| ChatHead {
        name: name.to_owned(),
        blend: [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    };
    ChatEncoder {
        description: Description {
            config: CONFIG,
            own_tokens: 12,
            context_tokens: 8,
            emoji_names: true,
            route: Route {
                short: [0.1, 0.9],
                long: [0.0, 1.0],
                router: None,
            },
            heads: vec![head("toxicity"), head("hate")],
        },
        matrices,
        floats,
    }
}

fn manifest(name: &str, version: &str, files: Vec<FileSpec>) -> Manifest {
    Manifest {
        name: name.into(),
        version: version.into(),
        task: Task::Chat,
        licence: "Apache-2.0".into(),
        description: "for tests".into(),
        limits: String::new(),
        importer: None,
        labels: Vec::new(),
        labels_file: None,
        metrics: BTreeMap::new(),
        thresholds: BTreeMap::new(),
        int8: None,
        contract: Contract::default(),
        files,
        sources: Vec::new(),
    }
}

fn put(zoo: &Path, name: &str, version: &str, files: &[(&str, Vec<u8>)]) {
    let dir = zoo.join(name).join(version);
    std::fs::create_dir_all(&dir).unwrap();
    let spec = |(path, bytes): &(&str, Vec<u8>)| {
        std::fs::write(dir.join(path), bytes).unwrap();
        FileSpec {
            path: (*path).to_owned(),
            sha256: sha256_hex(bytes),
            size: bytes.len() as u64,
            platform: None,
        }
    };
    let manifest = manifest(name, version, files.iter().map(spec).collect());
    std::fs::write(dir.join(MANIFEST_FILE), manifest.to_toml().unwrap()).unwrap();
}

/// A linear model of a quarter of a megabyte that gives every message the same scores: `harassment` as given, and
/// 0.5 for what the encoder decides.
pub fn put_linear(zoo: &Path, version: &str, harassment: f32) {
    const BITS: u8 = 15;
    let head = |name: &str, score: f32| Head {
        name: name.into(),
        step: 1.0,
        bias: (score / (1.0 - score)).ln(),
        slope: 1.0,
        threshold: 0.0,
    };
    let heads = vec![
        head("toxicity", 0.5),
        head("hate", 0.5),
        head("harassment", harassment),
    ];
    let weights = vec![vec![0.0; 1 << BITS]; heads.len()];
    let model = LinearChatModel::quantize(BITS, heads, &weights).unwrap();
    let bytes = model.to_bytes().unwrap();
    put(zoo, "chat-linear", version, &[("weights.nslm", bytes)]);
}

/// The encoder with `bias` added to its logits.
pub fn put_encoder(zoo: &Path, version: &str, bias: f32) {
    let mut model = encoder();
    let (_, values) = model.floats.get_mut("head.bias").unwrap();
    for value in values {
        *value += bias;
    }
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let words = "can someone explain the new patch to me please first time here love stream \
                 that was a very good game everyone hello see you tomorrow all and thanks for";
    let mut vocabulary: Vec<&str> = specials
        .into_iter()
        .chain(words.split_whitespace())
        .collect();
    vocabulary.truncate(CONFIG.vocabulary);
    let files = [
        (WEIGHTS_FILE, model.to_bytes().unwrap()),
        (VOCABULARY_FILE, (vocabulary.join("\n") + "\n").into_bytes()),
    ];
    put(zoo, "chat-minilm", version, &files);
}
