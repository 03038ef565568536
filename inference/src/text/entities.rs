//! Personal data and numbers that only look like it.
//!
//! Every find is validated: addresses of networks by their ranges, cards and wallets by their check
//! digits, phone numbers by how they are written. A bare number is nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::checks;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EntityKind {
    /// `name@host.tld`
    Email,
    /// A telephone number, written as one.
    Phone,
    /// An IP address on the public network.
    PublicIp,
    /// A payment card number.
    Card,
    /// An address of a wallet with a sound checksum.
    Wallet,
    /// A number, a name and a word for a street.
    Street,
    /// Latitude and longitude with four decimals or more.
    Coordinates,
    /// A number of the United States' social security, by its shape and ranges.
    SocialSecurity,
    /// A private, reserved or documentation IP address, a price, a version, a score: harmless.
    Harmless,
}

impl EntityKind {
    /// The name in evidence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Email => "e-mail",
            Self::Phone => "phone",
            Self::PublicIp => "public-ip",
            Self::Card => "card",
            Self::Wallet => "wallet",
            Self::Street => "street-address",
            Self::Coordinates => "coordinates",
            Self::SocialSecurity => "social-security",
            Self::Harmless => "harmless",
        }
    }
}

/// A find with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    pub kind: EntityKind,
    pub range: Range<usize>,
}

/// Longest text that is searched, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Most finds.
const MAX_FINDS: usize = 64;

const STREETS: &[&str] = &[
    "street",
    "st",
    "avenue",
    "ave",
    "road",
    "rd",
    "boulevard",
    "blvd",
    "lane",
    "ln",
    "drive",
    "court",
    "ct",
    "crescent",
    "terrace",
    "highway",
    "hwy",
    "parkway",
    "strasse",
    "straße",
    "rue",
    "calle",
    "plaza",
    "apt",
    "apartment",
    "suite",
];

/// Every find in a text, in order of place.
pub(super) fn find(text: &str) -> Vec<Entity> {
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    if !text.bytes().any(|b| b.is_ascii_digit() || b == b'@') {
        return Vec::new();
    }
    let words = words(text);
    let mut found = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if found.len() >= MAX_FINDS {
            break;
        }
        let core = trim(text, word.clone());
        let shown = &text[core.clone()];
        if let Some(kind) = single(shown) {
            found.push(Entity { kind, range: core });
        } else if let Some(end) = street(text, &words[i..]) {
            found.push(Entity {
                kind: EntityKind::Street,
                range: core.start..end,
            });
        }
    }
    numbers(text, &mut found);
    found.sort_by_key(|e| (e.range.start, e.range.end, e.kind));
    found.truncate(MAX_FINDS);
    found
}

fn words(text: &str) -> Vec<Range<usize>> {
    text.split_whitespace()
        .map(|word| {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            start..start + word.len()
        })
        .collect()
}

/// Without the punctuation around a word; `+` and `$` belong to it.
fn trim(text: &str, word: Range<usize>) -> Range<usize> {
    let shown = &text[word.clone()];
    let outside = |c: char| !c.is_alphanumeric();
    let start = shown
        .find(|c: char| !outside(c) || matches!(c, '+' | '$' | '€' | '£' | '-'))
        .unwrap_or(shown.len());
    let end = shown
        .rfind(|c: char| !outside(c) || matches!(c, '%' | '$' | '€' | '£'))
        .map_or(start, |at| {
            at + shown[at..].chars().next().map_or(0, char::len_utf8)
        });
    word.start + start..word.start + end.max(start)
}

fn single(word: &str) -> Option<EntityKind> {
    if is_email(word) {
        return Some(EntityKind::Email);
    }
    if word.len() >= 14 && checks::wallet(word) {
        return Some(EntityKind::Wallet);
    }
    if let Some(ip) = address(word) {
        let kind = if is_public(ip) {
            EntityKind::PublicIp
        } else {
            EntityKind::Harmless
        };
        return Some(kind);
    }
    if is_coordinates(word) {
        return Some(EntityKind::Coordinates);
    }
    is_harmless(word).then_some(EntityKind::Harmless)
}

fn is_email(word: &str) -> bool {
    let Some((user, host)) = word.rsplit_once('@') else {
        return false;
    };
    let name = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._%+-".contains(&b))
    };
    let ending = host.rsplit('.').next().unwrap_or_default();
    name(user)
        && name(host)
        && host.contains('.')
        && !host.starts_with('.')
        && ending.len() >= 2
        && ending.bytes().all(|b| b.is_ascii_alphabetic())
        && psl::suffix(host.to_ascii_lowercase().as_bytes()).is_some_and(|s| s.is_known())
}

