//! `load`: how a running service behaves under load.
//!
//! Only the address that the user gives is contacted: no proxy, no redirect, plain HTTP/1.1 with
//! connections kept alive.

mod payload;
mod recorder;
mod run;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, Url};
use serde::Serialize;

pub use payload::Endpoint;
pub use recorder::{Errors, Latency};

use crate::cpu::CpuClock;
use crate::error::EvalError;
use crate::report::{Head, Report, Table, cell};
use payload::Payloads;
use run::{Measured, Plan};

/// More than this many open sockets is a matter for several machines.
const MAX_CONNECTIONS: usize = 10_000;
/// Keeps the bookkeeping of an overloaded open loop short.
const MAX_PLANNED: f64 = 1e8;
const DAY_S: f64 = 86_400.0;

/// Options of `novastream-eval load`.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// The service's address, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub target: String,
    /// Which endpoint to call
    #[arg(long, value_enum, default_value = "text")]
    pub path: Endpoint,
    /// What to send: messages, one a line (default: a small built-in list), or a picture or
    /// segment. Repeat it to rotate over several; a stream of one repeated segment lets the
    /// service skip pictures that it has just seen
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Connections, each with one request in flight
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub connections: usize,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub duration: f64,
    /// Open loop: requests due per second, latency measured from when each was due.
    /// Without: closed loop, each connection sends as soon as it has its answer
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Seconds to send before measuring
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub warmup: f64,
    /// Seconds after which a request counts as unanswered
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub timeout: f64,
    /// Open loop: seconds after the end in which overdue requests are still sent
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub drain: f64,
    /// Milliseconds by which the start time of a connection's segments advances
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub segment_ms: u64,
    /// Every segment is a stream of its own (default: one stream a connection)
    #[arg(long)]
    pub fresh_streams: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What was sent.
#[derive(Debug, Clone, Serialize)]
pub struct PayloadReport {
    /// Different bodies, sent in turn.
    pub distinct: usize,
    /// Mean bytes of a body.
    pub mean_bytes: f64,
    /// Bytes of all measured request bodies.
    pub sent_bytes: u64,
    /// Bytes of all measured answers' bodies.
    pub received_bytes: u64,
}

/// The report of `load`. Everything in it is of the measured stretch, after the warm-up.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Program, machine and the service's models.
    #[serde(flatten)]
    pub head: Head,
    /// The address that was called.
    pub target: String,
    /// `closed` or `open`.
    pub mode: &'static str,
    /// Requests in flight at most; a few more sockets than this may be open for a moment.
    pub connections: usize,
    /// Requests due per second, open loop only.
    pub rate: Option<f64>,
    /// As asked for.
    pub warmup_s: f64,
    /// As asked for.
    pub duration_s: f64,
    /// From the end of the warm-up to the end of the plan or the last answer, the later one.
    pub elapsed_s: f64,
    /// Requests that were sent.
    pub requests: u64,
    /// 2xx answers per second of `elapsed_s`.
    pub throughput_per_s: f64,
    /// 2xx answers.
    pub accepted: u64,
    /// Answers with status 429.
    pub rejected: u64,
    /// Answers by status, without 429.
    pub status: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub errors: Errors,
    /// Requests that were due and could not be sent before the drain ended, open loop only. They
    /// count in `latency_ms` with the time they had waited.
    pub unsent: u64,
    /// Milliseconds to the end of a 2xx answer: from sending in a closed loop, from when the
    /// request was due in an open one.
    pub latency_ms: Option<Latency>,
    /// The same for 429 answers.
    pub rejected_latency_ms: Option<Latency>,
    /// What was sent.
    pub payload: PayloadReport,
    /// CPU seconds that this program itself used, warm-up included; a service on the same machine
    /// had to do without them.
    pub client_cpu_s: Option<f64>,
}

