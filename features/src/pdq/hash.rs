//! The hash value: comparison and its text form.

use std::fmt;
use std::str::FromStr;

/// 256 bits; byte 0 is printed first, as in the reference's hexadecimal form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PdqHash(pub [u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a PDQ hash is 64 hexadecimal digits")]
pub struct ParsePdqHashError;

impl ParsePdqHashError {
    /// The stable, documented name of this error.
    pub fn code(&self) -> &'static str {
        "pdq_hash_invalid"
    }
}

impl PdqHash {
    /// Number of bits that differ: 0 (same) to 256; about 128 between unrelated pictures.
    pub fn distance(&self, other: &Self) -> u32 {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| (a ^ b).count_ones()).sum()
    }
}

impl fmt::Display for PdqHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for PdqHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PdqHash({self})")
    }
}

impl FromStr for PdqHash {
    type Err = ParsePdqHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParsePdqHashError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = (*digit as char).to_digit(16).ok_or(ParsePdqHashError)?;
                *byte = *byte << 4 | value as u8;
            }
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trip(bytes: [u8; 32]) {
            let hash = PdqHash(bytes);
            prop_assert_eq!(hash.to_string().parse::<PdqHash>(), Ok(hash));
            prop_assert_eq!(hash.to_string().to_uppercase().parse::<PdqHash>(), Ok(hash));
        }

        #[test]
        fn distance_is_a_metric(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let (a, b, c) = (PdqHash(a), PdqHash(b), PdqHash(c));
            prop_assert_eq!(a.distance(&a), 0);
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert!(a.distance(&c) <= a.distance(&b) + b.distance(&c));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "ab", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert!(text.parse::<PdqHash>().is_err(), "{text:?}");
        }
    }
}
