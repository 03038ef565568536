use super::*;

fn rows() -> SparseRows {
    SparseRows::from_rows(3, [vec![(1, 0.5)], vec![(0, 0.25), (2, 1.0)], vec![]]).expect("fits")
}

#[test]
fn recommender_dense_and_sparse_ease_agree() {
    let sparse = Ease::Sparse(rows());
    let dense = Ease::Dense {
        items: 3,
        weights: vec![0.0, 0.5, 0.0, 0.25, 0.0, 1.0, 0.0, 0.0, 0.0],
    };
    let history = [(0, 1.0), (1, 2.0), (9, 5.0)];
    let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
    sparse.score(&history, &[2, 1, 0, 77], &mut a);
    dense.score(&history, &[2, 1, 0, 77], &mut b);
    assert_eq!(b, [2.0, 0.5, 0.5, 0.0]);
    // Values of sparse rows count to 1/32,767 of their row's largest.
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 3.0 / 32_767.0, "{a} {b}");
    }
}

#[test]
fn sparse_rows_add_up_alike_in_any_width() {
    let row: Vec<(u32, f32)> = (0..300u16)
        .map(|at| (u32::from(at) * 7, (f32::from(at) - 150.0) / 97.0))
        .collect();
    let history = [(0, 0.7), (1, 2.0), (0, 1.0)];
    let add = |width: usize| {
        let rows = [row.clone(), vec![(5, 0.0), (65_535, -0.001)]];
        let mut sums = vec![0.0; width];
        SparseRows::from_rows(width, rows)
            .expect("fits")
            .add_rows(&history, &mut sums);
        sums
    };
    // The wider one needs more than sixteen bits a column and adds the values as they are.
    let (packed, plain) = (add(65_536), add(65_537));
    for (at, (a, b)) in packed.iter().zip(&plain).enumerate() {
        assert!((a - b).abs() <= 1e-4, "{at}: {a} {b}");
    }
    assert!((packed[65_535] + 0.002).abs() < 1e-6);
}

#[test]
fn recommender_weighting_sums_scales_and_decays() {
    let past = |item, time, weight| Past { item, time, weight };
    let events = [past(2, 10, 4.0), past(1, 0, 2.0), past(2, 0, 4.0)];
    let mut out = Vec::new();
    let plain = Weighting {
        counts: CountScale::Linear,
        ..Weighting::default()
    };
    plain.apply(events, 10, &mut out);
    assert_eq!(out, [(1, 1.0), (2, 2.0)]);
    let decayed = Weighting {
        half_life: Some(10.0),
        strength: 1.0,
        unit: 4.0,
        ..plain
    };
    decayed.apply(events, 10, &mut out);
    assert_eq!(out, [(1, 0.25), (2, 1.5)]);
    let log = Weighting::default();
    log.apply(events, 10, &mut out);
    assert!((out[0].1 - 1.0).abs() < 1e-6 && (out[1].1 - 3_f32.log2()).abs() < 1e-6);
}

#[test]
fn recommender_fold_in_solves_the_normal_equations() {
    // Two orthogonal items in two dimensions: the equations fall apart into two divisions.
    let factors = Factors::new(2, vec![1.0, 0.0, 0.0, 2.0], 0.5, 0.1, 1.0).expect("fits");
    let mut user = Vec::new();
    factors.fold_in(&[(0, 1.0)], &mut user);
    // (0.5 · 1 + 1 + 0.1 · (1 + 0.5 · 2)) u = 1
    assert!(
        (user[0] - 1.0 / 1.7).abs() < 1e-5 && user[1].abs() < 1e-6,
        "{user:?}"
    );
    factors.fold_in(&[(7, 1.0)], &mut user);
    assert_eq!(user, [0.0, 0.0]);
}

#[test]
fn recommender_top_n_orders_and_breaks_ties_by_item() {
    let mut scores = vec![0.0; 200];
    scores[150] = 2.0;
    scores[3] = 1.0;
    scores[4] = 1.0;
    scores[5] = f32::NAN;
    scores[6] = f32::NEG_INFINITY;
    let items: Vec<u32> = top_n(&scores, 4).iter().map(|(item, _)| *item).collect();
    assert_eq!(items, [150, 3, 4, 0]);
    assert!(top_n(&scores, 0).is_empty());
    assert_eq!(top_n(&[f32::NEG_INFINITY], 3), []);
}

#[test]
fn recommender_tensor_files_round_trip_and_refuse_foreign_bytes() {
    let mut file = TensorFile::default();
    file.put_f32("a", &[2, 1], &[1.5, -2.0]);
    file.put_u32("b", &[7]);
    let bytes = file.to_bytes().expect("writes");
    let mut again = TensorFile::from_bytes(&bytes).expect("reads");
    assert_eq!(again.take_f32("a"), Ok((vec![2, 1], vec![1.5, -2.0])));
    assert!(again.take_f32("b").is_err());
    assert!(TensorFile::from_bytes(&bytes[..10]).is_err());
}
