//! What was judged.

use super::figures::Placed;

/// Items in a list that users see.
pub(super) const TOP: usize = 10;

/// One judged list with a single right answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Where the right answer came.
    pub placed: Placed,
    /// The right answer.
    pub item: u32,
    /// The ten best.
    pub top: Vec<u32>,
    /// Mean surprise of the ten best, in bits.
    pub surprise: f64,
    /// Chance that the model gives to its first item; 0 where scores are no chances.
    pub confidence: f32,
    /// All starts of the user before.
    pub user_starts: u32,
    /// All starts of the right answer before.
    pub item_starts: u32,
    /// Group of the event.
    pub group: Option<u32>,
}

/// Positions of the best scores, best first; equal scores by position.
pub(super) fn best(scores: &[f32]) -> Vec<usize> {
    novastream_models::recommender::top_n(scores, TOP)
        .into_iter()
        .map(|(at, _)| at as usize)
        .collect()
}

/// Softmax chance of the best score.
pub(super) fn confidence(scores: &[f32]) -> f32 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    1.0 / scores.iter().map(|score| (score - top).exp()).sum::<f32>()
}
