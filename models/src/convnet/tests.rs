#![allow(unsafe_code, reason = "calls what is compiled for some processors")]

use proptest::prelude::*;

use super::block::{Block, Room, Source};
use super::conv::ALL;
use super::dense::Dense;
use super::depthwise::Depthwise;
use super::pointwise::Pointwise;
use super::*;
use crate::candle_graph::{CandleGraph, float::Window, ops::Range};
use crate::int8::product::Steps;
use crate::onnx::{Attr, GraphBuilder, Values, encode};

const RELU6: Range = Range {
    low: 0.0,
    high: 6.0,
};

/// Numbers from -1 to 1 that look random and are the same every time.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % 20_001
    };
    (0..count).map(|_| next() as f32 / 10_000.0 - 1.0).collect()
}

fn window(strides: [usize; 2], pads: [usize; 4]) -> Window {
    Window {
        kernel: [3, 3],
        strides,
        pads,
    }
}

/// A convolution as its definition has it, on rows of pixels: kernels `[outputs, inputs, height,
/// width]`; `own`: a kernel a channel.
fn naive(
    x: &[f32],
    [height, width, channels]: [usize; 3],
    window: Window,
    (weights, bias): (&[f32], &[f32]),
    own: bool,
    range: Range,
) -> Vec<f32> {
    let [out_height, out_width] = window.output([height, width]).expect("fits");
    let [kernel_height, kernel_width] = window.kernel;
    let inputs = if own { 1 } else { channels };
    let mut out = Vec::new();
    for (y, x0) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
        for (output, bias) in bias.iter().enumerate() {
            let mut sum = f64::from(*bias);
            for (ky, kx) in (0..kernel_height).flat_map(|y| (0..kernel_width).map(move |x| (y, x)))
            {
                let at = |at: usize, k: usize, stride: usize, pad: usize, size: usize| {
                    (at * stride + k).checked_sub(pad).filter(|v| *v < size)
                };
                let row = at(y, ky, window.strides[0], window.pads[0], height);
                let column = at(x0, kx, window.strides[1], window.pads[1], width);
                let (Some(row), Some(column)) = (row, column) else {
                    continue;
                };
                for input in 0..inputs {
                    let channel = if own { output } else { input };
                    let value = x[(row * width + column) * channels + channel];
                    let weight = weights
                        [((output * inputs + input) * kernel_height + ky) * kernel_width + kx];
                    sum += f64::from(value) * f64::from(weight);
                }
            }
            out.push(range.clamp(sum as f32));
        }
    }
    out
}

fn close(found: &[f32], wanted: &[f32], room: f32) {
    assert_eq!(found.len(), wanted.len());
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (found - wanted).abs() <= room,
            "{i}: {found} is not {wanted}"
        );
    }
}

/// Sizes, strides and pads; the pads of TensorFlow's "same" are among them.
fn geometry() -> impl Strategy<Value = ([usize; 2], Window)> {
    let size = (3_usize..14, 3_usize..14).prop_map(|(h, w)| [h, w]);
    let strides = (1_usize..3, 1_usize..3).prop_map(|(y, x)| [y, x]);
    let pads = prop_oneof![
        Just([1, 1, 1, 1]),
        Just([0, 0, 1, 1]),
        (0_usize..3, 0_usize..3, 0_usize..3, 0_usize..3).prop_map(|(a, b, c, d)| [a, b, c, d]),
    ];
    (size, strides, pads).prop_map(|(size, strides, pads)| (size, window(strides, pads)))
}

/// A block over a map of `size` with `inputs` channels, its middle `channels` wide.
fn block(
    size: [usize; 2],
    window: Window,
    [inputs, channels, outputs]: [usize; 3],
    seed: u64,
) -> Block {
    let expand = Pointwise::new(
        inputs,
        &numbers(seed, inputs * channels),
        &numbers(seed ^ 1, channels),
        RELU6,
    );
    let depthwise = Depthwise::new(
        window,
        &numbers(seed ^ 2, channels * 9),
        &numbers(seed ^ 3, channels),
        RELU6,
    );
    let project = Pointwise::new(
        channels,
        &numbers(seed ^ 4, channels * outputs),
        &numbers(seed ^ 5, outputs),
        ALL,
    );
    let out = window.output(size).expect("fits");
    Block::new(Source::Expand(expand), depthwise, project, size, out)
}

