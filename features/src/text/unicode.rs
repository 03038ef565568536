//! Unicode folding with offsets: NFKC, invisible characters out, case and accents folded,
//! look-alikes resolved.

use std::ops::Range;

use unicode_normalization::{
    UnicodeNormalization,
    char::{canonical_combining_class, decompose_canonical},
};

use super::{
    cells::{Cell, is_letter, words},
    lookalike::{WEAK, ascii_lookalike},
    normalized::Signals,
};

/// Longest run of combining marks kept on one character; the rest is "zalgo" and dropped.
const MAX_MARKS: usize = 4;

/// Folds a text into cells. The cells' raw ranges are in order and on character boundaries.
pub(super) fn fold(raw: &str, signals: &mut Signals) -> Vec<Cell> {
    let mut cells = Vec::with_capacity(raw.len());
    let mut rest = raw.char_indices().peekable();
    let mut cluster = String::new();
    while let Some((start, ch)) = rest.next() {
        count_letter(ch, signals);
        if is_ignorable(ch) {
            if joins_letters(&cells, rest.peek().map(|(_, next)| *next)) {
                signals.zero_width += 1;
            }
            continue;
        }
        let mut end = start + ch.len_utf8();
        let next_is_mark = rest.peek().is_some_and(|(_, next)| extends(ch, *next));
        if ch.is_ascii() && !next_is_mark {
            cells.push(Cell::new(ch.to_ascii_lowercase(), start..end));
            continue;
        }
        cluster.clear();
        cluster.push(ch);
        let mut marks = 0;
        while let Some((at, next)) = rest.next_if(|(_, next)| extends(ch, *next)) {
            end = at + next.len_utf8();
            marks += 1;
            if marks <= MAX_MARKS {
                cluster.push(next);
            }
        }
        signals.marks += u32::from(marks > 1);
        push_cluster(&cluster, start..end, &mut cells, signals);
    }
    resolve_lookalikes(&mut cells, signals);
    cells
}

fn count_letter(ch: char, signals: &mut Signals) {
    if is_letter(ch) {
        signals.letters += 1;
        signals.capitals += u32::from(ch.is_uppercase());
    }
}

/// Whether `next` belongs to the same normalisation cluster as the character before it.
fn extends(first: char, next: char) -> bool {
    if next.is_ascii() {
        return false;
    }
    // Hangul written letter by letter composes to syllables.
    let jamo = matches!(first as u32, 0x1100..=0x115E | 0xAC00..=0xD7A3)
        && matches!(next as u32, 0x1161..=0x11FF);
    jamo || (canonical_combining_class(next) != 0 && !is_ignorable(next)) || next == '\u{20E3}'
}

/// Characters that show nothing: format and bidi controls, variation selectors, fillers, tags,
/// control characters.
pub(super) fn is_ignorable(ch: char) -> bool {
    match ch as u32 {
        0x09 | 0x0A | 0x0D => false,
        code => matches!(
            code,
            0x00..=0x1F
                | 0x7F..=0x84
                | 0x86..=0x9F
                | 0xAD
                | 0x034F
                | 0x061C
                | 0x070F
                | 0x115F..=0x1160
                | 0x17B4..=0x17B5
                | 0x180B..=0x180F
                | 0x200B..=0x200F
                | 0x202A..=0x202E
                | 0x2060..=0x206F
                | 0x3164
                | 0xFE00..=0xFE0F
                | 0xFEFF
                | 0xFFA0
                | 0xFFF0..=0xFFFB
                | 0x1BCA0..=0x1BCA3
                | 0x1D173..=0x1D17A
                | 0xE0000..=0xE0FFF
        ),
    }
}

/// An invisible character is a disguise between Latin letters; between emoji or in Persian and
/// Indian scripts it is ordinary spelling.
fn joins_letters(cells: &[Cell], next: Option<char>) -> bool {
    cells
        .last()
        .is_some_and(|cell| cell.ch.is_ascii_alphanumeric())
        && next.is_some_and(|ch| ch.is_ascii_alphanumeric() || ascii_lookalike(ch) != 0)
}

