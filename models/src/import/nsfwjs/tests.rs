use proptest::prelude::*;

use super::*;
use crate::candle_graph::CandleGraph;
use crate::onnx::encode;

/// Pad, strided convolution, normalisation, ReLU6, depthwise, residual, pool, dense, softmax.
const LAYERS: &str = r#"[
{name:"in",class_name:"InputLayer",config:{batch_input_shape:[null,4,4,1]},inbound_nodes:[]},
{name:"pad",class_name:"ZeroPadding2D",config:{padding:[[0,1],[0,1]]},inbound_nodes:[[["in",0,0,{}]]]},
{name:"conv",class_name:"Conv2D",config:{strides:[2,2],padding:"valid",use_bias:!1,dilation_rate:[1,1],activation:"linear",data_format:"channels_last"},inbound_nodes:[[["pad",0,0,{}]]]},
{name:"bn",class_name:"BatchNormalization",config:{epsilon:.5},inbound_nodes:[[["conv",0,0,{}]]]},
{name:"relu",class_name:"ReLU",config:{max_value:6,negative_slope:0,threshold:0},inbound_nodes:[[["bn",0,0,{}]]]},
{name:"dw",class_name:"DepthwiseConv2D",config:{strides:[1,1],padding:"same",use_bias:!0,dilation_rate:[1,1],activation:"linear",data_format:"channels_last"},inbound_nodes:[[["relu",0,0,{}]]]},
{name:"sum",class_name:"Add",config:{},inbound_nodes:[[["dw",0,0,{}],["relu",0,0,{}]]]},
{name:"pool",class_name:"AveragePooling2D",config:{pool_size:[2,2],padding:"valid"},inbound_nodes:[[["sum",0,0,{}]]]},
{name:"flat",class_name:"Flatten",config:{},inbound_nodes:[[["pool",0,0,{}]]]},
{name:"drop",class_name:"Dropout",config:{},inbound_nodes:[[["flat",0,0,{}]]]},
{name:"out",class_name:"Dense",config:{activation:"softmax"},inbound_nodes:[[["drop",0,0,{}]]]}]"#;

/// Name, shape and values of the weights.
fn weights() -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
    // The first kernel is 0.1 everywhere, the second -0.1: values alternate.
    let kernel = (0..18)
        .map(|i| if i % 2 == 0 { 0.1 } else { -0.1 })
        .collect();
    let mut centre = vec![0.0; 18];
    // The depthwise kernels only look at the pixel to the right, with the weight 1 or 10.
    (centre[10], centre[11]) = (1.0, 10.0);
    vec![
        ("conv/kernel", vec![3, 3, 1, 2], kernel),
        ("bn/gamma", vec![2], vec![2.0, 1.0]),
        ("bn/beta", vec![2], vec![1.0, 0.0]),
        ("bn/moving_mean", vec![2], vec![0.1, 0.0]),
        ("bn/moving_variance", vec![2], vec![0.5, 0.5]),
        ("dw/depthwise_kernel", vec![3, 3, 2, 1], centre),
        ("dw/bias", vec![2], vec![0.0, 0.25]),
        ("out/kernel", vec![2, 2], vec![1.0, 0.0, 0.0, 0.0]),
        ("out/bias", vec![2], vec![0.0, 0.0]),
    ]
}

fn scripts(layers: &str) -> (String, String) {
    let specs: Vec<String> = weights()
        .iter()
        .map(|(name, shape, _)| format!("{{name:\"{name}\",shape:{shape:?},dtype:\"float32\"}}"))
        .collect();
    let topology = format!(
        "!function(){{a.exports={{modelTopology:{{model_config:{{config:{{layers:{layers}}}}}}},\
         weightsManifest:[{{paths:[\"x\"],weights:[{}]}}]}}}}",
        specs.join(",")
    );
    let data: Vec<u8> = weights()
        .iter()
        .flat_map(|(_, _, v)| v)
        .flat_map(|v| v.to_le_bytes())
        .collect();
    (
        topology,
        format!("!function(){{a.exports=\"{}\"}}", STANDARD.encode(data)),
    )
}

