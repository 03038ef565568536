//! Traces for OpenTelemetry: from a request to the wait for a model and its run, sent as OTLP over HTTP
//! to a collector that the operator names. Off by default, and then nothing of this runs.
//!
//! Spans wait in a bounded queue and are sent by a thread of their own; when the collector is slow or
//! away they are dropped, never the requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, Request, Response};
use bytes::Bytes;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use url::Url;

use crate::config::TelemetrySettings;

/// Time for one batch of spans to arrive.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that a finished span waits for others.
const SEND_EVERY: Duration = Duration::from_secs(2);
/// Most spans of one batch.
const BATCH: usize = 512;
/// Largest answer of a collector that is read.
const MAX_ANSWER: u64 = 64 << 10;

static ON: AtomicBool = AtomicBool::new(false);

/// Sends with the client that the program has, on the exporter's own thread.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.to_vec());
        let (parts, body) = self.0.run(request)?.into_parts();
        let bytes = body.into_with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, bytes.into()))
    }
}

/// The sending side; dropped, it sends what waits.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// The exporter that the settings name, or none.
    ///
    /// # Errors
    /// The address is no URL, or the exporter cannot be made.
    pub fn new(settings: &TelemetrySettings) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(None);
        };
        let mut url = Url::parse(endpoint).context("telemetry.otlp_endpoint")?;
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(SEND_TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(agent.into()))
            .with_endpoint(url.as_str())
            .with_timeout(SEND_TIMEOUT)
            .build()
            .context("making the exporter of traces")?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue_spans)
            .with_max_export_batch_size(BATCH.min(settings.queue_spans))
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let ratio = Sampler::TraceIdRatioBased(settings.sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_resource(Resource::builder().with_service_name("novastream").build())
            .build();
        ON.store(true, Ordering::Relaxed);
        Ok(Some(Self(provider)))
    }

    /// What spans are made with.
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer("novastream")
    }

    /// Sends what waits, now.
    pub fn flush(&self) {
        if let Err(error) = self.0.force_flush() {
            tracing::warn!(%error, "traces were not sent");
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Whoever waits for the end of the process must not wait for a collector that is away.
        if let Err(error) = self.0.shutdown_with_timeout(SEND_TIMEOUT) {
            eprintln!("the last traces were not sent: {error}");
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Joins `span` to the trace that a request brings, and names it by `method` and `route`.
pub fn join(span: &Span, headers: &HeaderMap, method: &str, route: &str) {
    if !ON.load(Ordering::Relaxed) {
        return;
    }
    span.record("otel.kind", "server");
    span.record("otel.name", format!("{method} {route}"));
    let context = TraceContextPropagator::new().extract(&Headers(headers));
    // An error says that nobody listens to this span.
    let _ = span.set_parent(context);
}
