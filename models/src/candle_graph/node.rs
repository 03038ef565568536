//! Typed access to a node's attributes and constant inputs.

use std::collections::HashMap;

use super::GraphError;
use crate::onnx::Values;
use crate::onnx::proto::NodeProto;

/// Constants by name.
pub type Constants = HashMap<String, (Vec<usize>, Values)>;

/// A node while the graph is loaded.
pub struct Node<'a> {
    proto: &'a NodeProto,
    constants: &'a Constants,
}

impl<'a> Node<'a> {
    pub fn new(proto: &'a NodeProto, constants: &'a Constants) -> Self {
        Self { proto, constants }
    }

    /// Operator; with its domain where that is not ONNX itself.
    pub fn op(&self) -> String {
        let op = self.proto.op_type.clone().unwrap_or_default();
        match self.proto.domain.as_deref() {
            None | Some("" | "ai.onnx") => op,
            Some(domain) => format!("{domain}.{op}"),
        }
    }

    pub fn name(&self) -> String {
        let output = self.proto.output.first().cloned().unwrap_or_default();
        self.proto
            .name
            .clone()
            .filter(|n| !n.is_empty())
            .unwrap_or(output)
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, GraphError> {
        Err(GraphError::Unsupported {
            node: format!("{} ({})", self.name(), self.op()),
            message: message.into(),
        })
    }

    /// The only output.
    pub fn output(&self) -> Result<&'a str, GraphError> {
        match self.proto.output.as_slice() {
            [one] if !one.is_empty() => Ok(one),
            _ => self.fail("needs exactly one output"),
        }
    }

    /// Name of an input; `None`: left out.
    pub fn input(&self, index: usize) -> Option<&'a str> {
        self.proto
            .input
            .get(index)
            .map(String::as_str)
            .filter(|n| !n.is_empty())
    }

    /// Refuses attributes that the operator's code does not look at.
    pub fn allow(&self, known: &[&str]) -> Result<(), GraphError> {
        let mut given = self
            .proto
            .attribute
            .iter()
            .filter_map(|a| a.name.as_deref());
        match given.find(|a| !known.contains(a)) {
            Some(attribute) => self.fail(format!("attribute {attribute} is not supported")),
            None => Ok(()),
        }
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        let attribute = self
            .proto
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name));
        attribute.and_then(|a| a.i).unwrap_or(default)
    }

    pub fn float(&self, name: &str, default: f32) -> f32 {
        let attribute = self
            .proto
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name));
        attribute.and_then(|a| a.f).unwrap_or(default)
    }

    /// A list of sizes (pads, strides, permutation); `None`: left out.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>, GraphError> {
        let attribute = self
            .proto
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name));
        let Some(attribute) = attribute else {
            return Ok(None);
        };
        self.to_sizes(&attribute.ints).map(Some)
    }

    fn to_sizes(&self, list: &[i64]) -> Result<Vec<usize>, GraphError> {
        let small = |v: &i64| usize::try_from(*v).ok().filter(|v| *v <= 1 << 16);
        let sizes: Option<_> = list.iter().map(small).collect();
        sizes.map_or_else(|| self.fail("a size is negative or too large"), Ok)
    }

    /// Whether input `index` is given.
    pub fn has(&self, index: usize) -> bool {
        self.input(index).is_some()
    }

    /// A constant input.
    pub fn constant(&self, index: usize) -> Result<(&'a [usize], &'a Values), GraphError> {
        match self.input(index).and_then(|name| self.constants.get(name)) {
            Some((shape, values)) => Ok((shape, values)),
            None => self.fail(format!("input {index} must be a constant")),
        }
    }

    /// A constant float input.
    pub fn floats(&self, index: usize) -> Result<(&'a [usize], &'a [f32]), GraphError> {
        match self.constant(index)? {
            (shape, Values::F32(values)) => Ok((shape, values)),
            _ => self.fail(format!("input {index} must be float")),
        }
    }

    /// A constant float of one value.
    pub fn scalar(&self, index: usize) -> Result<f32, GraphError> {
        match self.floats(index)?.1 {
            [one] => Ok(*one),
            _ => self.fail(format!("input {index} must be a scalar")),
        }
    }

    /// A constant list of axes.
    pub fn axes(&self, index: usize) -> Result<Vec<usize>, GraphError> {
        match self.constant(index)? {
            (_, Values::I64(values)) => self.to_sizes(values),
            _ => self.fail(format!("input {index} must be int64")),
        }
    }
}
