//! Which ASCII letter a foreign character looks like.
//!
//! The base is the confusables table of Unicode Technical Standard 39. Its skeleton is made to
//! compare identifiers, not to read them: it also maps ASCII to ASCII (`m` to `rn`, `0` to `O`),
//! so it is asked about non-ASCII characters only. What fancy-text generators use beyond that
//! table (small capitals, turned letters, look-alike ideographs) is listed here by hand.

use std::sync::LazyLock;

use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;

/// Characters below this bound are looked up in a table; ideographs above it are few and listed.
const TABLE_END: u32 = 0x3100;

/// Set in a look-alike when the character is an everyday letter of its own script: it is read as
/// ASCII only in company of ASCII letters, so that Russian, Greek or Chinese words stay themselves.
pub(super) const WEAK: u8 = 0x80;

/// Small capitals, turned and other phonetic letters that the Unicode table lacks.
const STYLED: &[(u8, &str)] = &[
    (b'a', "ᴀɐᗩ"),
    (b'b', "ʙᗷ"),
    (b'c', "ᴄᑕ"),
    (b'd', "ᴅᗪ"),
    (b'e', "ᴇǝᗴ"),
    (b'f', "ꜰƒ"),
    (b'g', "ɢɓᏀɡ"),
    (b'h', "ʜɥᕼ"),
    (b'i', "ɪᴉ"),
    (b'j', "ᴊᒍ"),
    (b'k', "ᴋʞҜҝ"),
    (b'l', "ʟᒪ"),
    (b'm', "ᴍɯᗰ"),
    (b'n', "ɴᑎ"),
    (b'o', "ᴏ"),
    (b'p', "ᴘᑭ"),
    (b'q', "ɋ"),
    (b'r', "ʀɹᖇ"),
    (b's', "ꜱᔕʂ"),
    (b't', "ᴛʇ"),
    (b'u', "ᴜᑌ"),
    (b'v', "ᴠᐯ"),
    (b'w', "ᴡʍᗯ"),
    (b'x', "᙭ӿ"),
    (b'y', "ʏʎ"),
    (b'z', "ᴢᘔʐ"),
];

/// Letters of living scripts that decorated text borrows for their shape.
const BORROWED: &[(u8, &str)] = &[
    (b'a', "卂ΔΛλдД"),
    (b'b', "乃вВъЪьЬ๒β"),
    (b'c', "匚ςㄈ"),
    (b'd', "ძ๔"),
    (b'e', "乇єЄεΣξ"),
    (b'f', "千ғ"),
    (b'g', "Ԍ"),
    (b'h', "卄нНћђ"),
    (b'i', "工ιїЇ"),
    (b'j', "נ"),
    (b'k', "кКκ"),
    (b'l', "ㄥ"),
    (b'm', "爪мМ๓"),
    (b'n', "几иИηпПת"),
    (b'o', "ㄖ口๏ѳΘθσ"),
    (b'p', "卩ρ"),
    (b'r', "尺гГяЯ"),
    (b's', "丂"),
    (b't', "ㄒ丁тТτ"),
    (b'u', "ㄩцЦน"),
    (b'v', "νѵ"),
    (b'w', "山шШщЩωฬ"),
    (b'x', "乂χжЖ"),
    (b'y', "ㄚγ"),
    (b'z', "乙"),
];

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..TABLE_END)
        .map(|code| char::from_u32(code).map_or(0, look_up))
        .collect()
});

/// Builds the look-up table now rather than on the first foreign character.
pub(super) fn warm_up() {
    LazyLock::force(&TABLE);
}

/// The lower-case ASCII letter, or the digit, that `ch` looks like, with [`WEAK`] set where the
/// likeness counts only in company; 0 when there is none.
pub(super) fn ascii_lookalike(ch: char) -> u8 {
    match ch as u32 {
        code @ 0..TABLE_END => TABLE[code as usize],
        // Flags and emoji are no letters, and chat is full of them.
        0x1F1E6..=0x1FAFF => 0,
        // Hangul syllables and the bulk of the ideographs: the few used as letters are listed.
        0x3400..=0x9FFF | 0xAC00..=0xD7A3 => listed(BORROWED, ch).map_or(0, |letter| letter | WEAK),
        _ => look_up(ch),
    }
}

fn listed(sets: &[(u8, &str)], ch: char) -> Option<u8> {
    sets.iter()
        .find(|(_, set)| set.contains(ch))
        .map(|(letter, _)| *letter)
}

fn look_up(ch: char) -> u8 {
    if ch.is_ascii() {
        return 0;
    }
    let enclosed = |base: u32| b'a' + (ch as u32 - base) as u8;
    match ch as u32 {
        0x1F150..=0x1F169 => return enclosed(0x1F150),
        0x1F170..=0x1F189 => return enclosed(0x1F170),
        _ => {}
    }
    if let Some(letter) = listed(STYLED, ch) {
        return letter;
    }
    if let Some(letter) = listed(BORROWED, ch) {
        return letter | WEAK;
    }
    if !ch.is_alphanumeric() {
        return 0;
    }
    let mut buffer = [0; 4];
    let mut prototype = skeleton(ch.encode_utf8(&mut buffer)).filter(|c| !is_combining_mark(*c));
    match (prototype.next(), prototype.next(), prototype.next()) {
        // The table writes every vertical stroke as `l`; a capital stroke reads as `I`.
        (Some('l'), None, _) if ch.is_uppercase() => b'i',
        (Some(one), None, _) if one.is_ascii_alphabetic() => one.to_ascii_lowercase() as u8,
        (Some(one), None, _) if one.is_ascii_digit() => one as u8 | WEAK,
        (Some('r'), Some('n'), None) => b'm',
        (Some('v'), Some('v'), None) => b'w',
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_common_disguises() {
        for (ch, letter) in [
            ('і', 'i'),
            ('ԁ', 'd'),
            ('О', 'o'),
            ('т', 't'),
            ('ɪ', 'i'),
            ('ᴅ', 'd'),
            ('І', 'i'),
            ('ø', 'o'),
            ('ł', 'l'),
            ('ѕ', 's'),
            ('υ', 'u'),
            ('Ꮯ', 'c'),
            ('🅱', 'b'),
            ('🅘', 'i'),
            ('乇', 'e'),
        ] {
            assert_eq!((ascii_lookalike(ch) & !WEAK) as char, letter, "{ch}");
        }
    }

    #[test]
    fn everyday_letters_are_weak() {
        for ch in ['т', 'в', 'к', 'н', 'β', 'ω', '山', '口'] {
            assert_eq!(ascii_lookalike(ch) & WEAK, WEAK, "{ch}");
        }
    }

    #[test]
    fn leaves_the_rest() {
        for ch in ['m', '0', 'I', '1', '日', '한', '🔥', '—', 'क', '♥'] {
            assert_eq!(ascii_lookalike(ch), 0, "{ch}");
        }
    }
}
