//! The network as an ONNX graph, for ONNX Runtime and for Candle's executor alike.

use super::SoundCnn;
use super::ops::{SIDE, TAPS};
use crate::manifest::Dim;
use crate::onnx::{self, Attr, GraphBuilder, Values};

/// The graph's input, `[N, frames, bands]`.
pub const GRAPH_INPUT: &str = "log_mel";
/// The graph's output, `[N, labels]`: shares that sum to 1.
pub const GRAPH_OUTPUT: &str = "scores";

impl SoundCnn {
    /// An ONNX file of the network.
    pub fn to_onnx(&self) -> Vec<u8> {
        let shape = self.shape();
        let mut graph = GraphBuilder::new("sound");
        let batch = Dim::Named("N".to_owned());
        let fixed = |n: usize| Dim::Fixed(n as u64);
        graph.input(
            GRAPH_INPUT,
            &[batch.clone(), fixed(shape.frames), fixed(shape.bands)],
        );
        let axes = graph.constant("axes", &[1], &Values::I64(vec![1]));
        let map = graph.node("Unsqueeze", "map", &[GRAPH_INPUT, &axes], &[]);
        // Taking off the mean before the first kernel pads with it, as training did.
        let maps = shape.maps();
        let mut scale = vec![0.0; maps];
        let mut shift = vec![0.0; maps];
        (scale[0], shift[0]) = (1.0 / shape.deviation, -shape.mean / shape.deviation);
        let by = graph.constant("input/scale", &[maps, 1, 1, 1], &Values::F32(scale));
        let plus = graph.constant("input/shift", &[maps], &Values::F32(shift));
        let mut x = graph.node("Conv", "input", &[&map, &by, &plus], &[]);
        if shape.heights {
            let nothing = std::iter::repeat_n(0.0, shape.bands);
            let heights: Vec<f32> = nothing.chain(shape.band_heights()).collect();
            let heights = graph.constant(
                "input/heights",
                &[1, maps, 1, shape.bands],
                &Values::F32(heights),
            );
            x = graph.node("Add", "input/maps", &[&x, &heights], &[]);
        }
        for (i, (inputs, layer)) in shape.inputs().zip(&self.layers).enumerate() {
            let outputs = layer.bias.len();
            let weights = kernel(&layer.kernel.steps, &layer.kernel.scales, inputs);
            let weights = graph.constant(
                &format!("block{i}/kernel"),
                &[outputs, inputs, SIDE, SIDE],
                &Values::F32(weights),
            );
            let bias = graph.constant(
                &format!("block{i}/bias"),
                &[outputs],
                &Values::F32(layer.bias.clone()),
            );
            let pads = [("pads", Attr::Ints(vec![1; 4]))];
            x = graph.node(
                "Conv",
                &format!("block{i}/conv"),
                &[&x, &weights, &bias],
                &pads,
            );
            x = graph.node("Relu", &format!("block{i}/relu"), &[&x], &[]);
            if i + 1 < self.layers.len() {
                let two = || Attr::Ints(vec![2, 2]);
                let window = [("kernel_shape", two()), ("strides", two())];
                x = graph.node("MaxPool", &format!("block{i}/pool"), &[&x], &window);
            }
        }
        let (channels, labels) = (shape.last(), shape.labels);
        let (of_mean, of_top) = self.weight.split_at(channels * labels);
        let mut sides = Vec::new();
        for (op, name, weights, bias) in [
            ("GlobalAveragePool", "mean", of_mean, self.bias.clone()),
            ("GlobalMaxPool", "top", of_top, vec![0.0; labels]),
        ] {
            let pooled = graph.node(op, name, &[&x], &[]);
            let flat = graph.node(
                "Flatten",
                &format!("{name}/flat"),
                &[&pooled],
                &[("axis", Attr::Int(1))],
            );
            let weights = graph.constant(
                &format!("{name}/weight"),
                &[channels, labels],
                &Values::F32(weights.to_vec()),
            );
            let bias = graph.constant(&format!("{name}/bias"), &[labels], &Values::F32(bias));
            sides.push(graph.node(
                "Gemm",
                &format!("{name}/logits"),
                &[&flat, &weights, &bias],
                &[],
            ));
        }
        let logits = graph.node("Add", "logits", &[&sides[0], &sides[1]], &[]);
        graph.node(
            "Softmax",
            GRAPH_OUTPUT,
            &[&logits],
            &[("axis", Attr::Int(1))],
        );
        graph.output(GRAPH_OUTPUT, &[batch, fixed(labels)]);
        onnx::encode(&graph.finish())
    }
}

/// `[9 · inputs, outputs]` in steps → `[outputs, inputs, 3, 3]` in values.
fn kernel(steps: &[i8], scales: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = scales.len();
    let mut values = vec![0.0; steps.len()];
    for (at, step) in steps.iter().enumerate() {
        let (row, output) = (at / outputs, at % outputs);
        let (tap, input) = (row / inputs, row % inputs);
        values[(output * inputs + input) * TAPS + tap] = f32::from(*step) * scales[output];
    }
    values
}