fn run_block(block: &Block, x: &[f32], plus: Option<&[f32]>) -> Vec<f32> {
    assert!(product::is_supported(), "tests need AVX2 and FMA");
    let mut out = vec![f32::NAN; block.size().iter().product()];
    // SAFETY: the processor has the instructions.
    unsafe { block.run(x, plus, &mut out, &mut Room::default()) };
    out
}

proptest! {
    #[test]
    fn the_convolution_over_the_picture_is_its_definition(
        (size, window) in geometry(),
        (channels, outputs) in (1_usize..5, 1_usize..40),
        seed in any::<u64>(),
    ) {
        let size = [size[0], size[1], channels];
        let (weights, bias) = (numbers(seed, outputs * channels * 9), numbers(seed ^ 1, outputs));
        let x = numbers(seed ^ 2, size.iter().product());
        let dense = Dense::new(window, size, &weights, &bias, RELU6);
        let wanted = naive(&x, size, window, (&weights, &bias), false, RELU6);
        let [height, width] = window.output([size[0], size[1]]).expect("fits");
        let mut found = vec![0.0; wanted.len()];
        let places: Vec<u32> = (0..(height * width) as u32).collect();
        // SAFETY: the processor has the instructions, as every test here asks.
        prop_assert!(product::is_supported());
        let mut patches = Vec::new();
        unsafe { dense.patches(&x, [0, height], &mut patches) };
        for panel in 0..outputs.div_ceil(16) {
            let mut cells = vec![vector::Cell::default(); places.len()];
            unsafe { dense.fill(panel, &patches, &places, &mut cells) };
            for (to, cell) in found.chunks_exact_mut(outputs).zip(&cells) {
                let to = to[panel * 16..].iter_mut();
                to.zip(cell.as_flattened()).for_each(|(to, value)| *to = *value);
            }
        }
        close(&found, &wanted, 1e-5);
    }

    #[test]
    fn the_convolution_of_each_channel_is_its_definition(
        (size, window) in geometry(),
        channels in 1_usize..17,
        seed in any::<u64>(),
    ) {
        let [top, left, bottom, right] = window.pads;
        let (weights, bias) = (numbers(seed, channels * 9), numbers(seed ^ 1, channels));
        let shape = [size[0], size[1], channels];
        let x = numbers(seed ^ 2, shape.iter().product());
        let wanted = naive(&x, shape, window, (&weights, &bias), true, RELU6);
        let [height, width] = window.output(size).expect("fits");
        let stride = left + size[1] + right;
        let mut padded = vec![vector::Cell::default(); (top + size[0] + bottom) * stride];
        for (i, pixel) in x.chunks_exact(channels).enumerate() {
            let at = (top + i / size[1]) * stride + left + i % size[1];
            padded[at].as_flattened_mut()[..channels].copy_from_slice(pixel);
        }
        let depthwise = Depthwise::new(window, &weights, &bias, RELU6);
        let mut cells = vec![vector::Cell::default(); height * width];
        let mut most = vec![[0.0; 8]; height * width];
        prop_assert!(product::is_supported());
        // SAFETY: the processor has the instructions.
        unsafe { depthwise.run(0, (&padded, stride), (&mut cells, width), &mut most) };
        let found: Vec<f32> = cells
            .iter()
            .flat_map(|cell| cell.as_flattened()[..channels].to_vec())
            .collect();
        close(&found, &wanted, 1e-5);
        for (most, pixel) in most.iter().zip(wanted.chunks_exact(channels)) {
            let largest = pixel.iter().copied().fold(0.0, f32::max);
            let found = most.iter().copied().fold(0.0, f32::max);
            prop_assert!((largest - found).abs() < 1e-5);
        }
    }

    #[test]
    fn a_convolution_of_one_pixel_is_its_definition_but_for_rounding(
        (pixels, inputs, outputs) in (1_usize..13, 1_usize..50, 1_usize..50),
        seed in any::<u64>(),
    ) {
        let one = Window { kernel: [1, 1], strides: [1, 1], pads: [0; 4] };
        let (weights, bias) = (numbers(seed, outputs * inputs), numbers(seed ^ 1, outputs));
        let x = numbers(seed ^ 2, pixels * inputs);
        let shape = [1, pixels, inputs];
        let wanted = naive(&x, shape, one, (&weights, &bias), false, ALL);
        let pointwise = Pointwise::new(inputs, &weights, &bias, ALL);
        let mut found = vec![f32::NAN; wanted.len()];
        prop_assert!(product::is_supported());
        // SAFETY: the processor has the instructions.
        unsafe { pointwise.run(&x, &mut found, &mut Steps::default()) };
        // A step of the left side is at most 2/127, one of the right 1/127; halves of them each, and
        // what the scale of a column gives up of its largest weight.
        close(&found, &wanted, inputs as f32 * 0.05 + 1e-4);
    }

    #[test]
    fn strips_of_every_height_give_the_same_bits(
        (size, window) in geometry(),
        sides in (1_usize..20, 1_usize..40, 1_usize..20),
        strip in 1_usize..6,
        seed in any::<u64>(),
    ) {
        let sides = [sides.0, sides.1, sides.2];
        let mut block = block(size, window, sides, seed);
        let x = numbers(seed ^ 6, size[0] * size[1] * sides[0]);
        let plus = numbers(seed ^ 7, block.size().iter().product());
        block.strip = usize::MAX >> 1;
        let whole = run_block(&block, &x, Some(&plus));
        block.strip = strip;
        prop_assert_eq!(&run_block(&block, &x, Some(&plus)), &whole);
        let alone = run_block(&block, &x, None);
        let sum: Vec<f32> = alone.iter().zip(&plus).map(|(a, b)| a + b).collect();
        prop_assert_eq!(sum, whole);
    }

    #[test]
    fn a_block_is_its_three_convolutions_but_for_rounding(
        (size, window) in geometry(),
        seed in any::<u64>(),
    ) {
        let [inputs, channels, outputs] = [12, 24, 8];
        let x = numbers(seed ^ 6, size[0] * size[1] * inputs);
        let one = Window { kernel: [1, 1], strides: [1, 1], pads: [0; 4] };
        let part = |of: u64, count: usize, bias: usize| {
            (numbers(seed ^ of, count), numbers(seed ^ (of + 1), bias))
        };
        let (w, b) = part(0, inputs * channels, channels);
        let wide = naive(&x, [size[0], size[1], inputs], one, (&w, &b), false, RELU6);
        let (w, b) = part(2, channels * 9, channels);
        let spread = naive(&wide, [size[0], size[1], channels], window, (&w, &b), true, RELU6);
        let (w, b) = part(4, channels * outputs, outputs);
        let [height, width] = window.output(size).expect("fits");
        let wanted = naive(&spread, [height, width, channels], one, (&w, &b), false, ALL);
        let found = run_block(&block(size, window, [inputs, channels, outputs], seed), &x, None);
        let error: f32 = found.iter().zip(&wanted).map(|(a, b)| (a - b).powi(2)).sum();
        let power: f32 = wanted.iter().map(|b| b.powi(2)).sum();
        // Over a few values the errors do not even out: .0212 has been seen over 16.
        let bound = if wanted.len() < 64 { 0.03f32 } else { 0.02 };
        prop_assert!(error <= power * bound.powi(2), "{error} of {power}");
    }
}

