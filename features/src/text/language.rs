//! Which language a message is in.
//!
//! Chat lines are short, full of names and of words that every language borrows, so the question is
//! not "which language is likeliest" but "is there reason to think that it is not English". Scripts
//! decide where they can; among Latin letters a message counts as another language only when it has
//! enough letters, few common English words, and the trigram model (`whatlang`) is sure.

mod common;

use std::sync::LazyLock;

use whatlang::{Detector, Lang};

use common::COMMON;

/// Fewest Latin letters from which another language than English is considered.
const FEWEST_LETTERS: usize = 24;
/// Fewest words from which another language than English is considered among Latin letters.
const FEWEST_WORDS: usize = 5;
/// Confidence from which the trigram model is believed against English.
const SURE: f64 = 0.9;
/// One common English word in this many makes a text English.
const ENGLISH_SHARE: usize = 5;
/// Letters that are looked at; more say nothing new.
const MAX_BYTES: usize = 4096;

/// What was found out about a text's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Nothing speaks against English: too short to tell, no letters at all, or English.
    English,
    /// Another language, as an ISO 639-1 code (639-3 where there is none).
    Other(&'static str),
    /// Letters that belong to no language known here.
    Unknown,
}

impl Language {
    /// The language's code, `None` when it is unknown.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::English => Some("en"),
            Self::Other(code) => Some(code),
            Self::Unknown => None,
        }
    }

    /// Whether models that were trained on English may be asked.
    pub fn is_english(self) -> bool {
        self == Self::English
    }
}

static LATIN: LazyLock<Detector> = LazyLock::new(|| {
    Detector::with_allowlist(vec![
        Lang::Eng,
        Lang::Spa,
        Lang::Por,
        Lang::Fra,
        Lang::Deu,
        Lang::Ita,
        Lang::Nld,
        Lang::Swe,
        Lang::Dan,
        Lang::Nob,
        Lang::Fin,
        Lang::Pol,
        Lang::Ces,
        Lang::Hun,
        Lang::Ron,
        Lang::Tur,
        Lang::Vie,
        Lang::Ind,
        Lang::Tgl,
    ])
});

static CYRILLIC: LazyLock<Detector> =
    LazyLock::new(|| Detector::with_allowlist(vec![Lang::Rus, Lang::Ukr, Lang::Bul, Lang::Srp]));

/// Tells the language of a text. Works on the text as it was written, but see
/// [`detect_undisguised`] for messages that the normaliser has changed.
pub fn detect(raw: &str) -> Language {
    let text = head(raw);
    let counts = Counts::of(text);
    match counts.leading() {
        None => Language::English,
        Some(Script::Latin) => latin(text, counts.latin),
        Some(Script::Cyrillic) => {
            let found = CYRILLIC.detect(text).filter(whatlang::Info::is_reliable);
            Language::Other(found.map_or("ru", |info| code(info.lang())))
        }
        Some(Script::Japanese) => Language::Other("ja"),
        Some(Script::Other(code)) => Language::Other(code),
        Some(Script::Unknown) => Language::Unknown,
    }
}

/// Tells the language of a message: of its normalised form where look-alike letters hid English.
pub fn detect_undisguised(raw: &str, normalized: &super::Normalized) -> Language {
    let disguised = normalized.signals.confusable > 0 || normalized.signals.marks > 0;
    if disguised && is_mostly_ascii(head(&normalized.text)) {
        // Accents are folded there, so only English can be told.
        return Language::English;
    }
    detect(raw)
}