impl Report for LoadReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let loop_ = match self.rate {
            Some(rate) => format!("open loop, {rate} requests/s due"),
            None => "closed loop".to_owned(),
        };
        writeln!(out, "{}", self.head.line())?;
        writeln!(
            out,
            "{} · {loop_} · {} connections · {:.1} s\n",
            self.target, self.connections, self.elapsed_s
        )?;
        let mut table = Table::default();
        table.row(["requests".into(), self.requests.to_string()]);
        table.row([
            "2xx per second".into(),
            cell(Some(self.throughput_per_s), 1),
        ]);
        for (status, n) in &self.status {
            table.row([format!("status {status}"), n.to_string()]);
        }
        table.row(["status 429".into(), self.rejected.to_string()]);
        for (name, n) in [
            ("not connected", self.errors.connect),
            ("timed out", self.errors.timeout),
            ("broken", self.errors.broken),
            ("due, never sent", self.unsent),
        ] {
            if n > 0 {
                table.row([name.into(), n.to_string()]);
            }
        }
        table.row([
            "bytes a request".into(),
            cell(Some(self.payload.mean_bytes), 0),
        ]);
        out.push_str(&table.render());

        let mut table = Table::new([
            "latency, ms",
            "n",
            "mean",
            "p50",
            "p90",
            "p95",
            "p99",
            "p99.9",
            "max",
        ]);
        for (name, latency) in [("2xx", self.latency_ms), ("429", self.rejected_latency_ms)] {
            let Some(l) = latency else { continue };
            let figures = [l.mean, l.p50, l.p90, l.p95, l.p99, l.p99_9, l.max];
            let cells = figures.map(|f| cell(Some(f), 2));
            table.row(
                [name.to_owned(), l.count.to_string()]
                    .into_iter()
                    .chain(cells),
            );
        }
        out.push('\n');
        out.push_str(&table.render());
        Ok(())
    }
}

/// Runs the load test that `options` describe.
pub fn run(options: &LoadOptions) -> Result<LoadReport, EvalError> {
    let url = payload::address(&options.target, options.path)?;
    let plan = plan(options)?;
    let timeout = seconds("--timeout", options.timeout, true)?;
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .timeout(timeout)
        .pool_max_idle_per_host(plan.connections)
        .build()
        .map_err(|e| EvalError::internal(format!("can't make an HTTP client: {e}")))?;
    let payloads = Payloads::new(
        &client,
        &url,
        options.path,
        &options.file,
        options.segment_ms,
        options.fresh_streams,
    )?;
    let (distinct, mean_bytes) = (payloads.distinct(), payloads.mean_bytes());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| EvalError::internal(format!("can't start the runtime: {e}")))?;
    let cpu = CpuClock::start();
    let (models, measured) = runtime.block_on(async {
        let models = models_of(&client, &options.target).await;
        let progress = tokio::spawn(show_progress(plan.warmup + plan.duration));
        let measured = run::run(client, payloads, plan).await;
        progress.abort();
        measured.map(|m| (models, m))
    })?;
    let client_cpu_s = cpu.elapsed();
    let Measured { recorder, elapsed } = measured;
    let requests = recorder.answered() + recorder.errors().total();
    if recorder.answered() == 0 {
        return Err(EvalError::Unanswered {
            target: url.to_string(),
            attempts: requests,
            last: recorder
                .last_error()
                .unwrap_or("nothing was due after the warm-up")
                .to_owned(),
        });
    }
    let (sent_bytes, received_bytes) = recorder.bytes();
    Ok(LoadReport {
        head: Head::new("load", models),
        target: url.to_string(),
        mode: if plan.rate.is_some() {
            "open"
        } else {
            "closed"
        },
        connections: plan.connections,
        rate: plan.rate,
        warmup_s: options.warmup,
        duration_s: options.duration,
        elapsed_s: elapsed.as_secs_f64(),
        requests,
        throughput_per_s: recorder.accepted() as f64 / elapsed.as_secs_f64(),
        accepted: recorder.accepted(),
        rejected: recorder.rejected(),
        status: recorder.statuses(),
        errors: recorder.errors(),
        unsent: recorder.unsent(),
        latency_ms: recorder.accepted_latency(),
        rejected_latency_ms: recorder.rejected_latency(),
        payload: PayloadReport {
            distinct,
            mean_bytes,
            sent_bytes,
            received_bytes,
        },
        client_cpu_s,
    })
}

