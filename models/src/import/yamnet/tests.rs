use proptest::prelude::*;

use super::*;
use crate::candle_graph::CandleGraph;
use crate::onnx::encode;

/// A field of a flatbuffer table under construction.
enum Field {
    Byte(i8),
    Int(i32),
    Object(Object),
}

/// What an offset points to.
enum Object {
    Table(Vec<(usize, Field)>),
    Bytes(Vec<u8>),
    Words(Vec<i32>),
    Longs(Vec<i64>),
    Tables(Vec<Object>),
}

use Field::{Byte, Int};
use Object::{Bytes, Longs, Table, Tables, Words};

fn object(object: Object) -> Field {
    Field::Object(object)
}

fn put_u32(out: &mut [u8], at: usize, value: usize) {
    out[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
}

/// Writes an object behind everything else and returns its position.
fn write(out: &mut Vec<u8>, object: &Object) -> usize {
    let vector = |out: &mut Vec<u8>, count: usize, body: &[u8]| {
        let at = out.len();
        out.extend((count as u32).to_le_bytes());
        out.extend(body);
        at
    };
    match object {
        Bytes(list) => vector(out, list.len(), list),
        Words(list) => vector(
            out,
            list.len(),
            &list
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        ),
        Longs(list) => vector(
            out,
            list.len(),
            &list
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        ),
        Tables(list) => {
            let at = vector(out, list.len(), &vec![0; 4 * list.len()]);
            for (i, table) in list.iter().enumerate() {
                let slot = at + 4 + 4 * i;
                let target = write(out, table);
                put_u32(out, slot, target - slot);
            }
            at
        }
        Table(fields) => {
            let slots = fields.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
            let vtable = out.len();
            let size = 4 + 2 * slots;
            out.resize(vtable + size, 0);
            out[vtable..vtable + 2].copy_from_slice(&(size as u16).to_le_bytes());
            let at = out.len();
            out.extend((size as i32).to_le_bytes());
            let mut offsets = Vec::new();
            for (id, field) in fields {
                let place = (out.len() - at) as u16;
                let slot = vtable + 4 + 2 * id;
                out[slot..slot + 2].copy_from_slice(&place.to_le_bytes());
                match field {
                    Byte(value) => out.push(*value as u8),
                    Int(value) => out.extend(value.to_le_bytes()),
                    Field::Object(child) => {
                        offsets.push((out.len(), child));
                        out.extend([0; 4]);
                    }
                }
            }
            for (slot, child) in offsets {
                let target = write(out, child);
                put_u32(out, slot, target - slot);
            }
            at
        }
    }
}

/// Scales and zero points of a tensor; the axis of per-channel scales.
fn quantisation(scales: &[f32], zero: i64, axis: i32) -> Object {
    let scales: Vec<i32> = scales.iter().map(|s| s.to_bits() as i32).collect();
    let zeros = vec![zero; scales.len()];
    Table(vec![
        (2, object(Words(scales))),
        (3, object(Longs(zeros))),
        (6, Int(axis)),
    ])
}

struct File {
    tensors: Vec<Object>,
    buffers: Vec<Object>,
    operators: Vec<Object>,
    codes: Vec<Object>,
}

impl File {
    fn tensor(&mut self, shape: &[i32], kind: i8, data: Vec<u8>, q: Object) -> i32 {
        self.buffers.push(Table(vec![(0, object(Bytes(data)))]));
        self.tensors.push(Table(vec![
            (0, object(Words(shape.to_vec()))),
            (1, Byte(kind)),
            (2, Int(self.buffers.len() as i32 - 1)),
            (4, object(q)),
        ]));
        self.tensors.len() as i32 - 1
    }

    fn op(&mut self, code: i32, inputs: &[i32], output: i32, options: Vec<(usize, Field)>) {
        let field = if code > 127 {
            vec![(0, Byte(127)), (3, Int(code))]
        } else {
            vec![(0, Byte(code as i8))]
        };
        self.codes.push(Table(field));
        self.operators.push(Table(vec![
            (0, Int(self.codes.len() as i32 - 1)),
            (1, object(Words(inputs.to_vec()))),
            (2, object(Words(vec![output]))),
            (4, object(Table(options))),
        ]));
    }

    fn bytes(self) -> Vec<u8> {
        let graph = Table(vec![
            (0, object(Tables(self.tensors))),
            (3, object(Tables(self.operators))),
        ]);
        let root = Table(vec![
            (1, object(Tables(self.codes))),
            (2, object(Tables(vec![graph]))),
            (4, object(Tables(self.buffers))),
        ]);
        let mut out = b"\0\0\0\0TFL3".to_vec();
        let at = write(&mut out, &root);
        put_u32(&mut out, 0, at);
        out
    }
}

fn ints(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// QUANTIZE → RESHAPE → CONV_2D (ReLU) → DEPTHWISE_CONV_2D → MEAN → FULLY_CONNECTED → LOGISTIC →
/// DEQUANTIZE on a 2×3 map, all scales 1 except where said.
fn small(activation: i8) -> Vec<u8> {
    let one = |zero| quantisation(&[1.0], zero, 0);
    let mut f = File {
        tensors: vec![],
        buffers: vec![],
        operators: vec![],
        codes: vec![],
    };
    let none = || Table(vec![]);
    let input = f.tensor(&[1, 2, 3], 0, vec![], none());
    let q = f.tensor(&[1, 2, 3], kind::INT8, vec![], one(-3));
    f.op(op::QUANTIZE, &[input], q, vec![]);
    let map = f.tensor(&[1, 2, 3, 1], kind::INT8, vec![], one(-3));
    f.op(op::RESHAPE, &[q], map, vec![]);
    // Two kernels of 1×1: times 2 (scale 1) and times -3 (scale 0.5).
    let kernel = f.tensor(
        &[2, 1, 1, 1],
        kind::INT8,
        vec![2, 253],
        quantisation(&[1.0, 0.5], 0, 0),
    );
    let bias = f.tensor(&[2], kind::INT32, ints(&[0, 20]), none());
    let conv = f.tensor(&[1, 2, 3, 2], kind::INT8, vec![], one(-128));
    f.op(
        op::CONV_2D,
        &[map, kernel, bias],
        conv,
        vec![(1, Int(1)), (2, Int(1)), (3, Byte(activation))],
    );
    // Depthwise 1×3 kernels: the sum of three pixels, and the right neighbour; stride 1, "same".
    let kernel = f.tensor(
        &[1, 1, 3, 2],
        kind::INT8,
        vec![1, 0, 1, 0, 1, 1],
        quantisation(&[1.0, 1.0], 0, 3),
    );
    let bias = f.tensor(&[2], kind::INT32, ints(&[0, 0]), none());
    let wide = f.tensor(&[1, 2, 3, 2], kind::INT8, vec![], one(-128));
    f.op(
        op::DEPTHWISE_CONV_2D,
        &[conv, kernel, bias],
        wide,
        vec![(1, Int(1)), (2, Int(1))],
    );
    let axes = f.tensor(&[2], kind::INT32, ints(&[1, 2]), none());
    let pooled = f.tensor(
        &[1, 1, 1, 2],
        kind::INT8,
        vec![],
        quantisation(&[0.5], -128, 0),
    );
    f.op(op::MEAN, &[wide, axes], pooled, vec![]);
    let kernel = f.tensor(
        &[3, 2],
        kind::INT8,
        vec![1, 0, 0, 1, 255, 255],
        quantisation(&[0.1], 0, 0),
    );
    let bias = f.tensor(&[3], kind::INT32, ints(&[0, 0, 100]), none());
    let logits = f.tensor(&[1, 3], kind::INT8, vec![], quantisation(&[0.25], 0, 0));
    f.op(op::FULLY_CONNECTED, &[pooled, kernel, bias], logits, vec![]);
    let scores = f.tensor(
        &[1, 3],
        kind::INT8,
        vec![],
        quantisation(&[1.0 / 256.0], -128, 0),
    );
    f.op(op::LOGISTIC, &[logits], scores, vec![]);
    let out = f.tensor(&[1, 3], 0, vec![], none());
    f.op(op::DEQUANTIZE, &[scores], out, vec![]);
    f.bytes()
}

#[test]
fn small_file_gives_the_answer_of_its_definition() {
    let model = import(&small(1)).expect("imports");
    let graph = CandleGraph::load(&encode(&model)).expect("loads");
    let x = vec![1.0, 2.0, 3.0, 4.0, -5.0, 6.4];
    let out = graph
        .run(vec![("log_mel".into(), vec![1, 2, 3], x)])
        .expect("runs");
    // Convolution: [2 4 6 | 8 0 12] and (20 - 3x) / 2: 8.5 7 5.5 | 4 17.5 1 → 8 7 6 | 4 18 1
    // (half to even). Sums of three: 6 12 10 | 8 20 12; right neighbours: 7 6 0 | 18 1 0.
    // Means 68/6 and 32/6 in steps of 0.5: 11.5 (22.67 → 23) and 5.5 (10.67 → 11).
    assert_eq!(out[0].0, "scores");
    assert_eq!(
        (out[1].0.as_str(), out[1].2.as_slice()),
        ("embeddings", [11.5, 5.5].as_slice())
    );
    // Logits 1.15, 0.55 and (100 - 34) · 0.05 = 3.3 in steps of 0.25: 1.25 (4.6 → 5), 0.5, 3.25.
    let step = |logit: f32| (256.0 / (1.0 + (-logit).exp())).round() / 256.0;
    assert_eq!(out[0].2, [step(1.25), step(0.5), step(3.25)]);
}

#[test]
fn activations_that_saturation_does_not_cover_are_refused() {
    assert!(import(&small(0)).is_ok(), "no activation");
    // ReLU within -1..=1 is none of ours; ReLU6 would need a scale of at most 6/255.
    for activation in [2, 3] {
        assert_eq!(
            import(&small(activation)).expect_err("refused").code(),
            "import_layer"
        );
    }
}

#[test]
fn what_is_no_tflite_file_is_refused() {
    for bytes in [
        b"".as_slice(),
        b"TFL3",
        b"\x08\0\0\0TFL2\0\0\0\0",
        b"\xff\xff\xff\xffTFL3",
    ] {
        assert_eq!(
            import(bytes).expect_err("refused").code(),
            "import_flatbuffer"
        );
    }
}

proptest! {
    #[test]
    fn broken_files_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = small(1);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = import(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = import(&bytes);
    }

    #[test]
    fn any_bytes_are_refused_or_imported(mut bytes in prop::collection::vec(any::<u8>(), 8..300)) {
        bytes[4..8].copy_from_slice(b"TFL3");
        let _ = import(&bytes);
    }
}
