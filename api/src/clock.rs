//! Wall-clock time in the two forms that rows and answers use.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in Unix milliseconds.
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(t) => format!("{t:.3}"),
        // Only for years beyond 9999.
        Err(_) => unix_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            super::rfc3339(1_795_363_200_123),
            "2026-11-22T16:00:00.123Z"
        );
        assert!(super::unix_ms() > 1_700_000_000_000);
    }
}
