//! Words and shapes that mean something only together; see [`super::rules`].

use std::ops::Range;

/// A thing that scams are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    /// "double your", "get 2x back", "guaranteed profit".
    Multiplier,
    /// A currency or instrument that cannot be called back.
    Money,
    /// The address of a wallet.
    Wallet,
    /// An invitation to send.
    Send,
    /// "free", "giveaway".
    Free,
    /// "claim", "redeem".
    Claim,
    /// What is promised: gift cards, game money, coins.
    Prize,
    /// A URL or a bare domain.
    Link,
    /// A request for what must stay secret.
    Secret,
    /// Words of warning.
    Warning,
}

impl Signal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Multiplier => "multiplier",
            Self::Money => "money",
            Self::Wallet => "wallet-address",
            Self::Send => "send",
            Self::Free => "free",
            Self::Claim => "claim",
            Self::Prize => "prize",
            Self::Link => "link",
            Self::Secret => "secret",
            Self::Warning => "warning",
        }
    }
}

/// Phrases without spaces that are long enough to be found anywhere.
const PHRASES: [(Signal, &[&str]); 7] = [
    (
        Signal::Multiplier,
        &[
            "doubleyour",
            "tripleyour",
            "multiplyyour",
            "doubleback",
            "getdouble",
            "receivedouble",
            "senddouble",
            "getbackdouble",
            "2xyour",
            "5xyour",
            "10xyour",
            "100xyour",
            "2xback",
            "get2x",
            "receive2x",
            "twiceback",
            "twiceasmuchback",
            "guaranteedprofit",
            "guaranteedreturn",
            "riskfreeprofit",
        ],
    ),
    (
        Signal::Money,
        &[
            "bitcoin", "ethereum", "crypto", "dogecoin", "giftcard", "cashapp", "litecoin",
            "tether",
        ],
    ),
    (
        Signal::Free,
        &["giveaway", "airdrop", "freegift", "freecrypto"],
    ),
    (
        Signal::Claim,
        &[
            "claimyour",
            "claimnow",
            "claimat",
            "claimhere",
            "redeemyour",
            "redeemat",
        ],
    ),
    (
        Signal::Prize,
        &[
            "giftcard",
            "robux",
            "vbucks",
            "steamkey",
            "freenitro",
            "discordnitro",
            "bitcoin",
            "ethereum",
            "crypto",
            "freeskins",
            "airdrop",
        ],
    ),
    (
        Signal::Secret,
        &[
            "verifyyourwallet",
            "connectyourwallet",
            "validateyourwallet",
            "syncyourwallet",
            "enteryourseedphrase",
            "enteryourrecoveryphrase",
            "enteryourprivatekey",
            "confirmyourpassword",
            "verifyyouraccount",
            "verifyyouridentity",
        ],
    ),
    (
        Signal::Warning,
        &[
            "beware",
            "dontclick",
            "donotclick",
            "neverclick",
            "dontsend",
            "donotsend",
            "dontfallfor",
        ],
    ),
];

/// Words that are too short or too common to be found inside others.
const WORDS: [(Signal, &[&str]); 6] = [
    (
        Signal::Money,
        &[
            "btc", "eth", "usdt", "usdc", "xrp", "bnb", "ltc", "trx", "doge",
        ],
    ),
    (
        Signal::Send,
        &["send", "sending", "deposit", "transfer", "invest", "pay"],
    ),
    (Signal::Free, &["free", "won", "winner"]),
    (Signal::Claim, &["claim", "redeem"]),
    (Signal::Prize, &["btc", "eth", "nitro", "skins"]),
    (
        Signal::Warning,
        &["scam", "scams", "scammer", "scammers", "phishing"],
    ),
];

/// Endings that make a dotted word a domain; others need a scheme, `www.` or a path.
const ENDINGS: [&str; 48] = [
    "com", "net", "org", "io", "gg", "xyz", "top", "site", "online", "app", "me", "co", "info",
    "link", "click", "live", "shop", "ru", "tk", "ml", "ga", "cf", "gq", "vip", "fun", "club",
    "store", "win", "bet", "finance", "cash", "money", "gift", "gifts", "cc", "ly", "tv", "us",
    "uk", "de", "dev", "biz", "pro", "world", "today", "space", "website", "example",
];

/// Every signal in `text`, with the bytes it was found at; a signal may come more than once.
pub(super) fn find_signals(text: &str) -> Vec<(Signal, Range<usize>)> {
    let mut found = Vec::new();
    let compact = Compact::of(text);
    for (signal, phrases) in PHRASES {
        for phrase in phrases {
            found.extend(compact.find(phrase).map(|r| (signal, r)));
        }
    }
    for (signal, words) in WORDS {
        for word in words {
            for range in compact.find(word) {
                if apart(text, &range) && !denied(text, signal, range.start) {
                    found.push((signal, range));
                }
            }
        }
    }
    found.extend(exchange(&compact, text).map(|r| (Signal::Multiplier, r)));
    for token in tokens(text) {
        let word = &text[token.clone()];
        if is_link(word) {
            found.push((Signal::Link, token.clone()));
        }
        if is_wallet(word) {
            found.push((Signal::Wallet, token));
        }
    }
    found
}