fn ints(list: &[usize]) -> Attr {
    Attr::Ints(list.iter().map(|v| *v as i64).collect())
}

/// A graph under construction.
struct Small {
    graph: GraphBuilder,
    seed: u64,
}

impl Small {
    fn new() -> Self {
        let mut graph = GraphBuilder::new("small");
        let sides = [20, 22, 3].map(Dim::Fixed);
        graph.input("image", &[&[Dim::Named("N".into())][..], &sides].concat());
        let perm = [("perm", ints(&[0, 3, 1, 2]))];
        graph.node("Transpose", "planes", &["image"], &perm);
        Self { graph, seed: 3 }
    }

    fn constant(&mut self, name: &str, shape: &[usize], by: f32) -> String {
        self.seed += 2;
        let values = numbers(self.seed * 7919, shape.iter().product());
        let values = Values::F32(values.iter().map(|v| v * by).collect());
        self.graph.constant(name, shape, &values)
    }

    /// A convolution; `stride` 0: a kernel a channel.
    fn conv(&mut self, name: &str, x: &str, shape: [usize; 4], strides: usize) -> String {
        let by = 1.5 / ((shape[1] * shape[2] * shape[3]) as f32).sqrt();
        let w = self.constant(&format!("{name}/w"), &shape, by);
        let b = self.constant(&format!("{name}/b"), &shape[..1], 0.3);
        let pads = match (shape[2], strides) {
            (1, _) => [0; 4],
            // TensorFlow's "same" puts the odd zero at the end.
            (_, 2) => [0, 0, 1, 1],
            _ => [1; 4],
        };
        let own = shape[1] == 1;
        let attributes = [
            ("group", Attr::Int(if own { shape[0] as i64 } else { 1 })),
            ("kernel_shape", ints(&shape[2..])),
            ("pads", ints(&pads)),
            ("strides", ints(&[strides; 2])),
        ];
        self.graph.node("Conv", name, &[x, &w, &b], &attributes)
    }