/// An IP address, also with a port behind it.
fn address(word: &str) -> Option<IpAddr> {
    let host = match word.rsplit_once(':') {
        Some((host, port)) if host.contains('.') && port.bytes().all(|b| b.is_ascii_digit()) => {
            host
        }
        _ => word,
    };
    if host.matches('.').count() == 3 {
        return host.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    // `12:30` is a time; an IPv6 address has more.
    (word.matches(':').count() >= 3)
        .then(|| word.parse().ok())
        .flatten()
}

/// On the public network. Addresses whose parts are all small are versions of programs.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let reserved = v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b));
            let resolver = matches!([a, b, c, d], [1, 1, 1, 1] | [8, 8, 8, 8] | [9, 9, 9, 9]);
            let version = [a, b, c, d].iter().all(|part| *part < 20);
            !reserved && !resolver && !version
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            // Global unicast without the documentation prefix.
            (0x2000..0x4000).contains(&first) && !(first == 0x2001 && second == 0xdb8)
        }
    }
}

/// `40.7128,-74.0060`: four decimals are a building.
fn is_coordinates(word: &str) -> bool {
    let Some((latitude, longitude)) = word.split_once(',') else {
        return false;
    };
    let part = |text: &str, most: f64| {
        let decimals = text.split_once('.').map_or(0, |(_, d)| d.len());
        let fine = (4..=8).contains(&decimals)
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
        fine && text.parse::<f64>().is_ok_and(|v| v.abs() <= most)
    };
    part(latitude, 90.0) && part(longitude.trim_start(), 180.0)
}

/// Prices, percentages, versions, scores, times and quantities with a unit.
fn is_harmless(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return false;
    }
    let signs = word.contains(['$', '€', '£', '%']);
    let version = word.strip_prefix(['v', 'V']).is_some_and(|rest| {
        rest.bytes().all(|b| b.is_ascii_digit() || b == b'.') && rest.contains('.')
    });
    let parts: Vec<&str> = word.split(['-', '/', ':', '.', ',']).collect();
    let score = (2..=4).contains(&parts.len())
        && parts
            .iter()
            .all(|p| (1..=4).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
        && digits <= 8;
    let letters = word.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
    let unit = letters.len() < word.len()
        && (1..=4).contains(&letters.len())
        && letters.bytes().all(|b| b.is_ascii_alphabetic());
    signs || version || score || unit
}

/// `12 Oak Street`, `6750 Koskikatu 25 Apt. 864`: a number, one to three names, a word for a street.
fn street(text: &str, words: &[Range<usize>]) -> Option<usize> {
    let number = &text[trim(text, words.first()?.clone())];
    let house = number.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let numeric = (1..=5).contains(&house.len()) && house.bytes().all(|b| b.is_ascii_digit());
    if !numeric || number.len() > house.len() + 1 {
        return None;
    }
    for (names, word) in words.iter().enumerate().take(5).skip(2) {
        let core = trim(text, word.clone());
        let shown = text[core.clone()].to_lowercase();
        if STREETS.contains(&shown.as_str()) {
            let named = words[1..names].iter().all(|w| {
                text[w.clone()].starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
            });
            return named.then_some(core.end);
        }
    }
    None
}

/// Numbers that are written in groups: cards, phones, social security.
fn numbers(text: &str, found: &mut Vec<Entity>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() && found.len() < MAX_FINDS {
        let begins = bytes[at].is_ascii_digit()
            || (bytes[at] == b'+' && at + 1 < bytes.len())
            || bytes[at] == b'(';
        let apart = at == 0
            || !(bytes[at - 1].is_ascii_alphanumeric() || b".:/@#_-$".contains(&bytes[at - 1]));
        if !begins || !apart {
            at += 1;
            continue;
        }
        let run = bytes[at..]
            .iter()
            .take(32)
            .take_while(|b| b.is_ascii_digit() || b" -.()+".contains(b))
            .count();
        let mut end = at + run;
        while end > at && !bytes[end - 1].is_ascii_digit() {
            end -= 1;
        }
        let touches = bytes
            .get(end)
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'%');
        if end > at && !touches {
            let shown = &text[at..end];
            let digits: Vec<u8> = shown.bytes().filter(u8::is_ascii_digit).collect();
            if let Some(kind) = grouped(shown, &digits) {
                let range = at..end;
                found.retain(|e| {
                    e.range.start < range.start
                        || e.range.end > range.end
                        || e.kind != EntityKind::Harmless
                });
                found.push(Entity { kind, range });
            }
        }
        at = end.max(at + 1);
    }
}

