//! What the normaliser answers: the text, where it came from, and what had to be undone.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How often each kind of disguise was undone, and a few plain counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Invisible characters removed between letters.
    pub zero_width: u32,
    /// Characters replaced by the ASCII letter they look like.
    pub confusable: u32,
    /// Digits and symbols read as letters.
    pub leet: u32,
    /// Spelled-out words joined (`i d i o t`).
    pub joined: u32,
    /// Runs of three or more equal letters shortened.
    pub repeats: u32,
    /// Emoji removed from inside words.
    pub emoji_in_word: u32,
    /// Combining marks stacked on ASCII letters beyond the first.
    pub marks: u32,
    /// `@name` mentions seen.
    pub mentions: u32,
    /// URLs, bare domains and e-mail addresses seen.
    pub links: u32,
    /// Letters in the raw text.
    pub letters: u32,
    /// Capital letters in the raw text.
    pub capitals: u32,
}

impl Signals {
    /// How many disguises were undone in all.
    pub fn disguises(&self) -> u32 {
        self.zero_width
            + self.confusable
            + self.leet
            + self.joined
            + self.repeats
            + self.emoji_in_word
            + self.marks
    }
}

/// One output character and the raw bytes it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Byte where the character starts in the normalised text.
    pub at: u32,
    /// First raw byte.
    pub start: u32,
    /// One past the last raw byte.
    pub end: u32,
}

/// A normalised text that still knows the raw one.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// Folded and undisguised text, at most six times the raw length in bytes.
    pub text: String,
    /// What was undone on the way.
    pub signals: Signals,
    /// Empty when every byte of `text` is the byte at the same place in the raw text.
    pub(super) pieces: Vec<Piece>,
    pub(super) changed: bool,
}

impl Normalized {
    /// Whether anything but ASCII case differs from the raw text.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether `text` and the raw text line up byte by byte (they may differ in ASCII case).
    pub fn is_identity(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes of the raw text that a byte range of `text` stands for.
    ///
    /// The answer always lies on character boundaries of the raw text. A range that cuts into a
    /// character, or reaches past the end, is widened or clamped to whole characters; an empty
    /// one answers an empty range. Where two ranges are ordered, their answers are too.
    pub fn original_range(&self, range: Range<usize>) -> Range<usize> {
        let start = range.start.min(self.text.len());
        let end = range.end.clamp(start, self.text.len());
        if self.pieces.is_empty() {
            return start..end;
        }
        let first = self.piece_at(start);
        if start == end {
            let at = if start == self.text.len() {
                first.end
            } else {
                first.start
            };
            return at as usize..at as usize;
        }
        let last = self.piece_at(end - 1);
        first.start as usize..last.end as usize
    }

    /// The piece that holds byte `at`; the last one for positions past the end.
    fn piece_at(&self, at: usize) -> Piece {
        let after = self.pieces.partition_point(|piece| piece.at as usize <= at);
        self.pieces
            .get(after.saturating_sub(1))
            .copied()
            .unwrap_or(Piece {
                at: 0,
                start: 0,
                end: 0,
            })
    }
}
