//! Ranges of settings and their relations.

use super::{ConfigError, Settings};

/// Checks every value.
///
/// # Errors
/// The first setting that is out of range.
pub fn check(s: &Settings) -> Result<(), ConfigError> {
    at_least_one("limits.segment_bytes", s.limits.segment_bytes)?;
    at_least_one("limits.image_bytes", s.limits.image_bytes)?;
    at_least_one("limits.text_bytes", s.limits.text_bytes)?;
    at_least_one("limits.text_items", s.limits.text_items)?;
    at_least_one("limits.deadline_ms", s.limits.deadline_ms as usize)?;
    let largest = s
        .limits
        .segment_bytes
        .max(s.limits.image_bytes)
        .max(s.limits.text_bytes)
        .max(s.recommend.body_bytes);
    if s.limits.in_flight_bytes < largest {
        return invalid(
            "limits.in_flight_bytes",
            format!(
                "{} is less than the largest body, {largest}",
                s.limits.in_flight_bytes
            ),
        );
    }
    // The byte budget is counted in KiB by a semaphore of 32-bit permits.
    if s.limits.in_flight_bytes >> 10 > u32::MAX as usize {
        return invalid("limits.in_flight_bytes", "it must be under 4 TiB".into());
    }
    range("queue.workers", s.queue.workers as u64, 0, 1024)?;
    range("queue.text_workers", s.queue.text_workers as u64, 0, 1024)?;
    range("queue.waiting", s.queue.waiting as u64, 0, 1_000_000)?;
    range("models.poll_ms", s.models.poll_ms, 50, 3_600_000)?;
    range("models.probation_s", s.models.probation_s, 0, 86_400)?;
    share("models.max_error_rate", s.models.max_error_rate, 0.0)?;
    range("models.error_window_s", s.models.error_window_s, 1, 3600)?;
    range("models.min_requests", s.models.min_requests, 1, 1_000_000)?;
    let per_second = u64::from(s.models.shadow_per_second);
    range("models.shadow_per_second", per_second, 0, 10_000)?;
    share("telemetry.sample_ratio", s.telemetry.sample_ratio, 0.0)?;
    let spans = s.telemetry.queue_spans as u64;
    range("telemetry.queue_spans", spans, 1, 1_000_000)?;
    if let Some(url) = &s.telemetry.otlp_endpoint
        && !url::Url::parse(url).is_ok_and(|u| u.scheme() == "http" || u.scheme() == "https")
    {
        let problem = format!("`{url}` is no http or https URL");
        return invalid("telemetry.otlp_endpoint", problem);
    }
    range("models.threads", s.models.threads as u64, 0, 1024)?;
    range("oip.body_bytes", s.oip.body_bytes as u64, 1024, 1 << 30)?;
    range("store.readers", u64::from(s.store.readers), 1, 256)?;
    range("store.batch", s.store.batch as u64, 1, 10_000)?;
    range("store.waiting", s.store.waiting as u64, 1, 1_000_000)?;
    range("retention.interval_s", s.retention.interval_s, 1, 86_400)?;
    watch(s)?;
    sampling(s)?;
    evidence(s)?;
    let r = &s.recommend;
    at_least_one("recommend.body_bytes", r.body_bytes)?;
    range("recommend.events", r.events as u64, 1, 100_000)?;
    range(
        "recommend.live_streams",
        r.live_streams as u64,
        1,
        10_000_000,
    )?;
    range("recommend.items", r.items as u64, 1, 10_000)?;
    range("recommend.users", r.users as u64, 1, 1_000_000_000)?;
    range("recommend.streams", r.streams as u64, 1, 1_000_000_000)?;
    range("sse.keep_alive_s", s.sse.keep_alive_s, 1, 300)?;
    range("sse.max_clients", s.sse.max_clients as u64, 1, 1_000_000)?;
    range(
        "shutdown.drain_delay_ms",
        s.shutdown.drain_delay_ms,
        0,
        600_000,
    )?;
    range("shutdown.grace_s", s.shutdown.grace_s, 1, 3600)
}

fn evidence(s: &Settings) -> Result<(), ConfigError> {
    let e = &s.evidence;
    range("evidence.queue", e.queue as u64, 1, 1000)?;
    let waiting = e.queue_bytes as u64;
    range("evidence.queue_bytes", waiting, 1 << 20, 1 << 40)?;
    // What waits is far larger than what is kept of it, so what is being stored is never pruned.
    if e.max_bytes < waiting {
        return invalid(
            "evidence.max_bytes",
            format!(
                "{} is less than evidence.queue_bytes, {waiting}",
                e.max_bytes
            ),
        );
    }
    if e.max_bytes > i64::MAX as u64 {
        return invalid("evidence.max_bytes", "that is too much".into());
    }
    if e.dir.is_some() && e.bucket.is_some() {
        let problem = "give evidence.dir or this, not both".to_owned();
        return invalid("evidence.bucket", problem);
    }
    if let Some(url) = &e.endpoint
        && !url::Url::parse(url).is_ok_and(|u| u.scheme() == "http" || u.scheme() == "https")
    {
        let problem = format!("`{url}` is no http or https URL");
        return invalid("evidence.endpoint", problem);
    }
    Ok(())
}

