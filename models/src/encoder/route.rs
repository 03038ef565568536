//! Which messages go on from the fast tier to the encoder, and what those that do not are worth.
//!
//! A message should go on where the encoder's answer would change its place among the others: not
//! simply where the fast tier is unsure. [`Router`] estimates that from what the fast tier says,
//! how long the message is and whether it was disguised; training fits the estimate to what going
//! on did to the ranking of held-out messages. The scores of the others are moved onto the scale
//! of the joined scores, so that a list with both kinds in it is one ranking.

use serde::{Deserialize, Serialize};

/// Where the estimate of the gain bends, in log-odds of the fast tier's overall score.
const OVERALL_KNOTS: [f32; 10] = [-7.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.5, 5.0];
/// The same for the highest of the other deciding heads.
const OTHER_KNOTS: [f32; 4] = [-5.0, -3.0, -1.0, 1.0];
/// Bytes at which length stops being "short" to the estimate.
const HALF_LENGTH: f32 = 16.0;

/// Numbers that a gain is estimated from.
pub const GAIN_INPUTS: usize = 2 * OVERALL_KNOTS.len() + OTHER_KNOTS.len() + 1;
/// Numbers that the score of a message that stays is made from.
pub const STAY_INPUTS: usize = 3 + Route::HEADS.len();

/// What is known of a message before the encoder is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouteInputs {
    /// Log-odds of the fast tier's scores for [`Route::HEADS`], bounded as
    /// [`super::fast_logit`] bounds them; 0 for a head that it lacks.
    pub heads: [f32; Route::HEADS.len()],
    /// Length of the message as written.
    pub bytes: usize,
    /// Whether the normaliser undid a disguise.
    pub disguised: bool,
}

impl RouteInputs {
    fn overall(&self) -> f32 {
        self.heads[0]
    }

    /// The highest of the heads; one beside the overall head that is not there says nothing.
    fn top(&self) -> f32 {
        let others = self.heads[1..].iter().copied().filter(|z| *z != 0.0);
        others.fold(self.overall(), f32::max)
    }

    /// 1 for nothing, 1/2 at sixteen bytes, 0 for a long text.
    fn shortness(&self) -> f32 {
        HALF_LENGTH / (HALF_LENGTH + self.bytes as f32)
    }

    /// What [`Router::gain`] weighs: the overall log-odds as hat functions, once as they are and
    /// once times the shortness, the highest other head as hat functions, and the disguise.
    pub fn gain_inputs(&self) -> [f32; GAIN_INPUTS] {
        let mut out = [0.0; GAIN_INPUTS];
        let n = OVERALL_KNOTS.len();
        hats(self.overall(), &OVERALL_KNOTS, &mut out[..n]);
        for i in 0..n {
            out[n + i] = out[i] * self.shortness();
        }
        let others = self.heads[1..].iter().copied().filter(|z| *z != 0.0);
        let other = others.fold(OTHER_KNOTS[0], f32::max);
        hats(
            other,
            &OTHER_KNOTS,
            &mut out[2 * n..2 * n + OTHER_KNOTS.len()],
        );
        out[GAIN_INPUTS - 1] = f32::from(u8::from(self.disguised));
        out
    }

    /// What [`Router::stays`] weighs: the overall log-odds, the same times the shortness, the
    /// other heads, the shortness, 1.
    pub fn stay_inputs(&self) -> [f32; STAY_INPUTS] {
        let mut out = [1.0; STAY_INPUTS];
        out[0] = self.overall();
        out[1] = self.overall() * self.shortness();
        out[2..=Route::HEADS.len()].copy_from_slice(&self.heads[1..]);
        out[STAY_INPUTS - 2] = self.shortness();
        out
    }
}

/// Piecewise linear basis: each knot's weight falls to 0 at its neighbours; they sum to 1.
fn hats(x: f32, knots: &[f32], out: &mut [f32]) {
    let last = knots.len() - 1;
    let x = x.clamp(knots[0], knots[last]);
    let right = knots.partition_point(|knot| *knot < x).clamp(1, last);
    let share = (x - knots[right - 1]) / (knots[right] - knots[right - 1]);
    out[right - 1] = 1.0 - share;
    out[right] = share;
}

/// A learned rule. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Weights of [`RouteInputs::gain_inputs`].
    pub gain: [f32; GAIN_INPUTS],
    /// Short messages go on from this gain on.
    pub short_from: f32,
    /// Longer messages go on from this gain on.
    pub long_from: f32,
    /// Weights of [`RouteInputs::stay_inputs`]: log-odds of the overall score of a message that
    /// does not go on.
    pub stays: [f32; STAY_INPUTS],
}

