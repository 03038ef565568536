//! How closely a stream's pictures are looked at, and which of them need no networks.
//!
//! A stream that nobody knows yet is looked at closely, a calm one once in two seconds with a
//! picture at an unforeseeable moment now and then, one with recent suspicious scores several times
//! a second. A picture that is near-identical to one that was judged shortly before keeps that one's
//! scores. What decides is in the stream's history and in the settings only, so that the same bytes
//! after the same history are looked at in the same places; the one thing from outside, the stretch
//! that an overloaded server puts on everything, is recorded in the verdict.

mod governor;
mod settings;
mod sketch;

use novastream_features::media::Sampling;
use serde::{Deserialize, Serialize};

pub(crate) use self::sketch::Sketch;
pub use self::{
    governor::{Control, GovernorSettings},
    settings::PaceSettings,
};
use crate::{
    verdict::{PaceMode, Sampled},
    vision::FrameScore,
};

/// No stretch, in percent.
pub const UNSTRETCHED: u32 = 100;
/// Stream time that is counted up, in ms; beyond it nothing depends on how much longer it was.
const LONG_MS: i64 = 3_600_000;

/// A picture that the networks judged, kept for those like it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// On the pace's own clock, see [`Pace::now`].
    pub at_ms: i64,
    pub sketch: Sketch,
    pub score: FrameScore,
    /// The models and heads behind the score; another set carries nothing over.
    pub models: String,
}

/// What a stream's past says about how closely to look. Bounded: one picture's sketch and scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pace {
    /// Stream time that went by, in ms: the clock of [`Judged::at_ms`].
    elapsed_ms: i64,
    /// Stream time since the stream became known, in ms.
    known_ms: i64,
    /// Stream time for which risk is still up, in ms.
    risk_ms: i64,
    /// Stream time since the last slot began, in ms; `None` before the first one.
    since_ms: Option<i64>,
    /// Length of the last slots, in ms.
    interval_ms: u32,
    /// Pictures in a row that were near-identical to the last judged one.
    still: u32,
    last: Option<Judged>,
}

/// How one stretch of a stream is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub mode: PaceMode,
    pub interval_ms: u32,
    pub extra_every: u32,
    pub first_ms: u32,
    /// For how long a judged picture's scores may count for pictures like it, in ms; 0: never.
    pub carry_ms: i64,
    /// Time between two readings of text on changing pictures, in ms, where the last one found some and
    /// where it found none, on average; 0: every changed picture is read.
    pub read_ms: [i64; 2],
    /// What the interval would be without a stretch.
    wanted_ms: u32,
    stretch_percent: u32,
}

impl Plan {
    /// `sampling` at this pace.
    pub(crate) fn apply(&self, sampling: Sampling) -> Sampling {
        Sampling {
            interval_ms: self.interval_ms,
            extra_every: self.extra_every,
            first_ms: self.first_ms,
            ..sampling
        }
    }

    /// What a verdict says about it.
    pub(crate) fn report(&self, looked: usize, carried: usize) -> Sampled {
        Sampled {
            mode: self.mode,
            interval_ms: self.interval_ms,
            looked,
            carried,
            stretch_percent: self.stretch_percent,
        }
    }

    /// Why pictures are further apart than the stream's state asks for, if they are.
    pub(crate) fn shortfall(&self) -> Option<String> {
        (self.interval_ms > self.wanted_ms).then(|| {
            format!(
                "one picture every {} ms instead of {} ms: more streams than this machine keeps up with",
                self.interval_ms, self.wanted_ms
            )
        })
    }

    /// Where in a stretch of `duration_ms` its last slot begins.
    fn last_slot(&self, duration_ms: i64) -> Option<i64> {
        let (first, interval) = (i64::from(self.first_ms), i64::from(self.interval_ms.max(1)));
        (duration_ms > first).then(|| first + (duration_ms - 1 - first) / interval * interval)
    }
}

