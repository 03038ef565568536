//! The pictures of a run: what they are, which are copies of each other, and the views of them that
//! the heads learn from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use novastream_datasets::folder::LabelledFile;
use novastream_features::pdq::{PdqHash, pdq};
use novastream_features::picture::{ImageLimits, RgbImage, decode_image, resize_area};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::FramesTrainError;

/// Bits of 256 up to which two pictures are one, as the blocklists take it.
const SAME: u32 = 31;
/// Hashes of this quality or less say nothing.
const POOR: u8 = 49;
/// Share of a label's pictures that may be smaller than the size that all are brought to.
const SMALLER: f64 = 0.1;
/// Bounds of that size in pixels.
const AREAS: (u64, u64) = (96 * 96, 448 * 448);
/// JPEG qualities that views are given.
const QUALITIES: std::ops::RangeInclusive<u8> = 45..=90;
/// Share of each side that a crop keeps at least.
const CROP: f64 = 0.7;

/// A readable picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The folder's name.
    pub label: String,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Pixels.
    pub area: u64,
    /// Perceptual hash and its quality.
    pub hash: (PdqHash, u8),
    /// Number of its group of near-copies.
    pub group: usize,
}

/// Reads every file once. Unreadable ones are counted by `skipped`.
pub fn read(
    files: &[LabelledFile],
    mut skipped: impl FnMut(&LabelledFile, String),
    tick: impl Fn(),
) -> Result<Vec<Picture>, FramesTrainError> {
    let mut pictures = Vec::with_capacity(files.len());
    for file in files {
        let bytes = std::fs::read(&file.path).map_err(|source| FramesTrainError::Io {
            path: file.path.clone(),
            source,
        })?;
        tick();
        match decode_image(&bytes, &ImageLimits::default()) {
            Ok(image) => {
                let small = at_most(&image, 512 * 512);
                let found = pdq(&small);
                pictures.push(Picture {
                    label: file.label.clone(),
                    path: file.path.clone(),
                    sha256: Sha256::digest(&bytes).into(),
                    area: u64::from(image.width) * u64::from(image.height),
                    hash: (found.hash, found.quality),
                    group: 0,
                });
            }
            Err(error) => skipped(file, error.to_string()),
        }
    }
    group(&mut pictures);
    Ok(pictures)
}

/// Numbers the groups of near-copies: the same bytes, or hashes within [`SAME`] bits.
fn group(pictures: &mut [Picture]) {
    let mut parent: Vec<usize> = (0..pictures.len()).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for i in 0..pictures.len() {
        for j in 0..i {
            let (a, b) = (&pictures[i], &pictures[j]);
            let telling = a.hash.1 > POOR && b.hash.1 > POOR;
            if a.sha256 == b.sha256 || (telling && a.hash.0.distance(&b.hash.0) <= SAME) {
                let (a, b) = (root(&mut parent, i), root(&mut parent, j));
                parent[a.max(b)] = a.min(b);
            }
        }
    }
    for (i, picture) in pictures.iter_mut().enumerate() {
        picture.group = root(&mut parent, i);
    }
}

/// The fold of 0..`folds` that each picture belongs to: by the smallest file hash of its group, so
/// near-copies stay together and the order of the files does not matter.
pub fn folds(pictures: &[Picture], folds: u64) -> Vec<u64> {
    let mut smallest: BTreeMap<usize, [u8; 32]> = BTreeMap::new();
    for picture in pictures {
        let known = smallest.entry(picture.group).or_insert(picture.sha256);
        *known = (*known).min(picture.sha256);
    }
    let number = |hash: &[u8; 32]| xxhash_rust::xxh3::xxh3_64_with_seed(hash, 0x0066_6f6c_6473);
    pictures
        .iter()
        .map(|p| number(&smallest[&p.group]) % folds)
        .collect()
}

/// The size in pixels that every picture is brought down to: what nine tenths of each label's
/// pictures have at least, so that sharpness can't tell one source from another.
pub fn common_area(pictures: &[Picture]) -> u64 {
    let mut by_label: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for picture in pictures {
        by_label
            .entry(&picture.label)
            .or_default()
            .push(picture.area);
    }
    let low = |areas: &mut Vec<u64>| {
        areas.sort_unstable();
        areas[(areas.len() as f64 * SMALLER) as usize]
    };
    let smallest = by_label.values_mut().map(low).min().unwrap_or(AREAS.1);
    smallest.clamp(AREAS.0, AREAS.1)
}

