//! Named arrays in a safetensors file.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

/// Arrays by name; written in a fixed order, so that the same arrays give the same bytes.
#[derive(Debug, Default)]
pub struct TensorFile {
    entries: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl TensorFile {
    /// Adds an array of numbers with its shape.
    pub fn put_f32(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.entries
            .insert(name.to_owned(), (Dtype::F32, shape.to_vec(), bytes));
    }

    /// Adds an array of whole numbers.
    pub fn put_u32(&mut self, name: &str, values: &[u32]) {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.entries
            .insert(name.to_owned(), (Dtype::U32, vec![values.len()], bytes));
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Takes an array of numbers and its shape out; the message says what is wrong.
    pub fn take_f32(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
        let (shape, bytes) = self.take(name, Dtype::F32)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok((
            shape,
            words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        ))
    }

    /// Takes an array of whole numbers out; the message says what is wrong.
    pub fn take_u32(&mut self, name: &str) -> Result<Vec<u32>, String> {
        let (_, bytes) = self.take(name, Dtype::U32)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn take(&mut self, name: &str, wanted: Dtype) -> Result<(Vec<usize>, Vec<u8>), String> {
        match self.entries.remove(name) {
            Some((dtype, shape, bytes)) if dtype == wanted => Ok((shape, bytes)),
            Some((dtype, ..)) => Err(format!("{name} is {dtype:?}, not {wanted:?}")),
            None => Err(format!("no array {name:?}")),
        }
    }

    /// The content of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let views = self
            .entries
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                let view = TensorView::new(*dtype, shape.clone(), bytes);
                view.map(|view| (name.as_str(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        serialize(views, None).map_err(|error| error.to_string())
    }

    /// Reads the content of a file; foreign bytes are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let entries = file
            .iter()
            .map(|(name, view)| {
                let entry = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                (name.to_owned(), entry)
            })
            .collect();
        Ok(Self { entries })
    }
}
