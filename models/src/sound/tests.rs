use candle_core::{Device, Tensor, Var};

use super::ops::{GlobalPool, MaxPool, NormRelu, TAPS, Unfold};
use super::*;
use crate::candle_graph::CandleGraph;

/// Numbers between -1 and 1 that look like chance and are the same every time.
fn numbers() -> impl FnMut() -> f32 {
    let mut state = 7_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn var(shape: &[usize], next: &mut impl FnMut() -> f32) -> Var {
    let n = shape.iter().product();
    Var::from_vec(
        (0..n).map(|_| next()).collect::<Vec<f32>>(),
        shape,
        &Device::Cpu,
    )
    .unwrap()
}

fn close(a: &Tensor, b: &Tensor, within: f32) {
    assert_eq!(a.dims(), b.dims());
    let far: f32 = (a - b)
        .unwrap()
        .abs()
        .unwrap()
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap();
    assert!(far <= within, "{far}");
}

/// A sum in which every value counts differently, so that every gradient differs.
fn weighed(y: &Tensor) -> Tensor {
    let n = y.elem_count();
    let weights: Vec<f32> = (0..n)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let weights = Tensor::from_vec(weights, y.shape().clone(), &Device::Cpu).unwrap();
    (y * weights).unwrap().sum_all().unwrap()
}

#[test]
fn a_convolution_and_its_gradients_are_candles() {
    let mut next = numbers();
    let (n, h, w, c, out) = (2, 6, 4, 3, 5);
    let x = var(&[n, h, w, c], &mut next);
    let k = var(&[TAPS * c, out], &mut next);
    let ours = x
        .apply_op1(Unfold)
        .unwrap()
        .matmul(&k)
        .unwrap()
        .reshape((n, h, w, out))
        .unwrap();
    let kernels = k
        .reshape((3, 3, c, out))
        .unwrap()
        .permute((3, 2, 0, 1))
        .unwrap();
    let theirs = x
        .permute((0, 3, 1, 2))
        .unwrap()
        .contiguous()
        .unwrap()
        .conv2d(&kernels.contiguous().unwrap(), 1, 1, 1, 1)
        .unwrap()
        .permute((0, 2, 3, 1))
        .unwrap()
        .contiguous()
        .unwrap();
    close(&ours, &theirs, 1e-5);
    let (a, b) = (
        weighed(&ours).backward().unwrap(),
        weighed(&theirs).backward().unwrap(),
    );
    for var in [&x, &k] {
        close(a.get(var).unwrap(), b.get(var).unwrap(), 1e-4);
    }
}

#[test]
fn norm_and_pools_and_their_gradients_are_candles() {
    let mut next = numbers();
    let x = var(&[2 * 4 * 6, 3], &mut next);
    let p = var(&[2, 3], &mut next);
    let ours = x.apply_op2(&p, NormRelu::new(None)).unwrap();
    let mean = x.mean_keepdim(0).unwrap();
    let centred = x.broadcast_sub(&mean).unwrap();
    let variance = centred.sqr().unwrap().mean_keepdim(0).unwrap();
    let hat = centred
        .broadcast_div(&(variance + 1e-5).unwrap().sqrt().unwrap())
        .unwrap();
    let theirs = hat
        .broadcast_mul(&p.get(0).unwrap())
        .unwrap()
        .broadcast_add(&p.get(1).unwrap())
        .unwrap()
        .relu()
        .unwrap();
    close(&ours, &theirs, 1e-5);
    let map = |t: &Tensor| t.reshape((2, 4, 6, 3)).unwrap();
    let ours = map(&ours).apply_op1(MaxPool).unwrap();
    // Candle's own pooling has a gradient that is a quarter of the true one.
    let theirs = theirs
        .reshape(&[2, 2, 2, 3, 2, 3][..])
        .unwrap()
        .max(4)
        .unwrap()
        .max(2)
        .unwrap();
    close(&ours, &theirs, 1e-5);
    let (ours, theirs) = (
        ours.reshape((2, 6, 3))
            .unwrap()
            .apply_op1(GlobalPool)
            .unwrap(),
        Tensor::cat(
            &[
                theirs.reshape((2, 6, 3)).unwrap().mean(1).unwrap(),
                theirs.reshape((2, 6, 3)).unwrap().max(1).unwrap(),
            ],
            1,
        )
        .unwrap(),
    );
    close(&ours, &theirs, 1e-5);
    let (a, b) = (
        weighed(&ours).backward().unwrap(),
        weighed(&theirs).backward().unwrap(),
    );
    // Candle shares a pool's gradient among equal values, which ReLU's zeros are; those columns
    // of zeros pass nothing on to the norm's input either way.
    close(a.get(&p).unwrap(), b.get(&p).unwrap(), 1e-3);
    close(a.get(&x).unwrap(), b.get(&x).unwrap(), 1e-3);
}

fn shape(heights: bool) -> SoundShape {
    SoundShape {
        frames: 16,
        bands: 8,
        channels: vec![4, 6, 5],
        labels: 3,
        mean: -4.0,
        deviation: 2.0,
        heights,
    }
}

fn net() -> SoundNet {
    SoundNet::new(shape(false), numbers()).unwrap()
}

fn windows(n: usize) -> Vec<f32> {
    let mut next = numbers();
    (0..n * 16 * 8).map(|_| next() * 3.0 - 4.0).collect()
}

#[test]
fn every_variable_gets_a_gradient() {
    for heights in [false, true] {
        let net = SoundNet::new(shape(heights), numbers()).unwrap();
        let logits = net.forward(&windows(4), None).unwrap();
        let gradients = weighed(&logits).backward().unwrap();
        for (name, var) in net.variables() {
            let gradient = gradients.get(&var).unwrap();
            let length: f32 = gradient
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar()
                .unwrap();
            assert!(length > 1e-9, "{name} has no gradient");
        }
    }
}

#[test]
fn what_ships_computes_what_was_trained() {
    for heights in [false, true] {
        let net = SoundNet::new(shape(heights), numbers()).unwrap();
        let batch = windows(4);
        let mut statistics = Vec::new();
        net.observe(&batch, &mut statistics).unwrap();
        let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
        let cnn = SoundCnn::fold(&net, &statistics, labels).unwrap();
        let again = SoundCnn::from_bytes(&cnn.to_bytes().unwrap()).unwrap();
        assert_eq!(again, cnn);
        assert_eq!(again.labels(), ["a", "b", "c"]);

        let graph = CandleGraph::load(&again.to_onnx()).unwrap();
        let inputs = vec![(GRAPH_INPUT.to_owned(), vec![4, 16, 8], batch.clone())];
        let (_, shape, scores) = graph.run(inputs).unwrap().remove(0);
        assert_eq!(shape, [4, 3]);
        // The same batch gives the same norms, so only the rounding to eight bits is between them.
        let logits = net.forward(&batch, None).unwrap();
        let powers = logits.exp().unwrap();
        let shares = powers
            .broadcast_div(&powers.sum_keepdim(1).unwrap())
            .unwrap();
        let scores = Tensor::from_vec(scores, (4, 3), &Device::Cpu).unwrap();
        close(&shares, &scores, 0.02);
    }
}

#[test]
fn only_a_network_that_sees_heights_tells_high_from_low() {
    let shape = |heights| SoundShape {
        frames: 8,
        bands: 32,
        channels: vec![6],
        labels: 2,
        mean: 0.0,
        deviation: 1.0,
        heights,
    };
    // One tone low and one high, both far from the edges, in one batch: the same norms for both.
    let mut both = vec![0.0; 2 * 8 * 32];
    for frame in 0..8 {
        both[frame * 32 + 8] = 3.0;
        both[(8 + frame) * 32 + 24] = 3.0;
    }
    let apart = |heights| {
        let net = SoundNet::new(shape(heights), numbers()).unwrap();
        let logits = net.forward(&both, None).unwrap();
        let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
        (logits[0][0] - logits[1][0]).abs()
    };
    assert!(apart(false) < 1e-5, "{}", apart(false));
    assert!(apart(true) > 1e-2, "{}", apart(true));
}

#[test]
fn a_file_from_before_heights_is_read_and_written_the_same() {
    let text = serde_json::to_string(&shape(false)).unwrap();
    assert!(!text.contains("heights"), "{text}");
    assert_eq!(
        serde_json::from_str::<SoundShape>(&text).unwrap(),
        shape(false)
    );
    let text = serde_json::to_string(&shape(true)).unwrap();
    assert_eq!(
        serde_json::from_str::<SoundShape>(&text).unwrap(),
        shape(true)
    );
}

#[test]
fn broken_files_are_refused() {
    let net = net();
    let mut statistics = Vec::new();
    net.observe(&windows(2), &mut statistics).unwrap();
    let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
    let bytes = SoundCnn::fold(&net, &statistics, labels)
        .unwrap()
        .to_bytes()
        .unwrap();
    for cut in [0, 7, 40, bytes.len() / 2, bytes.len() - 1] {
        assert!(SoundCnn::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("\\\"frames\\\":16"));
    let at = bytes.windows(2).position(|w| w == b"16").unwrap();
    let mut odd = bytes.clone();
    odd[at..at + 2].copy_from_slice(b"17");
    assert!(SoundCnn::from_bytes(&odd).is_err());
}

#[test]
fn a_head_survives_its_file_and_pools_mean_and_highest() {
    assert_eq!(pool(&[1.0, 5.0, 3.0, 1.0], 2), [2.0, 3.0, 3.0, 5.0]);
    assert_eq!(pool(&[], 2), [0.0; 4]);
    let labels = vec!["dog".to_owned(), "rain".to_owned()];
    let head = SoundHead::new(labels.clone(), vec![1.0, 0.0, -1.0, 0.0], vec![0.0, 0.0]).unwrap();
    let again = SoundHead::from_bytes(&head.to_bytes().unwrap()).unwrap();
    assert_eq!(again, head);
    let scores = again.scores(&[2.0, 9.0]);
    assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6 && scores[0] > 0.98);
    assert!(SoundHead::new(labels, vec![1.0; 3], vec![0.0; 2]).is_err());
    assert!(SoundHead::from_bytes(b"no file").is_err());
}
