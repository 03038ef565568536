//! The encoder as an ONNX graph, for engines with fast eight-bit kernels.
//!
//! Inputs `ids`, `mask` (1 for tokens, 0 for padding) and `own` (1 for the message's own tokens, 0
//! for its context and padding), each int64 `[texts, length]`; output `logits` `[texts, heads]`.
//! Matrix products are `DynamicQuantizeLinear` + `MatMulInteger` with one scale a column, written
//! in the shapes that ONNX Runtime fuses. Where a bias or a norm is needed it is written out in
//! operators of the set that the builder declares.

use super::EncoderError;
use super::pack::ChatEncoder;
use crate::manifest::Dim;
use crate::onnx::{Attr, GraphBuilder, Values, encode};

/// Added to the scores of padding before the softmax.
const MASKED: f32 = -1e4;

struct Writer<'a> {
    model: &'a ChatEncoder,
    graph: GraphBuilder,
}

impl ChatEncoder {
    /// The file's bytes.
    pub fn to_onnx(&self) -> Result<Vec<u8>, EncoderError> {
        let mut writer = Writer {
            model: self,
            graph: GraphBuilder::new("chat-encoder"),
        };
        writer.write()?;
        Ok(encode(&writer.graph.finish()))
    }
}

impl Writer<'_> {
    fn node(&mut self, op: &str, output: &str, inputs: &[&str]) -> String {
        self.graph.node(op, output, inputs, &[])
    }

    fn floats(&mut self, name: &str) -> Result<String, EncoderError> {
        let (shape, values) = self.values(name)?;
        Ok(self.graph.constant(name, &shape, &Values::F32(values)))
    }

    fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), EncoderError> {
        let found = self.model.floats.get(name).cloned();
        found.ok_or_else(|| EncoderError::Missing(name.to_owned()))
    }

    fn write(&mut self) -> Result<(), EncoderError> {
        let config = self.model.description.config;
        let shape = [
            Dim::Named("texts".to_owned()),
            Dim::Named("length".to_owned()),
        ];
        for input in ["ids", "mask", "own"] {
            self.graph.input_integers(input, &shape);
        }
        let heads = self.model.description.heads.len() as u64;
        let out = [Dim::Named("texts".to_owned()), Dim::Fixed(heads)];
        self.graph.output("logits", &out);
        self.graph.constant("axis.1", &[1], &Values::I64(vec![1]));
        self.graph.constant("axis.2", &[1], &Values::I64(vec![2]));
        self.graph
            .constant("axes.1.2", &[2], &Values::I64(vec![1, 2]));
        let d = config.width / config.heads;
        let split = vec![0, 0, config.heads as i64, d as i64];
        self.graph
            .constant("shape.heads", &[4], &Values::I64(split));
        let joined = vec![0, 0, config.width as i64];
        self.graph
            .constant("shape.joined", &[3], &Values::I64(joined));
        let thirds = vec![config.width as i64; 3];
        self.graph
            .constant("shape.thirds", &[3], &Values::I64(thirds));
        self.graph.scalar("one", 1.0);
        self.graph.scalar("half", 0.5);
        self.graph.scalar("root", std::f32::consts::SQRT_2);
        self.graph.scalar("epsilon", super::EPSILON);
        self.graph
            .scalar("attention.scale", 1.0 / (d as f32).sqrt());
        self.graph.scalar("masked", MASKED);

        let float = |to| [("to", Attr::Int(to))];
        self.graph.node("Cast", "mask.float", &["mask"], &float(1));
        self.graph.node("Cast", "own.float", &["own"], &float(1));
        self.node("Sub", "padding", &["one", "mask.float"]);
        self.node("Mul", "padding.score", &["padding", "masked"]);
        self.node(
            "Unsqueeze",
            "attention.mask",
            &["padding.score", "axes.1.2"],
        );

        let mut x = self.embed()?;
        for layer in 0..config.layers {
            x = self.layer(layer, &x)?;
        }
        self.node("Unsqueeze", "own.column", &["own.float", "axis.2"]);
        self.node("Mul", "own.vectors", &[&x, "own.column"]);
        let keep = [("keepdims", Attr::Int(0))];
        self.graph
            .node("ReduceSum", "own.sum", &["own.vectors", "axis.1"], &keep);
        let keep = [("keepdims", Attr::Int(1))];
        self.graph
            .node("ReduceSum", "own.count", &["own.float", "axis.1"], &keep);
        self.node("Div", "pooled", &["own.sum", "own.count"]);
        let weight = self.floats(super::HEAD_WEIGHT)?;
        let bias = self.floats(super::HEAD_BIAS)?;
        self.node("MatMul", "head.product", &["pooled", &weight]);
        self.node("Add", "logits", &["head.product", &bias]);
        Ok(())
    }

    fn embed(&mut self) -> Result<String, EncoderError> {
        let words = self.matrix("embeddings.words")?.clone();
        let shape = words.shape;
        self.graph
            .constant("words", &shape, &Values::I8(words.steps));
        self.graph
            .constant("words.scale", &[shape[0], 1], &Values::F32(words.scales));
        self.node("Gather", "word.steps", &["words", "ids"]);
        let float = [("to", Attr::Int(1))];
        self.graph
            .node("Cast", "word.float", &["word.steps"], &float);
        self.node("Gather", "word.scale", &["words.scale", "ids"]);
        self.node("Mul", "word.vectors", &["word.float", "word.scale"]);

        let positions = self.floats("embeddings.positions")?;
        self.node("Shape", "ids.shape", &["ids"]);
        self.graph.constant("zero.1", &[1], &Values::I64(vec![0]));
        self.node("Slice", "length", &["ids.shape", "axis.1", "axis.2"]);
        self.node(
            "Slice",
            "position.vectors",
            &[&positions, "zero.1", "length", "zero.1"],
        );

        let segments = self.floats("embeddings.segments")?;
        self.node("Sub", "segment.ids", &["mask", "own"]);
        self.node("Gather", "segment.vectors", &[&segments, "segment.ids"]);
        self.node("Add", "embedded.1", &["word.vectors", "position.vectors"]);
        self.node("Add", "embedded.2", &["embedded.1", "segment.vectors"]);
        self.norm("embeddings.norm", "embedded.2")
    }

    fn matrix(&self, name: &str) -> Result<&super::pack::Quantized, EncoderError> {
        let found = self.model.matrices.get(name);
        found.ok_or_else(|| EncoderError::Missing(name.to_owned()))
    }

    /// `x · matrix + bias`; `quantized` is the name of what [`Writer::quantized`] made of `x`.
    fn linear(
        &mut self,
        out: &str,
        quantized: &str,
        matrix: &str,
        bias: &[f32],
    ) -> Result<String, EncoderError> {
        let matrix = self.matrix(matrix)?.clone();
        let (shape, columns, scales) = (matrix.shape, matrix.shape[1], matrix.scales);
        let name = |part: &str| format!("{out}.{part}");
        let steps = self
            .graph
            .constant(&name("weight"), &shape, &Values::I8(matrix.steps));
        let zero = self.graph.constant(
            &name("weight.zero"),
            &[columns],
            &Values::I8(vec![0; columns]),
        );
        let scales = self
            .graph
            .constant(&name("weight.scale"), &[columns], &Values::F32(scales));
        let bias = self
            .graph
            .constant(&name("bias"), &[columns], &Values::F32(bias.to_vec()));
        let part = |suffix: &str| format!("{quantized}.{suffix}");
        let product = self.node(
            "MatMulInteger",
            &name("integer"),
            &[&part("steps"), &steps, &part("zero"), &zero],
        );
        let float = [("to", Attr::Int(1))];
        let product = self.graph.node("Cast", &name("float"), &[&product], &float);
        let scale = self.node("Mul", &name("scale"), &[&part("scale"), &scales]);
        let product = self.node("Mul", &name("scaled"), &[&product, &scale]);
        Ok(self.node("Add", out, &[&product, &bias]))
    }

    fn quantized(&mut self, x: &str) -> String {
        let [steps, scale, zero] = ["steps", "scale", "zero"].map(|part| format!("{x}.{part}"));
        let outputs = [steps.as_str(), scale.as_str(), zero.as_str()];
        self.graph
            .node_of_many("DynamicQuantizeLinear", &outputs, &[x], &[]);
        x.to_owned()
    }

    fn layer(&mut self, layer: usize, x: &str) -> Result<String, EncoderError> {
        let config = self.model.description.config;
        let w = config.width;
        let n = |part: &str| format!("layers.{layer}.{part}");
        let (_, bias) = self.values(&n("qkv_bias"))?;
        let input = self.quantized(x);
        let turn = |perm: [i64; 4]| [("perm", Attr::Ints(perm.to_vec()))];
        let qkv = self.linear(&n("qkv.sum"), &input, &n("qkv"), &bias)?;
        let names = ["query", "key", "value"];
        let outputs = names.map(&n);
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let last = [("axis", Attr::Int(-1))];
        self.graph
            .node_of_many("Split", &outputs, &[&qkv, "shape.thirds"], &last);
        let mut parts = Vec::new();
        for part in names {
            let y = self.node(
                "Reshape",
                &n(&format!("{part}.heads")),
                &[&n(part), "shape.heads"],
            );
            let perm = turn(if part == "key" {
                [0, 2, 3, 1]
            } else {
                [0, 2, 1, 3]
            });
            parts.push(
                self.graph
                    .node("Transpose", &n(&format!("{part}.turned")), &[&y], &perm),
            );
        }
        let scores = self.node("MatMul", &n("scores"), &[&parts[0], &parts[1]]);
        let scores = self.node("Mul", &n("scores.scaled"), &[&scores, "attention.scale"]);
        let scores = self.node("Add", &n("scores.masked"), &[&scores, "attention.mask"]);
        let axis = [("axis", Attr::Int(-1))];
        let p = self
            .graph
            .node("Softmax", &n("probabilities"), &[&scores], &axis);
        let y = self.node("MatMul", &n("attended"), &[&p, &parts[2]]);
        let y = self.graph.node(
            "Transpose",
            &n("attended.turned"),
            &[&y],
            &turn([0, 2, 1, 3]),
        );
        let y = self.node("Reshape", &n("attended.joined"), &[&y, "shape.joined"]);

        let (_, norm) = self.values(&n("attention_norm"))?;
        let y = self.quantized(&y);
        let y = self.linear(&n("out.sum"), &y, &n("out"), &norm[..w])?;
        let y = self.node("Add", &n("attention.residual"), &[&y, x]);
        let x = self.norm(&n("attention_norm"), &y)?;

        let (_, bias) = self.values(&n("up_bias"))?;
        let y = self.quantized(&x);
        let y = self.linear(&n("up.sum"), &y, &n("up"), &bias)?;
        let e = self.node("Div", &n("gelu.scaled"), &[&y, "root"]);
        let e = self.node("Erf", &n("gelu.erf"), &[&e]);
        let e = self.node("Add", &n("gelu.one"), &[&e, "one"]);
        let e = self.node("Mul", &n("gelu.double"), &[&y, &e]);
        let y = self.node("Mul", &n("gelu"), &[&e, "half"]);

        let (_, norm) = self.values(&n("norm"))?;
        let y = self.quantized(&y);
        let y = self.linear(&n("down.sum"), &y, &n("down"), &norm[..w])?;
        let y = self.node("Add", &n("residual"), &[&y, &x]);
        self.norm(&n("norm"), &y)
    }

    /// Layer normalisation; the first row of `parameters` is not its business.
    fn norm(&mut self, parameters: &str, x: &str) -> Result<String, EncoderError> {
        let (_, values) = self.values(parameters)?;
        let w = self.model.description.config.width;
        if values.len() != 3 * w {
            return Err(EncoderError::Missing(parameters.to_owned()));
        }
        let (gain, shift) = values[w..].split_at(w);
        let n = |part: &str| format!("{parameters}.{part}");
        let gain = self
            .graph
            .constant(&n("gain"), &[w], &Values::F32(gain.to_vec()));
        let shift = self
            .graph
            .constant(&n("shift"), &[w], &Values::F32(shift.to_vec()));
        let axes = [("axes", Attr::Ints(vec![-1])), ("keepdims", Attr::Int(1))];
        let mean = self.graph.node("ReduceMean", &n("mean"), &[x], &axes);
        let centred = self.node("Sub", &n("centred"), &[x, &mean]);
        let two = self.graph.scalar(&n("two"), 2.0);
        let square = self.node("Pow", &n("square"), &[&centred, &two]);
        let variance = self
            .graph
            .node("ReduceMean", &n("variance"), &[&square], &axes);
        let variance = self.node("Add", &n("variance.safe"), &[&variance, "epsilon"]);
        let deviation = self.node("Sqrt", &n("deviation"), &[&variance]);
        let y = self.node("Div", &n("normal"), &[&centred, &deviation]);
        let y = self.node("Mul", &n("normal.gain"), &[&y, &gain]);
        Ok(self.node("Add", &n("normal.shift"), &[&y, &shift]))
    }
}