#[test]
fn small_model_gives_the_answer_of_its_definition() {
    let (topology, shard) = scripts(LAYERS);
    let model = import(topology.as_bytes(), &[shard.as_bytes()], "test").expect("imports");
    let graph = CandleGraph::load(&encode(&model)).expect("loads");
    let out = graph
        .run(vec![("image".into(), vec![1, 4, 4, 1], vec![1.0; 16])])
        .expect("runs");
    // First channel: sums .9 .6 .6 .4, normalised 2.6 2.0 2.0 1.6; its right neighbours 2.0 0
    // 1.6 0 are added: mean (2.6 + 2.0 + 2.0 + 1.6 + 2.0 + 1.6) / 4. Second: negative, so ReLU
    // leaves zeros and only the depthwise bias remains.
    assert_eq!(out[1].0, "features");
    assert!(
        (out[1].2[0] - 2.95).abs() < 1e-5 && (out[1].2[1] - 0.25).abs() < 1e-6,
        "{out:?}"
    );
    let first = 1.0 / (1.0 + (-2.95_f32).exp());
    assert_eq!(out[0].0, "probabilities");
    assert!((out[0].2[0] - first).abs() < 1e-5, "{out:?}");
}

#[test]
fn unknown_layers_and_settings_are_refused() {
    let cases = [
        (
            "class_name:\"ReLU\"",
            "class_name:\"Swish\"",
            "not supported",
        ),
        ("max_value:6", "max_value:4", "ReLU6"),
        ("pool_size:[2,2]", "pool_size:[1,1]", "whole map"),
        ("dilation_rate:[1,1]", "dilation_rate:[2,2]", "dilation"),
        ("[\"in\",0,0", "[\"nowhere\",0,0", "unknown input"),
        ("\"softmax\"", "\"tanh\"", "activation"),
        (
            "[\"dw\",0,0,{}],[\"relu\"",
            "[\"dw\",0,0,{}],[\"conv\"",
            "folded",
        ),
        ("name:\"bn\"", "name:\"nb\"", "missing"),
        ("[null,4,4,1]", "[null,4,4,3]", "does not fit"),
    ];
    for (from, to, expected) in cases {
        assert!(LAYERS.contains(from), "{from}");
        let (topology, shard) = scripts(&LAYERS.replace(from, to));
        let error = import(topology.as_bytes(), &[shard.as_bytes()], "test")
            .expect_err(to)
            .to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

/// Rescaled input, strided convolution with ReLU6, depthwise, residual, pool, dense, softmax.
fn graph_scripts(change: (&str, &str)) -> (String, Vec<String>) {
    let text = |t: &str| STANDARD.encode(t);
    let fused = |ops: &[&str]| {
        let ops: Vec<String> = ops.iter().map(|o| format!("\"{}\"", text(o))).collect();
        format!("fused_ops:{{list:{{s:[{}]}}}}", ops.join(","))
    };
    let conv = |name: &str, op: &str, input: &str, stride: u8, ops: &[&str]| {
        format!(
            "{{name:\"{name}\",op:\"{op}\",input:[\"{input}\",\"{name}/w\",\"{name}/b\"],attr:{{\
             data_format:{{s:\"{}\"}},padding:{{s:\"{}\"}},dilations:{{list:{{i:[\"1\",\"1\",\"1\",\"1\"]}}}},\
             strides:{{list:{{i:[\"1\",\"{stride}\",\"{stride}\",\"1\"]}}}},{}}}}}",
            text("NHWC"),
            text("SAME"),
            fused(ops)
        )
    };
    let nodes = [
        "{name:\"in\",op:\"Placeholder\",attr:{shape:{shape:{dim:[{size:\"-1\"},{size:\"4\"},{size:\"4\"},{size:\"1\"}]}}}}".to_owned(),
        "{name:\"two\",op:\"Const\"}".to_owned(),
        "{name:\"mul\",op:\"Mul\",input:[\"two\",\"in\"]}".to_owned(),
        "{name:\"sub\",op:\"Sub\",input:[\"mul\",\"one\"]}".to_owned(),
        conv("conv", "_FusedConv2D", "sub:0", 2, &["BiasAdd", "Relu6"]),
        conv("dw", "FusedDepthwiseConv2dNative", "conv", 1, &["BiasAdd"]),
        "{name:\"both\",op:\"AddV2\",input:[\"dw\",\"conv\"]}".to_owned(),
        // Used a second time.
        "{name:\"sum\",op:\"AddV2\",input:[\"both\",\"dw\"]}".to_owned(),
        format!(
            "{{name:\"pool\",op:\"AvgPool\",input:[\"sum\"],attr:{{data_format:{{s:\"{}\"}},padding:{{s:\"{}\"}},\
             ksize:{{list:{{i:[\"1\",\"2\",\"2\",\"1\"]}}}}}}}}",
            text("NHWC"),
            text("VALID")
        ),
        "{name:\"flat\",op:\"Squeeze\",input:[\"pool\"],attr:{squeeze_dims:{list:{i:[\"1\",\"2\"]}}}}".to_owned(),
        format!(
            "{{name:\"out\",op:\"_FusedMatMul\",input:[\"flat\",\"out/w\",\"out/b\"],attr:{{{}}}}}",
            fused(&["BiasAdd"])
        ),
        "{name:\"soft\",op:\"Softmax\",input:[\"out\"]}".to_owned(),
        "{name:\"end\",op:\"Identity\",input:[\"soft\"]}".to_owned(),
    ];
    let mut centre = vec![0.0_f32; 9];
    centre[4] = 0.5;
    let weights: [(&str, &str, Vec<f32>); 8] = [
        ("two", "[]", vec![2.0]),
        ("one", "[]", vec![1.0]),
        ("conv/w", "[3,3,1,1]", vec![0.1; 9]),
        ("conv/b", "[1]", vec![0.2]),
        ("dw/w", "[3,3,1,1]", centre),
        ("dw/b", "[1]", vec![0.0]),
        ("out/w", "[1,2]", vec![1.0, 0.0]),
        ("out/b", "[2]", vec![0.0, 0.0]),
    ];
    let specs: Vec<String> = weights
        .iter()
        .map(|(name, shape, _)| format!("{{name:\"{name}\",shape:{shape},dtype:\"float32\"}}"))
        .collect();
    let nodes = nodes.join(",");
    assert!(nodes.contains(change.0), "{}", change.0);
    let topology = format!(
        "!function(){{a.exports={{format:\"graph-model\",modelTopology:{{node:[{}]}},\
         weightsManifest:[{{paths:[\"x\",\"y\"],weights:[{}]}}]}}}}",
        nodes.replacen(change.0, change.1, 1),
        specs.join(",")
    );
    let data: Vec<u8> = weights
        .iter()
        .flat_map(|(_, _, v)| v)
        .flat_map(|v| v.to_le_bytes())
        .collect();
    // Two shards, cut inside a number.
    let shards = [&data[..42], &data[42..]]
        .map(|part| format!("!function(){{a.exports=\"{}\"}}", STANDARD.encode(part)));
    (topology, shards.to_vec())
}

fn import_graph(change: (&str, &str)) -> Result<ModelProto, ImportError> {
    let (topology, shards) = graph_scripts(change);
    let shards: Vec<&[u8]> = shards.iter().map(String::as_bytes).collect();
    import(topology.as_bytes(), &shards, "graph")
}

#[test]
fn a_graph_gives_the_answer_of_its_definition() {
    let model = import_graph(("in", "in")).expect("imports");
    let graph = CandleGraph::load(&encode(&model)).expect("loads");
    // A picture of ones becomes ones; "same" padding adds zeros of the rescaled picture below and
    // to the right: sums of 9, 6, 6 and 4 tenths and the bias; half of each is added twice.
    let out = graph
        .run(vec![("image".into(), vec![1, 4, 4, 1], vec![1.0; 16])])
        .expect("runs");
    let mean = 2.0 * (1.1 + 0.8 + 0.8 + 0.6) / 4.0_f32;
    assert!((out[1].2[0] - mean).abs() < 1e-5, "{out:?}");
    let first = 1.0 / (1.0 + (-mean).exp());
    assert!((out[0].2[0] - first).abs() < 1e-5, "{out:?}");
    // A picture of zeros becomes minus ones, which ReLU6 leaves at zero but for the bias.
    let out = graph
        .run(vec![("image".into(), vec![1, 4, 4, 1], vec![0.0; 16])])
        .expect("runs");
    assert!(out[1].2[0].abs() < 1e-6, "{out:?}");
}

#[test]
fn unknown_nodes_and_settings_of_a_graph_are_refused() {
    for (from, to, expected) in [
        ("\"Softmax\"", "\"Tanh\"", "not supported"),
        ("\"Mul\"", "\"Div\"", "not supported"),
        ("[\"two\",\"in\"]", "[\"in\",\"in\"]", "only a number"),
        ("\"conv/w\"", "\"nobody/w\"", "missing"),
        (
            "\"both\",op:\"AddV2\",input:[\"dw\"",
            "\"both\",op:\"AddV2\",input:[\"nowhere\"",
            "unknown input",
        ),
        ("squeeze_dims", "others", "not supported"),
        (
            "\"in\",op:\"Placeholder\",attr:{shape",
            "\"in\",op:\"Placeholder\",attr:{form",
            "no shape",
        ),
    ] {
        let error = import_graph((from, to)).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

proptest! {
    #[test]
    fn broken_scripts_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (topology, shard) = scripts(LAYERS);
        let (mut topology, mut shard) = (topology.into_bytes(), shard.into_bytes());
        for (at, value) in flips {
            let at = at.index(topology.len());
            topology[at] = value;
        }
        let _ = import(&topology, &[&shard], "test");
        shard.truncate(cut.index(shard.len()));
        prop_assert!(import(&topology, &[&shard], "test").is_err());
    }
}
