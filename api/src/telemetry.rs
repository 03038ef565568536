//! Metrics and log output. Labels hold only values from fixed sets, never ids or URLs.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use novastream_inference::engine::names as models;
use novastream_inference::registry::names as registry;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, LogSettings};
use crate::traces::Traces;

/// Every metric's name.
pub mod names {
    /// Requests answered; labels `method`, `route`, `status`.
    pub const HTTP_REQUESTS: &str = "novastream_http_requests_total";
    /// Time to the answer's head; labels `method`, `route`.
    pub const HTTP_SECONDS: &str = "novastream_http_request_duration_seconds";
    /// Verdicts acknowledged; labels `kind`, `action`.
    pub const VERDICTS: &str = "novastream_verdicts_total";
    /// Verdicts that say something was not judged; label `kind`.
    pub const DEGRADED: &str = "novastream_degraded_verdicts_total";
    /// Verdicts whose pictures were further apart than they should be, for want of time; label
    /// `kind`.
    pub const STRETCHED: &str = "novastream_stretched_verdicts_total";
    /// Pictures; label `outcome` is `judged` or `carried` (near-identical to a judged one).
    pub const PICTURES: &str = "novastream_pictures_total";
    /// What the time between two pictures of a stream is multiplied with.
    pub const SAMPLING_STRETCH: &str = "novastream_sampling_stretch";
    /// Busy share of the workers or the processors in the last seconds, whichever is higher.
    pub const LOAD: &str = "novastream_load";
    /// CPU seconds that a second of a stream took of late.
    pub const CPU_PER_STREAM_SECOND: &str = "novastream_cpu_seconds_per_stream_second";
    /// Evidence clips; label `outcome` is `stored`, `dropped` (the queue was full), `failed`
    /// or `pruned`.
    pub const CLIPS: &str = "novastream_evidence_clips_total";
    /// Bytes of the evidence clips that are kept.
    pub const CLIP_BYTES: &str = "novastream_evidence_bytes";
    /// Time in one stage of judging; label `stage`.
    pub const STAGE_SECONDS: &str = "novastream_stage_duration_seconds";
    /// Requests that hold a place in the work queue, waiting or running.
    pub const QUEUE_DEPTH: &str = "novastream_queue_depth";
    /// Time from admission to a worker.
    pub const QUEUE_SECONDS: &str = "novastream_queue_wait_seconds";
    /// Requests refused because the queue was full.
    pub const QUEUE_REFUSED: &str = "novastream_queue_refused_total";
    /// Time of one commit.
    pub const STORE_COMMIT_SECONDS: &str = "novastream_store_commit_duration_seconds";
    /// Writes that shared one commit.
    pub const STORE_BATCH_WRITES: &str = "novastream_store_batch_writes";
    /// Rows deleted by the retention rules.
    pub const STORE_PRUNED: &str = "novastream_store_pruned_rows_total";
    /// Watches that run; label `state`.
    pub const WATCHES: &str = "novastream_watches";
    /// Windows of watches; label `outcome` is `judged`, `shed` or `repeated`.
    pub const WATCH_WINDOWS: &str = "novastream_watch_windows_total";
    /// Outages of watched sources.
    pub const WATCH_OUTAGES: &str = "novastream_watch_outages_total";
    /// From the arrival of a window's last packet to the commit of its verdict.
    pub const WINDOW_LATENCY_SECONDS: &str = "novastream_window_latency_seconds";
    /// Lists answered; label `kind` is `personal` or `trending`.
    pub const RECOMMENDATIONS: &str = "novastream_recommendations_total";
    /// Behaviour events; label `outcome` is `accepted`, `duplicate` or `beyond_limit`.
    pub const EVENTS: &str = "novastream_behaviour_events_total";
    /// Streams that are live.
    pub const LIVE_STREAMS: &str = "novastream_live_streams";
    /// Open event streams.
    pub const SSE_CLIENTS: &str = "novastream_sse_clients";
}

const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
const WRITES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

const ITEMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

/// The process's metrics, installed at the first call.
///
/// # Errors
/// Another recorder was installed before.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let installed = HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
            .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_writes".into()), WRITES))
            .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_items".into()), ITEMS))
            .map_err(|e| e.to_string())?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|e| e.to_string())?;
        describe();
        Ok(handle)
    });
    installed.clone().map_err(anyhow::Error::msg)
}

