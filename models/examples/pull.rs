//! Pulls every catalog model into `$NOVASTREAM_MODELS`.

use novastream_models::store::{ArtifactStore, PullEvent, catalog};

fn main() {
    let store = ArtifactStore::from_env();
    for manifest in catalog() {
        let started = std::time::Instant::now();
        let result = store.pull(&manifest, &mut |event| {
            if !matches!(event, PullEvent::Progress { .. }) {
                println!("{}: {event:?}", manifest.id());
            }
        });
        println!("{}: {result:?} in {:?}", manifest.id(), started.elapsed());
    }
}
