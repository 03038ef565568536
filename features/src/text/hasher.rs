//! Hashed n-grams: text to a sparse vector without a vocabulary.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    emoji::is_pictograph,
    normalized::{Normalized, Signals},
};

/// Fewest hash bits that make sense.
pub const MIN_HASH_BITS: u8 = 8;
/// Most hash bits: 16 M buckets.
pub const MAX_HASH_BITS: u8 = 24;

/// Seeds keep the kinds of feature apart before they share buckets.
const WORD: u64 = 1;
const PAIR: u64 = 2;
const CHARS: u64 = 3;
const RAW_WORD: u64 = 4;
const RAW_CHARS: u64 = 5;
const SIGNAL: u64 = 6;
const EDGE: u64 = 7;
const LENGTH: u64 = 8;
const MESSAGE: u64 = 9;
const ACROSS: u64 = 10;
const WORD_IN_LENGTH: u64 = 11;
const RIDDLE: u64 = 12;

/// What one occurrence of each kind weighs before counts are dampened. Words would drown in their
/// own n-grams otherwise; the values were chosen on a validation split of the training data.
const WORD_WEIGHT: f32 = 3.0;
const PAIR_WEIGHT: f32 = 1.5;
const EDGE_WEIGHT: f32 = 2.0;
const MESSAGE_WEIGHT: f32 = 3.0;
const ACROSS_WEIGHT: f32 = 0.7;
const WORD_IN_LENGTH_WEIGHT: f32 = 2.0;
const RIDDLE_WORD_WEIGHT: f32 = 3.0;
const RIDDLE_GRAM_WEIGHT: f32 = 1.5;

const SHORTEST_GRAM: usize = 2;
const LONGEST_GRAM: usize = 5;
/// Characters of one word that are looked at; beyond that it is an encoded blob.
const MAX_WORD_CHARS: usize = 40;
/// Bytes of a punctuation run that count (`!!!!!!!!` is `!!!`).
const MAX_PUNCTUATION: usize = 3;
/// Words of the longest message that is a feature as a whole.
const MAX_MESSAGE_WORDS: u32 = 8;
/// Lengths of character n-grams across words.
const ACROSS_SIZES: [usize; 2] = [4, 6];
/// Characters of a text that n-grams across words are taken from.
const MAX_ACROSS_CHARS: usize = 600;

/// The oldest set of features.
pub const FIRST_NGRAM_SET: u8 = 1;
/// The newest set of features.
pub const LAST_NGRAM_SET: u8 = 2;

/// Turns a normalised text into hashed features.
///
/// Features: words and pairs of neighbouring words, character 2- to 5-grams within words (with
/// their borders), the first and the last word as such, the logarithm of the number of words, the
/// raw spelling of every word that the normaliser changed, and what the normaliser undid. Set 2
/// adds each word together with how long the message is (the same word weighs differently in a
/// line of game chat and in a comment), short messages as a whole, character 4- and 6-grams across
/// words, and words with signs inside as riddles, each run of signs one `?`: whoever writes `f∂ol`
/// today and `f#ol` tomorrow writes `f?ol`, whatever the normaliser knows. Weights belong to the set that they were trained with.
///
/// A feature's value is `weight · (1 + ln(count))`; the vector has length one.
/// Feature hashing after Weinberger et al. (2009), without signs: collisions are rare at the
/// sizes used, and weights are learned per bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NgramHasher {
    bits: u8,
    set: u8,
}

impl NgramHasher {
    /// A hasher of the first set of features into `2^bits` buckets; `bits` is clamped to
    /// [`MIN_HASH_BITS`]`..=`[`MAX_HASH_BITS`].
    pub fn new(bits: u8) -> Self {
        Self::with_set(bits, FIRST_NGRAM_SET)
    }

    /// A hasher of a set of features, clamped to [`FIRST_NGRAM_SET`]`..=`[`LAST_NGRAM_SET`].
    pub fn with_set(bits: u8, set: u8) -> Self {
        Self {
            bits: bits.clamp(MIN_HASH_BITS, MAX_HASH_BITS),
            set: set.clamp(FIRST_NGRAM_SET, LAST_NGRAM_SET),
        }
    }

    /// The set of features.
    pub fn set(&self) -> u8 {
        self.set
    }

    /// log2 of the number of buckets.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Number of buckets.
    pub fn buckets(&self) -> usize {
        1 << self.bits
    }

