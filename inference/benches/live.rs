//! What a live list costs: the sample model of the zoo, 250 streams that are live, viewers with
//! histories. `cargo bench -p novastream-inference --bench live`.

use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use novastream_features::interactions::{HistoryLimits, HourClock, Interaction};
use novastream_inference::recommend::{LiveScorer, Scratch};
use novastream_models::recommender::RecommenderBundle;

const HOUR: i64 = 3_600;

fn live(c: &mut Criterion) {
    let dir = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../models/zoo/recommender-sample/0.2.0"
    );
    let bundle = match RecommenderBundle::load(Path::new(dir)) {
        Ok(bundle) => Arc::new(bundle),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let Some(clock) = HourClock::new(1.0) else {
        return;
    };
    let mut scorer = LiveScorer::new(bundle, clock, HistoryLimits::default());
    for at in 0..40_000_u32 {
        scorer.observe(Interaction {
            user: at % 500,
            item: at.wrapping_mul(2_654_435_761) % 250,
            time: i64::from(at) * 60,
            group: Some(at % 6),
        });
    }
    let now = 40_000 * 60 + HOUR;
    scorer.advance(now);
    let candidates: Vec<u32> = (0..250).collect();
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let mut user = 0;
    c.bench_function("live list of 250", |b| {
        b.iter(|| {
            user = (user + 1) % 500;
            scorer.score(user, now, &candidates, &mut scratch, &mut out);
        });
    });
}

criterion_group!(benches, live);
criterion_main!(benches);