impl Router {
    /// How much a message's ranking is expected to gain.
    pub fn expected_gain(&self, inputs: &RouteInputs) -> f32 {
        dot(&inputs.gain_inputs(), &self.gain)
    }

    /// The overall score, 0 to 1, of a message that does not go on.
    pub fn score(&self, inputs: &RouteInputs) -> f32 {
        let z = dot(&inputs.stay_inputs(), &self.stays);
        1.0 / (1.0 + (-z).exp())
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Which messages go on to the encoder.
///
/// Without a [`Router`] (models made before there was one): those whose highest score, by the fast
/// tier, over [`Route::HEADS`] lies in a band, a narrow one for chat lines and a wide one for longer
/// messages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Band of messages of at most [`Route::SHORT`] bytes: from, and up to but not including.
    pub short: [f32; 2],
    /// Band of longer messages.
    pub long: [f32; 2],
    /// Decides instead of the bands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
}

impl Route {
    /// Every message.
    pub const EVERYTHING: Self = Self {
        short: [0.0, 1.01],
        long: [0.0, 1.01],
        router: None,
    };
    /// Bytes of the longest ordinary chat line.
    pub const SHORT: usize = 64;
    /// The heads that decide: those whose meaning n-grams miss, the overall one first. Spam, links
    /// and personal data are a matter of form.
    pub const HEADS: [&str; 7] = [
        "toxicity",
        "hate",
        "harassment",
        "harassment/threatening",
        "self-harm",
        "sexual",
        "violence",
    ];

    /// Whether a message goes on.
    pub fn goes_on(&self, inputs: &RouteInputs) -> bool {
        let short = inputs.bytes <= Self::SHORT;
        if let Some(router) = &self.router {
            let from = if short {
                router.short_from
            } else {
                router.long_from
            };
            return router.expected_gain(inputs) >= from;
        }
        let [from, to] = if short { self.short } else { self.long };
        let top = 1.0 / (1.0 + (-inputs.top()).exp());
        (from..to).contains(&top)
    }

    /// The overall score of a message that does not go on; `None`: as the fast tier says.
    pub fn stays_at(&self, inputs: &RouteInputs) -> Option<f32> {
        self.router.as_ref().map(|router| router.score(inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(overall: f32, bytes: usize) -> RouteInputs {
        let mut heads = [-4.0; Route::HEADS.len()];
        heads[0] = overall;
        RouteInputs {
            heads,
            bytes,
            disguised: false,
        }
    }

    #[test]
    fn hats_sum_to_one_and_meet_their_knots() {
        for i in -100..=100 {
            let x = i as f32 / 10.0;
            let gain = inputs(x, 10).gain_inputs();
            let sum: f32 = gain[..OVERALL_KNOTS.len()].iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{x}: {gain:?}");
            assert!(gain.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        assert_eq!(inputs(-2.0, 0).gain_inputs()[4], 1.0);
    }

    #[test]
    fn a_band_without_a_router_is_about_the_highest_head() {
        let route = Route {
            short: [0.3, 0.9],
            long: [0.01, 1.01],
            router: None,
        };
        assert!(route.goes_on(&inputs(0.0, 20)));
        assert!(!route.goes_on(&inputs(-2.0, 20)));
        assert!(route.goes_on(&inputs(-2.0, 200)));
        assert!(!route.goes_on(&inputs(4.0, 20)));
        assert_eq!(route.stays_at(&inputs(0.0, 20)), None);
    }

    #[test]
    fn a_router_sends_on_what_gains() {
        let mut gain = [0.0; GAIN_INPUTS];
        gain[6] = 1.0; // at even odds
        let mut stays = [0.0; STAY_INPUTS];
        stays[0] = 2.0;
        let route = Route {
            router: Some(Router {
                gain,
                short_from: 0.5,
                long_from: 0.1,
                stays,
            }),
            ..Route::EVERYTHING
        };
        assert!(route.goes_on(&inputs(0.1, 20)));
        assert!(!route.goes_on(&inputs(0.8, 20)));
        assert!(route.goes_on(&inputs(0.8, 200)));
        let score = route.stays_at(&inputs(1.0, 20)).unwrap();
        assert!((score - 0.8808).abs() < 1e-3, "{score}");
    }

    #[test]
    fn routes_from_before_there_was_a_router_are_read() {
        let old = r#"{"short": [0.1, 0.9], "long": [0.0, 1.0]}"#;
        let route: Route = serde_json::from_str(old).unwrap();
        assert_eq!(route.router, None);
        let text = serde_json::to_string(&Route::EVERYTHING).unwrap();
        assert_eq!(
            serde_json::from_str::<Route>(&text).unwrap(),
            Route::EVERYTHING
        );
    }
}