fn watch(s: &Settings) -> Result<(), ConfigError> {
    let w = &s.watch;
    range("watch.max", w.max as u64, 1, 10_000)?;
    range("watch.queue_windows", w.queue_windows as u64, 1, 1000)?;
    range("watch.window_ms", u64::from(w.window_ms), 500, 60_000)?;
    range(
        "watch.frame_interval_ms",
        u64::from(w.frame_interval_ms),
        100,
        60_000,
    )?;
    range("watch.open_timeout_ms", w.open_timeout_ms, 100, 600_000)?;
    range("watch.read_timeout_ms", w.read_timeout_ms, 100, 600_000)?;
    range("watch.max_outage_s", w.max_outage_s, 1, 86_400)?;
    range("watch.start_timeout_s", w.start_timeout_s, 1, 86_400)?;
    range("watch.end_grace_s", w.end_grace_s, 0, 86_400)?;
    range("watch.backoff_min_ms", w.backoff_min_ms, 10, 60_000)?;
    range(
        "watch.backoff_max_ms",
        w.backoff_max_ms,
        w.backoff_min_ms,
        600_000,
    )?;
    const KNOWN: [&str; 6] = ["http", "https", "rtmp", "rtmps", "srt", "file"];
    match w.schemes.iter().find(|s| !KNOWN.contains(&s.as_str())) {
        Some(scheme) => invalid(
            "watch.schemes",
            format!("`{scheme}` is not one of {}", KNOWN[..5].join(", ")),
        ),
        None if w.schemes.iter().any(|s| s == "file") => invalid(
            "watch.schemes",
            "`file` is allowed by watch.allow_files, not here".into(),
        ),
        None => Ok(()),
    }
}

fn sampling(s: &Settings) -> Result<(), ConfigError> {
    let p = &s.sampling;
    let calm = s.watch.frame_interval_ms;
    let ms = |key, value: u32, low: u32, high: u32| {
        range(key, u64::from(value), u64::from(low), u64::from(high))
    };
    ms("sampling.risk_interval_ms", p.risk_interval_ms, 40, calm)?;
    ms("sampling.cooldown_ms", p.cooldown_ms, 0, 3_600_000)?;
    ms("sampling.new_ms", p.new_ms, 0, 3_600_000)?;
    ms("sampling.extra_every", p.extra_every, 1, 10_000)?;
    ms("sampling.still_after", p.still_after, 1, 10_000)?;
    ms("sampling.still_interval_ms", p.still_interval_ms, 0, 60_000)?;
    ms("sampling.read_interval_ms", p.read_interval_ms, 0, 60_000)?;
    ms(
        "sampling.read_idle_interval_ms",
        p.read_idle_interval_ms,
        0,
        60_000,
    )?;
    ms("sampling.near_bits", p.near_bits, 0, 64)?;
    ms("sampling.max_interval_ms", p.max_interval_ms, calm, 60_000)?;
    share("sampling.risk_share", f64::from(p.risk_share), 0.01)?;
    share("sampling.load_target", f64::from(p.load_target), 0.0)
}

fn at_least_one(key: &'static str, value: usize) -> Result<(), ConfigError> {
    if value == 0 {
        invalid(key, "it must be 1 or more".into())
    } else {
        Ok(())
    }
}

/// A share of 1, from `low` on.
fn share(key: &'static str, value: f64, low: f64) -> Result<(), ConfigError> {
    if (low..=1.0).contains(&value) {
        Ok(())
    } else {
        invalid(key, format!("{value} is outside {low} to 1"))
    }
}

fn range(key: &'static str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        invalid(key, format!("{value} is outside {low} to {high}"))
    }
}

fn invalid(key: &'static str, problem: String) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass() {
        check(&Settings::default()).unwrap();
    }

    #[test]
    fn the_message_names_the_key_the_range_and_the_variable() {
        let mut s = Settings::default();
        s.watch.queue_windows = 0;
        let e = check(&s).unwrap_err();
        assert_eq!(e.code(), "config_invalid");
        let text = e.to_string();
        assert!(text.contains("watch.queue_windows"), "{text}");
        assert!(text.contains("1 to 1000"), "{text}");
        assert!(text.contains("NOVASTREAM__WATCH__QUEUE_WINDOWS"), "{text}");
    }

    #[test]
    fn relations_hold() {
        let mut s = Settings::default();
        s.watch.backoff_max_ms = 20;
        assert!(check(&s).is_err());
        let mut s = Settings::default();
        s.limits.in_flight_bytes = 10;
        assert!(check(&s).is_err());
        let mut s = Settings::default();
        s.watch.schemes.push("file".into());
        assert!(check(&s).unwrap_err().to_string().contains("allow_files"));
        s.watch.schemes = vec!["gopher".into()];
        assert!(check(&s).is_err());
    }

    #[test]
    fn clips_have_one_place_and_room_for_what_waits() {
        let wrong = |change: fn(&mut Settings), key: &str| {
            let mut s = Settings::default();
            s.evidence.dir = Some("here".into());
            check(&s).unwrap();
            change(&mut s);
            let text = check(&s).unwrap_err().to_string();
            assert!(text.contains(key), "{text}");
        };
        wrong(
            |s| s.evidence.bucket = Some("s3://there".into()),
            "evidence.bucket",
        );
        wrong(
            |s| s.evidence.endpoint = Some("ftp://there".into()),
            "evidence.endpoint",
        );
        wrong(|s| s.evidence.queue = 0, "evidence.queue");
        wrong(|s| s.evidence.queue_bytes = 5, "evidence.queue_bytes");
        wrong(|s| s.evidence.max_bytes = 5, "evidence.max_bytes");
    }
}
