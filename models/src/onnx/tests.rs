use proptest::prelude::*;

use super::*;
use crate::manifest::Dim;

fn small() -> ModelProto {
    let mut g = GraphBuilder::new("small");
    g.input("x", &[Dim::Named("N".into()), Dim::Fixed(3)]);
    let w = g.constant(
        "w",
        &[2, 3],
        &Values::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    );
    let b = g.constant("b", &[2], &Values::F32(vec![0.5, -0.5]));
    g.node(
        "Gemm",
        "y",
        &["x", &w, &b],
        &[("transB", Attr::Int(1)), ("alpha", Attr::Float(1.0))],
    );
    g.output("y", &[Dim::Named("N".into()), Dim::Fixed(2)]);
    g.metadata("labels", "one\ntwo");
    g.finish()
}

#[test]
fn what_is_written_reads_back() {
    let model = small();
    let bytes = encode(&model);
    assert_eq!(decode(&bytes).expect("decodes"), model);
    assert_eq!(encode(&small()), bytes, "writing is deterministic");
    assert_eq!(metadata(&model, "labels"), Some("one\ntwo"));
    assert_eq!(metadata(&model, "none"), None);
}

#[test]
fn bytes_are_what_protobuf_says() {
    // Field 1 (ir_version) as varint 7, field 2 (producer) as a string of ten bytes.
    assert!(encode(&small()).starts_with(b"\x08\x07\x12\x0anovastream"));
}

#[test]
fn values_of_every_type_round_trip() {
    let all = [
        Values::F32(vec![1.5, -2.0]),
        Values::U8(vec![0, 255]),
        Values::I8(vec![-128, 127]),
        Values::I32(vec![i32::MIN, 7]),
        Values::I64(vec![i64::MIN, 7]),
    ];
    for values in all {
        let mut g = GraphBuilder::new("t");
        g.constant("c", &[2, 1], &values);
        let model = g.finish();
        let tensor = &model.graph.as_ref().expect("graph").initializer[0];
        assert_eq!(tensor_values(tensor).expect("reads"), (vec![2, 1], values));
    }
}

#[test]
fn impossible_tensors_are_refused() {
    let good = TensorProto {
        dims: vec![2],
        data_type: Some(dtype::FLOAT),
        name: Some("t".into()),
        raw_data: Some(vec![0; 8]),
    };
    assert!(tensor_values(&good).is_ok());
    let cases = [
        TensorProto {
            dims: vec![3],
            ..good.clone()
        },
        TensorProto {
            dims: vec![-2],
            ..good.clone()
        },
        TensorProto {
            dims: vec![i64::MAX, i64::MAX],
            ..good.clone()
        },
        TensorProto {
            data_type: Some(99),
            ..good.clone()
        },
        TensorProto {
            raw_data: None,
            ..good
        },
    ];
    for case in cases {
        assert_eq!(
            tensor_values(&case).expect_err("refused").code(),
            "onnx_tensor"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(model) = decode(&bytes) {
            for tensor in model.graph.iter().flat_map(|g| &g.initializer) {
                let _ = tensor_values(tensor);
            }
        }
    }
}
