//! Links that deceive: domains known from phishing, and domains that look like a well-known one.
//!
//! | rule | needs | score |
//! |---|---|---|
//! | `phishing-domain` | a host on the shipped list, or below one | 0.90 |
//! | `look-alike-domain` | a registrable name one slip or look-alike letter away from a well-known one | 0.75 |
//! | `borrowed-name` | a well-known name among other words in the registrable name, and a word for gifts, log-ins or money in the host | 0.65 |
//!
//! What the registrable name of a host is, the public suffix list says: `paypal.evil.example` is
//! `evil`, and `evil.co.uk` is not `co`.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use novastream_features::text::Normalizer;

/// Hosts seen in phishing.
const PHISHING: &str = include_str!("../../lists/phishing-domains.txt");

static KNOWN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    PHISHING
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .collect()
});

/// Well-known registrable names and the suffixes under which they are themselves (none: any).
const BRANDS: &[(&str, &[&str])] = &[
    ("steamcommunity", &["com"]),
    ("steampowered", &["com"]),
    (
        "discord",
        &["com", "gg", "gift", "media", "new", "dev", "co"],
    ),
    ("discordapp", &["com", "net", "io"]),
    ("twitch", &["tv"]),
    ("youtube", &[]),
    ("paypal", &[]),
    ("roblox", &["com", "cn"]),
    ("epicgames", &["com", "dev"]),
    ("fortnite", &["com"]),
    ("minecraft", &["net"]),
    ("instagram", &["com"]),
    ("facebook", &["com", "net"]),
    ("whatsapp", &["com", "net"]),
    ("telegram", &["org", "me"]),
    ("coinbase", &["com"]),
    ("binance", &["com", "us", "org"]),
    ("metamask", &["io"]),
    ("opensea", &["io"]),
    ("netflix", &[]),
    ("microsoft", &[]),
    ("playstation", &["com", "net"]),
    ("battlenet", &["com.cn"]),
    ("riotgames", &["com"]),
    ("streamelements", &["com"]),
    ("streamlabs", &["com"]),
];

/// Words that turn a borrowed name into a lure.
const LURES: &[&str] = &[
    "nitro",
    "gift",
    "free",
    "login",
    "signin",
    "verify",
    "secure",
    "account",
    "support",
    "wallet",
    "airdrop",
    "claim",
    "giveaway",
    "promo",
    "bonus",
    "reward",
    "prize",
    "trade",
    "skin",
    "generator",
];

/// A deceiving link.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LinkHit {
    pub rule: &'static str,
    pub score: f32,
    /// Bytes of the text.
    pub range: Range<usize>,
    /// The host, in lower case.
    pub host: String,
}

/// Longest host in the domain name system.
const MAX_HOST: usize = 253;
/// Most hosts that are looked at in one text.
const MAX_HOSTS: usize = 32;

/// Reads the list now rather than on the first link.
pub(super) fn warm_up() {
    LazyLock::force(&KNOWN);
}

/// The worst link of a text.
pub(super) fn worst(text: &str, normalizer: Normalizer) -> Option<LinkHit> {
    if !text.contains('.') {
        return None;
    }
    hosts(text)
        .take(MAX_HOSTS)
        .filter_map(|(range, host)| {
            judge(&host, normalizer).map(|(rule, score)| LinkHit {
                rule,
                score,
                range,
                host,
            })
        })
        .max_by(|a, b| {
            a.score
                .total_cmp(&b.score)
                .then(b.range.start.cmp(&a.range.start))
        })
}

/// Everything that may be a host: dotted runs of letters, digits and hyphens whose ending is a
/// public suffix.
pub(super) fn hosts(text: &str) -> impl Iterator<Item = (Range<usize>, String)> + '_ {
    let part_of_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    text.split(move |c: char| !part_of_host(c))
        .filter_map(move |run| {
            let trimmed = run.trim_matches(['.', '-', '_']);
            let start = trimmed.as_ptr() as usize - text.as_ptr() as usize;
            let after_at = text[..start].ends_with('@');
            let sound = (4..=MAX_HOST).contains(&trimmed.len()) && trimmed.contains('.');
            if !sound || after_at {
                return None;
            }
            let host = trimmed.to_lowercase();
            let known = psl::suffix(host.as_bytes()).is_some_and(|s| s.is_known());
            let named = host.bytes().any(|b| b.is_ascii_alphabetic()) || !host.is_ascii();
            (known && named).then(|| (start..start + trimmed.len(), host))
        })
}

/// The registrable name and its suffix: `evil` and `co.uk` of `www.evil.co.uk`.
fn registrable(host: &str) -> Option<(&str, &str)> {
    let suffix = psl::suffix_str(host)?;
    let rest = host.strip_suffix(suffix)?.strip_suffix('.')?;
    let name = rest.rsplit('.').next()?;
    (!name.is_empty()).then_some((name, suffix))
}

