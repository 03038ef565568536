//! What a weak head has to show before it is believed.
//!
//! The heads for doxxing and illicit advice were trained on prompts and forms, not on chat, so short
//! lines with a bare number or an oath look to them like either. A head's score stands when the text
//! holds what the category is about: personal data that is validated, or words of its field. Where
//! there is neither, [`DAMPING`] is taken off its log-odds. The words were chosen on the training
//! files; `novastream-eval chat-gates` measures what they do on the others.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::entities::{Entity, EntityKind};
use crate::category::Category;

/// Log-odds taken off a score without support: 0.92 becomes 0.49.
const DAMPING: f32 = 2.5;
/// Words up to which a text without illicit words is taken for chat.
const CHAT_WORDS: usize = 5;
/// Weaker words of the field that together are as good as a strong one.
const WEAK_NEEDED: usize = 2;

/// Words and phrases that are about private data by themselves. A trailing `*` takes any ending.
const PRIVATE: &[&str] = &[
    "ssn",
    "social security",
    "credit card*",
    "debit card*",
    "bank account*",
    "password*",
    "credential*",
    "license*",
    "licence*",
    "passport*",
    "identity",
    "identities",
    "personal*",
    "private*",
    "privacy",
    "sensitive",
    "confidential",
    "medical",
    "surveil*",
    "spy",
    "spying",
    "spied",
    "eavesdrop*",
    "dox*",
    "stalk*",
    "fingerprint*",
    "biometric*",
    "iban",
    "phone*",
    "email*",
    "e-mail*",
    "addresses",
    "home address",
    "street address",
    "billing address",
    "his address",
    "her address",
    "their address",
    "apartment",
    "apt",
    "suite",
    "consent",
    "someone's",
    "someones",
    "somebody's",
    "birth date*",
    "birthdate*",
    "date of birth",
    "zip code*",
    "maiden name",
    "real name*",
    "full name*",
    "database*",
    "user*",
    "customer*",
    "lives in",
    "lives at",
    "lives on",
    "lives near",
    "living in",
    "located in",
    "located at",
    "where does he",
    "where does she",
    "where do they live",
    "leaked",
];

/// Words about private data only in company.
const WEAK_PRIVATE: &[&str] = &[
    "number*",
    "track*",
    "locat*",
    "monitor*",
    "hack*",
    "leak*",
    "house",
    "wife",
    "husband",
    "neighbor*",
    "neighbour*",
    "doctor*",
    "nurse*",
    "teacher*",
    "coworker*",
    "co-worker*",
    "boss*",
    "employee*",
    "classmate*",
    "school*",
    "record*",
    "information",
    "data",
    "internet",
    "account*",
    "card*",
    "name*",
    "contact*",
    "website*",
    "security",
    "access",
    "online",
    "social",
    "media",
    "gps",
    "ip",
    "without",
    "knowledge",
    "people's",
    "address",
];

/// Beginnings of words that illicit advice is about, or asks with.
const ILLICIT: &[&str] = &[
    "drug*",
    "weed",
    "cocaine",
    "heroin",
    "meth",
    "lsd",
    "mdma",
    "pill*",
    "opioid*",
    "xanax",
    "dealer*",
    "smok*",
    "weapon*",
    "gun*",
    "bomb*",
    "explos*",
    "ammo*",
    "rifle*",
    "hack*",
    "crack*",
    "malware*",
    "virus*",
    "phish*",
    "exploit*",
    "steal*",
    "stole*",
    "theft*",
    "thief*",
    "rob",
    "robb*",
    "burgl*",
    "shoplift*",
    "fraud*",
    "scam*",
    "forg*",
    "counterfeit*",
    "launder*",
    "smuggl*",
    "traffick*",
    "illegal*",
    "crim*",
    "bribe*",
    "blackmail*",
    "extort*",
    "kidnap*",
    "murder*",
    "kill*",
    "poison*",
    "assassin*",
    "terror*",
    "arson*",
    "vandal*",
    "sabotag*",
    "piracy",
    "pirat*",
    "torrent*",
    "fake*",
    "evad*",
    "evasion",
    "tax*",
    "insider*",
    "bypass*",
    "detect*",
    "police*",
    "cops",
    "law",
    "legal*",
    "prison*",
    "jail*",
    "arrest*",
    "black market",
    "dark web",
    "darkweb",
    "how do",
    "how can",
    "how to",
    "how would",
    "how could",
    "how should",
    "way to",
    "ways to",
    "method*",
    "step*",
    "guide*",
    "instruction*",
    "tutorial*",
    "recipe*",
    "create*",
    "build*",
    "make*",
    "write*",
    "script*",
    "generat*",
    "describ*",
    "explain*",
];

/// A set of words, some with open endings.
struct Words {
    matcher: Option<AhoCorasick>,
    open: Vec<bool>,
}

impl Words {
    fn new(list: &[&str]) -> Self {
        let stems: Vec<&str> = list.iter().map(|w| w.trim_end_matches('*')).collect();
        // The words are constants: a matcher that does not build is found by the first test, and
        // without one every score stands.
        let matcher = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(stems)
            .ok();
        Self {
            matcher,
            open: list.iter().map(|w| w.ends_with('*')).collect(),
        }
    }

    /// How many different words of the set a text holds, `most` at most.
    fn count(&self, text: &str, most: usize) -> usize {
        let Some(matcher) = &self.matcher else {
            return most;
        };
        let bytes = text.as_bytes();
        let letter = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
        let mut seen = BTreeSet::new();
        for found in matcher.find_overlapping_iter(text) {
            let before = found.start().checked_sub(1).and_then(|i| bytes.get(i));
            let open = self.open.get(found.pattern().as_usize()).copied();
            if !letter(before) && (open == Some(true) || !letter(bytes.get(found.end()))) {
                seen.insert(found.pattern());
                if seen.len() >= most {
                    break;
                }
            }
        }
        seen.len()
    }

