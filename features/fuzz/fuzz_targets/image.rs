//! Any bytes as a picture; what decodes is resized and hashed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use novastream_features::pdq::pdq;
use novastream_features::picture::{
    ImageLimits, decode_image, resize_area, resize_bilinear_align_corners,
};

fuzz_target!(|bytes: &[u8]| {
    let limits = ImageLimits {
        max_pixels: 4_000_000,
        max_alloc: 64 << 20,
        ..ImageLimits::default()
    };
    let Ok(image) = decode_image(bytes, &limits) else {
        return;
    };
    let pixels = image.width as usize * image.height as usize;
    assert_eq!(image.data.len(), pixels * 3);
    let mut tensor = Vec::new();
    resize_bilinear_align_corners(&image, 224, 224, &mut tensor, 1.0 / 255.0);
    assert_eq!(tensor.len(), 224 * 224 * 3);
    assert!(tensor.iter().all(|value| (0.0..=1.0001).contains(value)));
    let small = resize_area(&image, 64, 64);
    let _ = (pdq(&image), pdq(&small));
});