fn is_mostly_ascii(text: &str) -> bool {
    let (mut ascii, mut other) = (0_usize, 0_usize);
    for ch in text.chars().filter(|ch| ch.is_alphabetic()) {
        if ch.is_ascii() {
            ascii += 1;
        } else {
            other += 1;
        }
    }
    ascii > 4 * other
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

fn latin(text: &str, letters: usize) -> Language {
    if letters < FEWEST_LETTERS {
        return Language::English;
    }
    // Names, links and tags are in no language.
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|w| !w.starts_with(['@', '#']) && !w.contains("://") && !w.contains("www."))
        .collect();
    let spoken: Vec<String> = words
        .iter()
        .flat_map(|w| w.split(|c: char| !c.is_alphabetic() && c != '\''))
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect();
    let english = spoken
        .iter()
        .filter(|w| COMMON.binary_search(&w.as_str()).is_ok())
        .count();
    if spoken.len() < FEWEST_WORDS || english * ENGLISH_SHARE >= spoken.len() {
        return Language::English;
    }
    let text = spoken.join(" ");
    let Some(best) = LATIN.detect(&text).filter(|info| info.lang() != Lang::Eng) else {
        return Language::English;
    };
    // Spanish is hardly surer than Portuguese; what counts is how much surer than English.
    match Detector::with_allowlist(vec![Lang::Eng, best.lang()]).detect(&text) {
        Some(info) if info.lang() != Lang::Eng && info.confidence() >= SURE => {
            Language::Other(code(info.lang()))
        }
        _ => Language::English,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Japanese,
    Other(&'static str),
    Unknown,
}

#[derive(Default)]
struct Counts {
    latin: usize,
    cyrillic: usize,
    kana: usize,
    han: usize,
    unknown: usize,
    /// One script at most in practice; the first two are kept.
    others: [(&'static str, usize); 2],
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        for ch in text.chars() {
            if ch.is_ascii() {
                counts.latin += usize::from(ch.is_ascii_alphabetic());
            } else if ch.is_alphabetic() {
                counts.add(ch);
            }
        }
        counts
    }

    fn add(&mut self, ch: char) {
        let other = match ch as u32 {
            // Phonetic and styled letters, full-width forms and mathematical alphabets are English
            // in disguise.
            0xAA..=0x2FF
            | 0x1E00..=0x1EFF
            | 0x2C60..=0x2C7F
            | 0xA720..=0xA7FF
            | 0x1D00..=0x1DBF
            | 0x2100..=0x214F
            | 0xFF21..=0xFF5A
            | 0x1D400..=0x1D7FF
            | 0x1F100..=0x1F1FF => {
                self.latin += 1;
                return;
            }
            0x400..=0x52F | 0x1C80..=0x1C8F | 0x2DE0..=0x2DFF | 0xA640..=0xA69F => {
                self.cyrillic += 1;
                return;
            }
            0x3040..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9D => {
                self.kana += 1;
                return;
            }
            0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF => {
                self.han += 1;
                return;
            }
            0x370..=0x3FF | 0x1F00..=0x1FFF => "el",
            0x530..=0x58F => "hy",
            0x590..=0x5FF | 0xFB1D..=0xFB4F => "he",
            0x600..=0x6FF | 0x750..=0x77F | 0x8A0..=0x8FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFF => {
                // Letters that Persian has and Arabic lacks.
                if matches!(ch, 'پ' | 'چ' | 'ژ' | 'گ' | 'ک' | 'ی') {
                    "fa"
                } else {
                    "ar"
                }
            }
            0x900..=0x97F => "hi",
            0x980..=0x9FF => "bn",
            0xA00..=0xA7F => "pa",
            0xA80..=0xAFF => "gu",
            0xB80..=0xBFF => "ta",
            0xC00..=0xC7F => "te",
            0xC80..=0xCFF => "kn",
            0xD00..=0xD7F => "ml",
            0xD80..=0xDFF => "si",
            0xE00..=0xE7F => "th",
            0xE80..=0xEFF => "lo",
            0x1000..=0x109F => "my",
            0x10A0..=0x10FF => "ka",
            0x1200..=0x139F => "am",
            0x1780..=0x17FF => "km",
            0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => "ko",
            _ => {
                self.unknown += 1;
                return;
            }
        };
        for slot in &mut self.others {
            if slot.1 == 0 || slot.0 == other {
                *slot = (other, slot.1 + 1);
                return;
            }
        }
    }

    /// The script of most letters; Latin needs twice as many, because every chat borrows English
    /// words and names. `None` without letters.
    fn leading(&self) -> Option<Script> {
        let [first, second] = self.others;
        // Persian shares most of its letters with Arabic.
        let (code, other) = match (first, second) {
            (("ar", a), ("fa", b)) | (("fa", b), ("ar", a)) if b * 8 >= a => ("fa", a + b),
            ((one, a), (_, b)) if a >= b => (one, a),
            (_, (two, b)) => (two, b),
        };
        let chinese = self.han + self.kana;
        let east = if self.kana > 0 {
            Script::Japanese
        } else {
            Script::Other("zh")
        };
        let found = [
            (self.latin / 2, Script::Latin),
            (self.cyrillic, Script::Cyrillic),
            (2 * chinese, east),
            (other, Script::Other(code)),
            (self.unknown, Script::Unknown),
        ];
        if self.latin > 0 && found[1..].iter().all(|(n, _)| *n == 0) {
            return Some(Script::Latin);
        }
        found
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .max_by_key(|(n, _)| *n)
            .map(|(_, script)| script)
    }
}

fn code(lang: Lang) -> &'static str {
    match lang {
        Lang::Eng => "en",
        Lang::Spa => "es",
        Lang::Por => "pt",
        Lang::Fra => "fr",
        Lang::Deu => "de",
        Lang::Ita => "it",
        Lang::Nld => "nl",
        Lang::Swe => "sv",
        Lang::Dan => "da",
        Lang::Nob => "no",
        Lang::Fin => "fi",
        Lang::Pol => "pl",
        Lang::Ces => "cs",
        Lang::Hun => "hu",
        Lang::Ron => "ro",
        Lang::Tur => "tr",
        Lang::Vie => "vi",
        Lang::Ind => "id",
        Lang::Tgl => "fil",
        Lang::Rus => "ru",
        Lang::Ukr => "uk",
        Lang::Bul => "bg",
        Lang::Srp => "sr",
        other => other.code(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_words_are_sorted() {
        assert!(COMMON.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn chat_is_english_unless_there_is_reason_to_think_otherwise() {
        for text in [
            "",
            "gg wp",
            "123 !!! 🔥",
            "lol noob",
            "POGGERS KEKW LULW",
            "hola",
            "jajajajaja",
            "you are a worthless idiot",
            "@anna @bert @carlos https://example.org/une/page",
            "𝓲 𝓭𝓲𝓭 𝓷𝓸𝓽",
            "ez game ez life noobs report mid",
        ] {
            assert_eq!(detect(text), Language::English, "{text}");
        }
    }

    #[test]
    fn scripts_and_sentences_are_told() {
        for (text, wanted) in [
            ("привет, как дела сегодня", "ru"),
            ("こんにちは、元気ですか", "ja"),
            ("你好，今天怎么样", "zh"),
            ("안녕하세요 여러분", "ko"),
            ("مرحبا كيف حالك اليوم", "ar"),
            ("สวัสดีครับ", "th"),
            ("नमस्ते आप कैसे हैं", "hi"),
            ("আপনি কেমন আছেন", "bn"),
            ("καλημέρα σε όλους", "el"),
            (
                "esta noche vamos a jugar todos juntos en el servidor nuevo",
                "es",
            ),
            ("ich habe heute leider keine zeit mehr zum spielen", "de"),
            (
                "je ne comprends pas pourquoi il joue toujours comme ça",
                "fr",
            ),
            ("dzisiaj nie mam czasu na granie z wami wszystkimi", "pl"),
        ] {
            assert_eq!(detect(text).code(), Some(wanted), "{text}");
        }
        assert_eq!(detect("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ"), Language::Unknown);
    }

    #[test]
    fn english_in_look_alike_letters_is_english() {
        let raw = "уоu аrе аn іdіоt";
        let normalized = super::super::Normalizer::new().normalize(raw);
        assert_eq!(detect_undisguised(raw, &normalized), Language::English);
        let russian = "привет, как дела";
        let normalized = super::super::Normalizer::new().normalize(russian);
        assert_eq!(detect_undisguised(russian, &normalized).code(), Some("ru"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = detect(&text);
        }
    }
}
