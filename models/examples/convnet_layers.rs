//! What each step of the picture networks costs on one core, the least of some runs:
//! `cargo run --release -p novastream-models --example convnet_layers -- 60`.
//! Networks that are not pulled are skipped by name.

use std::time::{Duration, Instant};

use novastream_models::{
    candle_graph::GraphError, catalog::catalog_entry, convnet::ConvNet, import::MODEL_FILE,
    store::ArtifactStore,
};

const SHAPE: [usize; 4] = [1, 224, 224, 3];

fn main() -> Result<(), GraphError> {
    let repeats = std::env::args().nth(1).and_then(|n| n.parse().ok());
    for model in ["nsfw-mobilenet-v2", "nsfw-mobilenet-v2-mid"] {
        let manifest = catalog_entry(model);
        let bytes = manifest.and_then(|m| ArtifactStore::from_env().read(&m, MODEL_FILE).ok());
        let Some(bytes) = bytes else {
            eprintln!("skipped: {model} not present");
            continue;
        };
        let network = ConvNet::load(&bytes)?;
        let picture: Vec<f32> = (0..SHAPE.iter().product::<usize>())
            .map(|i| ((i * 7919 + i / 672 * 31) % 256) as f32 / 255.0)
            .collect();
        let mut least = network.step_times(&picture)?;
        let mut whole = Duration::MAX;
        for _ in 0..repeats.unwrap_or(60) {
            for (least, (_, time)) in least.iter_mut().zip(network.step_times(&picture)?) {
                least.1 = least.1.min(time);
            }
            let start = Instant::now();
            network.run(&SHAPE, &picture)?;
            whole = whole.min(start.elapsed());
        }
        println!("{model}: {} us", whole.as_micros());
        for (name, time) in least {
            println!("{:>8} us  {name}", time.as_micros());
        }
    }
    Ok(())
}
