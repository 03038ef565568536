//! Stretched words: `idiooooot`.

use super::{
    cells::{Cell, is_letter},
    normalized::Signals,
    tokens::trim,
};

/// Letters that English hardly ever doubles: a stretched one stands for one.
const SINGLE: &str = "aiuyhwxqjkvc";

/// Squeezes runs of three or more equal letters in one word token, appending what stays to `out`.
///
/// A word that is one letter only keeps three (`www`, `xxx`, `zzz`), Roman numbers stay.
pub(super) fn squeeze(token: &[Cell], out: &mut Vec<Cell>, signals: &mut Signals) {
    let core = trim(token);
    let one_letter = core.len() > 3 && core.iter().all(|cell| cell.ch == core[0].ch);
    let roman = core.len() <= 6
        && core.len() > 3
        && core
            .iter()
            .all(|cell| matches!(cell.ch, 'i' | 'v' | 'x' | 'l' | 'c'))
        && core.iter().filter(|cell| cell.ch == 'i').count() == 3;
    let mut i = 0;
    while i < token.len() {
        let ch = token[i].ch;
        let run = token[i..].iter().take_while(|cell| cell.ch == ch).count();
        let three_alone = core.len() == 3 && run == 3;
        let keep = match run {
            3.. if is_letter(ch) && !roman && !three_alone => {
                if one_letter {
                    3
                } else if SINGLE.contains(ch) {
                    1
                } else {
                    2
                }
            }
            _ => run,
        };
        out.extend_from_slice(&token[i..i + keep]);
        if keep < run {
            signals.repeats += 1;
            if let Some(last) = out.last_mut() {
                last.end = token[i + run - 1].end;
            }
        }
        i += run;
    }
}
