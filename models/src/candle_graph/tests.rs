use proptest::prelude::*;

use super::*;
use crate::onnx::{Attr, GraphBuilder, Values, encode};

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|d| Dim::Fixed(*d as u64)).collect()
}

/// A graph `x` → `y` around what `build` adds (it gets "x" and returns the last value's name).
fn graph(x: &[usize], y: &[usize], build: impl FnOnce(&mut GraphBuilder) -> String) -> Vec<u8> {
    let mut g = GraphBuilder::new("test");
    g.input("x", &dims(x));
    let last = build(&mut g);
    assert_eq!(last, "y", "the last node makes the output");
    g.output("y", &dims(y));
    encode(&g.finish())
}

fn run(bytes: &[u8], shape: &[usize], x: &[f32]) -> Vec<f32> {
    let graph = CandleGraph::load(bytes).expect("loads");
    let out = graph
        .run(vec![("x".into(), shape.to_vec(), x.to_vec())])
        .expect("runs");
    let declared: Vec<_> = graph.outputs().next().expect("one").shape.clone();
    assert_eq!(dims(&out[0].1), declared);
    out.into_iter().next().expect("one").2
}

fn ints(list: &[i64]) -> Attr {
    Attr::Ints(list.to_vec())
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-5, "{a} is not {b}");
    }
}

#[test]
fn small_operators_give_known_answers() {
    let one =
        |op: &'static str, attrs: &[(&str, Attr)], from: &[usize], to: &[usize], x: &[f32]| {
            run(
                &graph(from, to, |g| g.node(op, "y", &["x"], attrs)),
                from,
                x,
            )
        };
    let perm = [("perm", ints(&[0, 2, 1]))];
    assert_eq!(
        one(
            "Transpose",
            &perm,
            &[1, 2, 2],
            &[1, 2, 2],
            &[1., 2., 3., 4.]
        ),
        [1., 3., 2., 4.]
    );
    assert_eq!(
        one("Relu", &[], &[1, 3], &[1, 3], &[-1., 0., 2.]),
        [0., 0., 2.]
    );
    close(
        &one("Sigmoid", &[], &[1, 3], &[1, 3], &[0., 2., -200.]),
        &[0.5, 0.880_797, 0.0],
    );
    let axis = [("axis", Attr::Int(1))];
    let soft = one(
        "Softmax",
        &axis,
        &[2, 2],
        &[2, 2],
        &[0., 0., 1000., 1000. - 2_f32.ln()],
    );
    close(&soft, &[0.5, 0.5, 2.0 / 3.0, 1.0 / 3.0]);
    let pooled = one(
        "GlobalAveragePool",
        &[],
        &[1, 2, 1, 2],
        &[1, 2, 1, 1],
        &[1., 3., -4., 0.],
    );
    assert_eq!(pooled, [2., -2.]);
    assert_eq!(
        one("Flatten", &axis, &[1, 2, 1, 1], &[1, 2], &[5., 6.]),
        [5., 6.]
    );

    let clip = graph(&[1, 3], &[1, 3], |g| {
        let (low, high) = (g.scalar("low", 0.0), g.scalar("high", 6.0));
        g.node("Clip", "y", &["x", &low, &high], &[])
    });
    assert_eq!(run(&clip, &[1, 3], &[-1., 3., 9.]), [0., 3., 6.]);
    let add = graph(&[1, 2], &[1, 2], |g| g.node("Add", "y", &["x", "x"], &[]));
    assert_eq!(run(&add, &[1, 2], &[1., 2.]), [2., 4.]);
    let add = graph(&[2, 2], &[2, 2], |g| {
        let row = g.constant("row", &[1, 2], &Values::F32(vec![10., 20.]));
        g.node("Add", "y", &["x", &row], &[])
    });
    assert_eq!(run(&add, &[2, 2], &[1., 2., 3., 4.]), [11., 22., 13., 24.]);
    let axes = graph(&[1, 2], &[1, 1, 2], |g| {
        let axes = g.constant("axes", &[1], &Values::I64(vec![1]));
        g.node("Unsqueeze", "y", &["x", &axes], &[])
    });
    assert_eq!(run(&axes, &[1, 2], &[1., 2.]), [1., 2.]);
    for (transposed, weights) in [(0, [1., 2., 3., 4.]), (1, [1., 3., 2., 4.])] {
        let gemm = graph(&[1, 2], &[1, 2], |g| {
            let w = g.constant("w", &[2, 2], &Values::F32(weights.to_vec()));
            let b = g.constant("b", &[2], &Values::F32(vec![0.5, -0.5]));
            g.node(
                "Gemm",
                "y",
                &["x", &w, &b],
                &[("transB", Attr::Int(transposed))],
            )
        });
        assert_eq!(run(&gemm, &[1, 2], &[10., 100.]), [310.5, 419.5]);
    }
}

