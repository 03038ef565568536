use proptest::prelude::*;

use super::*;

/// Numbers that look random and are the same every time.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 20
    }
}

fn matrix(inner: usize, columns: usize, steps: Vec<i8>) -> Quantized {
    Quantized {
        shape: [inner, columns],
        steps,
        scales: (0..columns).map(|c| 0.01 + c as f32 * 0.001).collect(),
    }
}

fn product(rows: &[f32], matrix: &Quantized, bias: &[f32]) -> Vec<f32> {
    let panels = Panels::new(matrix);
    let [inner, columns] = matrix.shape;
    let mut out = vec![f32::NAN; rows.len() / inner * columns];
    assert!(is_supported(), "tests need AVX2 and FMA");
    // SAFETY: the processor has the instructions.
    unsafe { panels.multiply(&Steps::new(rows, inner), bias, &mut out) };
    out
}

proptest! {
    #[test]
    fn the_kernel_is_the_product_of_floats_but_for_rounding(
        (rows, inner, columns) in (1_usize..13, 1_usize..70, 1_usize..60),
        seed in any::<u64>(),
    ) {
        let mut next = numbers(seed);
        let steps = (0..inner * columns).map(|_| next() as i8).collect();
        let left: Vec<f32> = (0..rows * inner)
            .map(|_| (next() % 1_000_000) as f32 / 125_000.0 - 3.0)
            .collect();
        let bias: Vec<f32> = (0..columns).map(|c| c as f32 - 3.0).collect();
        let matrix = matrix(inner, columns, steps);
        let found = product(&left, &matrix, &bias);
        for (row, (left, found)) in left.chunks(inner).zip(found.chunks(columns)).enumerate() {
            let most = left.iter().fold(0.0_f32, |a, b| a.max(*b));
            let least = left.iter().fold(0.0_f32, |a, b| a.min(*b));
            for column in 0..columns {
                let weight = |k: usize| {
                    f64::from(matrix.steps[k * columns + column])
                        * f64::from(matrix.scales[column])
                };
                let wanted: f64 = (0..inner).map(|k| f64::from(left[k]) * weight(k)).sum();
                let room: f64 = (0..inner).map(|k| weight(k).abs()).sum();
                // Half a step of the left side for each weight, and the floats' own rounding.
                let room = room * f64::from(most - least) / 127.0 * 0.5001 + 1e-3;
                let gap = (f64::from(found[column] - bias[column]) - wanted).abs();
                prop_assert!(gap <= room, "row {row}, column {column}: {gap} > {room}");
            }
        }
    }

    #[test]
    fn vectors_and_plain_arithmetic_give_the_same_sums(
        rows in 1_usize..20,
        groups in 1_usize..50,
        seed in any::<u64>(),
    ) {
        let mut next = numbers(seed);
        // Some groups are small enough to be summed two by two, at the very edge.
        let mut weight = || match next() % 40 {
            0 => i8::MIN,
            1 => i8::MAX,
            _ => ((next() % 130) as i16 - 65) as i8,
        };
        let steps: Vec<Weights> = (0..groups)
            .map(|_| [(); 2].map(|()| [(); LANES].map(|()| [(); GROUP].map(|()| weight()))))
            .collect();
        let mut next = numbers(seed ^ 7);
        let left: Vec<[u8; GROUP]> = (0..rows * groups)
            .map(|_| [(); GROUP].map(|()| if next().is_multiple_of(5) { 127 } else { next() as u8 % 128 }))
            .collect();
        let mut found = vec![Sums::default(); rows];
        assert!(is_supported(), "tests need AVX2 and FMA");
        let runs = runs(&steps);
        let panel = Panel { steps: &steps, runs: &runs };
        // SAFETY: the processor has the instructions.
        unsafe { sum_panel(panel, &left, &mut found) };
        let mut from = 0;
        while from < rows {
            let tile = ROWS.min(rows - from);
            let groups = &left[from * groups..(from + tile) * groups];
            for i in 0..tile {
                let row: Vec<[u8; GROUP]> = groups.chunks(tile).map(|all| all[i]).collect();
                let mut wanted = [Sums::default()];
                portable::tile::<_, { caller::PRODUCT }>(&row, panel, &mut wanted);
                prop_assert_eq!(wanted[0], found[from + i]);
            }
            from += tile;
        }
    }
}

#[test]
fn the_largest_numbers_do_not_saturate() {
    for inner in [1, 2, 3, 4, 384, 1536, 100_000] {
        let matrix = matrix(inner, 2, [i8::MIN, i8::MAX].repeat(inner));
        let found = product(&vec![7.0; inner], &matrix, &[0.0; 2]);
        let wanted = 7.0 * inner as f32;
        assert!((found[0] / (wanted * -128.0 * 0.01) - 1.0).abs() < 1e-5);
        assert!((found[1] / (wanted * 127.0 * 0.011) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn a_row_of_zeros_gives_the_bias() {
    let matrix = matrix(3, 2, vec![1, 2, 3, 4, 5, 6]);
    assert_eq!(product(&[0.0; 3], &matrix, &[0.5, -1.0]), [0.5, -1.0]);
}
