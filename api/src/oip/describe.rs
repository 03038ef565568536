//! What the server and its models say of themselves, as the protocol's JSON.

use std::time::Duration;

use novastream_inference::engine::{ModelCard, TensorSpec};
use serde_json::{Value, json};

use super::{EXTENSIONS, Entry, SERVER, tensors};
use std::sync::atomic::Ordering;

/// `GET /v2`
pub fn server() -> Value {
    json!({"name": SERVER, "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS})
}

/// `GET /v2/models/NAME`; `versions` are all that are loaded.
pub fn model(card: &ModelCard, versions: &[String]) -> Value {
    let list = |specs: &[TensorSpec]| -> Vec<Value> {
        let one = |s: &TensorSpec| json!({"name": s.name, "datatype": tensors::name(s.data), "shape": s.shape});
        specs.iter().map(one).collect()
    };
    json!({
        "name": card.name,
        "versions": versions,
        "platform": card.platform,
        "inputs": list(&card.inputs),
        "outputs": list(&card.outputs),
    })
}

/// `GET /v2/models/NAME/config`
pub fn config(card: &ModelCard) -> Value {
    let list = |specs: &[TensorSpec]| -> Vec<Value> {
        let one = |s: &TensorSpec| {
            let kind = match tensors::name(s.data) {
                "BYTES" => "STRING",
                name => name,
            };
            json!({"name": s.name, "data_type": format!("TYPE_{kind}"), "dims": s.shape})
        };
        specs.iter().map(one).collect()
    };
    json!({
        "name": card.name,
        "platform": card.platform,
        "backend": card.platform,
        // The first axis is the batch, and it is part of the shapes.
        "max_batch_size": 0,
        "input": list(&card.inputs),
        "output": list(&card.outputs),
        "parameters": {"labels": {"string_value": card.labels.join("\n")}},
    })
}

/// One line of `POST /v2/repository/index`
pub fn index(entry: &Entry) -> Value {
    let card = entry.model.card();
    let offered = entry.offered();
    json!({
        "name": card.name,
        "version": card.version,
        "state": if offered { "READY" } else { "UNAVAILABLE" },
        "reason": if offered { "" } else { "unloaded" },
    })
}

/// One line of `GET /v2/models/stats`
pub fn stats(entry: &Entry) -> Value {
    let card = entry.model.card();
    let s = entry.model.stats();
    let one = |count: u64, ns: u64| json!({"count": count, "ns": ns});
    let ns = |time: Duration| time.as_nanos() as u64;
    let read = entry.counts.read_ns.load(Ordering::Relaxed);
    let written = entry.counts.written_ns.load(Ordering::Relaxed);
    let none = one(0, 0);
    let batches: Vec<Value> = s
        .by_size
        .iter()
        .map(|(size, of)| {
            json!({
                "batch_size": size,
                "compute_input": none,
                "compute_infer": one(of.batches, ns(of.compute)),
                "compute_output": none,
            })
        })
        .collect();
    json!({
        "name": card.name,
        "version": card.version,
        "last_inference": s.last_ms,
        "inference_count": s.answered,
        "execution_count": s.by_size.values().map(|of| of.batches).sum::<u64>(),
        "inference_stats": {
            "success": one(s.answered, ns(s.queued + s.computed)),
            "fail": one(s.failed + s.shed + s.late, ns(s.failed_time)),
            "queue": one(s.answered, ns(s.queued)),
            "compute_input": one(s.answered, read),
            "compute_infer": one(s.answered, ns(s.computed)),
            "compute_output": one(s.answered, written),
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": batches,
        "memory_usage": [],
    })
}
