//! The quick look that lets ordinary ASCII chat pass with a case fold alone.

use super::normalized::Signals;

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const SPACE: u8 = 3;
const MARK: u8 = 4;
/// Marks that read as letters beside letters.
const LEET: u8 = 5;
const CONTROL: u8 = 6;
const FOREIGN: u8 = 7;

const CLASS: [u8; 256] = {
    let mut table = [MARK; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        table[i] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b' ' | b'\t' | b'\n' | b'\r' => SPACE,
            b'$' | b'!' | b'|' => LEET,
            0..=0x1F | 0x7F => CONTROL,
            0x80.. => FOREIGN,
            _ => MARK,
        };
        i += 1;
    }
    table
};

/// Reads a text once. `None`: something in it may need work. Otherwise the text is ASCII in which
/// only case would change, and these are its counts.
pub(super) fn plain_ascii(raw: &str) -> Option<Signals> {
    let bytes = raw.as_bytes();
    let class = |i: usize| bytes.get(i).map_or(SPACE, |byte| CLASS[usize::from(*byte)]);
    let mut signals = Signals::default();
    let mut before = SPACE;
    let mut run = 0_usize;
    let mut same = 0_usize;
    let mut short_runs = 0_usize;
    let mut gap_has_space = true;
    for (i, byte) in bytes.iter().enumerate() {
        let kind = CLASS[usize::from(*byte)];
        match kind {
            LETTER => {
                signals.letters += 1;
                signals.capitals += u32::from(byte.is_ascii_uppercase());
                let repeated = i > 0 && bytes[i - 1].eq_ignore_ascii_case(byte);
                same = if repeated { same + 1 } else { 1 };
                if same >= 3 {
                    return None;
                }
            }
            DIGIT if before == LETTER && is_leet_ahead(bytes, i) => return None,
            LEET if class(i + 1) == LETTER => return None,
            LEET if *byte == b'$' && before == LETTER => return None,
            MARK => match byte {
                b'@' => return None,
                b'.' if before != SPACE && class(i + 1) == LETTER => return None,
                b':' if class(i + 1) == MARK && bytes[i + 1] == b'/' => return None,
                _ => {}
            },
            CONTROL | FOREIGN => return None,
            _ => {}
        }
        if kind == LETTER || kind == DIGIT {
            run += 1;
        } else {
            if run > 0 {
                let short = run == 1 || (run == 2 && !gap_has_space);
                short_runs = if short { short_runs + 1 } else { 0 };
                if short_runs >= 2 {
                    return None;
                }
                run = 0;
                gap_has_space = false;
            }
            gap_has_space |= kind == SPACE;
        }
        before = kind;
    }
    Some(signals)
}

/// Whether a figure after a letter has a letter on its other side too.
fn is_leet_ahead(bytes: &[u8], from: usize) -> bool {
    let after = bytes[from..].iter().find(|byte| !byte.is_ascii_digit());
    after
        .is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'$' | b'@' | b'!' | b'|'))
}
