//! What the features ask of base models.

/// The base models behind the score columns. Histories hold each item once with its weight; a
/// method writes one score a candidate into `out`, which comes zeroed and is as long. What a
/// bundle has no model for stays 0.
pub trait BaseScores {
    /// The collaborative model.
    fn long(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]);

    /// Matrix factorisation, beside the collaborative model.
    fn factors(&mut self, _history: &[(u32, f32)], _candidates: &[u32], _out: &mut [f32]) {}

    /// How alike the candidates' own words are to those of the history.
    fn content(&mut self, _history: &[(u32, f32)], _candidates: &[u32], _out: &mut [f32]) {}

    /// What the audience segment of somebody with this history takes.
    fn segment(&mut self, _history: &[(u32, f32)], _candidates: &[u32], _out: &mut [f32]) {}

    /// What follows the latest starts, which are given in order, the oldest first.
    fn sequence(&mut self, _latest: &[u32], _candidates: &[u32], _out: &mut [f32]) {}
}

/// A closure is a collaborative model alone.
impl<F: FnMut(&[(u32, f32)], &[u32], &mut [f32])> BaseScores for F {
    fn long(&mut self, history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
        self(history, candidates, out);
    }
}
