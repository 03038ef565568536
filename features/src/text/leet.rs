//! Leet: digits and signs that stand for letters inside a word.

use super::{
    cells::{Cell, is_vowel},
    normalized::Signals,
};

/// Longest stretch that is decoded; longer ones are identifiers.
const MAX_WORD: usize = 24;
/// Longest run of consonants in something that can be pronounced.
const MAX_CONSONANTS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Letter,
    /// Stands for this letter wherever leet is plausible at all.
    Sure(char),
    /// Stands for this letter only beside a sure one.
    Maybe(char),
    No,
}

fn sign(ch: char) -> Sign {
    match ch {
        'a'..='z' => Sign::Letter,
        '0' => Sign::Sure('o'),
        '1' | '!' | '|' => Sign::Sure('i'),
        '3' | '€' => Sign::Sure('e'),
        '4' | '@' => Sign::Sure('a'),
        '5' | '$' => Sign::Sure('s'),
        '7' => Sign::Sure('t'),
        '£' => Sign::Sure('l'),
        '¢' => Sign::Sure('c'),
        '¥' => Sign::Sure('y'),
        '6' | '9' => Sign::Maybe('g'),
        '8' => Sign::Maybe('b'),
        _ => Sign::No,
    }
}

fn may_be_leet(ch: char) -> bool {
    ch.is_ascii_alphanumeric() || matches!(ch, '$' | '@' | '!' | '|' | '€' | '£' | '¢' | '¥')
}

/// Decodes the words inside a token. Lengths do not change.
pub(super) fn decode(token: &mut [Cell], signals: &mut Signals) {
    for part in token.split_mut(|cell| !may_be_leet(cell.ch)) {
        // Closing `!` ends a sentence.
        let len = part
            .iter()
            .rposition(|cell| !matches!(cell.ch, '!' | '|'))
            .map_or(0, |last| last + 1);
        decode_part(&mut part[..len], signals);
    }
}

/// A maximal run of letters, or of signs.
struct Run {
    letters: bool,
    start: usize,
    end: usize,
}

fn runs(part: &[Cell]) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    for (i, cell) in part.iter().enumerate() {
        let letters = sign(cell.ch) == Sign::Letter;
        match out.last_mut() {
            Some(run) if run.letters == letters => run.end = i + 1,
            _ => out.push(Run {
                letters,
                start: i,
                end: i + 1,
            }),
        }
    }
    out
}

fn decode_part(part: &mut [Cell], signals: &mut Signals) {
    if !(3..=MAX_WORD).contains(&part.len()) || part.iter().all(|c| sign(c.ch) == Sign::Letter) {
        return;
    }
    let runs = runs(part);
    if !is_plausible(part, &runs) {
        return;
    }
    let mut decoded: Vec<char> = part.iter().map(|cell| cell.ch).collect();
    let mut count = 0;
    for (index, run) in runs.iter().enumerate().filter(|(_, run)| !run.letters) {
        let edge = index == 0 || index + 1 == runs.len();
        let chars = &part[run.start..run.end];
        let readable = chars.iter().all(|cell| {
            matches!(sign(cell.ch), Sign::Sure(_))
                || (!edge && matches!(sign(cell.ch), Sign::Maybe(_)))
        });
        // Figures at the end of a name are a number: `noob123`.
        let number = chars.len() > 2 && chars.iter().any(|cell| cell.ch.is_ascii_digit());
        if !readable || (edge && number) {
            continue;
        }
        for i in run.start..run.end {
            if let Sign::Sure(letter) | Sign::Maybe(letter) = sign(part[i].ch) {
                decoded[i] = if part[i].ch == '1' {
                    read_one(part, i)
                } else {
                    letter
                };
                count += 1;
            }
        }
    }
    if count == 0 || !looks_like_word(&decoded) {
        return;
    }
    for (cell, ch) in part.iter_mut().zip(decoded) {
        cell.ch = ch;
    }
    signals.leet += count;
}

/// Whether the signs in a word can be meant as letters.
fn is_plausible(part: &[Cell], runs: &[Run]) -> bool {
    let letters: usize = runs
        .iter()
        .filter(|run| run.letters)
        .map(|run| run.end - run.start)
        .sum();
    let longest = runs
        .iter()
        .filter(|run| run.letters)
        .map(|run| run.end - run.start)
        .max();
    let is_money = |i: usize| part.get(i).is_some_and(|cell| cell.ch == '$');
    let money_ending = is_money(part.len() - 1) && is_money(part.len() - 2);
    let signs = part.len() - letters;
    if letters == 0 || (letters < 2 && !money_ending) || signs > letters + 1 {
        return false;
    }
    // `a1b3c4`: a letter, a figure, a letter, …
    if part.len() >= 6 && longest == Some(1) {
        return false;
    }
    let mut sure = money_ending;
    for (index, run) in runs.iter().enumerate().filter(|(_, run)| !run.letters) {
        let chars = &part[run.start..run.end];
        if index == 0 {
            // `$tupid`, `@$$hole`; a figure in front is a quantity unless the word has more.
            let money =
                chars.iter().any(|c| c.ch == '$') && !chars.iter().any(|c| c.ch.is_ascii_digit());
            sure |= money && letters >= 2 && chars.len() <= 3;
            continue;
        }
        if index + 1 == runs.len() {
            continue;
        }
        let same = chars.iter().all(|cell| cell.ch == chars[0].ch);
        if chars.iter().any(|cell| sign(cell.ch) == Sign::No) || (chars.len() > 2 && !same) {
            return false;
        }
        sure |= chars
            .iter()
            .any(|cell| matches!(sign(cell.ch), Sign::Sure(_)))
            && !is_sentence_mark(part, run);
    }
    sure
}

/// `wow!that`, `a|b`: marks between words, not inside one.
fn is_sentence_mark(part: &[Cell], run: &Run) -> bool {
    let consonant =
        |cell: Option<&Cell>| cell.is_some_and(|c| c.ch.is_ascii_alphabetic() && !is_vowel(c.ch));
    let inside = consonant(part.get(run.start.wrapping_sub(1))) && consonant(part.get(run.end));
    matches!(part[run.start].ch, '!' | '|') && (run.end - run.start > 1 || !inside)
}

/// `1` is i, or l: doubled (`he11`), or between a consonant that takes an l and a vowel (`b1ack`).
fn read_one(part: &[Cell], i: usize) -> char {
    let at = |index: usize| part.get(index).map_or(' ', |cell| cell.ch);
    let before = if i == 0 { ' ' } else { at(i - 1) };
    let after = at(i + 1);
    let doubled = before == '1' || after == '1';
    let cluster = matches!(before, 'b' | 'c' | 'f' | 'g' | 'p' | 's')
        && matches!(after, 'a' | 'e' | 'o' | 'u' | '0' | '3' | '4' | '@');
    if doubled || cluster { 'l' } else { 'i' }
}

fn looks_like_word(word: &[char]) -> bool {
    let mut consonants = 0;
    let mut vowels = 0;
    for &ch in word {
        if is_vowel(ch) {
            vowels += 1;
            consonants = 0;
        } else {
            consonants += 1;
            if consonants > MAX_CONSONANTS {
                return false;
            }
        }
    }
    vowels > 0
}
