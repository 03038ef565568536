//! Which tokens may come next.

use super::WhisperTokens;

/// Ticks of the latest beginning of the first words: one second.
const LATEST_START: usize = 50;

/// Whisper's rules over the logits of the next token.
pub struct Rules<'a> {
    tokens: &'a WhisperTokens,
    never: Vec<u32>,
    never_first: Vec<u32>,
}

impl<'a> Rules<'a> {
    /// `suppress` and `begin_suppress` are the checkpoint's lists; without the second a text may
    /// not end before it began.
    pub fn new(
        tokens: &'a WhisperTokens,
        suppress: Option<&[i64]>,
        begin_suppress: Option<&[i64]>,
    ) -> Self {
        let list = |ids: Option<&[i64]>| -> Vec<u32> {
            let ids = ids.unwrap_or_default().iter();
            ids.filter_map(|id| u32::try_from(*id).ok()).collect()
        };
        let never = list(suppress);
        let mut never_first = list(begin_suppress);
        never_first.push(tokens.end);
        Self {
            tokens,
            never,
            never_first,
        }
    }

    /// Sets what may not come after `written` (the answer so far, without the prompt) to negative
    /// infinity.
    pub fn apply(&self, written: &[u32], logits: &mut [f32]) {
        let forbid = |from: usize, to: usize, logits: &mut [f32]| {
            let to = to.min(logits.len());
            if from < to {
                logits[from..to].fill(f32::NEG_INFINITY);
            }
        };
        for id in &self.never {
            forbid(*id as usize, *id as usize + 1, logits);
        }
        let first = self.tokens.first_timestamp();
        let (begin, end) = (first as usize, self.tokens.end as usize);
        let all = logits.len();
        // Commands and languages are never written.
        forbid(end + 1, begin, logits);
        if written.is_empty() {
            for id in &self.never_first {
                forbid(*id as usize, *id as usize + 1, logits);
            }
            // An answer begins with a time, and not with a late one.
            forbid(0, begin, logits);
            forbid(begin + LATEST_START + 1, all, logits);
            return;
        }
        let is_time = |t: &u32| *t >= first;
        let last = written.last().is_some_and(is_time);
        let before = written.len() < 2 || is_time(&written[written.len() - 2]);
        // Times come in pairs, the end of one stretch and the beginning of the next, except at the
        // two ends.
        if last {
            if before {
                forbid(begin, all, logits);
            } else {
                forbid(0, end, logits);
            }
        }
        // Time does not run backwards, and a stretch has a length.
        if let Some(latest) = written.iter().rev().find(|t| is_time(t)) {
            let from = if last && !before { *latest } else { latest + 1 };
            forbid(begin, from as usize, logits);
        }
        // Where a time is likelier than any one word, it is a time.
        let top = |part: &[f32]| part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if begin < all {
            let times = &logits[begin..];
            let highest = top(times);
            if highest.is_finite() {
                let sum: f32 = times.iter().map(|z| (z - highest).exp()).sum();
                if highest + sum.ln() > top(&logits[..begin]) {
                    forbid(0, begin, logits);
                }
            }
        }
    }
}
