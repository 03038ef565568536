//! Bounds on what is kept: age and bytes, in small steps.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore};

use super::{ClipError, place};
use crate::clock::{rfc3339, unix_ms};
use crate::config::EvidenceSettings;
use crate::store::{ClipRow, Store};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Clips that one step deletes.
const STEP: u32 = 100;

/// The time before which a clip is too old, in Unix milliseconds; `None` where none ever is.
pub fn oldest(settings: &EvidenceSettings) -> Option<i64> {
    if settings.max_age_h == 0 {
        return None;
    }
    let hours = i64::try_from(settings.max_age_h).unwrap_or(i64::MAX);
    Some(unix_ms().saturating_sub(hours.saturating_mul(HOUR_MS)))
}

/// Deletes what is older than the settings allow, then the oldest until the rest fits. Answers how
/// many clips went and how many bytes are left.
///
/// The work follows what is to go, never what is kept, and no more than a step of it is in memory.
///
/// # Errors
/// The database or the place of the clips failed; what went until then is gone.
pub async fn prune(
    objects: &dyn ObjectStore,
    index: &dyn Store,
    settings: &EvidenceSettings,
) -> Result<(u64, i64), ClipError> {
    let most = i64::try_from(settings.max_bytes).unwrap_or(i64::MAX);
    let mut gone = 0;
    loop {
        let bound = oldest(settings).unwrap_or(i64::MIN);
        let held = index.clip_bytes().await?;
        let mut left = held;
        let too_much = |row: &ClipRow| {
            let goes = row.stored_at < bound || left > most;
            left -= if goes { row.bytes } else { 0 };
            goes
        };
        let rows = index.oldest_clips(STEP).await?;
        let rows: Vec<ClipRow> = rows.into_iter().take_while(too_much).collect();
        let Some(last) = rows.last() else {
            return Ok((gone, held));
        };
        let paths = rows.iter().flat_map(|row| {
            let of = |suffix| place(&row.id, row.stored_at, suffix);
            [of(super::PREVIEW), of(super::original(row.sound))]
        });
        delete(objects, paths.collect()).await?;
        gone += index.forget_clips(last.seq, STEP).await?;
    }
}

/// Deletes folders of days that are over for good: what the database does not know of, because it
/// was set up anew, or because a clip came twice.
///
/// # Errors
/// The place of the clips failed.
pub async fn sweep(
    objects: &dyn ObjectStore,
    settings: &EvidenceSettings,
) -> Result<u64, ClipError> {
    let Some(bound) = oldest(settings) else {
        return Ok(0);
    };
    // A day later, so that nothing of the day itself is too young.
    let last = day(bound.saturating_sub(DAY_MS));
    let days = objects
        .list_with_delimiter(Some(&Path::from(super::FOLDER)))
        .await?;
    let mut gone = 0;
    for folder in days.common_prefixes {
        let over = |name: &str| is_day(name) && name < last.as_str();
        if !folder.filename().is_some_and(over) {
            continue;
        }
        let mut found = objects.list(Some(&folder)).try_chunks(STEP as usize);
        while let Some(some) = found.try_next().await.map_err(|e| e.1)? {
            let paths: Vec<Path> = some.into_iter().map(|object| object.location).collect();
            gone += paths.len() as u64;
            delete(objects, paths).await?;
        }
    }
    Ok(gone)
}

async fn delete(objects: &dyn ObjectStore, paths: Vec<Path>) -> Result<(), ClipError> {
    let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
    let mut done = objects.delete_stream(paths);
    while let Some(one) = done.next().await {
        match one {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The day of a time, `YYYY-MM-DD` in UTC.
pub fn day(unix_ms: i64) -> String {
    let mut text = rfc3339(unix_ms);
    text.truncate("YYYY-MM-DD".len());
    text
}

/// Whether a folder's name is a day; the order of such names is that of the days.
fn is_day(name: &str) -> bool {
    let digit = |(i, b): (usize, u8)| {
        if i == 4 || i == 7 {
            b == b'-'
        } else {
            b.is_ascii_digit()
        }
    };
    name.len() == 10 && name.bytes().enumerate().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_names_in_order() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(1_795_363_200_123), "2026-11-22");
        for name in ["2026-11-22", "1970-01-01"] {
            assert!(is_day(name));
        }
        for name in [
            "2026-11-2",
            "2026-11-222",
            "20261122--",
            "../../etc/",
            "lost+found",
        ] {
            assert!(!is_day(name), "{name}");
        }
    }

    #[test]
    fn an_age_of_zero_is_never() {
        let mut settings = EvidenceSettings {
            max_age_h: 0,
            ..EvidenceSettings::default()
        };
        assert_eq!(oldest(&settings), None);
        settings.max_age_h = u64::MAX;
        assert!(oldest(&settings).unwrap() < 0);
        settings.max_age_h = 2;
        let age = unix_ms() - oldest(&settings).unwrap();
        assert!((2 * HOUR_MS..2 * HOUR_MS + 60_000).contains(&age));
    }
}
