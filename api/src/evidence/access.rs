//! Who gets originals.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::StorageError;

/// Characters that a token has at least.
const SHORTEST: usize = 16;

/// The tokens with which originals are answered. Only their hashes are kept.
#[derive(Clone)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Reads a file with a token a line; empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// The file cannot be read, holds no token, or one that is short or has spaces in it.
    pub fn read(path: &Path) -> Result<Self, StorageError> {
        let failed = |reason: String| StorageError::Tokens {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        let lines = text.lines().map(str::trim).zip(1..);
        let mut tokens = Vec::new();
        for (token, number) in lines.filter(|(l, _)| !l.is_empty() && !l.starts_with('#')) {
            if token.len() < SHORTEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
                let what = format!(
                    "line {number} is no token: give {SHORTEST} or more ASCII characters without spaces"
                );
                return Err(failed(what));
            }
            tokens.push(Sha256::digest(token).into());
        }
        if tokens.is_empty() {
            return Err(failed("it holds no token".to_owned()));
        }
        Ok(Self(tokens))
    }

    /// Whether `token` is one of them. Hashes are compared in full, so the time tells nothing.
    pub fn allow(&self, token: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(token).into();
        let differs =
            |known: &[u8; 32]| known.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
        self.0
            .iter()
            .fold(false, |found, known| found | (differs(known) == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tokens, StorageError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Tokens::read(file.path())
    }

    #[test]
    fn every_line_is_a_token_and_nothing_else_is() {
        let tokens = read("# old and new\nfirst-token-0001\n\n second-token-0002 \n").unwrap();
        assert!(tokens.allow("first-token-0001") && tokens.allow("second-token-0002"));
        for other in ["", "first-token-000", "first-token-00011", "# old and new"] {
            assert!(!tokens.allow(other), "{other}");
        }
    }

    #[test]
    fn a_file_without_sound_tokens_is_refused() {
        for text in ["", "# nothing\n", "short\n", "two words in one line\n"] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert_eq!(error.code(), "evidence_tokens", "{text}");
        }
        let missing = Tokens::read(Path::new("/nowhere/tokens")).map(|_| ());
        assert_eq!(missing.unwrap_err().code(), "evidence_tokens");
    }
}