/// The ASCII letters and digits of a text in lower case, each with its place.
struct Compact {
    text: String,
    at: Vec<usize>,
}

impl Compact {
    fn of(text: &str) -> Self {
        let (text, at) = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| b.is_ascii_alphanumeric())
            .map(|(i, b)| (char::from(b.to_ascii_lowercase()), i))
            .unzip();
        Self { text, at }
    }

    fn find<'a>(&'a self, phrase: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        self.text
            .match_indices(phrase)
            .map(|(i, m)| self.at[i]..self.at[i + m.len() - 1] + 1)
    }
}

/// Whether no letter touches the range. Digits may: "0.1BTC" is how screens are read.
fn apart(text: &str, range: &Range<usize>) -> bool {
    let before = text[..range.start].chars().next_back();
    let after = text[range.end..].chars().next();
    !before.is_some_and(char::is_alphabetic) && !after.is_some_and(char::is_alphabetic)
}

/// "not a scam", "no scam", "never scam" warn of nothing.
fn denied(text: &str, signal: Signal, at: usize) -> bool {
    let before = text[..at].to_ascii_lowercase();
    let mut words = before.split_whitespace().rev();
    signal == Signal::Warning
        && words.by_ref().take(2).any(|w| {
            matches!(
                w.trim_matches(|c: char| !c.is_alphanumeric()),
                "not" | "no" | "never" | "isnt" | "isn't"
            )
        })
}

/// "send 1 … get 2": a number to give and a larger one to get.
fn exchange(compact: &Compact, text: &str) -> Option<Range<usize>> {
    let give = ["send", "deposit", "pay", "give"];
    let get = ["get", "receive", "getback", "return"];
    let amount = |from: usize| -> Option<f64> {
        let rest = text.get(from..)?.trim_start_matches([' ', ':', '$']);
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        rest.get(..end)?.trim_end_matches('.').parse().ok()
    };
    for sent in give.iter().flat_map(|w| compact.find(w)) {
        let Some(little) = amount(sent.end) else {
            continue;
        };
        for got in get.iter().flat_map(|w| compact.find(w)) {
            let near = got.start > sent.end && got.start - sent.end < 40;
            if near && amount(got.end).is_some_and(|much| much > little) {
                return Some(sent.start..got.end);
            }
        }
    }
    None
}

/// Runs of anything but white space.
fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.split_whitespace().map(move |word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        start..start + word.len()
    })
}

/// A scheme, `www.`, or a dotted name with a known ending.
fn is_link(token: &str) -> bool {
    let token = token.to_ascii_lowercase();
    if token.contains("http://") || token.contains("https://") || token.contains("www.") {
        return true;
    }
    // The last dotted run of name characters, so that "claimatgift.example" and "(gift.io)" count.
    token
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'))
        .any(|name| {
            let name = name.trim_matches(['.', '-']);
            name.rsplit_once('.').is_some_and(|(host, ending)| {
                let host = host.rsplit('.').next().unwrap_or(host);
                host.len() >= 2
                    && host.bytes().any(|b| b.is_ascii_alphabetic())
                    && ENDINGS.contains(&ending)
            })
        })
}

/// The shape of a Bitcoin (base58 or bech32) or Ethereum address. Checksums are not computed: a
/// mistyped address still solicits.
fn is_wallet(token: &str) -> bool {
    token
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| {
            let hex = word.strip_prefix("0x");
            let base58 = |c: u8| c.is_ascii_alphanumeric() && !b"0OIl".contains(&c);
            hex.is_some_and(|h| h.len() == 40 && h.bytes().all(|b| b.is_ascii_hexdigit()))
                || (word.to_ascii_lowercase().starts_with("bc1") && (39..=62).contains(&word.len()))
                || ((26..=35).contains(&word.len())
                    && word.starts_with(['1', '3'])
                    && word.bytes().all(base58)
                    && word.bytes().any(|b| b.is_ascii_lowercase())
                    && word.bytes().any(|b| b.is_ascii_uppercase()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_wallets_have_their_shapes() {
        for link in [
            "https://x.y",
            "www.site",
            "gift.example",
            "(bit.ly/abc)",
            "a.b.co.uk",
            "at:free-gift.xyz!",
        ] {
            assert!(is_link(link), "{link}");
        }
        for word in [
            "cards!Send",
            "end.Next",
            "3.14",
            "v1.2.io3",
            "e.g.",
            "..",
            "1.com",
        ] {
            assert!(!is_link(word), "{word}");
        }
        assert!(is_wallet("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"));
        assert!(is_wallet("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"));
        assert!(!is_wallet("1234567890123456789012345678"));
        assert!(!is_wallet("thisisjustalongwordwithoutend"));
    }

    #[test]
    fn short_words_stand_apart() {
        let has = |text: &str, signal| find_signals(text).iter().any(|(s, _)| *s == signal);
        assert!(has("0.1BTC", Signal::Money));
        assert!(!has("something methodical", Signal::Money));
        assert!(!has("freedom", Signal::Free));
        assert!(has("send 0.5 eth, get 1 eth", Signal::Multiplier));
        assert!(!has("send 2 eth, get 1 eth", Signal::Multiplier));
        assert!(!has("send me 2 and get out", Signal::Multiplier));
    }
}
