use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn sha256_of_floats(values: impl IntoIterator<Item = f32>) -> String {
    let mut hasher = Sha256::new();
    values
        .into_iter()
        .for_each(|v| hasher.update(v.to_le_bytes()));
    hex::encode(hasher.finalize())
}

/// Noise over a rising saw-tooth, from integers, so that every machine makes the same bits.
fn synthetic() -> Vec<f32> {
    let unit = |word: u32| word as i32 as f32 / 2.0_f32.powi(31);
    let (mut noise, mut phase) = (1_u32, 0_u32);
    (0..YAMNET_WINDOW as u32)
        .map(|i| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            phase = phase
                .wrapping_add(4_000_000)
                .wrapping_add(i.wrapping_mul(20_000));
            unit(noise) * 0.0625 + unit(phase) * 0.5
        })
        .collect()
}

#[test]
fn constants_are_those_of_the_published_model() {
    // Hashes of the window [400] and the mel matrix [64, 257] inside the TFLite file.
    let log_mel = LogMel::yamnet();
    assert_eq!(
        sha256_of_floats(log_mel.hann.iter().copied()),
        "a6d0b7833522e03110d60b53701c3d4af395085799da2dafb349ff527e6e1896"
    );
    let matrix = log_mel.bands.iter().flat_map(|band| {
        let mut row = vec![0.0; FFT / 2 + 1];
        row[band.first..band.first + band.weights.len()].copy_from_slice(&band.weights);
        row
    });
    assert_eq!(
        sha256_of_floats(matrix),
        "5d118c3316b8e1c2cff4f15c8cb44d0f37d6d93460c9d0b8ea557025dfaee95a"
    );
}

#[test]
fn spectrum_is_the_interpreters_to_the_last_bit() {
    let mut out = vec![7.0];
    LogMel::yamnet().window(&synthetic(), &mut out);
    assert_eq!(out.len(), 1 + YAMNET_FRAMES * YAMNET_BANDS);
    assert_eq!(out[0], 7.0, "appends");
    let at = |frame: usize, band: usize| out[1 + frame * YAMNET_BANDS + band];
    // The TFLite interpreter's values for the same samples (with XNNPACK).
    assert_eq!(at(0, 0), 2.006_979_7);
    assert_eq!(at(0, 63), 1.319_615_2);
    assert_eq!(at(50, 10), 0.531_606_9);
    assert_eq!(at(95, 63), 2.252_899);
    assert_eq!(
        sha256_of_floats(out[1..].iter().copied()),
        "3d8bd30d84cc4c23a3e16c532b172e7c9fc2922f0cdf2d2de79ee1c7481e18c8"
    );
}

#[test]
fn short_and_broken_input_counts_as_silence() {
    let log_mel = LogMel::yamnet();
    let of = |samples: &[f32]| {
        let mut out = Vec::new();
        log_mel.window(samples, &mut out);
        out
    };
    let silence = of(&[]);
    assert!(silence.iter().all(|v| (v - OFFSET.ln()).abs() < 1e-6));
    assert_eq!(of(&[f32::NAN, f32::INFINITY]), silence);
    let mut longer = synthetic();
    let whole = of(&longer);
    longer.push(1.0);
    assert_eq!(of(&longer), whole);
    let mut padded = longer[..9000].to_vec();
    let short = of(&padded);
    padded.resize(YAMNET_WINDOW, 0.0);
    assert_eq!(of(&padded), short);
}

#[test]
fn a_tone_is_in_its_band() {
    let tone: Vec<f32> = (0..YAMNET_WINDOW)
        .map(|i| (i as f32 * std::f32::consts::TAU * 1000.0 / 16_000.0).sin() * 0.5)
        .collect();
    let mut out = Vec::new();
    LogMel::yamnet().window(&tone, &mut out);
    let frame = &out[..YAMNET_BANDS];
    let loudest = (0..YAMNET_BANDS)
        .max_by(|a, b| frame[*a].total_cmp(&frame[*b]))
        .expect("some");
    let edge = |i: f64| mel(LOW_HZ) + (mel(HIGH_HZ) - mel(LOW_HZ)) * i / 65.0;
    let (lower, upper) = (edge(loudest as f64), edge(loudest as f64 + 2.0));
    assert!((lower..upper).contains(&mel(1000.0)), "band {loudest}");
}

proptest! {
    #[test]
    fn logarithm_is_close(x in 1e-30_f32..1e30) {
        let exact = f64::from(x).ln();
        let error = (f64::from(natural_log(x)) - exact).abs();
        prop_assert!(error <= 2e-7 * exact.abs().max(1.0), "{x}: {error}");
    }

    #[test]
    fn values_are_finite_and_bounded(
        samples in prop::collection::vec(-1.0_f32..=1.0, 0..2000)
    ) {
        let mut out = Vec::new();
        LogMel::yamnet().window(&samples, &mut out);
        // A magnitude is at most the window's sum (200), a band's weights at most 17.
        prop_assert!(out.iter().all(|v| (-6.91..=8.2).contains(v)));
    }
}
