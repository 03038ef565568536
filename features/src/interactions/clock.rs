//! Steps of time as hours.

/// Turns steps of a log's time into hours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourClock {
    hours_per_step: f64,
}

/// Ten minutes: the grain in which a channel's activity is remembered.
const SLOTS_PER_HOUR: f64 = 6.0;
/// Hours of a week.
const WEEK: f64 = 168.0;

impl HourClock {
    /// A clock whose steps last `step_seconds`; `None` unless that is above 0 and finite.
    pub fn new(step_seconds: f64) -> Option<Self> {
        (step_seconds.is_finite() && step_seconds > 0.0).then_some(Self {
            hours_per_step: step_seconds / 3600.0,
        })
    }

    /// Hours from `earlier` to `later`; 0 when they are the wrong way round.
    pub fn hours(self, earlier: i64, later: i64) -> f32 {
        (later.saturating_sub(earlier).max(0) as f64 * self.hours_per_step) as f32
    }

    /// Hour of the day, 0..24, counted from step 0.
    pub fn hour_of_day(self, time: i64) -> f32 {
        (time as f64 * self.hours_per_step).rem_euclid(24.0) as f32
    }

    /// Hour of the week, 0..168, counted from step 0.
    pub(super) fn hour_of_week(self, time: i64) -> f32 {
        (time as f64 * self.hours_per_step).rem_euclid(WEEK) as f32
    }

    /// The slot of ten minutes that a time falls into.
    pub(super) fn slot(self, time: i64) -> i64 {
        // Far inside the range, so that sums of slots can't overflow.
        const FAR: f64 = 1e17;
        (time as f64 * self.hours_per_step * SLOTS_PER_HOUR)
            .floor()
            .clamp(-FAR, FAR) as i64
    }

    /// The latest step that is at least `hours` before `time`.
    pub(super) fn before(self, time: i64, hours: f64) -> i64 {
        time.saturating_sub((hours / self.hours_per_step).ceil() as i64)
    }
}

/// Distance of two hours of the day around the clock, 0..=12.
pub(super) fn apart(a: f32, b: f32) -> f32 {
    around(a, b, 24.0)
}

/// Distance of two hours of the week, 0..=84.
pub(super) fn apart_in_week(a: f32, b: f32) -> f32 {
    around(a, b, WEEK as f32)
}

fn around(a: f32, b: f32, whole: f32) -> f32 {
    let gap = (a - b).abs();
    gap.min(whole - gap)
}

/// What is left of 1 after `hours` with a half-life.
pub(super) fn fade(hours: f32, half_life: f32) -> f32 {
    (-hours / half_life).exp2()
}
