//! Picture to model input: resizing and the perceptual hash.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use novastream_features::pdq::pdq;
use novastream_features::picture::{
    ImageLimits, RgbImage, decode_image, resize_area, resize_bilinear_align_corners,
};

fn picture(width: u32, height: u32) -> Option<RgbImage> {
    let data = (0..width * height)
        .flat_map(|i| {
            let (x, y) = (i % width, i / width);
            let block = (x / 40 * 71 + y / 40 * 37) % 200;
            [
                block as u8,
                (x * 255 / width) as u8,
                (y * 255 / height) as u8,
            ]
        })
        .collect();
    RgbImage::new(width, height, data).ok()
}

fn preprocess(criterion: &mut Criterion) {
    let (Some(large), Some(small)) = (picture(1280, 720), picture(512, 512)) else {
        return;
    };
    let mut group = criterion.benchmark_group("preprocess");
    group.bench_function("align-corners 720p to 224", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            resize_bilinear_align_corners(black_box(&large), 224, 224, &mut out, 1.0 / 255.0);
        });
    });
    group.bench_function("area 720p to 512", |bencher| {
        bencher.iter(|| resize_area(black_box(&large), 512, 288));
    });
    for (name, image) in [("pdq 512", &small), ("pdq 720p", &large)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| pdq(black_box(image)));
        });
    }
    if let Ok(jpeg) = large.encode_jpeg(85) {
        let limits = ImageLimits::default();
        group.bench_function("jpeg 720p", |bencher| {
            bencher.iter(|| decode_image(black_box(&jpeg), &limits));
        });
    }
    group.finish();
}

criterion_group!(benches, preprocess);
criterion_main!(benches);