/// The picture as it is, then `views` versions to learn from: the whole picture and crops of it,
/// some in a mirror, all brought to about `area` pixels and encoded as JPEG in a random quality.
/// Draws by the file's hash, so it does not matter which other pictures there are.
pub fn views(
    picture: &Picture,
    image: &RgbImage,
    area: u64,
    views: u8,
    seed: u64,
) -> Result<Vec<RgbImage>, FramesTrainError> {
    let own = xxhash_rust::xxh3::xxh3_64_with_seed(&picture.sha256, seed);
    let mut random = StdRng::seed_from_u64(own);
    let mut out = vec![image.clone()];
    for view in 0..views {
        let mut part = image.clone();
        if view > 0 {
            let mut side = |length: u32| {
                let kept = (f64::from(length) * random.random_range(CROP..=1.0)) as u32;
                let kept = kept.clamp(1, length);
                (random.random_range(0..=length - kept), kept)
            };
            let ((x, width), (y, height)) = (side(image.width), side(image.height));
            part = image.crop(x, y, width, height);
            if random.random_bool(0.5) {
                part = mirrored(&part);
            }
        }
        let size = area as f64 * random.random_range(0.5..=1.0);
        let quality = random.random_range(QUALITIES);
        let part = at_most(&part, size as u64);
        let jpeg = part.encode_jpeg(quality)?;
        out.push(decode_image(&jpeg, &ImageLimits::default())?);
    }
    Ok(out)
}

/// The picture with at most `area` pixels, in its proportions.
fn at_most(image: &RgbImage, area: u64) -> RgbImage {
    let has = f64::from(image.width) * f64::from(image.height);
    let scale = (area as f64 / has).sqrt();
    if scale >= 1.0 {
        return image.clone();
    }
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    resize_area(image, side(image.width), side(image.height))
}

fn mirrored(image: &RgbImage) -> RgbImage {
    let mut out = image.clone();
    let width = image.width as usize * 3;
    for (to, from) in out
        .data
        .chunks_exact_mut(width)
        .zip(image.data.chunks_exact(width))
    {
        for (to, from) in to.chunks_exact_mut(3).zip(from.rchunks_exact(3)) {
            to.copy_from_slice(from);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Soft spots of light and dark, which look the same at any size.
    fn noise(seed: u32, side: u32) -> RgbImage {
        const SPOTS: u32 = 12;
        let spot = |x: u32, y: u32| {
            let n = (x * 73 + y * 179 + seed * 283 + 1).wrapping_mul(2_654_435_761);
            ((n >> 16) & 255) as f32
        };
        let mut data = Vec::new();
        for y in 0..side {
            for x in 0..side {
                let at = |v: u32| {
                    let v = v as f32 * SPOTS as f32 / side as f32;
                    (v as u32, v.fract())
                };
                let ((left, fx), (top, fy)) = (at(x), at(y));
                let upper = spot(left, top) * (1.0 - fx) + spot(left + 1, top) * fx;
                let lower = spot(left, top + 1) * (1.0 - fx) + spot(left + 1, top + 1) * fx;
                data.extend([(upper * (1.0 - fy) + lower * fy) as u8; 3]);
            }
        }
        RgbImage::new(side, side, data).expect("picture")
    }

    fn read_all(pictures: &[(&str, Vec<u8>)]) -> Vec<Picture> {
        let dir = tempfile::tempdir().expect("dir");
        let files: Vec<LabelledFile> = pictures
            .iter()
            .enumerate()
            .map(|(i, (label, bytes))| {
                let path = dir.path().join(format!("{i}.jpg"));
                std::fs::write(&path, bytes).expect("write");
                LabelledFile {
                    label: (*label).to_owned(),
                    path,
                }
            })
            .collect();
        read(&files, |_, _| {}, || {}).expect("read")
    }

    #[test]
    fn copies_share_a_group_and_a_fold() {
        let image = noise(1, 300);
        let original = image.encode_jpeg(90).expect("jpeg");
        let copy = resize_area(&image, 200, 200).encode_jpeg(60).expect("jpeg");
        let other = noise(2, 300).encode_jpeg(90).expect("jpeg");
        let pictures = read_all(&[
            ("a", original),
            ("b", other),
            ("a", copy),
            ("a", b"no picture".to_vec()),
        ]);
        assert_eq!(pictures.len(), 3);
        assert_eq!(pictures[0].group, pictures[2].group);
        assert_ne!(pictures[0].group, pictures[1].group);
        let split = folds(&pictures, 1000);
        assert_eq!(split[0], split[2]);
    }

    #[test]
    fn views_have_a_common_size_and_repeat() {
        let image = noise(3, 400);
        let jpeg = image.encode_jpeg(95).expect("jpeg");
        let small = noise(4, 120).encode_jpeg(95).expect("jpeg");
        let pictures = read_all(&[("a", jpeg), ("b", small)]);
        let area = common_area(&pictures);
        assert_eq!(area, 120 * 120);
        let made = views(&pictures[0], &image, area, 4, 7).expect("views");
        assert_eq!((made.len(), made[0].width), (5, 400));
        for view in &made[1..] {
            let pixels = u64::from(view.width) * u64::from(view.height);
            assert!(pixels <= area + 400 && pixels * 3 > area, "{pixels}");
        }
        let again = views(&pictures[0], &image, area, 4, 7).expect("views");
        assert_eq!(made, again);
        assert_ne!(
            made[2],
            views(&pictures[0], &image, area, 4, 8).expect("views")[2]
        );
    }
}