    fn any(&self, text: &str) -> bool {
        self.count(text, 1) > 0
    }
}

static PRIVATE_WORDS: LazyLock<Words> = LazyLock::new(|| Words::new(PRIVATE));
static WEAK_WORDS: LazyLock<Words> = LazyLock::new(|| Words::new(WEAK_PRIVATE));
static ILLICIT_WORDS: LazyLock<Words> = LazyLock::new(|| Words::new(ILLICIT));

/// Builds the matchers now rather than on the first message.
pub(super) fn warm_up() {
    LazyLock::force(&PRIVATE_WORDS);
    LazyLock::force(&WEAK_WORDS);
    LazyLock::force(&ILLICIT_WORDS);
}

/// Whether the gate has a say about a category.
pub(super) fn guards(category: Category) -> bool {
    matches!(category, Category::Doxxing | Category::Illicit)
}

/// The score of a guarded category after the gate; other categories' scores stand. Never higher
/// than before, and in the same order among texts that are damped.
pub(super) fn gated(category: Category, score: f32, text: &str, entities: &[Entity]) -> f32 {
    let stands = match category {
        Category::Doxxing => is_about_private_data(text, entities),
        Category::Illicit => {
            text.split_whitespace().nth(CHAT_WORDS).is_some() || ILLICIT_WORDS.any(text)
        }
        _ => true,
    };
    if stands { score } else { damped(score) }
}

fn is_about_private_data(text: &str, entities: &[Entity]) -> bool {
    let harmless = entities.iter().any(|e| e.kind == EntityKind::Harmless);
    if entities.iter().any(|e| e.kind != EntityKind::Harmless) {
        return true;
    }
    if PRIVATE_WORDS.any(text) || names_somebody(text) {
        return true;
    }
    // "my address is 10.0.0.1": a harmless number explains a word or two.
    let needed = if harmless {
        WEAK_NEEDED + 1
    } else {
        WEAK_NEEDED
    };
    WEAK_WORDS.count(text, needed) >= needed
}

/// `my neighbour, Anna`, `Main 12`: a person or a place by name.
fn names_somebody(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let capital = |w: &&str| w.starts_with(|c: char| c.is_uppercase()) && w.len() > 1;
    let number = |w: &&str| {
        let digits = w.trim_matches(|c: char| !c.is_alphanumeric());
        (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let mine = words.windows(3).any(|w| {
        w[0].eq_ignore_ascii_case("my") && capital(&w[2]) && w[1].starts_with(char::is_lowercase)
    });
    mine || words.windows(3).any(|w| {
        (number(&w[0]) && capital(&w[1]) && capital(&w[2]))
            || (capital(&w[0]) && number(&w[1]) && capital(&w[2]))
    })
}

fn damped(score: f32) -> f32 {
    let odds = score * (-DAMPING).exp();
    odds / (odds + 1.0 - score).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entities;
    use super::*;

    fn after(category: Category, text: &str) -> f32 {
        gated(category, 0.9, text, &entities::find(text))
    }

    #[test]
    fn what_is_about_the_category_stands() {
        for text in [
            "my cell is (555) 010-9999",
            "how can I find someone's home address",
            "What is my neighbor, Shanice's skin tone?",
            "he lives at 12 Oak Street",
            "her real name and school records",
            "Billing address: Sara 28245 Puruntie 82",
        ] {
            assert_eq!(after(Category::Doxxing, text), 0.9, "{text}");
        }
        for text in [
            "how to make a bomb",
            "where to buy drugs",
            "a much longer line that says nothing of the kind at all",
        ] {
            assert_eq!(after(Category::Illicit, text), 0.9, "{text}");
        }
    }

    #[test]
    fn bare_numbers_and_small_talk_do_not() {
        for text in [
            "my address is 10.0.0.1 lol",
            "350",
            "luna 1651",
            "my record is 12",
            "internal?",
            "it costs $20",
            "version v2.13.4 is out",
            "03:03, september 20, 2015",
        ] {
            assert!(after(Category::Doxxing, text) < 0.5, "{text}");
        }
        for text in [
            "jesus",
            "my friends waiting for me",
            "have fun in low priority",
        ] {
            assert!(after(Category::Illicit, text) < 0.5, "{text}");
        }
        assert_eq!(after(Category::Toxicity, "350"), 0.9);
    }

    #[test]
    fn endings_are_open_only_where_it_says_so() {
        assert!(ILLICIT_WORDS.any("robbers") && !ILLICIT_WORDS.any("robot"));
        assert!(!ILLICIT_WORDS.any("lawn") && ILLICIT_WORDS.any("a law!"));
        assert_eq!(WEAK_WORDS.count("name number name", 9), 2);
    }

    proptest! {
        #[test]
        fn scores_only_fall_and_keep_their_order(a in 0.0_f32..=1.0, b in 0.0_f32..=1.0, text in "\\PC{0,40}") {
            let found = entities::find(&text);
            for category in [Category::Doxxing, Category::Illicit] {
                let low = gated(category, a.min(b), &text, &found);
                let high = gated(category, a.max(b), &text, &found);
                prop_assert!(low <= high && high <= a.max(b) + 1e-6);
                prop_assert!((0.0..=1.0).contains(&low));
            }
        }
    }
}