/// Checks the options against their ranges.
fn plan(options: &LoadOptions) -> Result<Plan, EvalError> {
    if !(1..=MAX_CONNECTIONS).contains(&options.connections) {
        return Err(EvalError::usage(format!(
            "--connections takes 1 to {MAX_CONNECTIONS}"
        )));
    }
    let plan = Plan {
        connections: options.connections,
        warmup: seconds("--warmup", options.warmup, false)?,
        duration: seconds("--duration", options.duration, true)?,
        rate: options.rate,
        drain: seconds("--drain", options.drain, false)?,
    };
    if let Some(rate) = options.rate {
        let planned = rate * (options.warmup + options.duration);
        if !(rate > 0.0 && planned <= MAX_PLANNED) {
            return Err(EvalError::usage(format!(
                "--rate takes more than 0 requests a second, and at most {MAX_PLANNED:.0} in all"
            )));
        }
    }
    Ok(plan)
}

fn seconds(name: &str, value: f64, positive: bool) -> Result<Duration, EvalError> {
    let fits = if positive { value > 0.0 } else { value >= 0.0 };
    if fits && value <= DAY_S {
        Ok(Duration::from_secs_f64(value))
    } else {
        let from = if positive { "more than 0" } else { "0" };
        Err(EvalError::usage(format!(
            "{name} takes {from} to {DAY_S:.0} seconds"
        )))
    }
}

/// `name@version` of the models that the service says are ready; empty if it does not say.
async fn models_of(client: &Client, target: &str) -> Vec<String> {
    let Ok(mut url) = Url::parse(target) else {
        return Vec::new();
    };
    let prefix = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{prefix}/v1/models"));
    let answer = async {
        let response = client
            .get(url)
            .timeout(Duration::from_secs(5))
            .send()
            .await?;
        response
            .error_for_status()?
            .json::<serde_json::Value>()
            .await
    };
    match answer.await {
        Ok(json) => ready_models(&json),
        Err(error) => {
            tracing::warn!(%error, "the target does not list its models");
            Vec::new()
        }
    }
}

fn ready_models(json: &serde_json::Value) -> Vec<String> {
    let all = json["models"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = all.iter().filter(|m| m["state"] == "ready");
    let name = |m: &serde_json::Value| {
        Some(format!(
            "{}@{}",
            m["name"].as_str()?,
            m["version"].as_str()?
        ))
    };
    let mut names: Vec<String> = ready.filter_map(name).collect();
    names.sort();
    names
}

/// A bar on stderr, if that is a terminal.
async fn show_progress(total: Duration) {
    let bar = ProgressBar::new(total.as_secs().max(1)).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} s")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        bar.set_position(bar.elapsed().as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_models_are_named() {
        let json = serde_json::json!({"models": [
            {"name": "yamnet", "version": "1", "state": "ready"},
            {"name": "chat", "version": "2.0", "state": "ready"},
            {"name": "ocr", "version": "4", "state": "not_loaded"},
            {"state": "ready"}
        ]});
        assert_eq!(ready_models(&json), ["chat@2.0", "yamnet@1"]);
        assert!(ready_models(&serde_json::json!([])).is_empty());
    }

    #[test]
    fn times_have_ranges() {
        assert!(seconds("--warmup", 0.0, false).is_ok());
        for (value, positive) in [(0.0, true), (-1.0, false), (f64::NAN, false), (1e9, false)] {
            assert_eq!(seconds("--x", value, positive).unwrap_err().code(), "usage");
        }
    }
}
