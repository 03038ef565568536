//! Rules for scams whose wording gives them away, whatever a model thinks.
//!
//! A rule is a conjunction of signals, because each signal alone is harmless: people send gifts,
//! talk about money and post links. Signals are looked for in the text as written and normalised,
//! and in both without spaces and punctuation, as text that was read off a frame often lost its
//! spaces.
//!
//! | rule | needs | score |
//! |---|---|---|
//! | `money-multiplier` | multiplier, money or wallet address, and one of send, link, claim | 0.95 |
//! | `wallet-solicitation` | wallet address, send, and one of multiplier, free, claim | 0.90 |
//! | `credential-phish` | secret, link | 0.85 |
//! | `prize-claim-link` | claim, free, prize, link | 0.85 |
//! | `prize-link` | prize, link, and one of free, claim | 0.55 |
//!
//! A text that warns ("beware", "never click", "is a scam") is capped at [`WARNING_CAP`]: a human
//! decides whether it warns or only pretends to.

use std::{collections::BTreeMap, ops::Range};

use novastream_features::text::Normalized;

use super::signals::{Signal, find_signals};

/// Version of this set of rules, for evidence.
pub(crate) const VERSION: &str = "rules@2";

/// The highest score of a text that warns.
pub(super) const WARNING_CAP: f32 = 0.55;

/// A rule that fired.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleHit {
    pub rule: &'static str,
    pub score: f32,
    /// From the first to the last signal, in bytes of the original text.
    pub range: Range<usize>,
    pub signals: Vec<&'static str>,
}

/// A rule: all of `all`, and one of `any` unless that is empty.
struct Rule {
    name: &'static str,
    score: f32,
    all: &'static [&'static [Signal]],
}

/// `all` is a conjunction of disjunctions.
const RULES: [Rule; 5] = [
    Rule {
        name: "money-multiplier",
        score: 0.95,
        all: &[
            &[Signal::Multiplier],
            &[Signal::Money, Signal::Wallet],
            &[Signal::Send, Signal::Link, Signal::Claim],
        ],
    },
    Rule {
        name: "wallet-solicitation",
        score: 0.9,
        all: &[
            &[Signal::Wallet],
            &[Signal::Send],
            &[Signal::Multiplier, Signal::Free, Signal::Claim],
        ],
    },
    Rule {
        name: "credential-phish",
        score: 0.85,
        all: &[&[Signal::Secret], &[Signal::Link]],
    },
    Rule {
        name: "prize-claim-link",
        score: 0.85,
        all: &[
            &[Signal::Claim],
            &[Signal::Free],
            &[Signal::Prize],
            &[Signal::Link],
        ],
    },
    Rule {
        name: "prize-link",
        score: 0.55,
        all: &[
            &[Signal::Prize],
            &[Signal::Link],
            &[Signal::Free, Signal::Claim],
        ],
    },
];

/// The strongest rule that fires on a text, if any.
pub(crate) fn scam(raw: &str, normalized: &Normalized) -> Option<RuleHit> {
    let mut found: BTreeMap<Signal, Range<usize>> = BTreeMap::new();
    for (signal, range) in find_signals(raw) {
        found.entry(signal).or_insert(range);
    }
    if normalized.is_changed() {
        for (signal, range) in find_signals(&normalized.text) {
            found
                .entry(signal)
                .or_insert_with(|| normalized.original_range(range));
        }
    }
    let rule = RULES.iter().find(|r| {
        r.all
            .iter()
            .all(|any| any.iter().any(|s| found.contains_key(s)))
    })?;
    let warns = found.contains_key(&Signal::Warning);
    let used: Vec<(&Signal, &Range<usize>)> = found
        .iter()
        .filter(|(s, _)| rule.all.iter().any(|any| any.contains(s)))
        .collect();
    let start = used.iter().map(|(_, r)| r.start).min()?;
    let end = used.iter().map(|(_, r)| r.end).max()?;
    Some(RuleHit {
        rule: rule.name,
        score: if warns {
            rule.score.min(WARNING_CAP)
        } else {
            rule.score
        },
        range: start..end,
        signals: used.iter().map(|(s, _)| s.name()).collect(),
    })
}

