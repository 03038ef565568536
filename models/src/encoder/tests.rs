//! The packed encoder against Candle's general operations, values and gradients.

use candle_core::{D, DType, Var};

use super::*;

const TINY: EncoderConfig = EncoderConfig {
    vocabulary: 50,
    positions: 16,
    segments: 2,
    width: 24,
    inner: 40,
    layers: 2,
    heads: 3,
};

/// Small numbers that look random and are the same every time.
fn numbers(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next() * 2.0 * scale).collect()
}

fn weights() -> HashMap<String, Var> {
    let (w, inner) = (TINY.width, TINY.inner);
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.words".into(), vec![TINY.vocabulary, w]),
        ("embeddings.positions".into(), vec![TINY.positions, w]),
        ("embeddings.segments".into(), vec![TINY.segments, w]),
        ("embeddings.norm".into(), vec![3, w]),
    ];
    for layer in 0..TINY.layers {
        let sizes = [
            vec![w, 3 * w],
            vec![3 * w],
            vec![w, w],
            vec![3, w],
            vec![w, inner],
            vec![inner],
            vec![inner, w],
            vec![3, w],
        ];
        shapes.extend(layer_names(layer).zip(sizes));
    }
    let make = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let n = shape.iter().product();
        let tensor = Tensor::from_vec(numbers(n, i as u64 + 1, 0.4), shape, &Device::Cpu).unwrap();
        (name, Var::from_tensor(&tensor).unwrap())
    };
    shapes.into_iter().enumerate().map(make).collect()
}

fn tensors(vars: &HashMap<String, Var>) -> HashMap<String, Tensor> {
    let tensor = |(name, var): (&String, &Var)| (name.clone(), var.as_tensor().clone());
    vars.iter().map(tensor).collect()
}

fn texts() -> Packed {
    let mut packed = Packed::default();
    packed.push(&[1, 7, 9, 30, 2], &[]).unwrap();
    packed.push(&[4], &[]).unwrap();
    packed.push(&[1, 2, 3], &[4, 5, 6, 7, 8, 9]).unwrap();
    packed
}

/// The same encoder by Candle's own operations, one text at a time.
fn reference(w: &HashMap<String, Tensor>, packed: &Packed) -> candle_core::Result<Tensor> {
    let norm = |x: &Tensor, p: &Tensor| -> candle_core::Result<Tensor> {
        let x = x.broadcast_add(&p.get(0)?)?;
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + f64::from(EPSILON))?.sqrt()?)?;
        x.broadcast_mul(&p.get(1)?)?.broadcast_add(&p.get(2)?)
    };
    let bounds = packed.bounds();
    let mut rows = Vec::new();
    for (pair, own) in bounds.windows(2).zip(&packed.own) {
        let n = pair[1] - pair[0];
        let pick = |table: &str, ids: Vec<u32>| {
            w[table].index_select(&Tensor::from_vec(ids, n, &Device::Cpu)?, 0)
        };
        let ids = packed.ids[pair[0]..pair[1]].to_vec();
        let segments = packed.segments[pair[0]..pair[1]]
            .iter()
            .map(|s| u32::from(*s));
        let x = (pick("embeddings.words", ids)?
            + pick("embeddings.positions", (0..n as u32).collect())?)?;
        let x = (x + pick("embeddings.segments", segments.collect())?)?;
        let mut x = norm(&x, &w["embeddings.norm"])?;
        for layer in 0..TINY.layers {
            let l = |name: &str| &w[&format!("layers.{layer}.{name}")];
            let d = TINY.width / TINY.heads;
            let qkv = x.matmul(l("qkv"))?.broadcast_add(l("qkv_bias"))?;
            let part = |i: usize| {
                qkv.narrow(1, i * TINY.width, TINY.width)?
                    .reshape((n, TINY.heads, d))?
                    .transpose(0, 1)?
                    .contiguous()
            };
            let scores = (part(0)?.matmul(&part(1)?.t()?.contiguous()?)? / (d as f64).sqrt())?;
            let e = scores
                .broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?
                .exp()?;
            let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
            let heads = p
                .matmul(&part(2)?)?
                .transpose(0, 1)?
                .reshape((n, TINY.width))?;
            let y = heads.matmul(l("out"))?;
            x = norm(&(y + &x)?, l("attention_norm"))?;
            let inner = x.matmul(l("up"))?.broadcast_add(l("up_bias"))?.gelu_erf()?;
            x = norm(&(inner.matmul(l("down"))? + &x)?, l("norm"))?;
        }
        rows.push(x.narrow(0, 0, own - pair[0])?.mean(0)?);
    }
    Tensor::stack(&rows, 0)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn values_and_every_gradient_are_those_of_the_general_operations() {
    let vars = weights();
    let w = tensors(&vars);
    let packed = texts();
    let ours = Encoder::new(TINY, &w).unwrap().forward(&packed).unwrap();
    let theirs = reference(&w, &packed).unwrap();
    for (a, b) in flat(&ours).iter().zip(flat(&theirs)) {
        assert!((a - b).abs() < 2e-5, "{a} {b}");
    }
    // A loss that weighs every number differently.
    let n = packed.len() * TINY.width;
    let weigh = Tensor::from_vec(
        numbers(n, 99, 1.0),
        (packed.len(), TINY.width),
        &Device::Cpu,
    );
    let weigh = weigh.unwrap();
    let gradients = |y: &Tensor| (y * &weigh).unwrap().sum_all().unwrap().backward().unwrap();
    let (ours, theirs) = (gradients(&ours), gradients(&theirs));
    for name in (0..TINY.layers).flat_map(layer_names) {
        let (a, b) = (
            flat(ours.get(&vars[&name]).unwrap()),
            flat(theirs.get(&vars[&name]).unwrap()),
        );
        let size = b.iter().map(|x| x.abs()).fold(0.0, f32::max);
        assert!(size > 1e-4, "{name} has no gradient");
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 2e-4 * (1.0 + size), "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_text_does_not_see_its_neighbours() {
    let w = tensors(&weights());
    let encoder = Encoder::new(TINY, &w).unwrap();
    let together = flat(&encoder.forward(&texts()).unwrap());
    let mut alone = Packed::default();
    alone.push(&[4], &[]).unwrap();
    let alone = flat(&encoder.forward(&alone).unwrap());
    for (a, b) in alone.iter().zip(&together[TINY.width..]) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut w = tensors(&weights());
    let encoder = Encoder::new(TINY, &w).unwrap();
    let refused = |ids: &[u32], context: &[u32]| {
        let mut packed = Packed::default();
        packed.push(ids, context).unwrap();
        encoder.forward(&packed).unwrap_err().code()
    };
    assert_eq!(refused(&[50], &[]), "encoder_input");
    assert_eq!(refused(&[1], &[50]), "encoder_input");
    assert_eq!(refused(&[1; 10], &[1; 7]), "encoder_input");
    assert!(Packed::default().push(&[], &[]).is_err());
    w.remove("layers.1.up");
    assert!(matches!(
        Encoder::new(TINY, &w),
        Err(EncoderError::Missing(_))
    ));
    let wrong = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    w.insert("layers.1.up".into(), wrong);
    assert!(matches!(
        Encoder::new(TINY, &w),
        Err(EncoderError::Shape { .. })
    ));
    assert!(import_bert(b"nonsense", &TINY).is_err());
}
