//! From events to the weights of a history.

use serde::{Deserialize, Serialize};

/// One past event of a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// Item number.
    pub item: u32,
    /// Time in steps of the log's clock.
    pub time: i64,
    /// Weight of the event, above 0; 1 where events have none.
    pub weight: f32,
}

/// What becomes of an item's summed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountScale {
    /// 1 however many there are; the largest single event counts.
    Binary,
    /// ln(1 + sum) / ln 2, so that one event weighs 1.
    Log,
    /// The sum.
    Linear,
}

/// How events become (item, weight) pairs; the same in training and serving.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighting {
    /// What repeated events do.
    pub counts: CountScale,
    /// Share of an event's weight that follows its weight column, 0..=1; 0 ignores the column.
    pub strength: f32,
    /// Value of the weight column that counts as 1, above 0.
    pub unit: f32,
    /// Steps of time after which an event weighs half; `None` for never.
    pub half_life: Option<f64>,
}

impl Default for Weighting {
    fn default() -> Self {
        Self {
            counts: CountScale::Log,
            strength: 0.0,
            unit: 1.0,
            half_life: None,
        }
    }
}

impl Weighting {
    /// Writes the history at time `now` into `out`: each item once, sorted by item, weights above
    /// 0. Events after `now` do not decay.
    pub fn apply(
        &self,
        events: impl IntoIterator<Item = Past>,
        now: i64,
        out: &mut Vec<(u32, f32)>,
    ) {
        out.clear();
        out.extend(
            events
                .into_iter()
                .map(|event| (event.item, self.event(event, now))),
        );
        out.sort_by_key(|(item, _)| *item);
        out.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = match self.counts {
                    CountScale::Binary => kept.1.max(next.1),
                    CountScale::Log | CountScale::Linear => kept.1 + next.1,
                };
            }
            same
        });
        if self.counts == CountScale::Log {
            for (_, weight) in out {
                *weight = weight.ln_1p() * std::f32::consts::LOG2_E;
            }
        }
    }

    /// Weight of a single event at time `now`.
    fn event(&self, event: Past, now: i64) -> f32 {
        let weight = 1.0 - self.strength + self.strength * event.weight / self.unit;
        match self.half_life {
            Some(half_life) => {
                let age = now.saturating_sub(event.time).max(0) as f64;
                weight * (-age / half_life).exp2() as f32
            }
            None => weight,
        }
    }
}