    /// Writes the features of a text to `out`, replacing what it held: buckets ascending, each
    /// once, values positive with squares summing to one. Empty for a text without features.
    ///
    /// `normalized` must come from normalising `raw`.
    pub fn features(&self, raw: &str, normalized: &Normalized, out: &mut Vec<(u32, f32)>) {
        out.clear();
        let mut sink = Sink {
            shift: 64 - u32::from(self.bits),
            out,
        };
        let mut before = 0;
        let mut words = 0_u32;
        let length = (self.set > 1).then(|| {
            let mut words = 0_u32;
            tokens(&normalized.text, |_, _| words += 1);
            length_class(words)
        });
        let mut message = 0;
        tokens(&normalized.text, |start, word| {
            let hash = sink.word(word, WORD, CHARS);
            if let Some(length) = length {
                let feature = pair(hash, length, WORD_IN_LENGTH);
                sink.push(feature, WORD_IN_LENGTH_WEIGHT);
                message = pair(message, hash, MESSAGE);
            }
            if words == 0 {
                sink.push(pair(hash, 0, EDGE), EDGE_WEIGHT);
            } else {
                sink.push(pair(before, hash, PAIR), PAIR_WEIGHT);
            }
            before = hash;
            words += 1;
            if normalized.is_changed() {
                let range = normalized.original_range(start..start + word.len());
                let spelled = raw.get(range).unwrap_or_default();
                if !spelled.eq_ignore_ascii_case(word) {
                    sink.word(&spelled.to_lowercase(), RAW_WORD, RAW_CHARS);
                }
            }
        });
        if words > 0 {
            sink.push(pair(before, 1, EDGE), EDGE_WEIGHT);
            sink.push(pair(u64::from(words.ilog2()), 0, LENGTH), 1.0);
        }
        if length.is_some() {
            if (1..=MAX_MESSAGE_WORDS).contains(&words) {
                sink.push(message, MESSAGE_WEIGHT);
            }
            sink.across(&normalized.text);
            sink.riddles(&normalized.text);
        }
        sink.signals(&normalized.signals);
        merge(out);
    }
}

/// How long a message is, roughly: a shout, a chat line, a comment, a text.
fn length_class(words: u32) -> u64 {
    match words {
        0..=4 => 0,
        5..=12 => 1,
        13..=40 => 2,
        _ => 3,
    }
}

/// Sorts, counts equal buckets, dampens counts and scales to length one.
///
/// Kinds differ in weight; where two kinds meet in a bucket the first one's weight counts.
fn merge(out: &mut Vec<(u32, f32)>) {
    out.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut kept = 0;
    let mut from = 0;
    let mut squares = 0.0_f32;
    while let Some(&(bucket, weight)) = out.get(from) {
        let count = out[from..]
            .iter()
            .take_while(|entry| entry.0 == bucket)
            .count();
        let value = if count == 1 {
            weight
        } else {
            weight * (1.0 + (count as f32).ln())
        };
        squares += value * value;
        out[kept] = (bucket, value);
        kept += 1;
        from += count;
    }
    out.truncate(kept);
    let scale = if squares > 0.0 {
        squares.sqrt().recip()
    } else {
        0.0
    };
    for (_, value) in out.iter_mut() {
        *value *= scale;
    }
}

/// The hash of two hashes (or small numbers) in order.
fn pair(first: u64, second: u64, seed: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    xxh3_64_with_seed(&bytes, seed)
}

struct Sink<'a> {
    shift: u32,
    out: &'a mut Vec<(u32, f32)>,
}

impl Sink<'_> {
    fn push(&mut self, hash: u64, weight: f32) {
        self.out.push(((hash >> self.shift) as u32, weight));
    }

    /// Adds a word and its character n-grams; answers the word's hash.
    fn word(&mut self, word: &str, word_seed: u64, char_seed: u64) -> u64 {
        let hash = xxh3_64_with_seed(word.as_bytes(), word_seed);
        self.push(hash, WORD_WEIGHT);
        // ` word ` on the stack: each byte that starts a character is a place to cut.
        let mut buffer = [0_u8; 4 * MAX_WORD_CHARS + 2];
        let mut cuts = [0_u8; MAX_WORD_CHARS + 3];
        buffer[0] = b' ';
        let mut len = 1;
        let mut chars = 1;
        cuts[1] = 1;
        for ch in word.chars().take(MAX_WORD_CHARS) {
            len += ch.encode_utf8(&mut buffer[len..]).len();
            chars += 1;
            cuts[chars] = len as u8;
        }
        buffer[len] = b' ';
        chars += 1;
        cuts[chars] = (len + 1) as u8;
        for start in 0..chars {
            let from = usize::from(cuts[start]);
            for size in SHORTEST_GRAM..=LONGEST_GRAM.min(chars - start) {
                let to = usize::from(cuts[start + size]);
                self.push(xxh3_64_with_seed(&buffer[from..to], char_seed), 1.0);
            }
        }
        hash
    }

    /// Adds character n-grams that have a blank inside.
    fn across(&mut self, text: &str) {
        if !text.contains(' ') {
            return;
        }
        let mut cuts = [0_u16; MAX_ACROSS_CHARS + 1];
        let mut chars = 0;
        for (at, ch) in text.char_indices().take(MAX_ACROSS_CHARS) {
            chars += 1;
            // Six hundred characters end below 2,401 bytes.
            cuts[chars] = (at + ch.len_utf8()) as u16;
        }
        for size in ACROSS_SIZES {
            for start in 0..(chars + 1).saturating_sub(size) {
                let inside = usize::from(cuts[start + 1])..usize::from(cuts[start + size - 1]);
                if text.as_bytes()[inside].contains(&b' ') {
                    let gram = usize::from(cuts[start])..usize::from(cuts[start + size]);
                    let hash = xxh3_64_with_seed(&text.as_bytes()[gram], ACROSS);
                    self.push(hash, ACROSS_WEIGHT);
                }
            }
        }
    }

    /// Adds words with signs inside, each run of signs as one.
    fn riddles(&mut self, text: &str) {
        let mut riddle = [0_u8; MAX_RIDDLE + 2];
        for word in text.split(' ') {
            let Some(len) = read_riddle(word, &mut riddle) else {
                continue;
            };
            let word = &riddle[..len];
            self.push(xxh3_64_with_seed(word, RIDDLE), RIDDLE_WORD_WEIGHT);
            for size in 3..=LONGEST_GRAM.min(len) {
                for gram in word.windows(size).filter(|gram| gram.contains(&b'?')) {
                    self.push(xxh3_64_with_seed(gram, RIDDLE), RIDDLE_GRAM_WEIGHT);
                }
            }
        }
    }

    fn signals(&mut self, signals: &Signals) {
        let shouting = signals.letters >= 8 && 10 * signals.capitals >= 7 * signals.letters;
        let present = [
            signals.zero_width > 0,
            signals.confusable > 0,
            signals.leet > 0,
            signals.joined > 0,
            signals.repeats > 0,
            signals.emoji_in_word > 0,
            signals.marks > 0,
            signals.mentions > 0,
            signals.links > 0,
            shouting,
        ];
        for (i, _) in present.iter().enumerate().filter(|(_, on)| **on) {
            self.push(xxh3_64_with_seed(&[i as u8], SIGNAL), 1.0);
        }
    }
}