/// A convolution to try: sizes, geometry and whether it is depthwise.
#[derive(Debug, Clone)]
struct Case {
    n: usize,
    channels: usize,
    outputs: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
    depthwise: bool,
    seed: u32,
}

impl Case {
    fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            (self.size[i] + self.pads[i] + self.pads[i + 2] - self.kernel[i]) / self.strides[i] + 1
        })
    }

    fn inner(&self) -> usize {
        if self.depthwise { 1 } else { self.channels }
    }

    fn attributes(&self) -> [(&'static str, Attr); 4] {
        let list = |v: &[usize]| Attr::Ints(v.iter().map(|v| *v as i64).collect());
        let group = if self.depthwise {
            self.channels as i64
        } else {
            1
        };
        [
            ("group", Attr::Int(group)),
            ("kernel_shape", list(&self.kernel)),
            ("pads", list(&self.pads)),
            ("strides", list(&self.strides)),
        ]
    }

    fn bytes(&self, len: usize, salt: u32) -> Vec<u8> {
        let mut state = self.seed.wrapping_add(salt);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// The sums by their definition, over integers.
    fn sums(&self, x: &[i64], w: &[i64], bias: &[i64]) -> Vec<i64> {
        let [oh, ow] = self.output();
        let ([height, width], [kh, kw]) = (self.size, self.kernel);
        let mut sums = Vec::new();
        for n in 0..self.n {
            for o in 0..self.outputs {
                for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                    let mut sum = bias[o];
                    for i in 0..self.inner() {
                        let c = if self.depthwise { o } else { i };
                        for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                            let iy = (oy * self.strides[0] + ky).wrapping_sub(self.pads[0]);
                            let ix = (ox * self.strides[1] + kx).wrapping_sub(self.pads[1]);
                            if iy < height && ix < width {
                                let at = ((n * self.channels + c) * height + iy) * width + ix;
                                sum += x[at] * w[((o * self.inner() + i) * kh + ky) * kw + kx];
                            }
                        }
                    }
                    sums.push(sum);
                }
            }
        }
        sums
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let size = (1_usize..9, 1_usize..9);
    let shape = (
        1_usize..3,
        1_usize..5,
        1_usize..5,
        size,
        any::<bool>(),
        any::<u32>(),
    );
    let window = (
        (1_usize..4, 1_usize..4),
        (1_usize..4, 1_usize..4),
        prop::array::uniform4(0_usize..3),
    );
    (shape, window).prop_map(|(shape, (kernel, strides, pads))| {
        let (n, channels, outputs, size, depthwise, seed) = shape;
        let mut case = Case {
            n,
            channels,
            outputs: if depthwise { channels } else { outputs },
            size: [size.0, size.1],
            kernel: [kernel.0, kernel.1],
            // Dense float convolutions need equal strides.
            strides: if depthwise {
                [strides.0, strides.1]
            } else {
                [strides.0; 2]
            },
            pads,
            depthwise: depthwise && channels > 1,
            seed,
        };
        for i in 0..2 {
            case.kernel[i] = case.kernel[i].min(case.size[i] + case.pads[i] + case.pads[i + 2]);
        }
        case
    })
}