    fn clipped(&mut self, name: &str, x: &str, shape: [usize; 4], strides: usize) -> String {
        let x = self.conv(&format!("{name}/linear"), x, shape, strides);
        let low = self
            .graph
            .constant(&format!("{name}/low"), &[], &Values::F32(vec![0.0]));
        let high = self
            .graph
            .constant(&format!("{name}/high"), &[], &Values::F32(vec![6.0]));
        self.graph.node("Clip", name, &[&x, &low, &high], &[])
    }

    fn start(&mut self) -> String {
        let x = self.conv("rescaled", "planes", [3, 1, 1, 1], 1);
        let x = self.clipped("first", &x, [16, 3, 3, 3], 2);
        let x = self.clipped("first/spread", &x, [16, 1, 3, 3], 1);
        self.conv("first/out", &x, [8, 16, 1, 1], 1)
    }

    /// A block with a shortcut.
    fn second(&mut self, x: &str) -> String {
        let y = self.clipped("second", x, [48, 8, 1, 1], 1);
        let y = self.clipped("second/spread", &y, [48, 1, 3, 3], 1);
        let y = self.conv("second/out", &y, [8, 48, 1, 1], 1);
        self.graph.node("Add", "sum", &[x, &y], &[])
    }

    fn finish(mut self, x: &str) -> Vec<u8> {
        let x = self.clipped("last", x, [40, 8, 1, 1], 1);
        let x = self.graph.node("GlobalAveragePool", "mean", &[&x], &[]);
        let axis = [("axis", Attr::Int(1))];
        let x = self.graph.node("Flatten", "features", &[&x], &axis);
        let w = self.constant("hidden/w", &[40, 10], 0.2);
        let b = self.constant("hidden/b", &[10], 0.1);
        let x = self.graph.node("Gemm", "hidden/sums", &[&x, &w, &b], &[]);
        let x = self.graph.node("Relu", "hidden", &[&x], &[]);
        let w = self.constant("classes/w", &[10, 4], 0.5);
        let b = self.constant("classes/b", &[4], 0.1);
        let x = self.graph.node("Gemm", "classes", &[&x, &w, &b], &[]);
        self.graph.node("Softmax", "probabilities", &[&x], &axis);
        let n = || Dim::Named("N".into());
        self.graph.output("probabilities", &[n(), Dim::Fixed(4)]);
        self.graph.output("features", &[n(), Dim::Fixed(40)]);
        encode(&self.graph.finish())
    }
}

fn small() -> Vec<u8> {
    let mut graph = Small::new();
    let x = graph.start();
    let x = graph.second(&x);
    graph.finish(&x)
}

