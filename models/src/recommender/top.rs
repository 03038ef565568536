//! The best of many scores.

/// Items with the `n` highest scores, best first; of equal scores the lower item comes first.
/// Scores of `f32::NEG_INFINITY` and those that are not numbers are left out.
pub fn top_n(scores: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(n + 1);
    if n == 0 {
        return best;
    }
    let mut bar = f32::NEG_INFINITY;
    for (block_at, block) in scores.chunks(64).enumerate() {
        // Most blocks have nothing to add, and this test has no branches inside.
        let above: u32 = block.iter().map(|score| u32::from(*score > bar)).sum();
        if above == 0 {
            continue;
        }
        for (at, score) in block.iter().enumerate() {
            if *score > bar {
                let place = best.partition_point(|(_, other)| other >= score);
                best.insert(place, ((block_at * 64 + at) as u32, *score));
                best.truncate(n);
                if let (Some((_, last)), true) = (best.last(), best.len() == n) {
                    bar = *last;
                }
            }
        }
    }
    best
}