impl Pace {
    /// How to look at what comes next. `base` has the interval of a calm stream and whether there
    /// are extra pictures at all; `stretch_percent` is what the server's load asks for, the same for
    /// every stream.
    pub(crate) fn plan(
        &self,
        base: &Sampling,
        settings: &PaceSettings,
        stretch_percent: u32,
    ) -> Plan {
        let calm = base.interval_ms.max(40);
        let (mode, wanted_ms, every, carry) = if self.risk_ms > 0 {
            (
                PaceMode::Risk,
                settings.risk_interval_ms.clamp(40, calm),
                1,
                0,
            )
        } else if self.known_ms < i64::from(settings.new_ms) {
            (PaceMode::New, calm, 1, 0)
        } else if self.still >= settings.still_after {
            let carry = settings.still_interval_ms;
            (PaceMode::Still, calm, 2 * settings.extra_every, carry)
        } else {
            let carry = (2 * calm).min(settings.still_interval_ms);
            (PaceMode::Calm, calm, settings.extra_every, carry)
        };
        let stretch = u64::from(stretch_percent.max(UNSTRETCHED));
        let stretched = |value: u32| (u64::from(value) * stretch / 100).min(u64::from(u32::MAX));
        let longest = u64::from(settings.max_interval_ms.max(wanted_ms));
        let interval_ms = stretched(wanted_ms).min(longest) as u32;
        let reading = |ms: u32| i64::from(stretched(ms) as u32);
        let read_ms = match mode {
            PaceMode::Risk | PaceMode::New => [0, 0],
            PaceMode::Calm | PaceMode::Still => {
                [settings.read_interval_ms, settings.read_idle_interval_ms].map(reading)
            }
        };
        let every = every.saturating_mul(base.extra_every);
        // A segment begins a slot of its own, unless slots are longer than a calm stream's: then
        // they go on from segment to segment.
        let due = self
            .since_ms
            .map_or(0, |since| i64::from(interval_ms) - since);
        // Streams that slow down together must not have their pictures together from then on.
        let due = if interval_ms > self.interval_ms {
            due.min(self.phase(i64::from(interval_ms), i64::from(calm)))
        } else {
            due
        };
        let early = due < i64::from(interval_ms / 10);
        let first = if interval_ms <= calm || early { 0 } else { due };
        Plan {
            mode,
            interval_ms,
            extra_every: stretched(every) as u32,
            first_ms: first.clamp(0, i64::from(interval_ms)) as u32,
            carry_ms: i64::from(carry),
            read_ms,
            wanted_ms,
            stretch_percent: stretch as u32,
        }
    }

    /// A multiple of `calm` below `interval`, by what the stream shows and how old it is.
    fn phase(&self, interval: i64, calm: i64) -> i64 {
        let shown = self.last.as_ref().map_or(0, |last| last.sketch.digest());
        // Multiplying moves every bit of the sum into the upper half.
        let mixed = (shown ^ self.elapsed_ms as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        mixed as i64 % (interval.max(1) as u64).div_ceil(calm as u64) as i64 * calm
    }

    /// The pace's clock at the beginning of what comes next, in ms.
    pub(crate) fn now(&self) -> i64 {
        self.elapsed_ms
    }

    /// The last judged picture, if the same models judged it.
    pub(crate) fn last(&self, models: &str) -> Option<&Judged> {
        self.last.as_ref().filter(|last| last.models == models)
    }

    /// Takes note of the last judged picture; `None` forgets the one before.
    pub(crate) fn remember(&mut self, last: Option<Judged>) {
        self.last = last;
    }

    /// Takes note of whether a picture was near-identical to the last judged one.
    pub(crate) fn saw(&mut self, near: bool) {
        self.still = if near {
            self.still.saturating_add(1)
        } else {
            0
        };
    }

    /// `duration_ms` of the stream were looked at as `plan` says. `risk` is the highest score of it
    /// as a share of its category's review threshold.
    pub(crate) fn advance(
        &mut self,
        plan: &Plan,
        settings: &PaceSettings,
        duration_ms: i64,
        risk: f32,
    ) {
        let duration_ms = duration_ms.clamp(0, LONG_MS);
        self.since_ms = match plan.last_slot(duration_ms) {
            Some(start) => Some(duration_ms - start),
            None => self
                .since_ms
                .map(|since| (since + duration_ms).min(LONG_MS)),
        };
        self.interval_ms = plan.interval_ms;
        self.known_ms = (self.known_ms + duration_ms).min(LONG_MS);
        self.elapsed_ms = self.elapsed_ms.saturating_add(duration_ms);
        self.risk_ms = if risk >= settings.risk_share {
            i64::from(settings.cooldown_ms)
        } else {
            (self.risk_ms - duration_ms).max(0)
        };
    }
}

#[cfg(test)]
mod tests;
