//! Identifiers, numbers, times, coordinates, versions, keys and scores: mixed letters and digits
//! that mean themselves.

use super::cells::{Cell, was_capital};

/// Whether a token (trimmed, no white space inside) is an identifier or a number rather than a
/// word. Errs towards identifiers: a word missed here still has its raw n-grams.
pub(super) fn is_id(core: &[Cell], raw: &str) -> bool {
    let shape = Shape::of(core, raw);
    if shape.digits == 0 {
        return shape.is_cashtag(core) || shape.has_random_case();
    }
    shape.letters == 0
        || shape.is_hex(core)
        || is_key(core, raw)
        || shape.has_random_case()
        || is_episode(core)
        || is_amount(core)
}

struct Shape {
    letters: usize,
    digits: usize,
    capitals: usize,
    /// Changes between capital and small letters, the one after an initial capital not counted.
    case_switches: usize,
    len: usize,
}

impl Shape {
    fn of(core: &[Cell], raw: &str) -> Self {
        let mut shape = Self {
            letters: 0,
            digits: 0,
            capitals: 0,
            case_switches: 0,
            len: core.len(),
        };
        let mut previous = None;
        for cell in core {
            if cell.ch.is_ascii_digit() {
                shape.digits += 1;
            } else if cell.ch.is_alphabetic() {
                let capital = was_capital(cell, raw);
                let initial = shape.letters == 1;
                shape.letters += 1;
                shape.capitals += usize::from(capital);
                if previous.is_some_and(|before| before != capital) && !initial {
                    shape.case_switches += 1;
                }
                previous = Some(capital);
            }
        }
        shape
    }

    /// `$TSLA`: a ticker, not a word that begins with s.
    fn is_cashtag(&self, core: &[Cell]) -> bool {
        core.first().is_some_and(|cell| cell.ch == '$')
            && (2..=5).contains(&self.letters)
            && self.letters == self.capitals
            && self.letters + 1 == self.len
    }

    /// Hashes, MAC and IPv6 addresses, colours, UUIDs.
    fn is_hex(&self, core: &[Cell]) -> bool {
        let prefixed = matches!(core, [zero, x, ..] if zero.ch == '0' && x.ch == 'x');
        let body = match core {
            [hash, rest @ ..] if hash.ch == '#' => rest,
            _ if prefixed => &core[2..],
            _ => core,
        };
        self.digits >= 2
            && (prefixed || body.len() >= 6)
            && body
                .iter()
                .all(|cell| cell.ch.is_ascii_hexdigit() || matches!(cell.ch, '-' | ':'))
    }

    /// `dQw4w9WgXcQ`: case changes like no typist's.
    fn has_random_case(&self) -> bool {
        self.len >= 8 && self.digits >= 1 && self.case_switches >= 3
    }
}

/// `AB12-CD34`, `#A1B3C5`, `ORD_4B1T`: capitals and digits joined by signs.
fn is_key(core: &[Cell], raw: &str) -> bool {
    let signs = core
        .iter()
        .filter(|cell| matches!(cell.ch, '-' | '_' | '#' | ':' | '/' | '='))
        .count();
    if signs == 0 {
        return false;
    }
    let mixed_parts = core
        .split(|cell| matches!(cell.ch, '-' | '_' | '#' | ':' | '/' | '='))
        .filter(|part| {
            part.iter().any(|cell| cell.ch.is_ascii_digit())
                && part.iter().any(|cell| cell.ch.is_ascii_alphabetic())
        })
        .count();
    let all_capital = core
        .iter()
        .filter(|c| c.ch.is_ascii_alphabetic())
        .all(|c| was_capital(c, raw));
    mixed_parts >= 2 || (mixed_parts >= 1 && all_capital)
}

/// `s01e05`.
fn is_episode(core: &[Cell]) -> bool {
    let text: String = core.iter().map(|cell| cell.ch).collect();
    let Some((season, episode)) = text.strip_prefix('s').and_then(|rest| rest.split_once('e'))
    else {
        return false;
    };
    let number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    number(season) && number(episode)
}

/// Digits first or last and at most one group of letters: `5k`, `10am`, `€5`, `v1.2.3`, `gg2`,
/// `40.7N`, `1v1`. Nothing in it stands between letters, so nothing in it is leet.
fn is_amount(core: &[Cell]) -> bool {
    let mut groups = 0;
    let mut in_group = false;
    for cell in core {
        let letter = cell.ch.is_alphabetic();
        groups += usize::from(letter && !in_group);
        in_group = letter;
        if matches!(cell.ch, '@' | '$' | '!') && groups > 0 {
            return false;
        }
    }
    groups == 1 && !core.iter().any(|cell| matches!(cell.ch, '@' | '!'))
}
