//! The working form of a text: one cell per output character, with the raw bytes it came from.

use std::ops::Range;

/// One character of the text under work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// The character as it stands now.
    pub ch: char,
    /// First raw byte that it stands for.
    pub start: u32,
    /// One past the last raw byte that it stands for.
    pub end: u32,
    /// The ASCII letter or digit that `ch` looks like, 0 when there is none.
    pub alt: u8,
}

impl Cell {
    pub fn new(ch: char, raw: Range<usize>) -> Self {
        Self {
            ch,
            start: raw.start as u32,
            end: raw.end as u32,
            alt: 0,
        }
    }
}

/// Whether the cell's raw bytes start with an ASCII capital; the cells themselves are folded.
pub(super) fn was_capital(cell: &Cell, raw: &str) -> bool {
    raw.as_bytes()
        .get(cell.start as usize)
        .is_some_and(u8::is_ascii_uppercase)
}

pub(super) fn is_letter(ch: char) -> bool {
    if ch.is_ascii() {
        ch.is_ascii_alphabetic()
    } else {
        ch.is_alphabetic()
    }
}

pub(super) fn is_alnum(ch: char) -> bool {
    if ch.is_ascii() {
        ch.is_ascii_alphanumeric()
    } else {
        ch.is_alphanumeric()
    }
}

/// English vowels; `y` counts, because in short words it is one.
pub(super) fn is_vowel(ch: char) -> bool {
    matches!(ch, 'a' | 'e' | 'i' | 'o' | 'u' | 'y')
}

/// The ranges of cells between white space.
pub(super) fn words(cells: &[Cell]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = None;
    for (i, cell) in cells.iter().enumerate() {
        match (cell.ch.is_whitespace(), start) {
            (true, Some(s)) => {
                out.push(s..i);
                start = None;
            }
            (false, None) => start = Some(i),
            _ => {}
        }
    }
    if let Some(s) = start {
        out.push(s..cells.len());
    }
    out
}
