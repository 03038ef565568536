//! The weights file (`.nslm`), version 1. All numbers are little-endian.
//!
//! ```text
//! bytes  content
//! 4      "NSLM"
//! 4      format version, u32 = 1
//! 4      length H of the header, u32
//! H      header, JSON: {"hash_bits": u8, "ngram_set": u8, "rows": u32, "heads": [Head…]}
//! rest   zlib stream of: rows × LEB128 gap to the previous non-empty bucket (the first counts
//!        from −1, so a gap is never 0), then for each head, rows × i8 weights in steps
//! ```
//!
//! Only buckets with a weight in some head are stored, and each head's weights lie together:
//! most of them are small, and zlib likes that.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};

use super::{Head, LinearChatModel};

const MAGIC: &[u8; 4] = b"NSLM";
const VERSION: u32 = 1;
const MAX_HEADER: usize = 64 * 1024;
const MAX_HASH_BITS: u8 = 24;

/// Most heads in a model.
pub const MAX_HEADS: usize = 64;

/// What is wrong with a weights file.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not a weights file at all.
    #[error("not a linear weights file")]
    Magic,
    /// Written by a later program.
    #[error("format version {0} is newer than this program knows; update it")]
    Version(u32),
    /// The header is not what it should be.
    #[error("bad header: {0}")]
    Header(String),
    /// Sizes contradict each other or exceed the limits.
    #[error("sizes do not fit together")]
    Shape,
    /// The compressed part is cut short or damaged.
    #[error("damaged weights: {0}")]
    Body(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    hash_bits: u8,
    /// Files from before there was a second set have none.
    #[serde(default = "first_set", skip_serializing_if = "is_first_set")]
    ngram_set: u8,
    rows: u32,
    heads: Vec<Head>,
}

fn first_set() -> u8 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_first_set(set: &u8) -> bool {
    *set == first_set()
}

pub(super) fn check_shape(hash_bits: u8, heads: usize) -> Result<(), FormatError> {
    let fits = (1..=MAX_HASH_BITS).contains(&hash_bits) && (1..=MAX_HEADS).contains(&heads);
    if fits {
        Ok(())
    } else {
        Err(FormatError::Shape)
    }
}

pub(super) fn write(model: &LinearChatModel) -> Result<Vec<u8>, FormatError> {
    let rows: Vec<(usize, &[i8])> = model
        .table
        .chunks_exact(model.stride)
        .enumerate()
        .filter(|(_, row)| row.iter().any(|steps| *steps != 0))
        .collect();
    let header = Header {
        hash_bits: model.hash_bits,
        ngram_set: model.ngram_set,
        rows: rows.len() as u32,
        heads: model.heads.clone(),
    };
    let header =
        serde_json::to_vec(&header).map_err(|error| FormatError::Header(error.to_string()))?;

    let mut body = Vec::with_capacity(rows.len() * (model.heads.len() + 2));
    let mut next = 0;
    for (bucket, _) in &rows {
        push_leb128(&mut body, (bucket + 1 - next) as u32);
        next = bucket + 1;
    }
    for head in 0..model.heads.len() {
        body.extend(rows.iter().map(|(_, row)| row[head].to_le_bytes()[0]));
    }

    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
    let mut encoder = ZlibEncoder::new(out, Compression::best());
    encoder
        .write_all(&body)
        .and_then(|()| encoder.finish())
        .map_err(|e| FormatError::Body(e.to_string()))
}

pub(super) fn read(bytes: &[u8]) -> Result<LinearChatModel, FormatError> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    if bytes.get(..4) != Some(MAGIC) {
        return Err(FormatError::Magic);
    }
    match word(4) {
        Some(VERSION) => {}
        Some(version) => return Err(FormatError::Version(version)),
        None => return Err(FormatError::Magic),
    }
    let length = word(8).map_or(usize::MAX, |length| length as usize);
    if length > MAX_HEADER {
        return Err(FormatError::Header(format!(
            "longer than {MAX_HEADER} bytes"
        )));
    }
    let header = bytes
        .get(12..12 + length)
        .ok_or_else(|| FormatError::Header("cut short".to_owned()))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| FormatError::Header(error.to_string()))?;
    check_shape(header.hash_bits, header.heads.len())?;
    let finite = |head: &Head| {
        [head.step, head.bias, head.slope, head.threshold]
            .iter()
            .all(|value| value.is_finite())
    };
    if !header.heads.iter().all(finite) {
        return Err(FormatError::Header(
            "a head has a value that is not a number".to_owned(),
        ));
    }
    if !(1..=super::MAX_NGRAM_SET).contains(&header.ngram_set) {
        return Err(FormatError::Header(format!(
            "it needs set {} of n-gram features, this program knows up to {}",
            header.ngram_set,
            super::MAX_NGRAM_SET
        )));
    }
    let rows = header.rows as usize;
    if rows > 1 << header.hash_bits {
        return Err(FormatError::Shape);
    }
    read_body(
        &bytes[12 + length..],
        rows,
        LinearChatModel::empty(header.hash_bits, header.heads).with_ngram_set(header.ngram_set),
    )
}

fn read_body(
    bytes: &[u8],
    rows: usize,
    mut model: LinearChatModel,
) -> Result<LinearChatModel, FormatError> {
    // A gap takes at most four bytes (24 bits, seven at a time).
    let longest = rows * (4 + model.heads.len());
    let mut body = Vec::new();
    ZlibDecoder::new(bytes)
        .take(longest as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| FormatError::Body(error.to_string()))?;
    let mut at = 0;
    let mut next = 0_usize;
    let mut buckets = Vec::with_capacity(rows);
    for _ in 0..rows {
        let gap =
            pull_leb128(&body, &mut at).ok_or_else(|| FormatError::Body("cut short".to_owned()))?;
        next += gap as usize;
        if gap == 0 || next > 1 << model.hash_bits {
            return Err(FormatError::Shape);
        }
        buckets.push(next - 1);
    }
    let weights = &body[at..];
    if weights.len() != rows * model.heads.len() {
        return Err(FormatError::Shape);
    }
    for (head, weights) in weights.chunks_exact(rows.max(1)).enumerate() {
        for (bucket, steps) in buckets.iter().zip(weights) {
            model.table[bucket * model.stride + head] = i8::from_le_bytes([*steps]);
        }
    }
    Ok(model)
}

fn push_leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn pull_leb128(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0;
    for shift in (0..28).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
