//! Check digits: what tells a real number from one that only looks like it.

use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Luhn's sum over decimal digits (ISO/IEC 7812-1); `digits` are ASCII.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(d.wrapping_sub(b'0'));
            match (i % 2, d) {
                (0, d) => d,
                (_, d) if d > 4 => 2 * d - 9,
                (_, d) => 2 * d,
            }
        })
        .sum();
    digits.iter().all(u8::is_ascii_digit) && sum.is_multiple_of(10)
}

/// A payment card: 13 to 19 digits that begin like an issuer's and pass Luhn, not all the same.
pub(super) fn card(digits: &[u8]) -> bool {
    (13..=19).contains(&digits.len())
        && matches!(digits[0], b'2'..=b'6')
        && digits.iter().any(|d| *d != digits[0])
        && luhn(digits)
}

/// A Bitcoin, Ethereum or Tron address whose checksum holds.
pub(super) fn wallet(word: &str) -> bool {
    match word.as_bytes() {
        [b'0', b'x' | b'X', hex @ ..] => ethereum(hex),
        [b'1' | b'3' | b'T', ..] => base58check(word),
        [b'b' | b'B', b'c' | b'C', b'1', ..] => bech32(word),
        _ => false,
    }
}

/// EIP-55: the case of the letters is a checksum; one case only carries none and is accepted.
fn ethereum(hex: &[u8]) -> bool {
    if hex.len() != 40 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let lower = hex.to_ascii_lowercase();
    let one_case =
        !hex.iter().any(u8::is_ascii_uppercase) || !hex.iter().any(u8::is_ascii_lowercase);
    // "0x" and forty equal digits is nobody's.
    if one_case {
        return lower.iter().any(|b| *b != lower[0]);
    }
    let hash = Keccak256::digest(&lower);
    hex.iter().enumerate().all(|(i, b)| {
        let nibble = if i % 2 == 0 {
            hash[i / 2] >> 4
        } else {
            hash[i / 2] & 15
        };
        !b.is_ascii_alphabetic() || b.is_ascii_uppercase() == (nibble >= 8)
    })
}

/// Base58 of 21 bytes with four bytes of a doubled SHA-256 behind them.
fn base58check(word: &str) -> bool {
    if !(26..=35).contains(&word.len()) {
        return false;
    }
    let mut bytes = [0_u8; 25];
    for ch in word.bytes() {
        let Some(digit) = BASE58.iter().position(|b| *b == ch) else {
            return false;
        };
        let mut carry = digit as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let check = Sha256::digest(Sha256::digest(&bytes[..21]));
    check[..4] == bytes[21..]
}

/// Bech32 (BIP 173) or Bech32m (BIP 350).
fn bech32(word: &str) -> bool {
    let mixed = word.bytes().any(|b| b.is_ascii_uppercase())
        && word.bytes().any(|b| b.is_ascii_lowercase());
    if mixed || !(14..=90).contains(&word.len()) {
        return false;
    }
    let word = word.to_ascii_lowercase();
    let Some((prefix, data)) = word.rsplit_once('1') else {
        return false;
    };
    let mut sum = 1_u32;
    let mut feed = |value: u32| {
        let top = sum >> 25;
        sum = ((sum & 0x01FF_FFFF) << 5) ^ value;
        for (i, constant) in [
            0x3b6a_57b2,
            0x2650_8e6d,
            0x1ea1_19fa,
            0x3d42_33dd,
            0x2a14_62b3,
        ]
        .into_iter()
        .enumerate()
        {
            if (top >> i) & 1 == 1 {
                sum ^= constant;
            }
        }
    };
    prefix.bytes().for_each(|b| feed(u32::from(b >> 5)));
    feed(0);
    prefix.bytes().for_each(|b| feed(u32::from(b & 31)));
    for ch in data.bytes() {
        let Some(value) = BECH32.iter().position(|b| *b == ch) else {
            return false;
        };
        feed(value as u32);
    }
    matches!(sum, 1 | 0x2bc8_30a3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples_hold() {
        assert!(card(b"4111111111111111") && card(b"378282246310005"));
        assert!(!card(b"4111111111111112") && !card(b"0000000000000000"));
        for good in [
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ] {
            assert!(wallet(good), "{good}");
        }
        for bad in [
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
            "0x0000000000000000000000000000000000000000",
            "1234567890123456789012345678",
            "bc1",
            "T",
        ] {
            assert!(!wallet(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn one_wrong_digit_breaks_luhn(digits in "[1-9][0-9]{11,17}", at in 0_usize..18, by in 1_u8..10) {
            let mut digits = digits.into_bytes();
            let check = (b'0'..=b'9').find(|c| {
                let mut all = digits.clone();
                all.push(*c);
                luhn(&all)
            });
            digits.push(check.unwrap());
            prop_assert!(luhn(&digits));
            let at = at % digits.len();
            digits[at] = b'0' + (digits[at] - b'0' + by) % 10;
            prop_assert!(!luhn(&digits));
        }

        #[test]
        fn any_word_is_survived(word in "\\PC{0,100}") {
            let _ = (wallet(&word), luhn(word.as_bytes()));
        }
    }
}