fn pictures(seed: u64, count: usize) -> Vec<f32> {
    numbers(seed, count * 20 * 22 * 3)
}

#[test]
fn a_small_network_answers_as_its_floats_do() {
    let bytes = small();
    let (own, floats) = (
        ConvNet::load(&bytes).expect("loads"),
        CandleGraph::load(&bytes).expect("loads"),
    );
    assert_eq!(Some(own.input()), floats.inputs().next());
    assert!(own.outputs().eq(floats.outputs()));
    let shape = vec![3, 20, 22, 3];
    let x = pictures(11, 3);
    let found = own.run(&shape, &x).expect("runs");
    let wanted = floats.run(vec![("image".into(), shape, x)]).expect("runs");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!((&found.0, &found.1), (&wanted.0, &wanted.1));
        close(&found.2, &wanted.2, 0.02);
    }
}

#[test]
fn an_answer_does_not_depend_on_the_rest_of_the_batch() {
    let own = ConvNet::load(&small()).expect("loads");
    let (a, b) = (pictures(5, 1), pictures(6, 1));
    let alone = own.run(&[1, 20, 22, 3], &a).expect("runs");
    let with = own
        .run(&[3, 20, 22, 3], &[b.clone(), a, b].concat())
        .expect("runs");
    for (alone, with) in alone.iter().zip(&with) {
        let length = alone.2.len();
        assert_eq!(alone.2, with.2[length..2 * length]);
        assert_eq!(with.2[..length], with.2[2 * length..]);
        assert_ne!(with.2[..length], alone.2);
    }
}

#[test]
fn wrong_pictures_are_refused() {
    let own = ConvNet::load(&small()).expect("loads");
    let mut x = pictures(5, 1);
    for shape in [
        &[1, 20, 22][..],
        &[2, 20, 22, 3],
        &[0, 20, 22, 3],
        &[1, 22, 20, 3],
    ] {
        let error = own.run(shape, &x).expect_err("another shape");
        assert_eq!(error.code(), "graph_input");
    }
    x[7] = f32::NAN;
    let error = own.run(&[1, 20, 22, 3], &x).expect_err("no number");
    assert_eq!(error.code(), "graph_input");
}

/// The node that a graph is refused for.
fn refused(build: impl FnOnce(&mut Small) -> String) -> String {
    let mut graph = Small::new();
    let x = build(&mut graph);
    match ConvNet::load(&graph.finish(&x)) {
        Err(GraphError::Unsupported { node, .. }) => node,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("loads"),
    }
}

#[test]
fn what_is_not_of_the_form_is_refused_by_name() {
    let other = refused(|g| {
        let x = g.start();
        g.graph.node("Sigmoid", "gate", &[&x], &[])
    });
    assert_eq!(other, "gate (Sigmoid)");
    let open = refused(|g| {
        let x = g.clipped("first", "planes", [16, 3, 3, 3], 2);
        let x = g.conv("spread", &x, [16, 1, 3, 3], 1);
        g.conv("out", &x, [8, 16, 1, 1], 1)
    });
    assert_eq!(open, "spread (Conv)", "negative values would be lost");
    let bare = refused(|g| g.clipped("first", "planes", [8, 3, 3, 3], 2));
    assert_eq!(bare, "first/linear (Conv)");
    let large = refused(|g| {
        let x = g.clipped("first", "planes", [16, 3, 3, 3], 2);
        let x = g.clipped("spread", &x, [16, 1, 5, 5], 1);
        g.conv("out", &x, [8, 16, 1, 1], 1)
    });
    assert_eq!(large, "spread/linear (Conv)");
    let sum = refused(|g| {
        let x = g.start();
        let y = g.second(&x);
        g.graph.node("Add", "again", &[&x, &y], &[])
    });
    assert_eq!(sum, "again (Add)");
    let dense = refused(|g| {
        let x = g.start();
        g.clipped("wide", &x, [8, 8, 3, 3], 1)
    });
    assert_eq!(dense, "wide/linear (Conv)");
}