fn push_cluster(cluster: &str, raw: Range<usize>, cells: &mut Vec<Cell>, signals: &mut Signals) {
    let first = cluster.chars().next().unwrap_or(' ');
    // These read as signs, not as the letters that NFKC makes of them; the long Arabic ligatures
    // would let three bytes grow to thirty-three.
    if matches!(first, '™' | '℠' | '℡' | '№' | '\u{FDFA}' | '\u{FDFB}' | '…') {
        let text = if first == '…' { '.' } else { first };
        cells.push(Cell::new(text, raw));
        return;
    }
    let from = cells.len();
    for ch in cluster.nfkc() {
        if ch.is_ascii() {
            if ch.is_ascii_alphabetic() && !first.is_ascii() {
                signals.confusable += 1;
            }
            if !is_ignorable(ch) {
                cells.push(Cell::new(ch.to_ascii_lowercase(), raw.clone()));
            }
        } else if !is_ignorable(ch) {
            push_foreign(ch, from, raw.clone(), cells);
        }
    }
}

/// One non-ASCII character of a cluster whose cells begin at `from`.
fn push_foreign(ch: char, from: usize, raw: Range<usize>, cells: &mut Vec<Cell>) {
    if ch.is_whitespace() {
        cells.push(Cell::new(' ', raw));
        return;
    }
    let on_ascii = cells.len() > from && cells.last().is_some_and(|cell| cell.ch.is_ascii());
    let is_mark = canonical_combining_class(ch) != 0 || ch == '\u{20E3}';
    if is_mark && (on_ascii || cells.len() == from && ch == '\u{20E3}') {
        return;
    }
    if let Some(plain) = plain_punctuation(ch) {
        cells.push(Cell::new(plain, raw));
        return;
    }
    if let Some(base) = accented_ascii(ch) {
        cells.push(Cell::new(base, raw));
        return;
    }
    let alt = ascii_lookalike(ch);
    for lower in ch.to_lowercase() {
        match lower {
            'ß' => cells.extend([Cell::new('s', raw.clone()), Cell::new('s', raw.clone())]),
            _ => cells.push(Cell {
                alt,
                ..Cell::new(lower, raw.clone())
            }),
        }
    }
}

/// Typographic quotes and dashes as typed on a keyboard.
fn plain_punctuation(ch: char) -> Option<char> {
    match ch {
        '‘' | '’' | '‛' | '′' | 'ʼ' | '＇' => Some('\''),
        '“' | '”' | '„' | '″' | '«' | '»' => Some('"'),
        '‐' | '‑' | '‒' | '–' | '—' | '−' | '⁃' => Some('-'),
        '·' | '•' | '∙' | '⋅' | '․' | '●' | '▪' => Some('.'),
        '⁄' | '∕' => Some('/'),
        _ => None,
    }
}

/// The ASCII letter under an accented Latin letter.
fn accented_ascii(ch: char) -> Option<char> {
    let mut first = None;
    decompose_canonical(ch, |part| {
        first.get_or_insert(part);
    });
    first
        .filter(char::is_ascii_alphabetic)
        .map(|base| base.to_ascii_lowercase())
}

/// Replaces look-alikes word by word: in words that also have ASCII letters, and in words made of
/// look-alikes alone when nothing else in the message is written in a foreign script.
fn resolve_lookalikes(cells: &mut [Cell], signals: &mut Signals) {
    if cells.iter().all(|cell| cell.alt == 0) {
        return;
    }
    let foreign = cells.iter().any(|cell| {
        !cell.ch.is_ascii() && is_letter(cell.ch) && (cell.alt == 0 || cell.alt & WEAK != 0)
    });
    for word in words(cells) {
        let word = &mut cells[word];
        let has_ascii = word.iter().any(|cell| cell.ch.is_ascii_alphabetic());
        if !has_ascii && foreign {
            continue;
        }
        for cell in word.iter_mut().filter(|cell| cell.alt != 0) {
            if has_ascii || cell.alt & WEAK == 0 {
                cell.ch = (cell.alt & !WEAK) as char;
                signals.confusable += 1;
            }
            cell.alt = 0;
        }
    }
}
