//! Spelled-out words: `i d i o t`, `i.d.i.o.t`, `i-d-i-o-t`.

use super::{
    cells::{Cell, is_alnum, was_capital},
    normalized::Signals,
};

/// Longest separator between two letters.
const MAX_SEPARATOR: usize = 3;
/// Longest end of a word that may follow its spelled-out beginning (`f-u-cking`).
const MAX_TAIL: usize = 6;
/// Letters that chat uses as whole words; three or more of them in a row are still words.
const TEXTING: &str = "aiuryknbc";
/// Fewest letters that rare separators may stand between.
const RARE_LETTERS: usize = 4;
/// Keys named together in games and on keyboards.
const KEYS: &[&str] = &[
    "wasd", "zqsd", "qwer", "qwert", "qwerty", "asdf", "zxcv", "esdf",
];

/// Removes the separators of spelled-out words.
pub(super) fn join_spelled(cells: &mut Vec<Cell>, raw: &str, signals: &mut Signals) {
    let mut kept: Vec<Cell> = Vec::with_capacity(cells.len());
    let mut i = 0;
    while i < cells.len() {
        let starts = is_unit(cells[i].ch) && (i == 0 || !is_alnum(cells[i - 1].ch));
        let spelled = if starts {
            Spelled::read(cells, i)
        } else {
            None
        };
        let Some(word) = spelled else {
            kept.push(cells[i]);
            i += 1;
            continue;
        };
        if word.is_word(cells, raw) {
            for &(start, end) in &word.chunks {
                kept.extend_from_slice(&cells[start..end]);
            }
            signals.joined += 1;
        } else {
            kept.extend_from_slice(&cells[i..word.end()]);
        }
        i = word.end();
    }
    *cells = kept;
}

fn is_unit(ch: char) -> bool {
    ch.is_ascii_alphanumeric() || (!ch.is_ascii() && ch.is_alphabetic())
}

fn is_separator(ch: char) -> bool {
    ch.is_whitespace()
        || matches!(ch, '.' | '-' | '_' | '*' | '~' | '^' | '`' | '|' | '\\')
        || is_rare_separator(ch)
}

/// Signs that join short things of their own (`k/d/a`, `a+b`, `x,y,z`): they separate letters of a
/// word only from [`RARE_LETTERS`] letters on.
fn is_rare_separator(ch: char) -> bool {
    matches!(ch, '/' | '+' | ',' | '=' | ':' | '\'' | ';' | '#')
}

/// A row of short chunks with the same separator between each two.
struct Spelled {
    /// Cell ranges of the chunks, in order.
    chunks: Vec<(usize, usize)>,
    /// Whether the separator has white space in it.
    spaced: bool,
    /// Whether the separator has a rare sign in it.
    rare: bool,
}

impl Spelled {
    fn read(cells: &[Cell], start: usize) -> Option<Self> {
        let chunk_end = |from: usize| {
            from + cells[from..]
                .iter()
                .take_while(|cell| is_alnum(cell.ch))
                .count()
        };
        let first = (start, chunk_end(start));
        let separator: Vec<char> = cells[first.1..]
            .iter()
            .take(MAX_SEPARATOR + 1)
            .map(|cell| cell.ch)
            .take_while(|ch| !is_alnum(*ch))
            .collect();
        let spaced = separator.iter().any(|ch| ch.is_whitespace());
        let longest = if spaced { 1 } else { 2 };
        let width = separator.len();
        if !(1..=MAX_SEPARATOR).contains(&width)
            || !separator.iter().all(|ch| is_separator(*ch))
            || first.1 - first.0 > longest
        {
            return None;
        }
        let mut chunks = vec![first];
        loop {
            let at = chunks.last().map_or(first.1, |chunk| chunk.1);
            let follows = cells
                .get(at..at + width)
                .is_some_and(|sep| sep.iter().map(|cell| cell.ch).eq(separator.iter().copied()));
            let next = at + width;
            if !follows || !cells.get(next).is_some_and(|cell| is_unit(cell.ch)) {
                break;
            }
            let end = chunk_end(next);
            if end - next <= longest {
                chunks.push((next, end));
                continue;
            }
            let singles = chunks.iter().all(|(s, e)| e - s == 1);
            if !spaced && singles && chunks.len() >= 2 && end - next <= MAX_TAIL {
                chunks.push((next, end));
            }
            break;
        }
        let rare = separator.iter().any(|ch| is_rare_separator(*ch));
        (chunks.len() >= 3).then_some(Self {
            chunks,
            spaced,
            rare,
        })
    }

    fn end(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.1)
    }

    fn is_word(&self, cells: &[Cell], raw: &str) -> bool {
        let units: Vec<&Cell> = self
            .chunks
            .iter()
            .flat_map(|&(s, e)| &cells[s..e])
            .collect();
        let digits = units.iter().filter(|cell| cell.ch.is_ascii_digit()).count();
        let letters = units.len() - digits;
        let edges_are_letters =
            !units[0].ch.is_ascii_digit() && !units[units.len() - 1].ch.is_ascii_digit();
        if letters < 3 || letters <= 2 * digits || !edges_are_letters {
            return false;
        }
        let only_singles = self.chunks.len() == units.len();
        if self.rare && (!only_singles || digits > 0 || letters < RARE_LETTERS) {
            return false;
        }
        if (!only_singles && letters < 4) || is_sequence(&units) {
            return false;
        }
        if units.iter().all(|cell| cell.ch == units[0].ch) {
            return false;
        }
        if self.spaced && units.iter().all(|cell| TEXTING.contains(cell.ch)) {
            return false;
        }
        // Three capitals, or three letters with a closing full stop, are an abbreviation.
        let closing_dot = cells.get(self.end()).is_some_and(|cell| cell.ch == '.');
        let capitals = units.iter().all(|cell| was_capital(cell, raw));
        units.len() > 3 || !(capitals || closing_dot)
    }
}

/// `a b c d`, `w a s d`: the alphabet and rows of keys.
fn is_sequence(units: &[&Cell]) -> bool {
    let text: String = units.iter().map(|cell| cell.ch).collect();
    let steps = units
        .windows(2)
        .filter(|pair| pair[1].ch as u32 == pair[0].ch as u32 + 1)
        .count();
    KEYS.contains(&text.as_str()) || 5 * steps >= 3 * (units.len() - 1)
}
