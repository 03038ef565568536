//! Ways to write a word so that a filter misses it.
//!
//! The tables are this program's own: none is shared with the normaliser, and many of their signs
//! are in no table of it. Every choice follows from the seed and the text.

use clap::ValueEnum;
use serde::Serialize;

/// A kind of disguise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disguise {
    /// Digits and signs for letters
    Leet,
    /// Separators between letters
    Spacing,
    /// Letters of other scripts that look the same
    Homoglyph,
    /// Characters that show nothing
    ZeroWidth,
    /// Letters written several times
    Repeats,
    /// Emoji inside words
    Emoji,
}

impl Disguise {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Leet,
        Self::Spacing,
        Self::Homoglyph,
        Self::ZeroWidth,
        Self::Repeats,
        Self::Emoji,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leet => "leet",
            Self::Spacing => "spacing",
            Self::Homoglyph => "homoglyph",
            Self::ZeroWidth => "zero-width",
            Self::Repeats => "repeats",
            Self::Emoji => "emoji",
        }
    }

    /// Writes `text` in this disguise: every second word of three letters or more, chosen by the
    /// seed; at least one where there is one.
    pub fn apply(self, text: &str, seed: u64) -> String {
        let mut dice = Dice::new(seed, text);
        let words: Vec<&str> = text.split(' ').collect();
        let long: Vec<usize> = (0..words.len())
            .filter(|i| words[*i].chars().filter(char::is_ascii_alphabetic).count() >= 3)
            .collect();
        let mut chosen: Vec<bool> = vec![false; words.len()];
        for i in &long {
            chosen[*i] = dice.below(2) == 0;
        }
        if !chosen.contains(&true) && !long.is_empty() {
            chosen[long[dice.below(long.len())]] = true;
        }
        let written: Vec<String> = words
            .iter()
            .zip(chosen)
            .map(|(word, chosen)| {
                if chosen && !word.contains("://") {
                    self.word(word, &mut dice)
                } else {
                    (*word).to_owned()
                }
            })
            .collect();
        written.join(" ")
    }

    fn word(self, word: &str, dice: &mut Dice) -> String {
        match self {
            Self::Leet => letters(word, dice, 2, |c, dice| {
                one_of(LEET, c, dice).map(str::to_owned)
            }),
            Self::Homoglyph => letters(word, dice, 3, |c, dice| {
                one_of(GLYPHS, c, dice).map(str::to_owned)
            }),
            Self::Spacing => {
                let separator = *dice.pick(SEPARATORS);
                between(word, |_| separator.to_owned())
            }
            Self::ZeroWidth => {
                let mut inner = Dice::new(dice.next(), word);
                between(word, |_| {
                    if inner.below(2) == 0 {
                        inner.pick(INVISIBLE).to_string()
                    } else {
                        String::new()
                    }
                })
            }
            Self::Repeats => letters(word, dice, 2, |c, dice| {
                let times = 3 + dice.below(4);
                Some(std::iter::repeat_n(c, times).collect())
            }),
            Self::Emoji => {
                let emoji = *dice.pick(EMOJI);
                let count = word.chars().count();
                let at = 1 + dice.below(count.saturating_sub(1).max(1));
                between(word, |i| {
                    if i == at {
                        emoji.to_owned()
                    } else {
                        String::new()
                    }
                })
            }
        }
    }
}

