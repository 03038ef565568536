//! Reads the parts of a TFLite file that the YAMNet importer needs (schema version 3).

mod flatbuffer;

use flatbuffer::Table;

use super::ImportError;

type Result<T> = std::result::Result<T, ImportError>;

/// Operator codes of the TFLite schema.
pub mod op {
    pub const CONV_2D: i32 = 3;
    pub const DEPTHWISE_CONV_2D: i32 = 4;
    pub const DEQUANTIZE: i32 = 6;
    pub const FULLY_CONNECTED: i32 = 9;
    pub const LOGISTIC: i32 = 14;
    pub const RESHAPE: i32 = 22;
    pub const MEAN: i32 = 40;
    pub const SPLIT: i32 = 49;
    pub const QUANTIZE: i32 = 114;
}

/// Element types of the TFLite schema.
pub mod kind {
    pub const INT32: i8 = 2;
    pub const INT8: i8 = 9;
}

/// A tensor: constant where `data` is not empty.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    pub shape: Vec<usize>,
    pub kind: i8,
    pub data: &'a [u8],
    /// One scale, or one a slice of `axis`.
    pub scales: Vec<f32>,
    pub zero_points: Vec<i64>,
    pub axis: i32,
}

/// An operator with its tensors' indices.
pub struct Operator<'a> {
    pub code: i32,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    options: Option<Table<'a>>,
}

impl Operator<'_> {
    /// A byte option (padding, activation).
    pub fn byte(&self, id: usize) -> Result<i8> {
        self.options.map_or(Ok(0), |o| o.i8(id, 0))
    }

    /// An integer option (strides: default 0, dilation: default 1).
    pub fn int(&self, id: usize, default: i32) -> Result<i32> {
        self.options.map_or(Ok(default), |o| o.i32(id, default))
    }
}

/// The only subgraph of a file.
pub struct Model<'a> {
    pub tensors: Vec<Tensor<'a>>,
    pub operators: Vec<Operator<'a>>,
}

impl<'a> Model<'a> {
    /// Reads a file; trailing bytes (the appended label archive) are ignored.
    pub fn read(file: &'a [u8]) -> Result<Self> {
        let root = Table::root(file, *b"TFL3")?;
        let codes = root
            .tables(1)?
            .iter()
            .map(operator_code)
            .collect::<Result<Vec<_>>>()?;
        let buffers = root.tables(4)?;
        let subgraphs = root.tables(2)?;
        let [graph] = subgraphs.as_slice() else {
            return Err(ImportError::Flatbuffer("expected one subgraph"));
        };
        let tensors = graph
            .tables(0)?
            .iter()
            .map(|t| tensor(t, &buffers))
            .collect::<Result<_>>()?;
        let operators = graph
            .tables(3)?
            .iter()
            .map(|t| operator(t, &codes))
            .collect::<Result<_>>()?;
        Ok(Self { tensors, operators })
    }
}

/// New files keep codes above 127 in a second field and a placeholder in the first.
fn operator_code(table: &Table<'_>) -> Result<i32> {
    Ok(i32::from(table.i8(0, 0)?).max(table.i32(3, 0)?))
}

fn tensor<'a>(table: &Table<'a>, buffers: &[Table<'a>]) -> Result<Tensor<'a>> {
    let axes = table.i32_vector(0)?;
    let shape = axes
        .iter()
        .map(|d| usize::try_from(*d))
        .collect::<std::result::Result<_, _>>();
    let buffer = usize::try_from(table.u32(2)?)
        .ok()
        .and_then(|b| buffers.get(b));
    let buffer = buffer.ok_or(ImportError::Flatbuffer("a tensor has no buffer"))?;
    let quantization = table.table(4)?;
    let (scales, zero_points, axis) = match quantization {
        Some(q) => (q.f32_vector(2)?, q.i64_vector(3)?, q.i32(6, 0)?),
        None => (Vec::new(), Vec::new(), 0),
    };
    Ok(Tensor {
        shape: shape.map_err(|_| ImportError::Flatbuffer("negative axis"))?,
        kind: table.i8(1, 0)?,
        data: buffer.byte_vector(0)?,
        scales,
        zero_points,
        axis,
    })
}

fn operator<'a>(table: &Table<'a>, codes: &[i32]) -> Result<Operator<'a>> {
    let code = usize::try_from(table.u32(0)?)
        .ok()
        .and_then(|c| codes.get(c));
    Ok(Operator {
        code: *code.ok_or(ImportError::Flatbuffer("an operator has no code"))?,
        inputs: table.i32_vector(1)?,
        outputs: table.i32_vector(2)?,
        options: table.table(4)?,
    })
}