fn grouped(shown: &str, digits: &[u8]) -> Option<EntityKind> {
    if checks::card(digits) && !shown.contains(['.', '(', '+']) {
        return Some(EntityKind::Card);
    }
    let groups: Vec<usize> = shown
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .filter(|n| *n > 0)
        .collect();
    let dashed = shown.bytes().filter(|b| *b == b'-').count() == 2;
    if groups == [3, 2, 4] && dashed {
        let area = &digits[..3];
        let used = area != b"000" && area != b"666" && area[0] != b'9';
        return used.then_some(EntityKind::SocialSecurity);
    }
    let international = shown.starts_with('+') && (8..=15).contains(&digits.len());
    let bracketed =
        shown.starts_with('(') && shown.contains(')') && (9..=12).contains(&digits.len());
    let national = matches!(
        groups[..],
        [3, 3, 4] | [1, 3, 3, 4] | [5, 6] | [2, 2, 2, 2, 2]
    ) && (10..=11).contains(&digits.len());
    // 192 168 100 1000 and 1.234.567.8901 are no telephone numbers.
    let one_sign = [' ', '-', '.']
        .iter()
        .filter(|s| shown.contains(**s))
        .count()
        <= 1;
    let plain = groups.len() == 1 && digits.len() == 11 && digits[0] == b'1';
    (international || bracketed || (national && one_sign) || plain).then_some(EntityKind::Phone)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<EntityKind> {
        find(text).into_iter().map(|e| e.kind).collect()
    }

    #[test]
    fn personal_data_is_found() {
        for (text, wanted) in [
            ("write to anna.b@example.com!", EntityKind::Email),
            ("call me on +49 30 901820", EntityKind::Phone),
            ("my cell is (555) 010-9999", EntityKind::Phone),
            ("905-674-3793 works too", EntityKind::Phone),
            ("his ip is 81.2.69.142", EntityKind::PublicIp),
            ("81.2.69.142:27015", EntityKind::PublicIp),
            ("2a00:1450:4001:81b::200e", EntityKind::PublicIp),
            ("card 4111 1111 1111 1111", EntityKind::Card),
            ("he lives at 12 Oak Street", EntityKind::Street),
            ("6750 Koskikatu 25 Apt. 864", EntityKind::Street),
            ("meet at 52.520008,13.404954", EntityKind::Coordinates),
            ("here's my ssn: 460-89-9847", EntityKind::SocialSecurity),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                EntityKind::Wallet,
            ),
        ] {
            assert!(kinds(text).contains(&wanted), "{text}: {:?}", kinds(text));
        }
    }

    #[test]
    fn numbers_of_games_and_shops_are_not() {
        for text in [
            "my address is 10.0.0.1 lol",
            "connect to 192.168.1.20:25565 or 127.0.0.1",
            "update to v2.13.4 or 1.19.2.1",
            "it costs $1,299.99 or 50% less",
            "won 3-2, kda 10/2/15, 144hz, 300k dmg",
            "1111 2222 3333 4444 hp left",
            "13 90 62 4000 350",
            "123-45-678",
            "dns is 8.8.8.8",
            "03:03, september 20, 2015",
            "order 4111111111111112 shipped",
            "3 Brave Knights on the road",
            "a@b and @anna",
        ] {
            let personal: Vec<EntityKind> = kinds(text)
                .into_iter()
                .filter(|k| *k != EntityKind::Harmless)
                .collect();
            assert!(personal.is_empty(), "{text}: {personal:?}");
        }
    }

    proptest! {
        #[test]
        fn finds_lie_on_boundaries_in_order(text in "[ -~é€+()@.,:0-9]{0,80}") {
            let mut last = 0;
            for entity in find(&text) {
                prop_assert!(text.get(entity.range.clone()).is_some_and(|t| !t.is_empty()));
                prop_assert!(entity.range.start >= last);
                last = entity.range.start;
            }
        }

        #[test]
        fn private_addresses_are_never_personal(b in 0_u8.., c in 0_u8.., d in 0_u8..) {
            for text in [format!("at 10.{b}.{c}.{d}"), format!("192.168.{c}.{d}:80"), format!("127.{b}.{c}.{d}")] {
                prop_assert!(!kinds(&text).contains(&EntityKind::PublicIp), "{}", text);
                prop_assert!(!kinds(&text).contains(&EntityKind::Phone), "{}", text);
            }
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,120}") {
            let _ = find(&text);
        }
    }
}
