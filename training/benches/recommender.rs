//! What fitting and serving the recommender costs: `cargo bench -p novastream-training`. Events are
//! generated; `inverse` compares the two libraries that could solve EASE.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use faer::linalg::solvers::DenseSolveCore;
use linfa_linalg::cholesky::{Cholesky, InverseC};
use ndarray::Array2;
use novastream_datasets::events::Event;
use novastream_models::recommender::{FactorIndex, Factors, Scorer, Weighting, top_n};
use novastream_training::recommender::als::AlsParams;
use novastream_training::recommender::ease::{EaseParams, sparsify};
use novastream_training::recommender::matrix::Matrix;

const USERS: usize = 2_000;

/// Benches have no error path; a plain exit keeps the message short.
fn need<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1)
    })
}

/// Users who take forty items each, popular ones more often.
fn matrix(items: usize) -> Matrix {
    let mut state = 7_u64;
    let mut unit = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1 << 24) as f64
    };
    let events: Vec<Event> = (0..USERS * 40)
        .map(|at| Event {
            user: (at % USERS) as u32,
            item: (unit() * unit() * items as f64) as u32,
            time: at as i64,
            weight: 1.0,
            group: None,
        })
        .collect();
    Matrix::from_events(&events, USERS, items, &Weighting::default(), i64::MAX)
}

fn fits(c: &mut Criterion) {
    let mut group = c.benchmark_group("fit");
    group.sample_size(10);
    for items in [1_000, 2_000] {
        let matrix = matrix(items);
        let ease = need(EaseParams::default().check());
        group.bench_function(BenchmarkId::new("ease", items), |b| {
            b.iter(|| need(ease.fit(black_box(&matrix))));
        });
        let als = AlsParams {
            passes: 2,
            ..AlsParams::default()
        };
        let als = need(als.check());
        group.bench_function(BenchmarkId::new("als, two passes", items), |b| {
            b.iter(|| need(als.fit(black_box(&matrix), None)));
        });
    }
    group.finish();
}

/// The same inverse by both libraries, in single precision.
fn inverses(c: &mut Criterion) {
    let size = 1_000;
    let value = |row: usize, column: usize| {
        let near = 1.0 / (1.0 + row.abs_diff(column) as f32);
        if row == column { 20.0 } else { near }
    };
    let ours = faer::Mat::<f32>::from_fn(size, size, value);
    let theirs = Array2::from_shape_fn((size, size), |(row, column)| value(row, column));
    let mut group = c.benchmark_group("inverse 1000");
    group.sample_size(10);
    group.bench_function("faer", |b| {
        b.iter(|| {
            let factor = ours.llt(faer::Side::Lower);
            factor.map(|factor| factor.inverse()).ok()
        });
    });
    group.bench_function("linfa-linalg", |b| {
        b.iter(|| need(need(theirs.cholesky()).invc()));
    });
    group.finish();
}

fn lists(c: &mut Criterion) {
    let items = 3_000;
    let matrix = matrix(items);
    let ease = need(need(EaseParams::default().check()).fit(&matrix));
    let sparse = sparsify(ease, 128);
    let als = AlsParams {
        passes: 2,
        ..AlsParams::default()
    };
    let factors: Factors = need(need(als.check()).fit(&matrix, None));
    let histories: Vec<Vec<(u32, f32)>> = (0..256)
        .map(|user| {
            let (columns, values) = matrix.row(user);
            columns
                .iter()
                .copied()
                .zip(values.iter().copied())
                .collect()
        })
        .collect();
    let mut group = c.benchmark_group("256 lists of 10 from 3000");
    group.bench_function("ease, sparse", |b| {
        let mut scores = vec![0.0; items];
        b.iter(|| {
            for history in &histories {
                scores.fill(0.0);
                sparse.score_all(history, &mut scores);
                black_box(top_n(&scores, 10));
            }
        });
    });
    let index = FactorIndex::new(&factors);
    group.bench_function("factors", |b| {
        b.iter(|| {
            let (mut users, mut user) = (Vec::new(), Vec::new());
            for history in &histories {
                factors.fold_in(history, &mut user);
                users.extend_from_slice(&user);
            }
            index.top(&users, 10, |_| &[])
        });
    });
    group.finish();
}

criterion_group!(benches, fits, inverses, lists);
criterion_main!(benches);
