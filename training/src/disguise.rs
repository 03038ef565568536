//! Ways in which people hide words, for training: a model that has seen them is not blind where the
//! normaliser misses one. The tables are small, and on purpose not those of any evaluation.

use rand::Rng;

/// Swaps of a letter for what looks like it.
const LOOKS: [(char, &[char]); 12] = [
    ('a', &['4', '@', 'а']),
    ('b', &['8']),
    ('c', &['(', 'с']),
    ('e', &['3', 'е']),
    ('g', &['9']),
    ('i', &['1', '!', 'і']),
    ('l', &['1', '|']),
    ('o', &['0', 'о']),
    ('p', &['р']),
    ('s', &['5', '$']),
    ('t', &['7', '+']),
    ('u', &['v', 'υ']),
];
const SEPARATORS: [&str; 5] = [" ", ".", "-", "_", "*"];
const INVISIBLE: [char; 3] = ['\u{200b}', '\u{200d}', '\u{2060}'];
const EMOJI: [char; 4] = ['😀', '🔥', '💀', '✨'];
/// Signs that stand for any letter at all: what matters is that one is missing.
const SIGNS: [&str; 24] = [
    "#", "%", "&", "^", "~", "?", "+", "=", "*", "¤", "¬", "¦", "±", "÷", "¶", "ʘ", "∆", "∎", "[]",
    "{}", "/|", "!!", ")(", "::",
];
/// Kinds of disguise.
const KINDS: u8 = 9;

/// Disguises a text in one way, chosen by `rng`, in about half of its words.
pub fn disguise(text: &str, rng: &mut impl Rng) -> String {
    let kind = rng.random_range(0..KINDS);
    disguise_as(text, kind, rng)
}

/// Disguises a text in the way of a number.
pub fn disguise_as(text: &str, kind: u8, rng: &mut impl Rng) -> String {
    let words: Vec<String> = text
        .split(' ')
        .map(|word| {
            let long = word.chars().filter(|c| c.is_alphabetic()).count() > 2;
            if long && rng.random_bool(0.5) && !word.contains("://") {
                disguise_word(word, kind, rng)
            } else {
                word.to_owned()
            }
        })
        .collect();
    if kind == 7 && words.len() > 2 {
        // Some spaces go.
        return words.iter().fold(String::new(), |mut out, word| {
            if !out.is_empty() && rng.random_bool(0.7) {
                out.push(' ');
            }
            out.push_str(word);
            out
        });
    }
    words.join(" ")
}

fn disguise_word(word: &str, kind: u8, rng: &mut impl Rng) -> String {
    let letters: Vec<char> = word.chars().collect();
    let inside = |rng: &mut dyn rand::RngCore| rng.random_range(1..letters.len());
    match kind {
        0 => {
            let swap = |c: &char| {
                let known = LOOKS
                    .iter()
                    .find(|(from, _)| *from == c.to_ascii_lowercase());
                match known {
                    Some((_, to)) if rng.random_bool(0.6) => to[rng.random_range(0..to.len())],
                    _ => *c,
                }
            };
            letters.iter().map(swap).collect()
        }
        1 => {
            let separator = SEPARATORS[rng.random_range(0..SEPARATORS.len())];
            let parts: Vec<String> = letters.iter().map(char::to_string).collect();
            parts.join(separator)
        }
        2 | 6 => {
            let all = if kind == 2 {
                &INVISIBLE[..]
            } else {
                &EMOJI[..]
            };
            let mut out = letters.clone();
            out.insert(inside(rng), all[rng.random_range(0..all.len())]);
            out.into_iter().collect()
        }
        3 => {
            let at = inside(rng);
            let times = rng.random_range(2..5);
            let mut out = letters.clone();
            out.splice(at..at, std::iter::repeat_n(letters[at], times));
            out.into_iter().collect()
        }
        4 => {
            // Two neighbours change places, but the first letter stays.
            let mut out = letters.clone();
            if out.len() > 3 {
                let at = rng.random_range(1..out.len() - 1);
                out.swap(at, at + 1);
            }
            out.into_iter().collect()
        }
        8 => {
            // Any sign for one letter or two.
            let mut out: Vec<String> = letters.iter().map(char::to_string).collect();
            for _ in 0..rng.random_range(1..=2) {
                let at = inside(rng);
                SIGNS[rng.random_range(0..SIGNS.len())].clone_into(&mut out[at]);
            }
            out.concat()
        }
        5 => {
            // A letter goes, or a star stands for a vowel.
            let mut out = letters.clone();
            let vowel = out.iter().skip(1).position(|c| "aeiou".contains(*c));
            match vowel {
                Some(at) if rng.random_bool(0.7) => out[at + 1] = '*',
                _ => {
                    out.remove(inside(rng));
                }
            }
            out.into_iter().collect()
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn disguises_change_words_and_are_the_same_every_time() {
        let text = "please leave this channel right now everybody";
        let make = |seed| disguise(text, &mut StdRng::seed_from_u64(seed));
        let all: Vec<String> = (0..200).map(make).collect();
        assert_eq!(all, (0..200).map(make).collect::<Vec<_>>());
        let changed = all.iter().filter(|t| *t != text).count();
        assert!(changed > 150, "{changed}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_disguised(text: String, seed: u64) {
            disguise(&text, &mut StdRng::seed_from_u64(seed));
        }
    }
}
