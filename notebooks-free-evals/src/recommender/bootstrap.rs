//! Confidence intervals: users are drawn again, with all that is theirs.

use std::collections::BTreeMap;

/// Draws of a bootstrap.
const DRAWS: usize = 500;

/// 95 % interval of a mean over cases of users; `None` below two users.
///
/// `cases` are (user, value) pairs. Users are drawn with replacement, because the cases of one
/// user are alike; the draws are the same every time.
pub fn interval(cases: impl IntoIterator<Item = (u32, f64)>) -> Option<[f64; 2]> {
    let mut users: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (user, value) in cases {
        let sums = users.entry(user).or_default();
        sums.0 += value;
        sums.1 += 1.0;
    }
    let users: Vec<(f64, f64)> = users.into_values().collect();
    if users.len() < 2 {
        return None;
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (mut sum, mut count) = (0.0, 0.0);
            for _ in 0..users.len() {
                // SplitMix64 (G. Steele et al., OOPSLA 2014).
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                word ^= word >> 31;
                let (value, cases) = users[(word % users.len() as u64) as usize];
                sum += value;
                count += cases;
            }
            sum / f64::max(count, 1.0)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some([means[DRAWS / 40], means[DRAWS - 1 - DRAWS / 40]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_intervals_hold_the_mean_and_narrow_with_users() {
        let cases = |users: u32| (0..users).map(|user| (user, f64::from(user % 2)));
        let [low, high] = interval(cases(40)).unwrap();
        let [closer_low, closer_high] = interval(cases(4_000)).unwrap();
        assert!(low < 0.5 && high > 0.5 && closer_high - closer_low < high - low);
        assert_eq!(interval(cases(4_000)), Some([closer_low, closer_high]));
        assert_eq!(interval(cases(1)), None);
    }
}
