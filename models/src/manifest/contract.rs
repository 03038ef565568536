//! What goes into a model and what comes out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One axis of a tensor: a number or a name (`"N"`) for an axis that varies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always this long.
    Fixed(u64),
    /// Varies from call to call.
    Named(String),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Named(n) => f.write_str(n),
        }
    }
}

/// Name, type and shape of a model's input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Name of the tensor in the graph.
    pub name: String,
    /// Element type, `float32` unless told otherwise.
    #[serde(default = "float32")]
    pub dtype: String,
    /// Axes in order.
    pub shape: Vec<Dim>,
    /// Meaning, unit and range.
    #[serde(default)]
    pub description: String,
}

fn float32() -> String {
    "float32".to_owned()
}

/// What goes into a model and what comes out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contract {
    /// Inputs by name.
    pub inputs: Vec<TensorSpec>,
    /// Outputs by name.
    pub outputs: Vec<TensorSpec>,
}