fn judge(host: &str, normalizer: Normalizer) -> Option<(&'static str, f32)> {
    let mut parent = host;
    loop {
        if KNOWN.contains(parent) {
            return Some(("phishing-domain", 0.9));
        }
        match parent.split_once('.') {
            Some((_, rest)) if rest.contains('.') => parent = rest,
            _ => break,
        }
    }
    let (name, suffix) = registrable(host)?;
    // Letters of other scripts and leet read as what they look like.
    let plain = plain(name, normalizer);
    for (brand, own) in BRANDS {
        if name == *brand {
            // The name itself under a suffix that is not its own is somebody else's.
            if !own.is_empty() && !own.contains(&suffix) && brand.len() > 6 {
                let lure = LURES.contains(&suffix);
                return lure.then_some(("look-alike-domain", 0.75));
            }
            return None;
        }
        if plain == *brand || is_slip(&plain, brand) {
            return Some(("look-alike-domain", 0.75));
        }
    }
    let borrowed = BRANDS.iter().any(|(brand, own)| {
        brand.len() >= 6 && plain.contains(brand) && !(own.contains(&suffix) && plain == *brand)
    });
    // Without the borrowed name itself, so that "steam…" needs another word.
    let lured = LURES.iter().any(|lure| host.contains(lure));
    (borrowed && lured).then_some(("borrowed-name", 0.65))
}

fn plain(name: &str, normalizer: Normalizer) -> String {
    let mut text = String::new();
    for part in name.split('-') {
        text.push_str(&normalizer.normalize(part).text);
    }
    text.chars()
        .map(|c| match c {
            '0' => 'o',
            '1' => 'l',
            '3' => 'e',
            '5' => 's',
            c => c,
        })
        .collect::<String>()
        .replace("rn", "m")
        .replace("vv", "w")
}

/// One letter more, less, other or swapped. Short names have too many honest neighbours.
fn is_slip(name: &str, brand: &str) -> bool {
    // `rn` was read as `m` on one side, so on the other too.
    let brand = brand.replace("rn", "m");
    if brand.len() < 7 || name == brand || name.len().abs_diff(brand.len()) > 1 || !name.is_ascii()
    {
        return false;
    }
    let (a, b) = (name.as_bytes(), brand.as_bytes());
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let back = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count()
        .min(a.len().min(b.len()) - front);
    let (left, right) = (&a[front..a.len() - back], &b[front..b.len() - back]);
    // A plural is somebody's honest name.
    let plural = left == b"s" && right.is_empty() && back == 0;
    let swapped = left.len() == 2 && right.len() == 2 && left[0] == right[1] && left[1] == right[0];
    !plural && (swapped || (left.len() <= 1 && right.len() <= 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> Option<&'static str> {
        worst(text, Normalizer::new()).map(|hit| hit.rule)
    }

    #[test]
    fn deceiving_links_are_named() {
        for (text, wanted) in [
            ("get it at 1000-rewards.xyz now", "phishing-domain"),
            ("https://www.1nitro.club/gift?x=1", "phishing-domain"),
            ("https://steamcomrnunity.com/trade", "look-alike-domain"),
            ("coinbasse.com", "look-alike-domain"),
            ("http://dіscord.com/nitro", "look-alike-domain"),
            ("metamaskk.io", "look-alike-domain"),
            ("paypal-verify-account.com", "borrowed-name"),
            ("discord-nitro-free.ru.com", "borrowed-name"),
        ] {
            assert_eq!(rule(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn honest_links_are_left_alone() {
        for text in [
            "https://www.twitch.tv/someone",
            "steamcommunity.com/id/me",
            "https://discord.gg/abc and discord.com",
            "discord.gift/xyz",
            "paypal.me/streamer paypal.com paypal.co.uk",
            "https://support.discord.com/login",
            "youtube.com/watch?v=abc youtu.be/abc",
            "my file is notes.txt, ok.thanks",
            "netflix.com/login",
            "facebook.com and microsoft.com/account",
            "ts3.hicoria.cz:31040",
            "e.g. this. And.that",
            "me@paypal-login.com",
        ] {
            assert_eq!(rule(text), None, "{text}");
        }
    }

    #[test]
    fn suffixes_are_public_ones() {
        assert_eq!(registrable("www.evil.co.uk"), Some(("evil", "co.uk")));
        assert_eq!(
            registrable("paypal.evil.example.com"),
            Some(("example", "com"))
        );
        assert_eq!(registrable("co.uk"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_spans_are_sound(text in "\\PC{0,80}") {
            if let Some(hit) = worst(&text, Normalizer::new()) {
                prop_assert!(text.get(hit.range).is_some());
            }
        }

        #[test]
        fn a_known_host_is_found_anywhere(before in "[a-z ]{0,20} ", after in "( [a-z ]{0,20})?") {
            let text = format!("{before}https://1nitro.club/{after}");
            prop_assert_eq!(rule(&text), Some("phishing-domain"));
        }
    }
}