proptest! {
    #[test]
    fn float_convolutions_follow_the_definition(mut case in cases()) {
        case.strides[1] = if case.depthwise { case.strides[1] } else { case.strides[0] };
        let x = case.bytes(case.n * case.channels * case.size[0] * case.size[1], 1);
        let w = case.bytes(case.outputs * case.inner() * case.kernel[0] * case.kernel[1], 2);
        let bias = case.bytes(case.outputs, 3);
        // Small integers are exact in float, so the answers must be equal.
        let wide = |v: &[u8]| v.iter().map(|b| i64::from(*b) / 8 - 16).collect::<Vec<_>>();
        let real = |v: &[i64]| v.iter().map(|v| *v as f32).collect::<Vec<_>>();
        let (x, w, bias) = (wide(&x), wide(&w), wide(&bias));
        let [oh, ow] = case.output();
        let from = [case.n, case.channels, case.size[0], case.size[1]];
        let shape = [case.outputs, case.inner(), case.kernel[0], case.kernel[1]];
        let bytes = graph(&from, &[case.n, case.outputs, oh, ow], |g| {
            let w = g.constant("w", &shape, &Values::F32(real(&w)));
            let b = g.constant("b", &shape[..1], &Values::F32(real(&bias)));
            let conv = g.node("Conv", "conv", &["x", &w, &b], &case.attributes());
            let (low, high) = (g.scalar("low", -500.0), g.scalar("high", 500.0));
            g.node("Clip", "y", &[&conv, &low, &high], &[])
        });
        let expected: Vec<_> =
            case.sums(&x, &w, &bias).iter().map(|s| (*s as f32).clamp(-500.0, 500.0)).collect();
        prop_assert_eq!(run(&bytes, &from, &real(&x)), expected);
    }

    #[test]
    fn integer_convolutions_follow_the_definition(case in cases()) {
        let (input, output) = ((0.5_f32, 7_u8), (3.0_f32, 100_u8));
        let x = case.bytes(case.n * case.channels * case.size[0] * case.size[1], 1);
        let w = case.bytes(case.outputs * case.inner() * case.kernel[0] * case.kernel[1], 2);
        let bias: Vec<i32> = case.bytes(case.outputs, 3).iter().map(|b| i32::from(*b) - 128).collect();
        let scales: Vec<f32> = (1..=case.outputs).map(|o| o as f32 * 0.01).collect();
        let [oh, ow] = case.output();
        let from = [case.n, case.channels, case.size[0], case.size[1]];
        let shape = [case.outputs, case.inner(), case.kernel[0], case.kernel[1]];
        let bytes = graph(&from, &[case.n, case.outputs, oh, ow], |g| {
            let xs = g.scalar("xs", input.0);
            let xz = g.constant("xz", &[], &Values::U8(vec![input.1]));
            let q = g.node("QuantizeLinear", "q", &["x", &xs, &xz], &[]);
            let weights = g.constant("w", &shape, &Values::U8(w.clone()));
            let ws = g.constant("ws", &shape[..1], &Values::F32(scales.clone()));
            let wz = g.constant("wz", &shape[..1], &Values::U8(vec![128; case.outputs]));
            let ys = g.scalar("ys", output.0);
            let yz = g.constant("yz", &[], &Values::U8(vec![output.1]));
            let b = g.constant("b", &shape[..1], &Values::I32(bias.clone()));
            let inputs = [q.as_str(), &xs, &xz, &weights, &ws, &wz, &ys, &yz, &b];
            let conv = g.node("QLinearConv", "conv", &inputs, &case.attributes());
            g.node("DequantizeLinear", "y", &[&conv, &ys, &yz], &[])
        });
        let shifted: Vec<i64> = x.iter().map(|b| i64::from(*b) - i64::from(input.1)).collect();
        let weights: Vec<i64> = w.iter().map(|b| i64::from(*b) - 128).collect();
        let wide: Vec<i64> = bias.iter().map(|b| i64::from(*b)).collect();
        let sums = case.sums(&shifted, &weights, &wide);
        let expected: Vec<f32> = sums.iter().enumerate().map(|(i, sum)| {
            let o = i / (oh * ow) % case.outputs;
            let scaled = *sum as f32 * (input.0 * scales[o] / output.0);
            (scaled.round_ties_even().clamp(-100.0, 155.0)) * output.0
        }).collect();
        let real: Vec<f32> = shifted.iter().map(|v| *v as f32 * input.0).collect();
        prop_assert_eq!(run(&bytes, &from, &real), expected);
    }

    #[test]
    fn broken_files_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = graph(&[1, 2, 3, 3], &[1, 2, 2, 2], |g| {
            let w = g.constant("w", &[2, 1, 2, 2], &Values::F32(vec![1.0; 8]));
            g.node("Conv", "y", &["x", &w], &[("group", Attr::Int(2))])
        });
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(graph) = CandleGraph::load(&bytes) {
            let _ = graph.run(vec![("x".into(), vec![1, 2, 3, 3], vec![1.0; 18])]);
        }
    }
}

