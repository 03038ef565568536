//! A minimal, bounds-checked flatbuffer reader.
//!
//! A table starts with a signed offset back to its vtable; the vtable lists where each field is
//! inside the table. Strings, vectors and sub-tables are unsigned offsets forward. Every access
//! checks the buffer's end, so a corrupt file is an error and nothing else.

use crate::import::ImportError;

type Result<T> = std::result::Result<T, ImportError>;

const END: ImportError = ImportError::Flatbuffer("an offset points outside the file");

/// A table somewhere in a buffer.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
    vtable: usize,
    vtable_len: usize,
}

fn bytes<const N: usize>(buffer: &[u8], at: usize) -> Result<[u8; N]> {
    buffer
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(END)
}

fn u16_at(buffer: &[u8], at: usize) -> Result<usize> {
    Ok(usize::from(u16::from_le_bytes(bytes(buffer, at)?)))
}

fn u32_at(buffer: &[u8], at: usize) -> Result<usize> {
    usize::try_from(u32::from_le_bytes(bytes(buffer, at)?)).map_err(|_| END)
}

/// Follows the forward offset stored at `at`.
fn follow(buffer: &[u8], at: usize) -> Result<usize> {
    at.checked_add(u32_at(buffer, at)?)
        .filter(|target| *target < buffer.len())
        .ok_or(END)
}

impl<'a> Table<'a> {
    /// The root table of a file with the four-byte identifier `id`.
    pub fn root(buffer: &'a [u8], id: [u8; 4]) -> Result<Self> {
        if bytes::<4>(buffer, 4)? != id {
            return Err(ImportError::Flatbuffer("wrong file identifier"));
        }
        Self::new(buffer, follow(buffer, 0)?)
    }

    fn new(buffer: &'a [u8], at: usize) -> Result<Self> {
        let back = i64::from(i32::from_le_bytes(bytes(buffer, at)?));
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let vtable = vtable.and_then(|v| usize::try_from(v).ok()).ok_or(END)?;
        let vtable_len = u16_at(buffer, vtable)?;
        Ok(Self {
            buffer,
            at,
            vtable,
            vtable_len,
        })
    }

    /// Position of a field's value; `None` when the file leaves it at its default.
    fn field(&self, id: usize) -> Result<Option<usize>> {
        let slot = 4 + 2 * id;
        if slot + 2 > self.vtable_len {
            return Ok(None);
        }
        match u16_at(self.buffer, self.vtable + slot)? {
            0 => Ok(None),
            offset => Ok(Some(self.at + offset)),
        }
    }

    /// A signed byte, `default` where it is left out.
    pub fn i8(&self, id: usize, default: i8) -> Result<i8> {
        let Some(at) = self.field(id)? else {
            return Ok(default);
        };
        Ok(i8::from_le_bytes(bytes(self.buffer, at)?))
    }

    /// A 32-bit integer, `default` where it is left out.
    pub fn i32(&self, id: usize, default: i32) -> Result<i32> {
        let Some(at) = self.field(id)? else {
            return Ok(default);
        };
        Ok(i32::from_le_bytes(bytes(self.buffer, at)?))
    }

    /// An unsigned 32-bit integer, 0 where it is left out.
    pub fn u32(&self, id: usize) -> Result<u32> {
        let Some(at) = self.field(id)? else {
            return Ok(0);
        };
        Ok(u32::from_le_bytes(bytes(self.buffer, at)?))
    }

    /// A sub-table.
    pub fn table(&self, id: usize) -> Result<Option<Table<'a>>> {
        let Some(at) = self.field(id)? else {
            return Ok(None);
        };
        Ok(Some(Self::new(self.buffer, follow(self.buffer, at)?)?))
    }

    /// Raw bytes of a vector whose elements are `width` bytes; empty where it is left out.
    fn vector(&self, id: usize, width: usize) -> Result<&'a [u8]> {
        let Some(at) = self.field(id)? else {
            return Ok(&[]);
        };
        let start = follow(self.buffer, at)?;
        let len = u32_at(self.buffer, start)?.checked_mul(width).ok_or(END)?;
        let body = self.buffer.get(start + 4..).ok_or(END)?;
        body.get(..len).ok_or(END)
    }

    /// A vector of bytes.
    pub fn byte_vector(&self, id: usize) -> Result<&'a [u8]> {
        self.vector(id, 1)
    }

    /// A vector of 32-bit integers.
    pub fn i32_vector(&self, id: usize) -> Result<Vec<i32>> {
        let raw = self.vector(id, 4)?;
        Ok(raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| i32::from_le_bytes(*b))
            .collect())
    }

    /// A vector of floats.
    pub fn f32_vector(&self, id: usize) -> Result<Vec<f32>> {
        let raw = self.vector(id, 4)?;
        Ok(raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect())
    }

    /// A vector of 64-bit integers.
    pub fn i64_vector(&self, id: usize) -> Result<Vec<i64>> {
        let raw = self.vector(id, 8)?;
        Ok(raw
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect())
    }

    /// A vector of tables.
    pub fn tables(&self, id: usize) -> Result<Vec<Table<'a>>> {
        let Some(at) = self.field(id)? else {
            return Ok(Vec::new());
        };
        let start = follow(self.buffer, at)?;
        let count = self.vector(id, 4)?.len() / 4;
        let item = |i| Self::new(self.buffer, follow(self.buffer, start + 4 + 4 * i)?);
        (0..count).map(item).collect()
    }
}