/// Drains the histograms now and then: without it they grow until the next scrape.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(names::HTTP_REQUESTS, "Requests answered");
    describe_histogram!(names::HTTP_SECONDS, "Time to the head of the answer");
    describe_counter!(names::VERDICTS, "Verdicts acknowledged");
    describe_counter!(
        names::DEGRADED,
        "Verdicts that say something was not judged"
    );
    describe_counter!(
        names::STRETCHED,
        "Verdicts with fewer pictures than there should be, for want of time"
    );
    describe_counter!(names::PICTURES, "Pictures that were judged or carried over");
    describe_gauge!(
        names::SAMPLING_STRETCH,
        "Factor on the time between two pictures of a stream"
    );
    describe_gauge!(names::LOAD, "Busy share of the workers or the processors");
    describe_gauge!(
        names::CPU_PER_STREAM_SECOND,
        "CPU seconds that a second of a stream took of late"
    );
    describe_counter!(
        names::CLIPS,
        "Evidence clips stored, dropped, failed or pruned"
    );
    describe_gauge!(names::CLIP_BYTES, "Bytes of evidence clips");
    describe_counter!(names::RECOMMENDATIONS, "Lists answered");
    describe_counter!(names::EVENTS, "Behaviour events received");
    describe_gauge!(names::LIVE_STREAMS, "Streams that are live");
    describe_histogram!(names::STAGE_SECONDS, "Time in one stage of judging");
    describe_gauge!(
        names::QUEUE_DEPTH,
        "Requests in the work queue, waiting or running"
    );
    describe_histogram!(names::QUEUE_SECONDS, "Time from admission to a worker");
    describe_counter!(
        names::QUEUE_REFUSED,
        "Requests refused because the queue was full"
    );
    describe_gauge!(models::DEPTH, "Entries that wait for a model");
    describe_histogram!(
        models::AGE,
        "Age of the oldest entry left when a batch was taken"
    );
    describe_histogram!(models::QUEUE, "Time that an entry waited for a model");
    describe_histogram!(models::COMPUTE, "Time of one batch in the engine");
    describe_histogram!(models::BATCH, "Entries of one batch");
    describe_counter!(
        models::SHED,
        "Entries refused because there was no place or no time for them"
    );
    describe_counter!(
        models::LATE,
        "Entries dropped because their deadline passed while they waited"
    );
    describe_counter!(models::FAILED, "Entries that the model failed on");
    describe_counter!(registry::LOADS, "Versions that were loaded, or not");
    describe_counter!(
        registry::TAKEN_BACK,
        "Versions that were taken back because their requests failed"
    );
    describe_counter!(registry::REQUESTS, "Requests by the version that judged");
    describe_counter!(registry::SHADOWED, "Requests offered to a shadow");
    describe_gauge!(
        registry::DIFFERENCE_MEAN,
        "Mean difference between candidate and production"
    );
    describe_gauge!(registry::DIFFERENCE_MAX, "Largest such difference");
    describe_counter!(
        registry::FLIPS,
        "Answers of candidate and production on different sides of the threshold"
    );
    describe_histogram!(names::STORE_COMMIT_SECONDS, "Time of one commit");
    describe_histogram!(names::STORE_BATCH_WRITES, "Writes that shared one commit");
    describe_counter!(names::STORE_PRUNED, "Rows deleted by the retention rules");
    describe_gauge!(names::WATCHES, "Watches that run");
    describe_counter!(names::WATCH_WINDOWS, "Windows of watches");
    describe_counter!(names::WATCH_OUTAGES, "Outages of watched sources");
    describe_histogram!(
        names::WINDOW_LATENCY_SECONDS,
        "From a window's arrival to its commit"
    );
    describe_gauge!(names::SSE_CLIENTS, "Open event streams");
}

/// Adds to a gauge for as long as it lives.
#[derive(Debug)]
pub struct Count(&'static str);

impl Count {
    /// One more.
    pub fn up(name: &'static str) -> Self {
        metrics::gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}

/// Counts one watch under its present state.
#[derive(Debug)]
pub struct StateGauge(&'static str);

impl StateGauge {
    /// One more in `state`.
    pub fn new(state: &'static str) -> Self {
        metrics::gauge!(names::WATCHES, "state" => state).increment(1.0);
        Self(state)
    }

    /// The watch is in `state` now.
    pub fn change(&mut self, state: &'static str) {
        if state != self.0 {
            *self = Self::new(state);
        }
    }
}

impl Drop for StateGauge {
    fn drop(&mut self) {
        metrics::gauge!(names::WATCHES, "state" => self.0).decrement(1.0);
    }
}

/// Sends log lines to stderr, and spans to `traces`. A second call does nothing.
///
/// # Errors
/// A filter that cannot be parsed.
pub fn logging(settings: &LogSettings, traces: Option<&Traces>) -> anyhow::Result<()> {
    let default = LogSettings::default();
    let from_env = std::env::var("RUST_LOG").ok().filter(|v| !v.is_empty());
    let filter = match from_env {
        Some(filter) if settings.filter == default.filter => filter,
        _ => settings.filter.clone(),
    };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|e| anyhow::anyhow!("the log filter `{filter}` is wrong: {e}"))?;
    // Our own spans, whatever the log shows; and what went wrong within them.
    let ours = |m: &Metadata<'_>| {
        m.target().starts_with("novastream") && (m.is_span() || *m.level() <= Level::WARN)
    };
    let ours = FilterFn::new(ours).with_max_level_hint(LevelFilter::DEBUG);
    let spans = traces.map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second subscriber is refused; the first one stays, which is what a test run wants.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_buckets() {
        let handle = metrics().unwrap();
        metrics::histogram!(names::HTTP_SECONDS, "method" => "GET", "route" => "/t").record(0.02);
        let text = handle.render();
        let bucket = "novastream_http_request_duration_seconds_bucket{method=\"GET\",route=\"/t\",le=\"0.025\"} 1";
        assert!(text.contains(bucket), "{text}");
    }
}
