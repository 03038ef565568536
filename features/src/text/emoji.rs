//! Emoji as wedges: `id🔥iot`.

use super::{
    cells::{Cell, is_alnum, is_letter},
    normalized::Signals,
};

/// Words this long on both sides of one emoji are two words with an ornament between them.
const WHOLE_WORD: usize = 4;

/// Whether a character is a pictograph, a dingbat or another picture-like symbol.
pub(super) fn is_pictograph(ch: char) -> bool {
    matches!(
        ch as u32,
        0x2190..=0x21FF
            | 0x2300..=0x23FF
            | 0x2460..=0x24FF
            | 0x2500..=0x27BF
            | 0x2900..=0x297F
            | 0x2B00..=0x2BFF
            | 0x3030
            | 0x303D
            | 0x3297
            | 0x3299
            | 0x1F000..=0x1FAFF
    )
}

/// Drops pictographs that stand between letters of one word.
pub(super) fn drop_wedges(cells: &mut Vec<Cell>, signals: &mut Signals) {
    if !cells.iter().any(|cell| is_pictograph(cell.ch)) {
        return;
    }
    let mut kept: Vec<Cell> = Vec::with_capacity(cells.len());
    let mut i = 0;
    while i < cells.len() {
        if !is_pictograph(cells[i].ch) {
            kept.push(cells[i]);
            i += 1;
            continue;
        }
        let run = cells[i..]
            .iter()
            .take_while(|cell| is_pictograph(cell.ch))
            .count();
        let before = kept
            .iter()
            .rev()
            .take_while(|cell| is_alnum(cell.ch))
            .count();
        let after = cells[i + run..]
            .iter()
            .take_while(|cell| is_alnum(cell.ch))
            .count();
        let between_letters = kept.last().is_some_and(|cell| is_letter(cell.ch))
            && cells.get(i + run).is_some_and(|cell| is_letter(cell.ch));
        if between_letters && (before < WHOLE_WORD || after < WHOLE_WORD) {
            signals.emoji_in_word += 1;
        } else {
            kept.extend_from_slice(&cells[i..i + run]);
        }
        i += run;
    }
    *cells = kept;
}
