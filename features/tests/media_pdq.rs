//! PDQ against the reference: the expected hashes were computed by PyPI `pdqhash` 0.2.8 (the
//! reference C++ sources) on the same pixels.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;

use novastream_features::pdq::{PdqHash, pdq};
use novastream_features::picture::{ImageLimits, RgbImage, decode_image};

/// `count` bytes of a linear congruential generator (Numerical Recipes' constants).
fn noise(count: u32, seed: u32) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

fn from_fn(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> RgbImage {
    let data = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| pixel(x, y))
        .collect();
    RgbImage::new(width, height, data).unwrap()
}

fn noise_picture(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::new(width, height, noise(width * height * 3, seed)).unwrap()
}

fn gradient(width: u32, height: u32) -> RgbImage {
    from_fn(width, height, |x, y| {
        [
            (x * 255 / (width - 1)) as u8,
            (y * 255 / (height - 1)) as u8,
            ((x + y) * 255 / (width + height - 2)) as u8,
        ]
    })
}

fn blocks(width: u32, height: u32, size: u32, seed: u32) -> RgbImage {
    let (across, down) = (width.div_ceil(size), height.div_ceil(size));
    let colours = noise(across * down * 3, seed);
    from_fn(width, height, |x, y| {
        let at = ((y / size * across + x / size) * 3) as usize;
        [colours[at], colours[at + 1], colours[at + 2]]
    })
}

fn rings(width: u32, height: u32) -> RgbImage {
    from_fn(width, height, |x, y| {
        let (dx, dy) = (x.abs_diff(width / 3), y.abs_diff(height / 2));
        let d = dx * dx + dy * dy;
        [(d / 7) as u8, (d / 11) as u8, (d / 29) as u8]
    })
}

#[test]
fn hashes_equal_the_reference_bit_for_bit() {
    let cases = [
        (
            "noise",
            noise_picture(97, 61, 1),
            "ee4e10f9fc76124ffa91e9afa0ea53c1c8962688010d6e2ec4d952155cfa39f5",
            100,
        ),
        (
            "smallest side",
            noise_picture(5, 5, 2),
            "64d964d99b269b263e0fc1f03c0f3e0fc1f064d964d964d99b269b263e0fc1f0",
            100,
        ),
        (
            "gradient",
            gradient(320, 200),
            "6b55020053550200aaaafeffa9aafe00ab7dfe0054aa01fff4aa01ffbcaa81ff",
            5,
        ),
        (
            "tall gradient",
            gradient(33, 700),
            "80ac47f688cc5d6228ad7de247cc7ef0002d5568243deff298bd7562dfc08a97",
            42,
        ),
        (
            "blocks",
            blocks(512, 512, 37, 3),
            "d60b6dc46df4923b28f4c15dc4f0916f6d831924c373e18d3fbf3a76c56c9020",
            100,
        ),
        (
            "64 x 64 is not filtered",
            blocks(64, 64, 9, 4),
            "5d782b25d07ea783c0bfa4d2ef633f804c71b782b22ec07f189c5b251d68587c",
            100,
        ),
        (
            "720p blocks",
            blocks(1280, 720, 101, 5),
            "f18ab63f5fc0ea770fc4b2b3b4ecacbf4bccb433b5214b024b00c87cf03a158c",
            100,
        ),
        (
            "rings",
            rings(400, 300),
            "fc719c71e3f1e1631b8e18afdc711c71638e0b8e9c710c71638e038e9c71bb0e",
            100,
        ),
        (
            "odd rings",
            rings(131, 129),
            "3581d80ef489926e148dda6e16cfcb6e52cfab664a6ead30a96ed911d691a962",
            100,
        ),
    ];
    for (name, image, hash, quality) in cases {
        let result = pdq(&image);
        assert_eq!(result.hash.to_string(), hash, "{name}");
        assert_eq!(result.quality, quality, "{name}");
    }
}

/// The published hashes of the reference's own test pictures. JPEG decoders differ by a step here
/// and there, so a few bits may.
#[test]
fn the_reference_pictures_hash_as_published() {
    let Some(data) = std::env::var_os("NOVASTREAM_DATA").map(PathBuf::from) else {
        println!("skipped: NOVASTREAM_DATA not present");
        return;
    };
    let folder = data.join("frames/pdq/dih");
    if !folder.is_dir() {
        println!("skipped: frames/pdq/dih not present");
        return;
    }
    let published = [
        (
            "bridge-1-original",
            "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22",
        ),
        (
            "bridge-2-rotate-90",
            "30a10efd71cc3d429013d48d0ffffc52e34e0e17ada952a9d29685211ea9e5af",
        ),
        (
            "bridge-3-rotate-180",
            "adad5a64b5a142e75b62a09857da895ae63b847fc23794b766b319361bc93188",
        ),
        (
            "bridge-5-flipx",
            "f8f80f31e0f417b20e37f5cd028f980fb36ed02a9662c1e233e64c634e9c64dd",
        ),
    ];
    let limits = ImageLimits::default();
    for (name, text) in published {
        let bytes = std::fs::read(folder.join(name).with_extension("jpg")).unwrap();
        let expected: PdqHash = text.parse().unwrap();
        let distance = pdq(&decode_image(&bytes, &limits).unwrap())
            .hash
            .distance(&expected);
        assert!(distance <= 8, "{name}: distance {distance}");
    }
}