/// Numbers that look random and are the same every time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64, text: &str) -> Self {
        let mix = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        Self(text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Rewrites up to `most` letters of a word, not the first one of two.
fn letters(
    word: &str,
    dice: &mut Dice,
    most: usize,
    rewrite: impl Fn(char, &mut Dice) -> Option<String>,
) -> String {
    let chars: Vec<char> = word.chars().collect();
    let mut out: Vec<String> = chars.iter().map(char::to_string).collect();
    let mut places: Vec<usize> = (0..chars.len())
        .filter(|i| chars[*i].is_ascii_alphabetic())
        .collect();
    let mut done = 0;
    while done < most && !places.is_empty() {
        let at = places.swap_remove(dice.below(places.len()));
        if let Some(new) = rewrite(chars[at].to_ascii_lowercase(), dice) {
            out[at] = new;
            done += 1;
        }
    }
    out.concat()
}

/// Puts something between the characters of a word; `of` gets the place.
fn between(word: &str, mut of: impl FnMut(usize) -> String) -> String {
    let mut out = String::new();
    for (i, c) in word.chars().enumerate() {
        if i > 0 {
            out.push_str(&of(i));
        }
        out.push(c);
    }
    out
}

fn one_of(
    table: &'static [(char, &'static [&'static str])],
    c: char,
    dice: &mut Dice,
) -> Option<&'static str> {
    let (_, signs) = table.iter().find(|(letter, _)| *letter == c)?;
    Some(signs[dice.below(signs.len())])
}

const SEPARATORS: &[&str] = &[
    " ", ".", "-", "_", "*", "~", "/", "+", ",", "|", "·", "=", ":", "'",
];

const INVISIBLE: &[char] = &[
    '\u{200B}',
    '\u{200C}',
    '\u{200D}',
    '\u{2060}',
    '\u{FEFF}',
    '\u{AD}',
    '\u{34F}',
    '\u{180E}',
    '\u{2063}',
    '\u{E0020}',
    '\u{FE0F}',
];

const EMOJI: &[&str] = &[
    "🔥",
    "😂",
    "💀",
    "❤️",
    "👍🏽",
    "🤡",
    "✨",
    "♥",
    "🐍",
    "👨‍👩‍👧",
    "🇬🇧",
    "⭐",
];

const LEET: &[(char, &[&str])] = &[
    ('a', &["4", "@", "^", "/\\", "∂"]),
    ('b', &["8", "|3", "ß"]),
    ('c', &["(", "<", "¢", "©"]),
    ('e', &["3", "€", "&"]),
    ('g', &["9", "6", "&"]),
    ('h', &["#", "|-|"]),
    ('i', &["1", "!", "|", "¡"]),
    ('k', &["|<", "|{"]),
    ('l', &["1", "|", "£"]),
    ('n', &["|\\|", "ท"]),
    ('o', &["0", "()", "Ø", "°"]),
    ('r', &["®", "|2"]),
    ('s', &["5", "$", "z", "§"]),
    ('t', &["7", "+", "†"]),
    ('u', &["|_|", "µ", "v"]),
    ('v', &["\\/"]),
    ('w', &["vv", "\\/\\/"]),
    ('x', &["><", "×"]),
    ('y', &["¥", "j"]),
    ('z', &["2", "7_"]),
];

const GLYPHS: &[(char, &[&str])] = &[
    ('a', &["а", "ɑ", "α", "𝕒", "ａ", "ꭺ", "ạ"]),
    ('b', &["Ƅ", "Ь", "𝖇", "ｂ", "ᏼ"]),
    ('c', &["с", "ϲ", "ᴄ", "𝐜", "ⅽ", "ꮯ"]),
    ('d', &["ԁ", "ⅾ", "𝒅", "ḍ", "ꓒ"]),
    ('e', &["е", "ҽ", "ℯ", "𝚎", "ẹ", "ꬲ"]),
    ('f', &["ſ", "ꬵ", "𝓯", "ẝ"]),
    ('g', &["ɡ", "ց", "𝔤", "ġ"]),
    ('h', &["һ", "հ", "𝗵", "Ꮒ"]),
    ('i', &["і", "ι", "ɩ", "𝑖", "ⅰ", "Ꭵ"]),
    ('k', &["κ", "ⲕ", "𝙠", "ķ"]),
    ('l', &["ⅼ", "ӏ", "ℓ", "𝟏", "ꓡ"]),
    ('m', &["ⅿ", "ṃ", "𝓶"]),
    ('n', &["ո", "ռ", "𝐧", "ņ"]),
    ('o', &["о", "ο", "օ", "ⲟ", "𝖔", "ơ"]),
    ('p', &["р", "ρ", "ⲣ", "𝒑", "ṗ"]),
    ('r', &["г", "ꮁ", "𝓻", "ŗ"]),
    ('s', &["ѕ", "ꜱ", "𝘀", "ș"]),
    ('t', &["𝐭", "ţ", "ƭ", "Ꭲ"]),
    ('u', &["υ", "ս", "ꭎ", "𝖚", "ụ"]),
    ('v', &["ν", "ѵ", "ⅴ", "𝒗"]),
    ('w', &["ԝ", "ա", "ᴡ", "𝓌"]),
    ('x', &["х", "ⅹ", "𝔁"]),
    ('y', &["у", "ү", "ყ", "𝓎", "ỵ"]),
    ('z', &["ᴢ", "ꮓ", "𝒛", "ż"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disguise_changes_a_word_and_says_the_same_twice() {
        let text = "this sentence is about nothing in particular";
        for disguise in Disguise::ALL {
            let once = disguise.apply(text, 7);
            assert_eq!(once, disguise.apply(text, 7));
            assert_ne!(once, text, "{disguise:?}");
            assert_ne!(disguise.apply(text, 8), once, "{disguise:?}");
        }
    }

    #[test]
    fn text_without_words_is_left_alone() {
        for disguise in Disguise::ALL {
            for text in ["", "a b 1 2", "!!!", "https://example.org"] {
                assert_eq!(disguise.apply(text, 1), text, "{disguise:?}");
            }
        }
    }
}