#[test]
fn bytes_round_half_to_even_and_saturate() {
    let bytes = graph(&[1, 6], &[1, 6], |g| {
        let scale = g.scalar("s", 2.0);
        let zero = g.constant("z", &[], &Values::U8(vec![10]));
        let q = g.node("QuantizeLinear", "q", &["x", &scale, &zero], &[]);
        g.node("DequantizeLinear", "y", &[&q, &scale, &zero], &[])
    });
    let x = [1.0, 3.0, -1.0, -1e9, 1e9, 4.9];
    assert_eq!(run(&bytes, &[1, 6], &x), [0.0, 4.0, 0.0, -20.0, 490.0, 4.0]);
}

#[test]
fn what_is_not_supported_is_refused_at_load() {
    let refuse = |bytes: &[u8]| CandleGraph::load(bytes).expect_err("refused");
    let unknown = graph(&[1], &[1], |g| g.node("LSTM", "y", &["x"], &[]));
    let error = refuse(&unknown);
    assert_eq!(error.code(), "graph_unsupported");
    assert!(error.to_string().contains("LSTM"), "{error}");
    let ignored = [("allowzero", Attr::Int(1))];
    assert!(
        refuse(&graph(&[1], &[1], |g| g.node(
            "Relu",
            "y",
            &["x"],
            &ignored
        )))
        .to_string()
        .contains("allowzero")
    );
    let loose = graph(&[1], &[1], |g| g.node("Relu", "y", &["z"], &[]));
    assert!(refuse(&loose).to_string().contains("no earlier node"));
    let twice = graph(&[1], &[1], |g| {
        g.node("Relu", "y", &["x"], &[]);
        g.node("Relu", "y", &["x"], &[])
    });
    assert!(refuse(&twice).to_string().contains("exists already"));
    let dynamic = graph(&[1, 1], &[1, 1], |g| {
        g.node("Gemm", "y", &["x", "x", "x"], &[])
    });
    assert!(refuse(&dynamic).to_string().contains("constant"));
}

#[test]
fn inputs_are_checked() {
    let mut g = GraphBuilder::new("test");
    g.input("x", &[Dim::Named("N".into()), Dim::Fixed(2)]);
    g.node("Relu", "y", &["x"], &[]);
    g.output("y", &[Dim::Named("N".into()), Dim::Fixed(2)]);
    let graph = CandleGraph::load(&encode(&g.finish())).expect("loads");
    let run = |name: &str, shape: &[usize], n: usize| {
        graph.run(vec![(name.into(), shape.to_vec(), vec![1.0; n])])
    };
    assert_eq!(run("x", &[3, 2], 6).expect("fits")[0].1, [3, 2]);
    for (name, shape, n) in [
        ("z", vec![1, 2], 2),
        ("x", vec![1, 3], 3),
        ("x", vec![0, 2], 0),
        ("x", vec![1, 2], 3),
    ] {
        assert_eq!(
            run(name, &shape, n).expect_err("refused").code(),
            "graph_input"
        );
    }
    assert_eq!(
        graph.run(vec![]).expect_err("missing").code(),
        "graph_input"
    );
    assert_eq!(graph.inputs().count(), 1);
}
