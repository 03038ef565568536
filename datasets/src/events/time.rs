//! Times as files write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

/// What one step of an event's time is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// There is no time column: the time is the row's number.
    Order,
    /// The time counts steps of this many seconds.
    Seconds(f64),
}

/// Step length assumed for small whole numbers that can't be epoch times: ten minutes.
pub const DEFAULT_STEP_SECONDS: f64 = 600.0;

impl Clock {
    /// Guesses from the latest time: epoch microseconds, milliseconds and seconds are told apart
    /// by size (all dates after 1973); smaller numbers count steps of
    /// [`DEFAULT_STEP_SECONDS`].
    pub fn guess(latest: i64) -> Self {
        Self::Seconds(match latest.unsigned_abs() {
            100_000_000_000_000.. => 1e-6,
            100_000_000_000.. => 1e-3,
            100_000_000.. => 1.0,
            _ => DEFAULT_STEP_SECONDS,
        })
    }

    /// Length of a step in seconds, `None` where time is only an order.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Self::Order => None,
            Self::Seconds(seconds) => Some(seconds),
        }
    }

    /// How many steps a span of hours takes, at least one; `None` where time is only an order.
    pub fn steps_in_hours(self, hours: f64) -> Option<i64> {
        self.seconds()
            .map(|seconds| ((hours * 3600.0 / seconds).round() as i64).max(1))
    }
}

/// A time from its text: a whole number stays as it is, a fraction is cut to its whole part, and
/// ISO 8601 (`2024-05-01`, `2024-05-01T10:00:00Z`, `2024-05-01 10:00:00`, UTC where no zone is
/// given) becomes seconds since 1970. `None` for anything else.
pub fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole);
    }
    if let Ok(number) = text.parse::<f64>() {
        let fits = number.is_finite() && number.abs() < 9.0e18;
        return fits.then(|| number.floor() as i64);
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Some(stamp.as_second());
    }
    let civil = text.parse::<DateTime>().ok().or_else(|| {
        let date = text.parse::<Date>().ok()?;
        Some(date.to_datetime(jiff::civil::Time::midnight()))
    })?;
    let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_times_are_read_as_written() {
        assert_eq!(parse_time("5647"), Some(5647));
        assert_eq!(parse_time(" 12.9 "), Some(12));
        assert_eq!(parse_time("-0.5"), Some(-1));
        assert_eq!(parse_time("1970-01-02"), Some(86_400));
        assert_eq!(parse_time("1970-01-01T00:01:00Z"), Some(60));
        assert_eq!(parse_time("1970-01-01 01:00:00+01:00"), Some(0));
        assert_eq!(parse_time("1970-01-01 00:00:07"), Some(7));
        for bad in ["", "soon", "NaN", "1e99", "2024-13-01"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn recommender_clock_is_told_by_size() {
        assert_eq!(Clock::guess(5896).seconds(), Some(600.0));
        assert_eq!(Clock::guess(893_286_638).seconds(), Some(1.0));
        assert_eq!(Clock::guess(893_286_638_000).seconds(), Some(1e-3));
        assert_eq!(Clock::guess(893_286_638_000_000).seconds(), Some(1e-6));
        assert_eq!(Clock::Seconds(600.0).steps_in_hours(3.0), Some(18));
        assert_eq!(Clock::Order.steps_in_hours(3.0), None);
    }
}
