//! What tokens mean: a byte-level vocabulary (Radford et al. 2019) and Whisper's special tokens.

use std::collections::HashMap;

use serde::Deserialize;

use super::WhisperError;

/// Seconds between two timestamps.
pub const TICK: f64 = 0.02;

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

/// The tokens of a checkpoint.
#[derive(Clone, Debug)]
pub struct WhisperTokens {
    /// Bytes by number; nothing for special tokens.
    bytes: HashMap<u32, Vec<u8>>,
    /// Ends a text; every smaller number is text.
    pub end: u32,
    /// Begins an answer.
    pub start: u32,
    /// Asks for the words as spoken.
    pub transcribe: u32,
    /// Says that nobody speaks.
    pub no_speech: u32,
    /// Would turn timestamps off; the number behind it is 0.00 s.
    pub no_timestamps: u32,
    /// Languages by code, in order of their numbers; empty for English-only models.
    pub languages: Vec<(String, u32)>,
    highest: u32,
}

impl WhisperTokens {
    /// Reads a `tokenizer.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, WhisperError> {
        let invalid = |message: String| WhisperError::Invalid {
            file: "tokenizer.json",
            message,
        };
        let file: File = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        let special: HashMap<&str, u32> = file
            .added_tokens
            .iter()
            .map(|a| (a.content.as_str(), a.id))
            .collect();
        let find = |names: &[&str]| {
            let found = names.iter().find_map(|n| special.get(n).copied());
            found.ok_or_else(|| invalid(format!("it has no {}", names.join(" or "))))
        };
        let end = find(&["<|endoftext|>"])?;
        let start = find(&["<|startoftranscript|>"])?;
        let no_timestamps = find(&["<|notimestamps|>"])?;
        let decoder = byte_decoder();
        let mut bytes = HashMap::new();
        for (text, id) in &file.model.vocab {
            let decoded: Option<Vec<u8>> = text.chars().map(|c| decoder.get(&c).copied()).collect();
            if let Some(decoded) = decoded.filter(|_| *id < end) {
                bytes.insert(*id, decoded);
            }
        }
        let mut languages: Vec<(String, u32)> = special
            .iter()
            .filter_map(|(name, id)| {
                let code = name.strip_prefix("<|")?.strip_suffix("|>")?;
                let short = (2..=3).contains(&code.len());
                let letters = code.bytes().all(|b| b.is_ascii_lowercase());
                (short && letters && *id > start).then(|| (code.to_owned(), *id))
            })
            .collect();
        languages.sort_by_key(|(_, id)| *id);
        let highest = special
            .values()
            .chain(file.model.vocab.values())
            .copied()
            .max()
            .unwrap_or_default();
        Ok(Self {
            bytes,
            end,
            start,
            transcribe: find(&["<|transcribe|>"])?,
            no_speech: find(&["<|nospeech|>", "<|nocaptions|>"])?,
            no_timestamps,
            languages,
            highest,
        })
    }

    /// The highest number.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// The number of 0.00 s.
    pub fn first_timestamp(&self) -> u32 {
        self.no_timestamps + 1
    }

    /// The text of some tokens; special ones say nothing, broken characters become `�`.
    pub fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .filter_map(|t| self.bytes.get(t))
            .flatten()
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The printable characters that stand for bytes in such a vocabulary.
fn byte_decoder() -> HashMap<char, u8> {
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut map: HashMap<char, u8> = (0..=255)
        .filter(printable)
        .map(|b| (char::from(b), b))
        .collect();
    let others = (0..=255).filter(|b| !printable(b));
    for (n, byte) in (256_u32..).zip(others) {
        if let Some(c) = char::from_u32(n) {
            map.insert(c, byte);
        }
    }
    map
}
