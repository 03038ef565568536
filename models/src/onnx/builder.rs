//! Writes graphs node by node.

use super::proto::{
    AttributeProto, Axis, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, StringEntry,
    TensorProto, TensorShape, TensorType, TypeProto, ValueInfo, dtype,
};
use super::{OPSET, Values};
use crate::manifest::Dim;

/// IR version that goes with [`OPSET`] and that every ONNX Runtime since 2021 reads.
const IR_VERSION: i64 = 7;

/// Value of a node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A float.
    Float(f32),
}

/// Collects a graph. Names of values are given by the caller and must be unique.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
    metadata: Vec<StringEntry>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let graph = GraphProto {
            name: Some(name.to_owned()),
            ..Default::default()
        };
        Self {
            graph,
            metadata: Vec::new(),
        }
    }

    /// Declares a float input.
    pub fn input(&mut self, name: &str, shape: &[Dim]) {
        self.graph.input.push(value_info(name, shape, dtype::FLOAT));
    }

    /// Declares an input of 64-bit integers.
    pub fn input_integers(&mut self, name: &str, shape: &[Dim]) {
        self.graph.input.push(value_info(name, shape, dtype::INT64));
    }

    /// Declares a float output.
    pub fn output(&mut self, name: &str, shape: &[Dim]) {
        self.graph
            .output
            .push(value_info(name, shape, dtype::FLOAT));
    }

    /// Adds a constant and returns its name.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &Values) -> String {
        let (data_type, raw) = values.raw();
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(raw),
        });
        name.to_owned()
    }

    /// Adds a float scalar constant and returns its name.
    pub fn scalar(&mut self, name: &str, value: f32) -> String {
        self.constant(name, &[], &Values::F32(vec![value]))
    }

    /// Adds a node with one output, named like it, and returns that name.
    pub fn node(
        &mut self,
        op: &str,
        output: &str,
        inputs: &[&str],
        attributes: &[(&str, Attr)],
    ) -> String {
        self.node_of_many(op, &[output], inputs, attributes);
        output.to_owned()
    }

    /// Adds a node with several outputs, named like the first of them.
    pub fn node_of_many(
        &mut self,
        op: &str,
        outputs: &[&str],
        inputs: &[&str],
        attributes: &[(&str, Attr)],
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: outputs.iter().map(|o| (*o).to_owned()).collect(),
            name: outputs.first().map(|o| (*o).to_owned()),
            op_type: Some(op.to_owned()),
            attribute: attributes
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
            domain: None,
        });
    }

    /// Adds a metadata pair.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.push(StringEntry {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        });
    }

    /// The finished model.
    pub fn finish(self) -> ModelProto {
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("novastream".to_owned()),
            producer_version: None,
            graph: Some(self.graph),
            opset_import: vec![OperatorSetId {
                domain: None,
                version: Some(OPSET),
            }],
            metadata_props: self.metadata,
        }
    }
}

fn attribute(name: &str, value: &Attr) -> AttributeProto {
    let mut proto = AttributeProto {
        name: Some(name.to_owned()),
        ..Default::default()
    };
    match value {
        Attr::Float(f) => (proto.f, proto.kind) = (Some(*f), Some(1)),
        Attr::Int(i) => (proto.i, proto.kind) = (Some(*i), Some(2)),
        Attr::Ints(list) => (proto.ints, proto.kind) = (list.clone(), Some(7)),
    }
    proto
}

fn value_info(name: &str, shape: &[Dim], kind: i32) -> ValueInfo {
    let axis = |dim: &Dim| match dim {
        Dim::Fixed(n) => Axis::Value(*n as i64),
        Dim::Named(n) => Axis::Param(n.clone()),
    };
    let dim = shape
        .iter()
        .map(|d| Dimension {
            value: Some(axis(d)),
        })
        .collect();
    let tensor = TensorType {
        elem_type: Some(kind),
        shape: Some(TensorShape { dim }),
    };
    ValueInfo {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
        }),
    }
}
