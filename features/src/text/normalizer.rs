//! The normaliser: fold, unwedge, join, decode, squeeze.

use super::{
    cells::{Cell, words},
    emoji::drop_wedges,
    join::join_spelled,
    leet, lookalike,
    normalized::{Normalized, Piece, Signals},
    repeats::squeeze,
    scan::plain_ascii,
    tokens::{Kind, classify},
    unicode::fold,
};

/// Undoes disguise in chat text.
///
/// In order: Unicode compatibility folding (NFKC), invisible characters out, case and accents
/// folded, look-alikes of other scripts read as ASCII; emoji wedged into words dropped; spelled-out
/// words joined; leet decoded inside words; stretched letters squeezed. Numbers, identifiers,
/// URLs, e-mail addresses, mentions, prices, times, versions and game scores are left as they are.
/// Deterministic and without allocation beyond its answer for plain ASCII.
#[derive(Clone, Copy, Debug, Default)]
pub struct Normalizer {
    _private: (),
}

impl Normalizer {
    /// A normaliser with its tables built.
    pub fn new() -> Self {
        lookalike::warm_up();
        Self { _private: () }
    }

    /// Normalises one text. Never fails: any UTF-8 is fine.
    pub fn normalize(&self, raw: &str) -> Normalized {
        // Offsets are 32 bits wide; nobody sends four gigabytes of chat.
        let raw = cut(raw, u32::MAX as usize);
        if let Some(signals) = plain_ascii(raw) {
            return Normalized {
                text: raw.to_ascii_lowercase(),
                signals,
                pieces: Vec::new(),
                changed: false,
            };
        }
        let mut signals = Signals::default();
        let mut cells = fold(raw, &mut signals);
        drop_wedges(&mut cells, &mut signals);
        join_spelled(&mut cells, raw, &mut signals);
        let cells = undo_in_words(cells, raw, &mut signals);
        assemble(&cells, raw, signals)
    }
}

fn cut(raw: &str, limit: usize) -> &str {
    if raw.len() <= limit {
        return raw;
    }
    let mut end = limit;
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    &raw[..end]
}

fn undo_in_words(mut cells: Vec<Cell>, raw: &str, signals: &mut Signals) -> Vec<Cell> {
    let mut out = Vec::with_capacity(cells.len());
    let mut done = 0;
    for word in words(&cells) {
        out.extend_from_slice(&cells[done..word.start]);
        done = word.end;
        let token = &mut cells[word];
        match classify(token, raw) {
            Kind::Word => {
                leet::decode(token, signals);
                squeeze(token, &mut out, signals);
            }
            Kind::Link => {
                signals.links += 1;
                out.extend_from_slice(token);
            }
            Kind::Mention => {
                signals.mentions += 1;
                out.extend_from_slice(token);
            }
            Kind::Id => out.extend_from_slice(token),
        }
    }
    out.extend_from_slice(&cells[done..]);
    out
}

fn assemble(cells: &[Cell], raw: &str, signals: Signals) -> Normalized {
    let mut text = String::with_capacity(raw.len());
    let mut pieces = Vec::with_capacity(cells.len());
    let mut identity = cells.len() == raw.len();
    for (i, cell) in cells.iter().enumerate() {
        identity &= cell.ch.is_ascii() && cell.start as usize == i && cell.end as usize == i + 1;
        pieces.push(Piece {
            at: text.len() as u32,
            start: cell.start,
            end: cell.end,
        });
        text.push(cell.ch);
    }
    if identity {
        pieces = Vec::new();
    }
    let changed = !text.eq_ignore_ascii_case(raw);
    Normalized {
        text,
        signals,
        pieces,
        changed,
    }
}
