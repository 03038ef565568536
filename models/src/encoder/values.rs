//! Candle tensors as slices, for operations of our own.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// The values of a contiguous float tensor.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else {
        bail!("expected 32-bit floats");
    };
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&values[from..to]),
        None => bail!("expected contiguous values"),
    }
}

/// Runs `f` on the values of a tensor in main memory.
pub fn with<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("this operation runs on the CPU only"),
    }
}

/// Sums the rows of a matrix of `width` columns: chunks in parallel, then in order, so that the
/// sum is the same on any number of threads.
pub fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    use rayon::prelude::*;
    const ROWS: usize = 64;
    let parts: Vec<Vec<f32>> = values
        .par_chunks(ROWS * width)
        .map(|chunk| {
            let mut part = vec![0.0; width];
            pulp::Arch::new().dispatch(|| {
                for row in chunk.chunks_exact(width) {
                    super::lanes::add(&mut part, row);
                }
            });
            part
        })
        .collect();
    total(parts, width)
}

/// Sums equally long vectors in order.
pub fn total(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}