/// Whether a text warns of something rather than recommends it.
pub(super) fn warns(raw: &str) -> bool {
    find_signals(raw)
        .iter()
        .any(|(signal, _)| *signal == Signal::Warning)
}

#[cfg(test)]
mod tests {
    use novastream_features::text::Normalizer;
    use proptest::prelude::*;

    use super::*;

    fn hit(text: &str) -> Option<RuleHit> {
        scam(text, &Normalizer::new().normalize(text))
    }

    #[test]
    fn scams_are_caught_with_the_rule_that_did() {
        for (text, rule) in [
            (
                "FREE GIFT CARDS! Send 0.1 BTC to double your crypto - claim at free-crypto-gift.example",
                "money-multiplier",
            ),
            (
                "FREEGIFTCARDS!Send0.1BTCtodoubleyourcrypto-claimatfree-crypto-gift.example",
                "money-multiplier",
            ),
            (
                "send 1 eth get 2 eth back, limited time",
                "money-multiplier",
            ),
            (
                "Claim your FREE robux now at robux4all.xyz",
                "prize-claim-link",
            ),
            (
                "free v-bucks giveaway -> https://vbx.example/now",
                "prize-link",
            ),
            (
                "Verify your wallet at wallet-check.io to keep your coins",
                "credential-phish",
            ),
            (
                "enter your seed phrase on http://sync.example",
                "credential-phish",
            ),
            (
                "giveaway! send any amount to 0x52908400098527886E0F7030069857D2E4169EE7",
                "wallet-solicitation",
            ),
        ] {
            assert_eq!(hit(text).map(|h| h.rule), Some(rule), "{text}");
        }
    }

    #[test]
    fn everyday_talk_is_left_alone() {
        for text in [
            "my mum sent me a gift card for christmas",
            "btc is up again, should I buy?",
            "can you send me the link? youtube.com/watch?v=abc",
            "double your damage with this item, check the wiki at game.wiki.com",
            "free palestine",
            "donate here: paypal.me/streamer, thank you all",
            "something else entirely, nothing to claim",
            "I lost my wallet on the train",
            "the free weekend on steam is great",
            "you won! nice game. free kill for you",
            "I will double my crypto portfolio by waiting",
            "never share your seed phrase with anyone",
            "the method returns 2x the speed, see docs.rs",
        ] {
            assert_eq!(hit(text), None, "{text}");
        }
    }

    #[test]
    fn a_warning_goes_to_a_human_at_most() {
        let warning = hit("beware, this is a scam: send 0.1 btc to double your crypto").unwrap();
        assert_eq!(warning.score, WARNING_CAP);
        let denial = hit("not a scam! send 0.1 btc to double your crypto").unwrap();
        assert_eq!(denial.score, 0.95);
    }

    #[test]
    fn disguised_words_count_and_the_span_is_of_the_original() {
        let text = "hey s\u{435}nd 0.1 bt\u{441} and d\u{43e}uble your crypto ok";
        let found = hit(text).unwrap();
        assert_eq!(found.rule, "money-multiplier");
        assert!(
            text[found.range.clone()].starts_with("s\u{435}nd"),
            "{}",
            &text[found.range]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_spans_are_sound(text in "\\PC{0,80}") {
            if let Some(found) = hit(&text) {
                prop_assert!(text.get(found.range).is_some());
            }
        }

        #[test]
        fn words_around_a_scam_do_not_hide_it(before in "[a-z ]{0,40}", after in "[a-z ]{0,40}") {
            let text = format!("{before} send 0.1 btc to double your crypto {after}");
            prop_assert!(hit(&text).is_some());
        }
    }
}