/// Longest word that is read as a riddle, in letters and runs of signs.
const MAX_RIDDLE: usize = 20;
/// Most characters of a run of signs that stands for a letter (`|\|`).
const MAX_SIGNS: usize = 3;

/// Writes ` w?rd ` to `out` and answers its length, where a word has signs where letters could be:
/// at least two letters, no more runs of signs than letters, none of them long. Closing and opening
/// punctuation is none. Addresses of any kind are not read.
fn read_riddle(word: &str, out: &mut [u8; MAX_RIDDLE + 2]) -> Option<usize> {
    let word = word
        .trim_end_matches(['.', ',', '!', '?', ':', ';', ')', ']', '"', '\'', '*'])
        .trim_start_matches(['(', '[', '"', '\'', '#', '*', '@']);
    if word.len() > 4 * MAX_RIDDLE
        || word.bytes().all(|byte| byte.is_ascii_lowercase())
        || word.contains("://")
    {
        return None;
    }
    out[0] = b' ';
    let (mut len, mut letters, mut runs, mut run) = (1, 0, 0, 0);
    let mut digits = 0;
    for ch in word.chars() {
        let sign = !ch.is_ascii_lowercase() && ch != '\'';
        digits += usize::from(ch.is_ascii_digit());
        if sign {
            run += 1;
            if run > 1 {
                if run > MAX_SIGNS {
                    return None;
                }
                continue;
            }
            runs += 1;
        } else {
            run = 0;
            letters += 1;
        }
        if len > MAX_RIDDLE {
            return None;
        }
        out[len] = if sign { b'?' } else { ch as u8 };
        len += 1;
    }
    out[len] = b' ';
    (runs > 0 && letters >= 2 && runs <= letters && digits <= letters).then_some(len + 1)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Word,
    /// Part of a word between or after letters (`don't`, `f**k`), a sign elsewhere.
    Inner,
    Sign,
    Picture,
}

fn class(ch: char) -> Class {
    match ch {
        'a'..='z' | '0'..='9' | 'A'..='Z' | '_' => Class::Word,
        '\'' | '*' => Class::Inner,
        _ if ch.is_ascii() => {
            if ch.is_ascii_whitespace() {
                Class::Space
            } else {
                Class::Sign
            }
        }
        _ if ch.is_whitespace() => Class::Space,
        _ if is_pictograph(ch) => Class::Picture,
        _ => Class::Word,
    }
}

/// Calls `visit(start, token)` for every word, run of signs and picture, in order.
fn tokens(text: &str, mut visit: impl FnMut(usize, &str)) {
    let mut start = 0;
    let mut current = Class::Space;
    for (at, ch) in text.char_indices() {
        let mut kind = class(ch);
        if kind == Class::Inner {
            kind = if current == Class::Word {
                Class::Word
            } else {
                Class::Sign
            };
        }
        if kind == current && kind != Class::Picture {
            continue;
        }
        emit(text, start, at, current, &mut visit);
        (start, current) = (at, kind);
    }
    emit(text, start, text.len(), current, &mut visit);
}

fn emit(text: &str, start: usize, end: usize, kind: Class, visit: &mut impl FnMut(usize, &str)) {
    let token = &text[start..end];
    match kind {
        Class::Space => {}
        Class::Sign => visit(start, &token[..token.len().min(MAX_PUNCTUATION)]),
        _ => visit(start, token),
    }
}
