//! The text path of one message: normalise, then hash.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use novastream_features::text::{NgramHasher, Normalizer};

const MESSAGES: [(&str, &str); 4] = [
    ("short", "gg wp that was close"),
    ("disguised", "you are an i.d.i.o.t and a l0000ser, іdіоt"),
    ("cyrillic", "привет, как дела сегодня"),
    (
        "long",
        "I have been watching this channel for about two years now and I still think that the \
         older format, with one long session on Sundays and no guests, was easier to follow; what \
         do the others here think, and would a poll help you to decide?",
    ),
];

fn text(c: &mut Criterion) {
    let normalizer = Normalizer::new();
    let hasher = NgramHasher::new(19);
    let mut group = c.benchmark_group("text");
    group.throughput(Throughput::Elements(1));
    for (name, message) in MESSAGES {
        group.bench_function(format!("normalize/{name}"), |b| {
            b.iter(|| normalizer.normalize(black_box(message)));
        });
        let normalized = normalizer.normalize(message);
        let mut features = Vec::new();
        group.bench_function(format!("hash/{name}"), |b| {
            b.iter(|| hasher.features(black_box(message), &normalized, &mut features));
        });
    }
    group.finish();
}

criterion_group!(benches, text);
criterion_main!(benches);
